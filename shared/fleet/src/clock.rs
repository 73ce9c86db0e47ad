//! The clock that the embedded adapter lives by.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock: the system's, or one that a test moves by hand.
///
/// Times that decide something are the time of day at the start of the process plus the monotonic time since, so that a jump of the
/// system's clock neither holds a message back nor ends a lease early.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System {
        started: Instant,
        started_at: i64,
    },
    #[cfg(any(test, feature = "testing"))]
    Manual(ManualClock),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System {
            started: Instant::now(),
            started_at: time_of_day(),
        })
    }

    /// Milliseconds since 1970 UTC, steady: it never jumps while the process lives.
    pub(crate) fn steady(&self) -> i64 {
        match &self.0 {
            Kind::System { started, started_at } => started_at.saturating_add(millis(started.elapsed())),
            #[cfg(any(test, feature = "testing"))]
            Kind::Manual(manual) => manual.unix_millis(),
        }
    }

    /// The time of day in milliseconds since 1970 UTC, for people to read.
    #[must_use]
    pub fn time_of_day(&self) -> i64 {
        match &self.0 {
            Kind::System { .. } => time_of_day(),
            #[cfg(any(test, feature = "testing"))]
            Kind::Manual(manual) => manual.unix_millis(),
        }
    }

    /// The moment on the monotonic clock.
    #[must_use]
    pub fn instant(&self) -> Instant {
        match &self.0 {
            Kind::System { .. } => Instant::now(),
            #[cfg(any(test, feature = "testing"))]
            Kind::Manual(manual) => manual.instant(),
        }
    }

    /// Waits until [`Clock::steady`] has reached that time.
    pub(crate) async fn sleep_until(&self, unix_millis: i64) {
        match &self.0 {
            Kind::System { .. } => loop {
                let left = unix_millis.saturating_sub(self.steady());
                let Ok(left @ 1..) = u64::try_from(left) else {
                    return;
                };
                tokio::time::sleep(Duration::from_millis(left)).await;
            },
            #[cfg(any(test, feature = "testing"))]
            Kind::Manual(manual) => manual.reach(unix_millis).await,
        }
    }

    /// Waits that long.
    pub(crate) async fn sleep(&self, wait: Duration) {
        self.sleep_until(self.steady().saturating_add(millis(wait))).await;
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

fn time_of_day() -> i64 {
    // A clock set before 1970 counts as 1970.
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Whole milliseconds, rounded up so that a wait is never cut short.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// A clock that stands still until a test moves it. Clones are the same clock.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Debug)]
pub struct ManualClock {
    base: Instant,
    now: std::sync::Arc<tokio::sync::watch::Sender<i64>>,
}

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    const START: i64 = 1_700_000_000_000;

    /// A clock that shows some time in 2023.
    #[must_use]
    pub fn new() -> Self {
        Self {
            base: Instant::now(),
            now: std::sync::Arc::new(tokio::sync::watch::Sender::new(Self::START)),
        }
    }

    /// The clock for [`EmbeddedOptions`](crate::embedded::EmbeddedOptions).
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Kind::Manual(self.clone()))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.saturating_add(millis(by)));
    }

    /// The time that it shows, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn unix_millis(&self) -> i64 {
        *self.now.borrow()
    }

    /// The moment that it shows on the monotonic clock.
    #[must_use]
    pub fn instant(&self) -> Instant {
        let passed = u64::try_from(self.unix_millis() - Self::START).unwrap_or(0);
        self.base + Duration::from_millis(passed)
    }

    async fn reach(&self, unix_millis: i64) {
        let mut now = self.now.subscribe();
        // An error is impossible: `self` holds the sender.
        drop(now.wait_for(|now| *now >= unix_millis).await);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}
