//! How long a failed message waits before it is tried again.
//!
//! The `backoff` crate is used in this one module. It is unmaintained (RUSTSEC-2025-0012, and RUSTSEC-2024-0384 for its dependency
//! `instant`): no fix is to be expected. What we use of it is arithmetic over our own input, and everything else in the
//! workspace sees [`Schedule`], so that replacing it is a change of this file.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Beyond that many attempts every schedule has long reached its longest wait.
const REPLAYED: u32 = 64;

/// Waits that grow with each failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The wait after the first failure.
    pub initial: Duration,
    /// How much longer each wait is than the one before: 1 or more.
    pub factor: f64,
    /// The longest wait, jitter included.
    pub max: Duration,
    /// How far a wait may be from its value, as a share of it: 0 (exact) to 1.
    pub jitter: f64,
}

impl Schedule {
    /// For production: about 5 s, 25 s, 2 min, 10 min, 52 min, then an hour each.
    #[must_use]
    pub const fn production() -> Self {
        Self {
            initial: Duration::from_secs(5),
            factor: 5.0,
            max: Duration::from_hours(1),
            jitter: 0.2,
        }
    }

    /// For a sandbox, where a person watches: about 0.1 s, 0.2 s, 0.4 s and so on up to 2 s.
    #[must_use]
    pub const fn fast() -> Self {
        Self {
            initial: Duration::from_millis(100),
            factor: 2.0,
            max: Duration::from_secs(2),
            jitter: 0.2,
        }
    }

    /// The wait after the `failures`-th failure (1 for the first). Values out of range count as the nearest that is in range.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let mut waits = ExponentialBackoff {
            current_interval: self.initial.min(self.max),
            initial_interval: self.initial.min(self.max),
            randomization_factor: if self.jitter.is_nan() {
                0.0
            } else {
                self.jitter.clamp(0.0, 1.0)
            },
            // `max` makes 1 of what is not a number.
            multiplier: self.factor.max(1.0),
            max_interval: self.max,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let mut wait = self.initial;
        for _ in 0..failures.clamp(1, REPLAYED) {
            // `None` is for a schedule that ends; ours has no end.
            wait = waits.next_backoff().unwrap_or(self.max);
        }
        wait.min(self.max)
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::production()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_the_factor_up_to_the_longest() {
        let schedule = Schedule {
            jitter: 0.0,
            ..Schedule::production()
        };
        let seconds: Vec<u64> = (1..=7).map(|n| schedule.delay(n).as_secs()).collect();
        assert_eq!(seconds, [5, 25, 125, 625, 3125, 3600, 3600]);
        assert_eq!(schedule.delay(0), schedule.delay(1));
        assert_eq!(schedule.delay(u32::MAX), Duration::from_hours(1));
    }

    #[test]
    fn jitter_stays_within_its_share_and_below_the_longest_wait() {
        let schedule = Schedule::production();
        for _ in 0..200 {
            let second = schedule.delay(2);
            assert!(
                (Duration::from_secs(20)..=Duration::from_secs(30)).contains(&second),
                "{second:?}"
            );
            assert!(schedule.delay(9) <= Duration::from_hours(1));
        }
    }

    #[test]
    fn values_out_of_range_never_panic() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300] {
            let schedule = Schedule {
                initial: Duration::from_secs(9),
                factor: value,
                max: Duration::from_secs(8),
                jitter: value,
            };
            for failures in [0, 1, 5, 1_000] {
                assert!(schedule.delay(failures) <= Duration::from_secs(8));
            }
        }
    }
}
