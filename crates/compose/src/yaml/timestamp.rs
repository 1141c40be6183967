//! Dates and times without quotes, which YAML 1.1 takes for more than texts. Not a calendar: only
//! what it takes to read them and write them as the reference implementation does.

use std::fmt::Write as _;

/// The tag by which a node is known to be a date or time; its text is that of [`Timestamp::rfc3339`].
pub(crate) const TAG: &str = "!timestamp";

/// A date, or a date and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timestamp {
    date: (u32, u32, u32),
    time: (u32, u32, u32),
    /// The digits of the fraction of a second, without zeros at their end.
    fraction: String,
    /// Minutes east of Greenwich; `None` is Greenwich itself.
    offset: Option<i32>,
}

impl Timestamp {
    /// Reads `2001-12-14`, `2001-12-14 21:59:43.1` or `2001-12-14T21:59:43.1-05:00`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (year, rest) = text.split_at_checked(4)?;
        let (date, time) = match rest.find(['T', 't', ' ']) {
            Some(at) => (rest.get(..at)?, rest.get(at..)?),
            None => (rest, ""),
        };
        let (month, day) = date.strip_prefix('-')?.split_once('-')?;
        let date = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        if !(1..=12).contains(&date.1) || !(1..=days(date.0, date.1)).contains(&date.2) {
            return None;
        }
        let mut timestamp = Self {
            date,
            time: (0, 0, 0),
            fraction: String::new(),
            offset: None,
        };
        if let Some(clock) = time.strip_prefix(' ') {
            timestamp.clock(clock)?;
        } else if let Some(zoned) = time.strip_prefix(['T', 't']) {
            let at = zoned.find(['Z', '+', '-'])?;
            timestamp.offset = zone(zoned.get(at..)?)?;
            timestamp.clock(zoned.get(..at)?)?;
        }
        Some(timestamp)
    }

    fn clock(&mut self, text: &str) -> Option<()> {
        let (whole, fraction) = match text.split_once(['.', ',']) {
            Some((whole, digits)) => (whole, digits),
            None => (text, "0"),
        };
        let mut parts = whole.split(':');
        self.time = (
            number(parts.next()?, 2)?,
            number(parts.next()?, 2)?,
            number(parts.next()?, 2)?,
        );
        let fits = parts.next().is_none()
            && self.time.0 < 24
            && self.time.1 < 60
            && self.time.2 < 60
            && (1..=9).contains(&fraction.len())
            && fraction.bytes().all(|c| c.is_ascii_digit());
        fraction
            .trim_end_matches('0')
            .clone_into(&mut self.fraction);
        fits.then_some(())
    }

    /// Writes it as JSON has it: `2001-12-14T00:00:00Z`.
    pub(super) fn rfc3339(&self) -> String {
        let zone = match self.offset {
            None | Some(0) => "Z".to_owned(),
            Some(minutes) => offset(minutes, ":"),
        };
        format!("{}{zone}", self.date_and_time("T"))
    }

    fn date_and_time(&self, between: &str) -> String {
        let ((year, month, day), (hour, minute, second)) = (self.date, self.time);
        let mut text =
            format!("{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}");
        if !self.fraction.is_empty() {
            write!(text, ".{}", self.fraction).expect("writing to a string cannot fail");
        }
        text
    }
}

/// Writes what [`Timestamp::rfc3339`] wrote as it stands in variables and labels:
/// `2001-12-14 00:00:00 +0000 UTC`.
pub(crate) fn in_words(rfc3339: &str) -> String {
    let Some(timestamp) = Timestamp::parse(rfc3339) else {
        return rfc3339.to_owned();
    };
    let zone = match timestamp.offset {
        None => "+0000 UTC".to_owned(),
        Some(minutes) => {
            let offset = offset(minutes, "");
            format!("{offset} {offset}")
        }
    };
    format!("{} {zone}", timestamp.date_and_time(" "))
}

fn offset(minutes: i32, between: &str) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.abs();
    format!("{sign}{:02}{between}{:02}", minutes / 60, minutes % 60)
}

/// Reads `Z`, which is `None`, or `+02:00`.
#[expect(
    clippy::option_option,
    reason = "the outer says whether it is a zone at all"
)]
fn zone(text: &str) -> Option<Option<i32>> {
    if text == "Z" {
        return Some(None);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let total = number(hours, 2)? * 60 + number(minutes, 2)?;
    let east = sign * i32::try_from(total).ok()?;
    Some((east != 0).then_some(east))
}

fn number(text: &str, longest: usize) -> Option<u32> {
    let digits = (1..=longest).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read_and_written_in_two_ways() {
        for (text, json, words) in [
            (
                "2024-01-31",
                "2024-01-31T00:00:00Z",
                "2024-01-31 00:00:00 +0000 UTC",
            ),
            (
                "2024-2-9 3:04:05.50",
                "2024-02-09T03:04:05.5Z",
                "2024-02-09 03:04:05.5 +0000 UTC",
            ),
            (
                "2024-02-29T00:00:00Z",
                "2024-02-29T00:00:00Z",
                "2024-02-29 00:00:00 +0000 UTC",
            ),
            (
                "2024-01-01t01:02:03-05:30",
                "2024-01-01T01:02:03-05:30",
                "2024-01-01 01:02:03 -0530 -0530",
            ),
        ] {
            let written = Timestamp::parse(text).unwrap().rfc3339();
            assert_eq!(written, json);
            assert_eq!(in_words(&written), words);
        }
    }

    #[test]
    fn what_only_looks_like_a_date_is_none() {
        for text in [
            "2024",
            "2024-13-01",
            "2023-02-29",
            "2024-01",
            "24-01-01",
            "2024-01-01x",
            "",
            "2024-01-01 25:00:00",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00",
            "2024-01-01 ",
            "é024-01-01",
            "2024-01-01T00:00:00+2",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
