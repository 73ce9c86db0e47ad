//! What the operator allows.

use std::time::Duration;

use crate::cidr::Cidr;
use crate::error::SetupError;
use crate::host::HostPattern;

/// The most that [`OutboundConfig::max_response_bytes`] may be: an answer is read as a whole.
pub const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// The longest deadline: a worker waits for it.
const LONGEST_DEADLINE: Duration = Duration::from_mins(1);

/// What the operator, who runs Lockflight, allows the policies, which other teams write.
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// The hosts that a policy may have called; empty: none.
    pub allowed_hosts: Vec<HostPattern>,
    /// Private and special addresses that those hosts may have. Metadata services, multicast and unspecified addresses, and IPv6 addresses
    /// that wrap an IPv4 address in ways of old, are refused even if they are in here.
    pub allow_private: Vec<Cidr>,
    /// How long one call may take, from the look-up of its name to the last byte of the answer.
    pub deadline: Duration,
    /// The longest answer, in bytes.
    pub max_response_bytes: usize,
    /// Certificates in PEM that are trusted beside those of the system; empty: none.
    pub more_roots: Vec<u8>,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allow_private: Vec::new(),
            deadline: Duration::from_secs(10),
            max_response_bytes: 64 << 10,
            more_roots: Vec::new(),
        }
    }
}

impl OutboundConfig {
    /// Finds out whether the limits make sense.
    ///
    /// # Errors
    /// When the deadline is none or longer than a minute, or the longest answer is none or over 1 MiB.
    pub fn check(&self) -> Result<(), SetupError> {
        if self.deadline.is_zero() || self.deadline > LONGEST_DEADLINE {
            return Err(SetupError::Deadline(self.deadline));
        }
        if !(1..=MAX_RESPONSE_BYTES).contains(&self.max_response_bytes) {
            return Err(SetupError::Limit(self.max_response_bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        assert!(OutboundConfig::default().check().is_ok());
        for deadline in [Duration::ZERO, Duration::from_secs(61)] {
            let bad = OutboundConfig {
                deadline,
                ..OutboundConfig::default()
            };
            assert!(
                matches!(bad.check(), Err(SetupError::Deadline(_))),
                "{deadline:?}"
            );
        }
        for max_response_bytes in [0, MAX_RESPONSE_BYTES + 1] {
            let bad = OutboundConfig {
                max_response_bytes,
                ..OutboundConfig::default()
            };
            assert!(
                matches!(bad.check(), Err(SetupError::Limit(_))),
                "{max_response_bytes}"
            );
        }
    }
}
