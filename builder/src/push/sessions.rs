//! The pushes under way: a hook that comes with a session's secret belongs to that session.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::name::AppName;
use service::Stop;

/// Who pushes what.
#[derive(Debug, Clone)]
pub struct Session {
    /// The user whose key it was.
    pub user: String,
    /// The app.
    pub app: AppName,
    /// The app's repository.
    pub repository: PathBuf,
    /// Set when the client is gone or the builder ends.
    pub stop: Stop,
}

/// All sessions. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<String, Session>>>);

/// Keeps a session findable; dropping it ends that, and whatever the session still does.
#[derive(Debug)]
pub struct Open {
    sessions: Sessions,
    stop: Stop,
    /// The session's secret.
    pub secret: String,
}

impl Sessions {
    /// Makes a session findable under a new secret.
    pub fn open(&self, session: Session) -> Open {
        let secret = format!("{:032x}", rand::random::<u128>());
        let stop = session.stop.clone();
        self.lock().insert(secret.clone(), session);
        Open { sessions: self.clone(), stop, secret }
    }

    /// The session with this secret.
    pub fn find(&self, secret: &str) -> Option<Session> {
        self.lock().get(secret).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stop.set();
        self.sessions.lock().remove(&self.secret);
    }
}
