//! What came back.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// What came back from a call. `Debug` shows the status alone.
#[derive(Clone)]
pub struct Answer {
    /// The status; one of 3xx was not followed.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it was sent.
    pub body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
