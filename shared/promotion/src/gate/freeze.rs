//! Whether a time lies in a freeze.
//!
//! Windows begin by local time and last by the clock: one of 24 hours that begins at noon before the clocks go forward ends at
//! 13:00. A beginning that the clocks pass over is as much later as they jump; of one that they show twice, the first counts.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::{Cron, Freeze};

/// The longest window, in seconds: 366 days. It bounds the days that are looked back on.
pub const MAX_DURATION_S: u64 = 366 * DAY_S.unsigned_abs();
/// How many windows that follow one another without a gap are put together.
const MAX_CHAIN: usize = 100;
const DAY_S: i64 = 86_400;
/// When a freeze is looked at again that can't be read, in seconds.
const UNREADABLE_S: i64 = 3600;

/// A freeze that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// When it ends, in seconds since 1970 UTC. Windows that follow one another or overlap end together; where they do so more
    /// than a hundred times, it lasts at least until then.
    pub until_s: i64,
    /// Why, for people: the reason of the one that lasts longest of those that are on.
    pub reason: String,
}

/// The freeze that is on at `now_s`, in seconds since 1970 UTC; none if nothing is frozen. One that can't be read is on.
#[must_use]
pub fn state(freezes: &[Freeze], now_s: i64) -> Option<Active> {
    let read: Vec<(&Freeze, Option<Windows>)> = freezes
        .iter()
        .map(|freeze| (freeze, Windows::of(freeze)))
        .collect();
    let ends = |at: i64| {
        read.iter().filter_map(move |(freeze, windows)| {
            let end = match windows {
                Some(windows) => windows.end(at)?,
                None => now_s.saturating_add(UNREADABLE_S),
            };
            (end > at).then_some((end, *freeze))
        })
    };
    // The first of those that last as long.
    let (mut until_s, freeze) = ends(now_s).reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    for _ in 0..MAX_CHAIN {
        match ends(until_s).map(|(end, _)| end).max() {
            Some(later) => until_s = later,
            None => break,
        }
    }
    Some(Active {
        until_s,
        reason: freeze.reason.clone(),
    })
}

/// The zone of that IANA name; none if there is none.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

struct Windows {
    cron: Cron,
    zone: TimeZone,
    duration_s: i64,
}

impl Windows {
    fn of(freeze: &Freeze) -> Option<Self> {
        Some(Self {
            cron: Cron::parse(&freeze.cron).ok()?,
            zone: zone(&freeze.time_zone)?,
            duration_s: i64::try_from(freeze.duration_s.min(MAX_DURATION_S)).ok()?,
        })
    }

    /// When the window ends that began last, at `at` or before; none if it had to begin so early that it has ended.
    fn end(&self, at: i64) -> Option<i64> {
        let mut date = Timestamp::from_second(at)
            .ok()?
            .to_zoned(self.zone.clone())
            .date();
        for _ in 0..=self.duration_s / DAY_S + 2 {
            if self.cron.is_on(date) {
                let starts = self.cron.times().filter_map(|(hour, minute)| {
                    let start = date.at(hour, minute, 0, 0);
                    let start = self.zone.to_ambiguous_timestamp(start).compatible().ok()?;
                    Some(start.as_second()).filter(|start| *start <= at)
                });
                // Not the first, since one that the clocks passed over may come after it.
                if let Some(start) = starts.max() {
                    return start.checked_add(self.duration_s);
                }
            }
            date = date.yesterday().ok()?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn freeze(cron: &str, hours: u64, zone: &str) -> Freeze {
        Freeze {
            cron: cron.to_owned(),
            duration_s: hours * 3600,
            time_zone: zone.to_owned(),
            reason: format!("{cron} {hours}"),
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    /// Until when it is frozen, in UTC.
    fn until(freezes: &[Freeze], now: &str) -> Option<String> {
        let until = state(freezes, at(now))?.until_s;
        Some(Timestamp::from_second(until).unwrap().to_string())
    }

    #[test]
    fn a_weekend_begins_on_friday_and_ends_on_monday() {
        let weekend = [freeze("0 16 * * FRI", 64, "UTC")];
        for (now, expected) in [
            ("2026-05-01T15:59:59Z", None),
            ("2026-05-01T16:00:00Z", Some("2026-05-04T08:00:00Z")),
            ("2026-05-03T12:00:00Z", Some("2026-05-04T08:00:00Z")),
            ("2026-05-04T07:59:59Z", Some("2026-05-04T08:00:00Z")),
            ("2026-05-04T08:00:00Z", None),
        ] {
            assert_eq!(until(&weekend, now).as_deref(), expected, "{now}");
        }
    }

    #[test]
    fn windows_begin_by_local_time_and_last_by_the_clock() {
        let berlin = [freeze("0 12 * * *", 24, "Europe/Berlin")];
        // Clocks go forward on 2026-03-29 at 01:00 UTC: noon is at 11:00 before, and at 10:00 after.
        let morning = [freeze("0 12 * * SAT", 24, "Europe/Berlin")];
        assert_eq!(
            until(&morning, "2026-03-28T11:00:00Z").unwrap(),
            "2026-03-29T11:00:00Z"
        );
        assert_eq!(until(&morning, "2026-03-28T10:59:59Z"), None);
        // The next day's begins before that ends, so they go on without an end.
        assert!(until(&berlin, "2026-03-28T11:00:00Z").unwrap().as_str() > "2026-06");
    }

    #[test]
    fn a_beginning_in_the_hour_that_is_left_out_comes_an_hour_later() {
        let night = [freeze("30 2 * * *", 1, "Europe/Berlin")];
        // 02:30 does not exist on 2026-03-29; it is 03:30, which is 01:30 UTC.
        assert_eq!(until(&night, "2026-03-29T01:29:59Z"), None);
        assert_eq!(
            until(&night, "2026-03-29T01:30:00Z").unwrap(),
            "2026-03-29T02:30:00Z"
        );
        // An ordinary beginning at 03:00 comes before it all the same.
        let both = [freeze("0,30 2-3 29 3 *", 1, "Europe/Berlin")];
        assert_eq!(
            until(&both, "2026-03-29T01:10:00Z").unwrap(),
            "2026-03-29T02:30:00Z"
        );
    }

    #[test]
    fn of_an_hour_that_comes_twice_the_first_begins_a_window() {
        let night = [freeze("30 2 * * *", 1, "Europe/Berlin")];
        // 02:30 is at 00:30 and at 01:30 UTC on 2026-10-25.
        assert_eq!(until(&night, "2026-10-25T00:29:59Z"), None);
        assert_eq!(
            until(&night, "2026-10-25T00:30:00Z").unwrap(),
            "2026-10-25T01:30:00Z"
        );
        assert_eq!(until(&night, "2026-10-25T01:30:00Z"), None);
    }

    #[test]
    fn leap_days_and_ends_of_months_count() {
        let leap = [freeze("0 0 29 2 *", 24, "UTC")];
        assert_eq!(
            until(&leap, "2028-02-29T12:00:00Z").unwrap(),
            "2028-03-01T00:00:00Z"
        );
        assert_eq!(until(&leap, "2027-03-01T00:00:00Z"), None);
        let end = [freeze("0 0 31 * *", 48, "UTC")];
        assert_eq!(
            until(&end, "2026-02-01T12:00:00Z").unwrap(),
            "2026-02-02T00:00:00Z"
        );
        assert_eq!(until(&end, "2026-03-01T12:00:00Z"), None);
        let new_year = [freeze("0 0 20 12 *", 24 * 14, "America/New_York")];
        assert_eq!(
            until(&new_year, "2027-01-01T00:00:00Z").unwrap(),
            "2027-01-03T05:00:00Z"
        );
        let year = [freeze("0 0 1 1 *", 366 * 24, "UTC")];
        assert!(until(&year, "2027-12-31T23:59:59Z").is_some());
    }

    #[test]
    fn windows_that_overlap_or_touch_end_together() {
        let freezes = [
            freeze("0 10 1 5 *", 3, "UTC"),
            freeze("0 11 1 5 *", 4, "UTC"),
            freeze("0 15 1 5 *", 1, "UTC"),
            freeze("1 16 1 5 *", 1, "UTC"),
        ];
        let active = state(&freezes, at("2026-05-01T11:30:00Z")).unwrap();
        assert_eq!(active.until_s, at("2026-05-01T16:00:00Z"));
        assert_eq!(active.reason, "0 11 1 5 * 4");
        assert_eq!(until(&freezes, "2026-05-01T16:00:30Z"), None);
        assert_eq!(state(&[], 0), None);
    }

    #[test]
    fn a_freeze_that_cannot_be_read_is_on() {
        for broken in [
            freeze("nonsense", 1, "UTC"),
            freeze("0 0 * * *", 1, "Mars/Olympus"),
        ] {
            assert_eq!(state(&[broken], 1000).map(|active| active.until_s), Some(4600));
        }
    }

    proptest! {
        /// Whoever comes back when it is said to be over finds it over, unless it had no end.
        #[test]
        fn nothing_is_frozen_once_it_is_over(
            minute in 0_u8..60, hour in 0_u8..24, day in 1_u8..29, weekday in 0_u8..7, by_weekday: bool, hours in 1_u64..160,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]),
            now in 1_700_000_000_i64..2_000_000_000,
        ) {
            let cron = if by_weekday { format!("{minute} {hour} * * {weekday}") } else { format!("{minute} {hour} {day} * *") };
            let freezes = [freeze(&cron, hours, zone)];
            if let Some(active) = state(&freezes, now) {
                prop_assert!(active.until_s > now);
                prop_assert!(active.until_s - now <= i64::try_from(hours).unwrap() * 3600);
                prop_assert_eq!(state(&freezes, active.until_s), None);
            }
        }

        #[test]
        fn any_text_and_time_is_answered(cron in "[0-9*,/ -]{0,20}", zone in "[A-Za-z/]{0,12}", hours: u32, now: i64) {
            let active = state(&[freeze(&cron, u64::from(hours), &zone)], now);
            prop_assert!(active.is_none_or(|active| active.until_s > now));
        }
    }
}
