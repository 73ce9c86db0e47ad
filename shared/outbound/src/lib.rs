//! Calls to addresses that a policy names.
//!
//! A policy is written by the team that owns a repository, so an address in it is not trusted: it may point at what only the machine that
//! Lockflight runs on can reach, such as the metadata of a cloud, a database, or another team's service. What it guarantees:
//! 1. Only hosts that the operator lists are called ([`OutboundConfig::allowed_hosts`]); nothing is listed by default.
//! 2. A name is looked up once, each address that it has is judged, and the connection goes to one that was judged. A name that means
//!    something else a moment later changes nothing. Private and special addresses are refused unless the operator opened them
//!    ([`OutboundConfig::allow_private`]), also where one is written inside an IPv6 address; metadata services are refused always.
//! 3. No redirect is followed, no proxy is asked, no credential is sent, nothing is decompressed. TLS unless the operator listed the host
//!    with `http://`.
//! 4. From the look-up to the last byte a call has one deadline, and its answer one limit.
//! 5. Logs and errors name scheme, host and port, never path or query, since those of webhooks are often secrets.
//!
//! On top of it, [`reading`] reads the gates that ask somebody else.

mod address;
mod answer;
mod cidr;
mod client;
mod config;
mod error;
mod host;
mod range;
pub mod reading;
mod resolve;
mod tls;

pub use address::{Address, InvalidAddress};
pub use answer::Answer;
pub use cidr::{Cidr, InvalidCidr};
pub use client::Outbound;
pub use config::{MAX_RESPONSE_BYTES, OutboundConfig};
pub use error::{OutboundError, SetupError};
pub use host::{HostPattern, InvalidHostPattern};
pub use reading::{Reading, read_http, read_prometheus};
pub use resolve::{Resolve, Resolving};
