//! The five fields of cron: when something begins, in local time.

use jiff::civil::Date;

/// When something begins: minute, hour, day of the month, month and day of the week, as in crontab(5).
///
/// Each field is `*`, a number, a range `a-b`, one of these in steps (`*/15`, `8-18/2`), or a list of them. Months and days of
/// the week have names of three letters, too, and 7 is Sunday like 0. Where both days are restricted, either will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

/// Why something is not the five fields of cron. It never repeats them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}{}", self.field.map(|field| format!(" (in the field of the {field})")).unwrap_or_default())]
pub struct InvalidCron {
    problem: &'static str,
    field: Option<&'static str>,
}

struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field::of("minute", 0, 59, &[]),
    Field::of("hour", 0, 23, &[]),
    Field::of("day of the month", 1, 31, &[]),
    Field::of("month", 1, 12, &MONTHS),
    Field::of("day of the week", 0, 7, &WEEKDAYS),
];
/// How many days a month has at most.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Cron {
    /// Reads five fields.
    ///
    /// # Errors
    /// When they are not, or name a day that no month has.
    pub fn parse(text: &str) -> Result<Self, InvalidCron> {
        let whole = |problem| InvalidCron { problem, field: None };
        if text.len() > 200 {
            return Err(whole("it is longer than 200 bytes"));
        }
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        if parts.len() != FIELDS.len() {
            return Err(whole(
                "it has not five fields: minute, hour, day of the month, month, day of the week",
            ));
        }
        let mut sets = [0; 5];
        for ((field, part), set) in FIELDS.iter().zip(&parts).zip(&mut sets) {
            *set = field.set(part)?;
        }
        let [minutes, hours, days, months, weekdays] = sets;
        // Sunday has two numbers.
        let weekdays = (weekdays | (weekdays >> 7)) & 0x7f;
        let is_any = |index: usize| parts.get(index).is_some_and(|part| part.starts_with('*'));
        let cron = Self {
            minutes,
            hours,
            days,
            months,
            weekdays,
            any_day: is_any(2),
            any_weekday: is_any(4),
        };
        let has_day = |month: u32, most: u32| has(months, month) && (1..=most).any(|day| has(days, day));
        let exists = (1..).zip(LENGTHS).any(|(month, most)| has_day(month, most));
        if !exists && (cron.any_weekday || cron.any_day) {
            return Err(whole("no month has such a day, so it never begins"));
        }
        Ok(cron)
    }

    /// Whether something may begin on this day.
    pub(super) fn is_on(&self, date: Date) -> bool {
        let day = has(self.days, u32::from(date.day().unsigned_abs()));
        let weekday = has(
            self.weekdays,
            u32::from(date.weekday().to_sunday_zero_offset().unsigned_abs()),
        );
        let fits = match (self.any_day, self.any_weekday) {
            (false, false) => day || weekday,
            _ => day && weekday,
        };
        fits && has(self.months, u32::from(date.month().unsigned_abs()))
    }

    /// Hours and minutes of a day on which something begins, the latest first.
    pub(super) fn times(&self) -> impl Iterator<Item = (i8, i8)> + '_ {
        let hours = (0_i8..24)
            .rev()
            .filter(|hour| has(self.hours, u32::from(hour.unsigned_abs())));
        hours.flat_map(|hour| {
            let minutes = (0_i8..60).rev();
            minutes
                .filter(|minute| has(self.minutes, u32::from(minute.unsigned_abs())))
                .map(move |minute| (hour, minute))
        })
    }
}

const fn has(set: u64, number: u32) -> bool {
    set & (1 << number) != 0
}

impl Field {
    const fn of(what: &'static str, least: u32, most: u32, names: &'static [&'static str]) -> Self {
        Self {
            what,
            least,
            most,
            names,
        }
    }

    fn refuse(&self, problem: &'static str) -> InvalidCron {
        InvalidCron {
            problem,
            field: Some(self.what),
        }
    }

    fn set(&self, text: &str) -> Result<u64, InvalidCron> {
        let mut set = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                None => (part, 1),
                Some((range, step)) => {
                    let step = step.parse().ok().filter(|step| (1..=self.most).contains(step));
                    let step: u32 =
                        step.ok_or_else(|| self.refuse("a step is not a number within the field"))?;
                    if range != "*" && !range.contains('-') {
                        return Err(self.refuse("a step follows `*` or a range only"));
                    }
                    (range, step)
                }
            };
            let (first, last) = if range == "*" {
                (self.least, self.most)
            } else if let Some((first, last)) = range.split_once('-') {
                (self.number(first)?, self.number(last)?)
            } else {
                let number = self.number(range)?;
                (number, number)
            };
            if first > last {
                return Err(self.refuse("a range ends before it begins"));
            }
            // `0-7` in steps must not count Sunday twice; it does no harm elsewhere.
            let last = if range == "*" && self.most == 7 { 6 } else { last };
            for number in (first..=last).step_by(usize::try_from(step).unwrap_or(1)) {
                set |= 1 << number;
            }
        }
        Ok(set)
    }

    fn number(&self, text: &str) -> Result<u32, InvalidCron> {
        let lower = text.to_ascii_lowercase();
        if let Some(place) = self.names.iter().position(|name| *name == lower) {
            // Months begin with 1 and days of the week with 0, as the fields do.
            return Ok(self.least + u32::try_from(place).unwrap_or_default());
        }
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let number: Option<u32> = text.parse().ok().filter(|_| digits);
        number
            .filter(|number| (self.least..=self.most).contains(number))
            .ok_or_else(|| self.refuse("something is neither `*` nor a number or name within the field"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_fields_are_read() {
        for good in [
            "0 16 * * FRI",
            "*/15 8-18/2 1,15 jan-mar mon-fri",
            "59 23 31 12 7",
            "0 0 29 2 *",
            "0 0 31 2 MON",
            "* * * * *",
            "  0   0 * * sun ",
        ] {
            assert!(Cron::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_not_cron_is_refused_with_the_field() {
        for (bad, said) in [
            ("", "five fields"),
            ("0 0 * *", "five fields"),
            ("0 0 * * * *", "five fields"),
            ("@daily", "five fields"),
            ("60 0 * * *", "minute"),
            ("0 24 * * *", "hour"),
            ("0 0 0 * *", "day of the month"),
            ("0 0 * 13 *", "month"),
            ("0 0 * * 8", "day of the week"),
            ("0 0 * * FRIDAY", "day of the week"),
            ("0 0 * * FRI-MON", "ends before it begins"),
            ("5/15 * * * *", "a step follows"),
            ("*/0 * * * *", "a step is not"),
            ("+1 0 * * *", "minute"),
            ("0 0 30 2 *", "never begins"),
            ("0 0 31 4,6,9,11 *", "never begins"),
        ] {
            let error = Cron::parse(bad).unwrap_err().to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }

    #[test]
    fn either_day_will_do_where_both_are_restricted() {
        let on = |cron: &str, day: i8| Cron::parse(cron).unwrap().is_on(Date::constant(2026, 5, day));
        // The 1st of May 2026 is a Friday.
        assert!(on("0 0 13 * FRI", 1) && on("0 0 13 * FRI", 13) && !on("0 0 13 * FRI", 2));
        assert!(on("0 0 * * FRI", 1) && !on("0 0 * * FRI", 2));
        assert!(on("0 0 2 * *", 2) && !on("0 0 2 * *", 1));
        assert!(on("0 0 * * 7", 3) && on("0 0 * * 0", 3) && on("0 0 * * 6-7", 2));
        assert!(!on("0 0 1 4 *", 1));
    }
}
