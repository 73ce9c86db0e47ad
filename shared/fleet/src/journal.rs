//! The journal port: everything that happened, in order, for the history and for replay.

use lockflight_promotion::message::Envelope;
use lockflight_promotion::{ErrorClass, classified};

use crate::{BackendError, Content};

/// A place in the journal. Offsets grow; they need not be without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// Before the first record.
    pub const START: Self = Self(0);
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Where it stands.
    pub offset: Offset,
    /// When it was recorded, in milliseconds since 1970 UTC.
    pub recorded_at: i64,
    /// The message. One that can't be read is passed on as bytes, never skipped.
    pub content: Content,
}

impl Recorded {
    /// The message, if it could be read.
    #[must_use]
    pub fn envelope(&self) -> Option<&Envelope> {
        self.content.envelope()
    }
}

/// The journal. Clones share one journal. [`Queue::publish`](crate::Queue::publish) records by itself; this is for what is
/// nobody's work, and for readers.
pub trait Journal: Clone + Send + Sync + 'static {
    /// Records messages, all or nothing, without making work of them. Durable once it returns `Ok`.
    ///
    /// # Errors
    /// When the records are not known to be durable.
    fn append(&self, messages: &[Envelope]) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Reads at most `limit` records (and at most 1,000) after an offset, in order. When records right after it were pruned, the
    /// answer begins with the oldest that is left.
    ///
    /// # Errors
    /// When the journal can't be read.
    fn read(
        &self,
        after: Offset,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Recorded>, JournalError>> + Send;

    /// Waits until there is a record after that offset. Returns at once when there is one; also when the journal is closed, in which
    /// case [`Journal::read`] says so.
    fn changed(&self, after: Offset) -> impl Future<Output = ()> + Send;
}

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A message has no form as bytes. Our own mistake.
    #[error("a message could not be written as JSON; nothing was recorded")]
    Encode(#[source] serde_json::Error),
    /// The journal was shut down.
    #[error("the journal is shut down")]
    Closed,
    /// The journal can't be read or written.
    #[error("the journal can't be read or written; ask again after a pause")]
    Backend(#[source] BackendError),
}

impl JournalError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Encode(_) => ErrorClass::Bug,
            Self::Closed | Self::Backend(_) => ErrorClass::Retry,
        }
    }
}

classified!(JournalError);
