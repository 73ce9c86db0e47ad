//! The client, and what it remembers of servers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::http::{Deadline, Http, Service};
use super::offer::{ReceiveOffer, UploadOffer};
use super::outgoing::Outgoing;
use super::packets::Packets;
use super::{Limits, Speech};
use crate::mirrors::{MirrorsConfig, Remote};
use crate::transport_error::TransportError;

/// How long it is believed that a server can what it could.
const BELIEVED: Duration = Duration::from_secs(3600);

/// Of how many servers or repositories it is remembered what they can.
const REMEMBERED: usize = 16_384;

/// The most bytes of an answer about what a server can do, and of one without a pack.
pub(super) const MOST_ANSWER: u64 = 64 << 20;

/// The way to all remotes of a process. Made once, so that connections are shared.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(super) http: Http,
    pub(super) limits: Limits,
    /// By address.
    upload: Memory<UploadOffer>,
    /// By scheme and host: what the software can do. That of its repositories is not asked for, which saves a round trip and a list of all refs for each.
    receive: Memory<ReceiveOffer>,
}

/// What is remembered for a while.
#[derive(Debug)]
struct Memory<T>(Mutex<HashMap<String, (Instant, T)>>);

impl<T: Copy> Memory<T> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, key: &str) -> Option<T> {
        let memory = self.lock();
        let (since, value) = memory.get(key)?;
        (since.elapsed() < BELIEVED).then_some(*value)
    }

    fn learn(&self, key: &str, value: T) {
        let mut memory = self.lock();
        if memory.len() >= REMEMBERED {
            memory.clear();
        }
        memory.insert(key.to_owned(), (Instant::now(), value));
    }

    fn forget(&self, key: &str) {
        self.lock().remove(key);
    }
}

impl Wire {
    /// Prepares the way. Nothing is opened or read yet; the system's root certificates are read when the first `https` remote is talked to.
    pub(crate) fn new(config: &MirrorsConfig) -> Self {
        Self::with_limits(
            config,
            Limits {
                total: config.timeout,
                pack: config.max_pack_bytes,
                ..Limits::default()
            },
        )
    }

    pub(super) fn with_limits(config: &MirrorsConfig, limits: Limits) -> Self {
        Self {
            http: Http::new(config.plain_http, limits.connect),
            limits,
            upload: Memory::new(),
            receive: Memory::new(),
        }
    }

    /// What the remote's server speaks. Asked once an hour at most for each remote; free at other times.
    ///
    /// # Errors
    /// When the address is refused, or the server can't be talked to.
    #[tracing::instrument(skip_all)]
    pub(crate) async fn speech(&self, remote: &Remote) -> Result<Speech, TransportError> {
        Ok(self.upload_offer(remote, self.deadline()).await?.speech())
    }

    /// Whether the remote is reached over HTTP at all.
    ///
    /// # Errors
    /// When the address is refused.
    pub(crate) fn reaches(&self, remote: &Remote) -> Result<bool, TransportError> {
        self.http.reaches(remote)
    }

    /// Has the remote's server asked anew what it speaks.
    pub(crate) fn forget_speech(&self, remote: &Remote) {
        self.upload.forget(&remote.url);
    }

    /// The time of an operation that begins now.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::new(self.limits.total, self.limits.idle)
    }

    pub(super) async fn upload_offer(
        &self,
        remote: &Remote,
        deadline: Deadline,
    ) -> Result<UploadOffer, TransportError> {
        if !self.http.reaches(remote)? {
            return Ok(UploadOffer::Other);
        }
        if let Some(offer) = self.upload.recall(&remote.url) {
            return Ok(offer);
        }
        let answer = self
            .http
            .ask(
                remote,
                Service::UploadOffer,
                Vec::new().into(),
                deadline,
                MOST_ANSWER,
            )
            .await?;
        let offer = UploadOffer::read(Packets::new(answer)).await?;
        self.upload.learn(&remote.url, offer);
        Ok(offer)
    }

    /// Sends a command of version 2. When that fails, what the server can do is asked anew before the next one: it may be another by then.
    pub(super) async fn command<'a>(
        &self,
        remote: &'a Remote,
        body: Vec<u8>,
        deadline: Deadline,
        most: u64,
    ) -> Result<Packets<'a>, TransportError> {
        let answer = self
            .http
            .ask(remote, Service::Upload, body.into(), deadline, most)
            .await;
        if answer.is_err() {
            self.upload.forget(&remote.url);
        }
        Ok(Packets::new(answer?))
    }

    pub(super) async fn receive_offer(
        &self,
        remote: &Remote,
        deadline: Deadline,
    ) -> Result<ReceiveOffer, TransportError> {
        if !self.http.reaches(remote)? {
            return Err(TransportError::NoVersion2);
        }
        let host = host(remote);
        if let Some(offer) = self.receive.recall(host) {
            return Ok(offer);
        }
        let answer = self
            .http
            .ask(
                remote,
                Service::ReceiveOffer,
                Vec::new().into(),
                deadline,
                MOST_ANSWER,
            )
            .await?;
        let offer = ReceiveOffer::read(Packets::new(answer)).await?;
        self.receive.learn(host, offer);
        Ok(offer)
    }

    /// Sends the commands of a push, once.
    pub(super) async fn receive<'a>(
        &self,
        remote: &'a Remote,
        body: Outgoing,
        deadline: Deadline,
    ) -> Result<Packets<'a>, TransportError> {
        let answer = self
            .http
            .ask(remote, Service::Receive, body, deadline, MOST_ANSWER)
            .await;
        if answer.is_err() {
            self.receive.forget(host(remote));
        }
        Ok(Packets::new(answer?))
    }
}

/// Scheme and host of a remote.
fn host(remote: &Remote) -> &str {
    let url = remote.url.as_str();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    url.get(..scheme.len() + 3 + authority.len()).unwrap_or(url)
}
