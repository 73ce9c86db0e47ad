//! Why nothing was called, or nothing came back.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use lockflight_promotion::{ErrorClass, classified};

use crate::address::InvalidAddress;

/// Why nothing was called, or nothing came back. `to` is scheme, host and port; path and query are in no message.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// It is no address that can be called.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The operator does not list the host.
    #[error("{pattern:?} may not be called; whoever runs Lockflight can add it to [outbound] allowed_hosts")]
    NotAllowed {
        /// What would have to be listed.
        pattern: String,
    },
    /// The host has an address that is private, and that the operator did not open.
    #[error(
        "{to} may not be called: {address} is {what}; whoever runs Lockflight can add it, or its range, to [outbound] allow_private"
    )]
    Private {
        /// What was to be called.
        to: String,
        /// One of its addresses.
        address: IpAddr,
        /// What kind of address it is.
        what: &'static str,
    },
    /// The host has an address that is refused always.
    #[error("{to} may not be called: {address} is {what}, which is refused always; name another host")]
    Refused {
        /// What was to be called.
        to: String,
        /// One of its addresses.
        address: IpAddr,
        /// What kind of address it is.
        what: &'static str,
    },
    /// The name could not be looked up.
    #[error("the name of {to} could not be looked up")]
    LookUp {
        /// What was to be called.
        to: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The name has no address.
    #[error("the name of {to} has no address")]
    NoAddress {
        /// What was to be called.
        to: String,
    },
    /// None of its addresses takes a connection.
    #[error("{to} takes no connection")]
    Connect {
        /// What was to be called.
        to: String,
        /// What the system says of the address that was tried last.
        #[source]
        source: io::Error,
    },
    /// TLS failed, perhaps for its certificate.
    #[error(
        "{to} can't be trusted; if its certificate is of an authority of your own, name that in [outbound] ca_file"
    )]
    Tls {
        /// What was to be called.
        to: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// There is no answer in HTTP/1.1.
    #[error("{to} did not answer as HTTP wants it")]
    Http {
        /// What was called.
        to: String,
        /// What is wrong.
        #[source]
        source: hyper::Error,
    },
    /// The answer is too long.
    #[error(
        "{to} answered with more than {limit} bytes; have it say less, or raise [outbound] max_response_bytes"
    )]
    TooLong {
        /// What was called.
        to: String,
        /// The status that it begins with.
        status: StatusCode,
        /// The longest answer that is read.
        limit: usize,
    },
    /// The deadline has passed.
    #[error("{to} did not answer within {} ms", .deadline.as_millis())]
    Late {
        /// What was called.
        to: String,
        /// The deadline.
        deadline: Duration,
    },
}

impl OutboundError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Address(_)
            | Self::NotAllowed { .. }
            | Self::Private { .. }
            | Self::Refused { .. }
            | Self::TooLong { .. } => ErrorClass::User,
            Self::LookUp { .. }
            | Self::NoAddress { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Http { .. }
            | Self::Late { .. } => ErrorClass::Retry,
        }
    }

    /// The name in telemetry.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::NotAllowed { .. } => "not_allowed",
            Self::Private { .. } => "private",
            Self::Refused { .. } => "refused",
            Self::LookUp { .. } => "look_up",
            Self::NoAddress { .. } => "no_address",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Http { .. } => "http",
            Self::TooLong { .. } => "too_long",
            Self::Late { .. } => "late",
        }
    }

    /// What is wrong, with its causes, in one line.
    #[must_use]
    pub fn in_full(&self) -> String {
        let mut said = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let more = error.to_string();
            if !said.ends_with(&more) {
                said = format!("{said}: {more}");
            }
            cause = error.source();
        }
        said
    }
}

classified!(OutboundError);

/// The operator's settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The deadline is none, or too long.
    #[error("deadline can't be {0:?}: it is longer than nothing, and 1m at most")]
    Deadline(Duration),
    /// The longest answer is none, or too long.
    #[error("max_response_bytes can't be {0}: it is from 1 to 1048576 (1 MiB)")]
    Limit(usize),
    /// A certificate can't be read.
    #[error("ca_file can't be used: it has to hold certificates in PEM")]
    Roots(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// There are no certificates to trust.
    #[error(
        "the system has no root certificates, so no host of allowed_hosts can be called over https; install the package ca-certificates, or \
         set ca_file"
    )]
    NoRoots,
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}
