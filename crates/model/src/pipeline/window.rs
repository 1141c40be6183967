//! When releases may come to an environment: hours of the week and days of the year, in a time
//! zone. Not who waits for them ([`super::step()`]).

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// A text that is no window, or no freeze.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time")]
pub struct InvalidTime(pub String);

/// Hours of some days of the week, such as `Mon-Fri 09:00-16:00 Europe/Warsaw`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    text: String,
    days: Vec<Weekday>,
    /// Minutes since midnight; it ends on the next day where the end is not after the start.
    from: u16,
    to: u16,
    zone: TimeZone,
}

/// Days of the year, such as `2026-12-20..2027-01-02 Europe/Warsaw`, both included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Freeze {
    text: String,
    first: Date,
    last: Date,
    zone: TimeZone,
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

const MINUTES_OF_A_DAY: u16 = 24 * 60;

impl Window {
    /// Tells whether the window is open.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let local = now.to_zoned(self.zone.clone());
        let minute = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute()));
        let minute = minute.unwrap_or(0);
        let today = local.weekday();
        if self.from < self.to {
            return self.days.contains(&today) && (self.from..self.to).contains(&minute);
        }
        let began_yesterday = self.days.contains(&today.previous()) && minute < self.to;
        began_yesterday || (self.days.contains(&today) && minute >= self.from)
    }
}

impl Freeze {
    /// Tells whether the freeze holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        let today = now.to_zoned(self.zone.clone()).date();
        (self.first..=self.last).contains(&today)
    }
}

impl FromStr for Window {
    type Err = InvalidTime;
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        window(text).ok_or_else(|| InvalidTime(text.to_owned()))
    }
}

impl FromStr for Freeze {
    type Err = InvalidTime;
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        freeze(text).ok_or_else(|| InvalidTime(text.to_owned()))
    }
}

macro_rules! text_form {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidTime;
            fn try_from(text: String) -> Result<Self, InvalidTime> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(time: $name) -> Self {
                time.text
            }
        }
    )*};
}

text_form!(Window Freeze);

fn window(text: &str) -> Option<Window> {
    let mut words = text.split_whitespace();
    let (days, hours) = (words.next()?, words.next()?);
    let zone = zone(words.next())?;
    if words.next().is_some() {
        return None;
    }
    let (from, to) = hours.split_once('-')?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    let days = parse_days(days)?;
    (from < MINUTES_OF_A_DAY && from != to).then(|| Window {
        text: text.to_owned(),
        days,
        from,
        to,
        zone,
    })
}

fn freeze(text: &str) -> Option<Freeze> {
    let mut words = text.split_whitespace();
    let (first, last) = words.next()?.split_once("..")?;
    let zone = zone(words.next())?;
    let (first, last): (Date, Date) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && words.next().is_none()).then(|| Freeze {
        text: text.to_owned(),
        first,
        last,
        zone,
    })
}

/// Reads the name of a time zone; UTC where there is none.
fn zone(name: Option<&str>) -> Option<TimeZone> {
    match name {
        None | Some("UTC") => Some(TimeZone::UTC),
        Some(name) => TimeZone::get(name).ok(),
    }
}

/// Reads `Mon`, `Mon-Fri`, `Sat-Mon`, and these with commas between.
fn parse_days(text: &str) -> Option<Vec<Weekday>> {
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (parse_day(first)?, parse_day(last)?);
        days.push(day);
        while day != last {
            day = day.next();
            days.push(day);
        }
    }
    Some(days)
}

fn parse_day(text: &str) -> Option<Weekday> {
    let text = text.to_ascii_lowercase();
    let found = DAYS.iter().find(|(name, _)| *name == text);
    found.map(|(_, day)| *day)
}

/// Reads `09:00` as minutes since midnight; `24:00` is the end of the day.
fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= MINUTES_OF_A_DAY).then_some(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(window: &str, at: &str) -> bool {
        let window: Window = window.parse().unwrap();
        window.is_open(at.parse().unwrap())
    }

    #[test]
    fn a_window_is_open_in_its_hours_of_its_days_in_its_zone() {
        let office = "Mon-Fri 09:00-16:00 Europe/Warsaw";
        // A Thursday in winter: Warsaw is an hour ahead of UTC.
        assert!(is_open(office, "2026-01-15T08:00:00Z"));
        assert!(!is_open(office, "2026-01-15T07:59:59Z"));
        assert!(!is_open(office, "2026-01-15T15:00:00Z"));
        // In summer it is two.
        assert!(is_open(office, "2026-07-16T07:00:00Z"));
        assert!(!is_open(office, "2026-07-18T10:00:00Z"), "a Saturday");
    }

    #[test]
    fn a_window_may_go_over_midnight_and_over_the_weekend() {
        let night = "Fri-Sun 22:00-02:00";
        assert!(is_open(night, "2026-01-16T23:00:00Z"), "Friday evening");
        assert!(is_open(night, "2026-01-19T01:00:00Z"), "Monday morning");
        assert!(!is_open(night, "2026-01-16T01:00:00Z"), "Friday morning");
        assert!(is_open("Sat-Mon 00:00-24:00", "2026-01-18T12:00:00Z"));
        assert!(!is_open("Sat-Mon 00:00-24:00", "2026-01-20T12:00:00Z"));
    }

    #[test]
    fn a_freeze_holds_on_both_of_its_days() {
        let freeze: Freeze = "2026-12-20..2027-01-02 Europe/Warsaw".parse().unwrap();
        assert!(freeze.holds("2026-12-19T23:30:00Z".parse().unwrap()));
        assert!(freeze.holds("2027-01-02T22:59:00Z".parse().unwrap()));
        assert!(!freeze.holds("2027-01-02T23:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Mon",
            "Mon 9:00-16:00",
            "Mon 09:00-09:00",
            "Mon 24:00-02:00",
            "Mon 09:00-25:00",
            "Moon 09:00-16:00",
            "Mon 09:00-16:00 Europe/Nowhere",
            "Mon 09:00-16:00 UTC now",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
        for text in [
            "2026-12-20",
            "2027-01-02..2026-12-20",
            "2026-02-30..2026-03-01",
        ] {
            assert!(text.parse::<Freeze>().is_err(), "{text}");
        }
    }
}
