//! The GitHub client of Lockflight: authentication, limits, retries, and the few calls it needs.
//!
//! octocrab carries the requests and signs the App's tokens; what is sent, how an answer is read, and what happens when
//! one does not come is decided here:
//!
//! - A read is repeated a few times when it fails in passing. **A write is never repeated without a read in between**: it
//!   returns [`ForgeError::Unknown`], and the caller looks before it acts again. Only a refusal that proves that nothing was
//!   done (a stale token, a redirect) is followed by the same write once more.
//! - A limit is not slept out, but for a read that has two seconds to wait at most: [`ForgeError::RateLimited`] carries the
//!   wait, and until it is over no further call is made with the same credentials.
//! - Expected outcomes are values ([`CreatePullRequest`], [`MergeOutcome`], ...), not errors.
//! - A list is whole or it is an error.
//! - Only GitHub's own words (`message`), cut short, get into an error; never a token, never a body.
//!
//! ```no_run
//! # async fn example(repository: lockflight_promotion::change::Repository) -> Result<(), lockflight_forge::ForgeError> {
//! use lockflight_forge::{Auth, Forge, ForgeConfig};
//! let forge = Forge::new(ForgeConfig::new("https://api.github.com", Auth::token("ghp_example")))?;
//! let client = forge.repository(&repository).await?;
//! for pull in client.recent_pull_requests().await? {
//!     println!("{} {}", pull.number, pull.title);
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod answer;
mod app;
mod auto_merge;
mod branches;
mod calls;
mod check;
mod check_run;
mod checkup;
mod client;
mod collaborator;
mod comment;
mod config;
mod contents;
mod delivery;
mod error;
mod find;
mod identity;
mod issue;
mod limit;
mod measure;
mod merge;
mod page;
pub mod port;
mod proof;
mod pull;
mod pull_edit;
mod pull_files;
mod purpose;
mod reaction;
mod refs;
mod retry;
mod review;
mod route;
mod session;
mod status;
mod team;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod tls;
mod wire;

#[cfg(test)]
mod tests;

pub use auto_merge::AutoMerge;
pub use branches::{BranchMove, ComparedCommit, Comparison};
pub use calls::{Calls, RateLimit, RouteCalls};
pub use check::{Check, CheckState, Checks};
pub use check_run::{Annotation, AnnotationLevel, CheckOutcome, CheckRun, CheckRunState, Conclusion};
pub use checkup::Checkup;
pub use client::{Forge, RepoClient};
pub use collaborator::Collaborator;
pub use comment::Comment;
pub use config::{Access, Auth, ForgeConfig, Permissions};
pub use contents::{FileAt, FileMode, OneFileCommit};
pub use delivery::{FailedDelivery, Hook};
pub use error::{Call, ForgeError};
pub use find::FoundRepository;
pub use identity::Identity;
pub use issue::Assigned;
pub use merge::{MergeMethod, MergeOutcome};
pub use pull::{AccountType, CreatePullRequest, NewPullRequest, PullRequest, PullRequestState, RepoRef};
pub use pull_edit::{Closing, PullRequestEdit};
pub use pull_files::{ChangedFile, FileStatus};
pub use reaction::{Reaction, ReactionKind};
pub use review::{Approval, Review, ReviewState};
pub use status::{Status, StatusState};
pub use tls::init_tls;

lockflight_promotion::classified!(ForgeError);
