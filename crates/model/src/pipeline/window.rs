//! When releases may come to an environment: hours of the week and days of the year, in a time
//! zone. Not who waits for them ([`super::step()`]).

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use super::run::{Gate, Gates, Run, Target, TargetState};

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

    /// Returns when the window is open next: now where it is. `None` where the calendar ends before.
    fn opens_at(&self, now: Timestamp) -> Option<Zoned> {
        let local = now.to_zoned(self.zone.clone());
        if self.is_open(now) {
            return Some(local);
        }
        let mut day = local.date();
        let mut starts = Vec::new();
        for _ in 0..LOOK_AHEAD_DAYS {
            let minute = i64::from(self.from);
            let midnight = day.to_datetime(Time::midnight());
            let time = midnight
                .checked_add(SignedDuration::from_mins(minute))
                .ok()?;
            // That time of the day may be there twice.
            let times = || self.zone.clone().into_ambiguous_zoned(time);
            starts.extend(times().earlier().into_iter().chain(times().later()));
            day = day.tomorrow().ok()?;
        }
        // Where clocks are changed a window may open at that moment, its first hour being left out or
        // there twice.
        let end = day.to_zoned(self.zone.clone()).ok()?.timestamp();
        let changes = self.zone.following(now).map(|change| change.timestamp());
        let changes = changes.take_while(|at| *at < end);
        starts.extend(changes.map(|at| at.to_zoned(self.zone.clone())));
        let mut openings = starts.into_iter().filter(|start| {
            let at = start.timestamp();
            at > now && self.is_open(at)
        });
        let first = openings.next()?;
        Some(openings.fold(first, Zoned::min))
    }
}

/// Days in which every window opens, also one whose first day has no such hour, because of clocks that
/// are changed.
const LOOK_AHEAD_DAYS: u32 = 15;

impl Freeze {
    /// Tells whether the freeze holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        let today = now.to_zoned(self.zone.clone()).date();
        (self.first..=self.last).contains(&today)
    }

    /// Returns when it is over.
    fn ends_at(&self) -> Option<Zoned> {
        let next = self.last.tomorrow().ok()?;
        next.to_zoned(self.zone.clone()).ok()
    }
}

/// When windows and freezes let a release come that they hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// When.
    pub at: Timestamp,
    local: Zoned,
    /// When the freeze is over that holds now, where one does.
    frozen_until: Option<Zoned>,
}

impl Opening {
    /// Returns the first moment from now on at which none of the freezes holds and one of the windows
    /// is open, if there are any. `None` where that is so now, or never again.
    fn of(windows: &[Window], freezes: &[Freeze], now: Timestamp) -> Option<Self> {
        let mut frozen_until = None;
        let mut opens = None::<Zoned>;
        // Each freeze is passed at most once, and a window opens behind each at most once.
        for _ in 0..=2 * freezes.len() + 1 {
            let at = opens.as_ref().map_or(now, Zoned::timestamp);
            let mut holding = freezes.iter().filter(|one| one.holds(at));
            if let Some(freeze) = holding.next() {
                opens = Some(freeze.ends_at()?);
                continue;
            }
            if frozen_until.is_none() && freezes.iter().any(|one| one.holds(now)) {
                frozen_until.clone_from(&opens);
            }
            if windows.is_empty() || windows.iter().any(|one| one.is_open(at)) {
                break;
            }
            let next = windows.iter().filter_map(|one| one.opens_at(at));
            opens = Some(next.min()?);
        }
        let local = opens?;
        Some(Self {
            at: local.timestamp(),
            local,
            frozen_until,
        })
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = |at: &Zoned| at.time_zone().iana_name().unwrap_or("UTC").to_owned();
        if let Some(until) = &self.frozen_until {
            let time = until.strftime("%Y-%m-%d %H:%M");
            write!(f, "frozen until {time} {}", zone(until))?;
            if until.timestamp() == self.at {
                return Ok(());
            }
            f.write_str(", ")?;
        } else {
            f.write_str("waits for its window: ")?;
        }
        let time = self.local.strftime("%a %Y-%m-%d %H:%M");
        write!(f, "opens {time} {}", zone(&self.local))
    }
}

impl Gates {
    /// Returns when the windows and freezes let a release come that they hold now. Whoever approved a
    /// hotfix knew of the freeze.
    pub fn opening(&self, is_hotfix: bool, now: Timestamp) -> Option<Opening> {
        let freezes = if is_hotfix { &[][..] } else { &self.freezes };
        Opening::of(&self.windows, freezes, now)
    }
}

impl Run {
    /// Returns when the window opens that a target waits for, where it waits for one.
    pub fn opening(&self, target: &Target, now: Timestamp) -> Option<Opening> {
        let waits = matches!(
            target.state,
            TargetState::Gated {
                gate: Gate::Window,
                ..
            }
        );
        let opening = target.gates.opening(self.is_hotfix, now);
        opening.filter(|_| waits)
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

    fn opening(windows: &[&str], freezes: &[&str], now: &str) -> Option<String> {
        let windows: Vec<Window> = windows.iter().map(|one| one.parse().unwrap()).collect();
        let freezes: Vec<Freeze> = freezes.iter().map(|one| one.parse().unwrap()).collect();
        let opening = Opening::of(&windows, &freezes, now.parse().unwrap());
        opening.map(|opening| opening.to_string())
    }

    #[test]
    fn what_is_held_says_when_a_window_opens_in_its_own_zone() {
        let office = "Mon-Fri 09:00-16:00 Europe/Warsaw";
        let words = |text: &str| Some(text.to_owned());
        // A Saturday.
        let now = "2026-11-28T12:00:00Z";
        let monday = "waits for its window: opens Mon 2026-11-30 09:00 Europe/Warsaw";
        assert_eq!(opening(&[office], &[], now), words(monday));
        let sooner = opening(&[office, "Sat 20:00-24:00"], &[], now);
        let tonight = "waits for its window: opens Sat 2026-11-28 20:00 UTC";
        assert_eq!(sooner, words(tonight));
        assert_eq!(opening(&[office], &[], "2026-11-30T08:00:00Z"), None);
        assert_eq!(opening(&[], &[], now), None);
        // On the day itself, after its end.
        let next_week = "waits for its window: opens Sat 2026-12-05 09:00 UTC";
        assert_eq!(opening(&["Sat 09:00-10:00"], &[], now), words(next_week));
    }

    #[test]
    fn what_is_frozen_says_until_when_and_when_a_window_opens_after_that() {
        let holidays = "2026-12-20..2027-01-02 Europe/Warsaw";
        let office = "Mon-Fri 09:00-16:00 Europe/Warsaw";
        let words = |text: &str| Some(text.to_owned());
        let now = "2026-12-22T10:00:00Z";
        let until = "frozen until 2027-01-03 00:00 Europe/Warsaw";
        assert_eq!(opening(&[], &[holidays], now), words(until));
        let then = format!("{until}, opens Mon 2027-01-04 09:00 Europe/Warsaw");
        assert_eq!(opening(&[office], &[holidays], now), Some(then));
        let more = [holidays, "2027-01-03..2027-01-03 Europe/Warsaw"];
        let longer = "frozen until 2027-01-04 00:00 Europe/Warsaw";
        assert_eq!(opening(&[], &more, now), words(longer));
        // A window that opens while it is frozen is none.
        let friday_evening = "2026-12-18T20:00:00Z";
        let after = "waits for its window: opens Mon 2027-01-04 09:00 Europe/Warsaw";
        let found = opening(&[office], &[holidays], friday_evening);
        assert_eq!(found, words(after));
    }

    #[test]
    fn a_window_opens_at_the_first_minute_at_which_it_is_open_also_where_clocks_change() {
        // Clocks of Warsaw go forward on 2026-03-29 at 02:00 and back on 2026-10-25 at 03:00.
        for text in [
            "Sun 02:30-04:00 Europe/Warsaw",
            "Sun 02:10-02:50 Europe/Warsaw",
            "Sun 01:00-02:30 Europe/Warsaw",
            "Sat,Sun 22:00-02:30 Europe/Warsaw",
            "Mon-Sun 00:00-24:00 Europe/Warsaw",
        ] {
            for night in ["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"] {
                let window: Window = text.parse().unwrap();
                let mut now: Timestamp = night.parse().unwrap();
                for _ in 0..24 {
                    let is_open = |minute: i64| {
                        let at = now + SignedDuration::from_mins(minute);
                        window.is_open(at).then_some(at)
                    };
                    let wanted = (0..8 * 24 * 60).find_map(is_open).map(|at| at.to_string());
                    let found = window.opens_at(now).map(|at| at.timestamp().to_string());
                    if wanted.is_some() {
                        assert_eq!(found, wanted, "{text} at {now}");
                    }
                    now += SignedDuration::from_mins(17);
                }
            }
        }
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
