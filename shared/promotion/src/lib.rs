//! The domain of Lockflight: what a change is, where it may go, and what people read about it.
//!
//! Everything here is pure: no clock, no file system, no network, no environment. The same input gives the same
//! output, byte for byte, so a plan can be computed again anywhere, at any time, and compared by its id.
//!
//! The way of a change through this crate: a [`message::Envelope`] tells of a merged pull request; [`policy`]
//! compiles the policy file of its merge commit; [`plan()`] turns policy and [`plan::Facts`] into a [`plan::Plan`] of
//! [`plan::Step`]s; [`text`] says all of it to people.

pub mod change;
pub mod class;
pub mod code_owners;
pub mod command;
pub mod control;
pub mod gate;
pub mod ids;
pub mod lease;
pub mod location;
pub mod message;
pub mod path;
pub mod plan;
pub mod policy;
pub mod progress;
pub mod rollback;
pub mod telemetry;
pub mod text;
pub mod track;
pub mod values;

pub use class::{Classified, ErrorClass};
pub use ids::{
    BlobOid, BranchName, CommitOid, DeliveryId, InstallationId, InvalidId, Login, MessageId, PlanId,
    PrNumber, PromotionId, RepoId, RepoName, StepId, TraceParent, TrackId, TreeOid,
};
pub use lease::{Fence, Lease, LeaseExpired};
pub use location::{Base, InvalidGlob, Location, Selection, Selector};
pub use path::{InvalidPath, PathInRepo};
pub use plan::plan;
