//! The handle that starts a forge and that everything else hangs on.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::change::Change;
use crate::error::ForgeError;
use crate::faults::Faults;
use crate::git::Git;
use crate::model::UserKind;
use crate::operations::pull_requests::Comparison;
use crate::options::ForgeOptions;
use crate::rest::RateCounter;
use crate::state::State;
use crate::usage::{RecordedRequest, Recorder, Usage};
use crate::webhook::{Delivery, DeliveryQueue, WebhookFaults};
use crate::{ids, server};

/// This many changes may be unread by a subscriber before it misses some.
const UNREAD_CHANGES: usize = 4_096;

/// Everything the handlers share.
pub(crate) struct Inner {
    pub(crate) options: ForgeOptions,
    pub(crate) address: SocketAddr,
    pub(crate) git: Git,
    pub(crate) recorder: Recorder,
    pub(crate) faults: Faults,
    pub(crate) webhook_faults: WebhookFaults,
    pub(crate) delivery_queue: Arc<DeliveryQueue>,
    pub(crate) rates: RateCounter,
    pub(crate) shutdown: CancellationToken,
    /// What the web pages put into their forms, so that no other page can press their buttons.
    pub(crate) csrf_token: String,
    pub(crate) token_lifetime: Mutex<Duration>,
    pub(crate) unknown_reads: Mutex<u32>,
    /// Comparisons of commits; they are functions of object ids and never grow old.
    pub(crate) comparisons: Mutex<HashMap<(String, String), Arc<Comparison>>>,
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
    revision: watch::Sender<u64>,
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn api_url(&self) -> String {
        format!("http://{}/api/v3", self.address)
    }

    /// Tells everybody who waits that something has happened.
    pub(crate) fn tell(&self, change: Change) {
        self.revision.send_modify(|revision| *revision += 1);
        // It is no fault when nobody listens.
        self.changes.send(change).ok();
    }

    pub(crate) fn unknown_reads(&self) -> u32 {
        *self.unknown_reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A forge that runs in this process. Cheap to clone; it stops when the last clone is dropped.
#[derive(Clone)]
pub struct Forge {
    pub(crate) inner: Arc<Inner>,
    tasks: TaskTracker,
    _stop: Arc<DropGuard>,
}

impl std::fmt::Debug for Forge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forge")
            .field("url", &self.inner.url())
            .finish_non_exhaustive()
    }
}

impl Forge {
    /// Starts a forge, which then answers until its last handle is dropped or [`Forge::shutdown`] is called.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotLoopback`] where it is to listen on anything but loopback; [`ForgeError::Io`] where the
    /// directory or the port cannot be had.
    pub async fn start(options: ForgeOptions) -> Result<Self, ForgeError> {
        let address = options
            .listen
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        if !address.ip().is_loopback() {
            return Err(ForgeError::NotLoopback(address));
        }
        // Git is told about the directory from other directories, too.
        let mut options = options;
        options.data_dir =
            std::path::absolute(&options.data_dir).map_err(ForgeError::io("find its data directory"))?;
        let git = Git::prepare(&options.data_dir).map_err(ForgeError::io("make its data directory"))?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(ForgeError::io("listen on its port"))?;
        let address = listener
            .local_addr()
            .map_err(ForgeError::io("learn its own address"))?;
        let shutdown = CancellationToken::new();
        let viewer = options.viewer.clone();
        let inner = Arc::new(Inner {
            address,
            git,
            recorder: Recorder::default(),
            faults: Faults::default(),
            webhook_faults: WebhookFaults::default(),
            delivery_queue: Arc::new(DeliveryQueue::default()),
            rates: RateCounter::default(),
            shutdown: shutdown.clone(),
            csrf_token: ids::token("csrf")?,
            token_lifetime: Mutex::new(options.installation_token_lifetime),
            unknown_reads: Mutex::new(options.mergeable_unknown_reads),
            comparisons: Mutex::default(),
            state: Mutex::default(),
            changes: broadcast::Sender::new(UNREAD_CHANGES),
            revision: watch::Sender::new(0),
            options,
        });
        inner.state().user_or_new(&viewer, UserKind::User);
        let tasks = TaskTracker::new();
        tasks.spawn(server::serve(listener, Arc::clone(&inner), tasks.clone()));
        Ok(Self {
            inner,
            tasks,
            _stop: Arc::new(shutdown.drop_guard()),
        })
    }

    /// Stops the forge, and waits until every connection is closed.
    pub async fn shutdown(&self) {
        self.inner.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Returns the address of the web pages, such as `http://127.0.0.1:40000`.
    #[must_use]
    pub fn url(&self) -> String {
        self.inner.url()
    }

    /// Returns the base address of the REST API, as Enterprise Server has it. GraphQL is at `/graphql` below it,
    /// and at `/api/graphql`.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.inner.api_url()
    }

    /// Returns the address to clone a repository (`owner/name`) from and push to.
    #[must_use]
    pub fn git_url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.inner.url())
    }

    /// Returns the faults of REST and git.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Returns the faults of webhooks.
    #[must_use]
    pub fn webhook_faults(&self) -> &WebhookFaults {
        &self.inner.webhook_faults
    }

    /// Returns the requests since the start or the last reset, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.inner.recorder.requests()
    }

    /// Returns what everything cost since the start or the last reset.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.inner.recorder.usage()
    }

    /// Forgets the requests and their cost.
    pub fn reset_usage(&self) {
        self.inner.recorder.reset();
    }

    /// Returns the log of webhook deliveries, oldest first.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.inner.state().deliveries.iter().cloned().collect()
    }

    /// Waits until no webhook is on its way.
    ///
    /// A receiver that acts on a webhook after it has answered may cause the next one: wait for its effect, too.
    pub async fn webhooks_idle(&self) {
        self.inner.delivery_queue.idle().await;
    }

    /// Gives every change from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Looks at the forge now and after every change, until there is an answer or the time is up.
    pub async fn wait_for<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> Option<T> {
        let mut revision = self.inner.revision.subscribe();
        let search = async {
            loop {
                revision.mark_unchanged();
                if let Some(found) = look(self) {
                    return found;
                }
                // The sender lives in `self`: it cannot go away while we wait.
                revision.changed().await.ok();
            }
        };
        tokio::time::timeout(patience, search).await.ok()
    }

    /// Sets how long the installation tokens live that are made from now on.
    pub fn set_installation_token_lifetime(&self, lifetime: Duration) {
        *self
            .inner
            .token_lifetime
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = lifetime;
    }

    /// Sets how many reads of a pull request answer `mergeable: null` after its head has changed from now on.
    pub fn set_mergeable_unknown_reads(&self, reads: u32) {
        *self
            .inner
            .unknown_reads
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = reads;
    }
}
