//! Queue, journal and lock: what the roles share, and the adapters that provide it.
//!
//! The ports are [`Queue`] with its [`Delivery`], [`Journal`], and [`RepoLock`] with its [`LockGuard`]. Roles are written
//! against them; which adapter stands behind is chosen once, at start. Here is the adapter on one SQLite file,
//! [`embedded::EmbeddedFleet`], which is all three ports at once.
//!
//! What every adapter promises is written down as a suite of tests, the module `contract` (feature `testing`).

pub mod amqp;
pub mod clock;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod embedded;
mod error;
pub mod failpoint;
pub mod journal;
pub mod lock;
mod measure;
pub mod member;
pub mod queue;
pub mod redis;
pub mod schedule;
pub mod trace;
mod wire;
pub mod worker;

pub use clock::Clock;
pub use error::BackendError;
pub use journal::{Journal, JournalError, Offset, Recorded};
pub use lock::{LockError, LockGuard, RepoLock};
pub use measure::observe_depths;
pub use member::{InvalidMemberId, InvalidSeat, MemberId, Membership, Role, Seat};
pub use queue::{
    Delivery, Depth, InspectError, Parked, ParkedId, PublishError, Queue, ReceiveError, Retried, SettleError,
    Settled, Work,
};
pub use schedule::Schedule;
pub use wire::Content;
