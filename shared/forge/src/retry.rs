//! When a failed read is tried again. Writes are never: see [`crate::ForgeError::Unknown`].

use std::time::Duration;

use tokio::time::Instant;

/// A wait that is short enough to be slept out in line, when a limit asks for it.
pub(crate) const SHORT_WAIT: Duration = Duration::from_secs(2);

/// The waits between the tries of one read.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// The wait before each further try, before jitter.
    pub(crate) waits: Vec<Duration>,
    /// The wait before each further try of something that may only not be visible yet.
    pub(crate) not_found: Vec<Duration>,
    /// No further try is begun this long after the first.
    pub(crate) total: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            waits: [250, 1_000, 2_500].map(Duration::from_millis).to_vec(),
            not_found: [500, 1_500].map(Duration::from_millis).to_vec(),
            total: Duration::from_secs(10),
        }
    }
}

/// Why a try is worth another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer, or a 5xx.
    Passing,
    /// 404, where an event said that it exists.
    NotFoundYet,
    /// A limit that is over in this time.
    Limited(Duration),
}

/// The tries of one read.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    schedule: &'a Schedule,
    began: Instant,
    passing: usize,
    not_found: usize,
    limited: bool,
}

impl<'a> Tries<'a> {
    pub(crate) fn begin(schedule: &'a Schedule, now: Instant) -> Self {
        Self {
            schedule,
            began: now,
            passing: 0,
            not_found: 0,
            limited: false,
        }
    }

    /// How long to wait before the next try; none when it was the last.
    pub(crate) fn next(&mut self, failure: Failure, now: Instant) -> Option<Duration> {
        let wait = match failure {
            Failure::Passing => {
                let wait = jittered(*self.schedule.waits.get(self.passing)?);
                self.passing += 1;
                wait
            }
            Failure::NotFoundYet => {
                let wait = jittered(*self.schedule.not_found.get(self.not_found)?);
                self.not_found += 1;
                wait
            }
            Failure::Limited(wait) if wait <= SHORT_WAIT && !self.limited => {
                self.limited = true;
                wait
            }
            Failure::Limited(_) => return None,
        };
        (now + wait <= self.began + self.schedule.total).then_some(wait)
    }
}

/// Between half of `wait` and all of it, so that those who failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_tried_a_few_times_with_growing_waits() {
        let schedule = Schedule::default();
        let now = Instant::now();
        let mut tries = Tries::begin(&schedule, now);
        for longest in [250, 1_000, 2_500] {
            let wait = tries.next(Failure::Passing, now).unwrap();
            let longest = Duration::from_millis(longest);
            assert!(wait <= longest && wait >= longest / 2, "{wait:?}");
        }
        assert_eq!(tries.next(Failure::Passing, now), None);
        assert!(tries.next(Failure::NotFoundYet, now).is_some());
    }

    #[test]
    fn no_try_begins_after_the_total_time() {
        let schedule = Schedule::default();
        let now = Instant::now();
        let mut tries = Tries::begin(&schedule, now);
        assert_eq!(tries.next(Failure::Passing, now + schedule.total), None);
    }

    #[test]
    fn only_a_short_limit_is_slept_out_and_only_once() {
        let schedule = Schedule::default();
        let now = Instant::now();
        let mut tries = Tries::begin(&schedule, now);
        let second = Duration::from_secs(1);
        assert_eq!(tries.next(Failure::Limited(3 * second), now), None);
        assert_eq!(tries.next(Failure::Limited(second), now), Some(second));
        assert_eq!(tries.next(Failure::Limited(second), now), None);
    }
}
