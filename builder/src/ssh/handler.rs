//! One SSH connection: who it is, and the one command each of its channels may run.

use std::collections::HashMap;

use proto::problem::Problem;
use russh::{
    Channel, ChannelId,
    keys::{HashAlg, PublicKey},
    server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use service::Stop;
use tokio::sync::watch;

use super::{
    Door, command,
    session::{self, Ask},
};

/// Channels of one connection; git uses one.
const MAX_CHANNELS: usize = 4;

/// What is known of one connection.
pub struct Handler {
    door: Door,
    /// Answers per fingerprint, so that offering and proving a key is one question.
    asked: HashMap<String, Who>,
    who: Option<Who>,
    known: watch::Sender<bool>,
    channels: HashMap<ChannelId, Waiting>,
    gone: Stop,
}

/// Whose key it is.
#[derive(Debug, Clone)]
pub enum Who {
    /// A user's.
    User(String),
    /// Nobody's.
    Nobody,
    /// It cannot be found out now. Such a client gets in far enough to be told, and no further.
    Unknown(Problem),
}

/// A channel on which no command runs yet.
struct Waiting {
    channel: Channel<Msg>,
    protocol: Option<String>,
}

impl Handler {
    /// For a new connection; the receiver tells when the client has proved a key.
    pub fn new(door: Door) -> (Handler, watch::Receiver<bool>) {
        let (known, receiver) = watch::channel(false);
        // Not a child of the program's stop: that one is for the push to hear, through its own session.
        let gone = door.tasks.stop().child();
        let handler = Handler {
            door,
            asked: HashMap::new(),
            who: None,
            known,
            channels: HashMap::new(),
            gone,
        };
        (handler, receiver)
    }

    async fn whose(&mut self, key: &PublicKey) -> Who {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if let Some(who) = self.asked.get(&fingerprint) {
            return who.clone();
        }
        let who = match self.door.control.identify(&fingerprint).await {
            Ok(Some(user)) => Who::User(user),
            Ok(None) => Who::Nobody,
            Err(problem) => Who::Unknown(problem),
        };
        self.asked.insert(fingerprint, who.clone());
        who
    }

    /// Starts what a channel asked for, or the refusal of it.
    fn start(&mut self, id: ChannelId, ask: Ask) {
        if let Some(waiting) = self.channels.remove(&id) {
            let who = self.who.clone().unwrap_or(Who::Nobody);
            let (door, gone, channel) = (self.door.clone(), self.gone.child(), waiting.channel);
            let protocol = waiting.protocol;
            self.door.tasks.spawn("ssh session", async move {
                session::run(channel, ask, session::Client { who, protocol, gone }, door).await;
            });
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.gone.set();
    }
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        match self.whose(offer.public_key).await {
            Who::User(_) | Who::Unknown(_) => Ok(Auth::Accept),
            Who::Nobody => Ok(Auth::reject()),
        }
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        match self.whose(key.public_key).await {
            Who::Nobody => Ok(Auth::reject()),
            who @ (Who::User(_) | Who::Unknown(_)) => {
                self.who = Some(who);
                self.known.send_replace(true);
                Ok(Auth::Accept)
            }
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.channels.len() >= MAX_CHANNELS {
            reply.reject(russh::ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.channels.insert(channel.id(), Waiting { channel, protocol: None });
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let waiting = self.channels.get_mut(&channel);
        match waiting {
            Some(waiting) if name == "GIT_PROTOCOL" && command::is_git_protocol(value) => {
                waiting.protocol = Some(value.to_owned());
                session.channel_success(channel)
            }
            Some(_) | None => session.channel_failure(channel),
        }
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        self.start(channel, Ask::Exec(data.to_vec()));
        Ok(())
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        self.start(channel, Ask::Shell);
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _x11_auth_protocol: &str,
        _x11_auth_cookie: &str,
        _x11_screen_number: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
