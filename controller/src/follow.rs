//! Follows a change to its end: the API streams it to people, the gateway to pushers.

use std::collections::VecDeque;
use std::time::Duration;

use model::app::App;
use proto::problem::{Code, Problem};

use crate::Context;
use crate::progress::{End, Story};
use crate::records::ReadError;

/// How often the stored document is looked at when no view tells anything new.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// One thing to tell a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something moved, or is waited for.
    Said(String),
    /// It is over; nothing comes after.
    End(End),
}

/// A change being followed.
pub struct Follow {
    context: Context,
    story: Story,
    was_destroying: bool,
    pending: VecDeque<Step>,
    is_over: bool,
}

impl Follow {
    /// Follows the change that made `generation` of an app just read.
    pub fn new(context: Context, app: &App, generation: u64) -> Follow {
        Follow {
            context,
            story: Story::new(app, generation),
            was_destroying: app.destroyed.is_some(),
            pending: VecDeque::new(),
            is_over: false,
        }
    }

    /// The next thing to tell; none after the end.
    pub async fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.pending.pop_front() {
                self.is_over = matches!(step, Step::End(_));
                return Some(step);
            }
            if self.is_over {
                return None;
            }
            let view = self.context.view.borrow_and_update().clone();
            let news = self.story.news(&view).into_iter().map(Step::Said);
            self.pending.extend(news);
            match self.end().await {
                Ok(end) => self.pending.extend(end.map(Step::End)),
                // The store is away for now: what is known stays, and the next look may succeed.
                Err(error) => tracing::warn!(%error, "a follower could not read its app"),
            }
            if self.pending.is_empty() {
                self.wait().await;
            }
        }
    }

    /// Looks at the document itself: a view may lag behind it.
    async fn end(&mut self) -> Result<Option<End>, ReadError> {
        let app = self.context.records.app(self.story.app()).await?.map(|app| app.value);
        let Some(app) = app.filter(|app| self.story.is_about(app)) else {
            return Ok(Some(self.vanished()));
        };
        self.was_destroying = app.destroyed.is_some();
        if self.was_destroying {
            return Ok(None);
        }
        Ok(self.story.end(&app))
    }

    fn vanished(&self) -> End {
        if self.was_destroying {
            return End::Live { release: None };
        }
        let message = format!("the app `{}` was destroyed meanwhile", self.story.app());
        End::Failed(Problem::new(Code::NotFound, message))
    }

    async fn wait(&mut self) {
        let changed = tokio::time::timeout(LOOK_AGAIN, self.context.view.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            // No view will come any more: the program is stopping. The document is still looked at.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
