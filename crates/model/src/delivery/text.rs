//! The small languages inside of the delivery file's scalars: durations, percents, sizes and
//! limits. Pure functions of text; the decoder says where the text stands.

use std::time::Duration;

use crate::pipeline::window::{Freeze, Window};

/// Text that does not follow its small language. The message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: write {example}")]
pub struct InvalidText {
    /// The text that was refused.
    pub text: String,
    /// What it was meant to be.
    pub kind: &'static str,
    /// What to write instead.
    pub example: &'static str,
}

fn invalid(text: &str, kind: &'static str, example: &'static str) -> InvalidText {
    InvalidText {
        text: text.to_owned(),
        kind,
        example,
    }
}

impl InvalidText {
    /// Says what is wrong, without what to write instead.
    pub(super) fn what(&self) -> String {
        format!("`{}` is not a {}", self.text, self.kind)
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Reads a duration such as `500ms`, `30s`, `5m`, `1h30m`, `1.5h` or `2d`: numbers with units, the
/// sum of which counts. A bare `0` is a duration too. The longest is some 584 years.
pub fn duration(text: &str) -> Result<Duration, InvalidText> {
    let error = || {
        let example = "a number with a unit, such as `500ms`, `30s`, `5m` or `1h30m`";
        invalid(text, "duration", example)
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(error)?;
        let (number, tail) = rest.split_at_checked(number_end).ok_or_else(error)?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end).ok_or_else(error)?;
        let part = scaled(number, unit_nanos(unit).ok_or_else(error)?).ok_or_else(error)?;
        nanos = nanos.checked_add(part).ok_or_else(error)?;
        rest = tail;
    }
    match u64::try_from(nanos) {
        Ok(nanos) if !text.is_empty() => Ok(Duration::from_nanos(nanos)),
        _ => Err(error()),
    }
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3_600 * NANOS_PER_SECOND,
        "d" => 86_400 * NANOS_PER_SECOND,
        _ => return None,
    })
}

/// Multiplies a decimal number such as `12`, `0.5` or `.5` with `unit`, exactly, dropping what is
/// less than one.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| match text {
        "" => Some(0),
        text if text.len() <= 18 && text.bytes().all(|c| c.is_ascii_digit()) => {
            text.parse::<u128>().ok()
        }
        _ => None,
    };
    let places = u32::try_from(fraction.len()).ok()?;
    let below_one = digits(fraction)?.checked_mul(unit)? / 10_u128.checked_pow(places)?;
    digits(whole)?.checked_mul(unit)?.checked_add(below_one)
}

/// Reads a percent such as `5%` or `0.5%` as hundredths of a percent, 0 to 10,000.
pub(super) fn percent(text: &str) -> Result<u32, InvalidText> {
    let error = || {
        invalid(
            text,
            "percent",
            "a number from 0 to 100 with `%`, such as `5%`",
        )
    };
    let number = text.strip_suffix('%').ok_or_else(error)?.trim_end();
    let hundredths = scaled(number, 100).ok_or_else(error)?;
    match u32::try_from(hundredths) {
        Ok(hundredths) if hundredths <= crate::routing::FULL_WEIGHT => Ok(hundredths),
        _ => Err(error()),
    }
}

/// Reads a size such as `512`, `64k`, `10MiB` or `1.5g` as bytes. As in Compose the units are powers
/// of 1024, with or without `b` or `iB`, in either case.
pub(super) fn size(text: &str) -> Result<u64, InvalidText> {
    let error = || {
        invalid(
            text,
            "size",
            "a number with a unit, such as `512k`, `10MiB` or `1g`",
        )
    };
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(number_end).ok_or_else(error)?;
    let unit = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1_u128 << 40,
        _ => return Err(error()),
    };
    let bytes = scaled(number, unit).ok_or_else(error)?;
    u64::try_from(bytes).map_err(|_| error())
}

/// Reads a decimal number such as `0.5` as thousandths.
pub(crate) fn thousandths(text: &str) -> Option<u32> {
    u32::try_from(scaled(text, 1_000)?).ok()
}

/// Reads a limit on a share, such as `> 1%`, as a number from 0 to 1.
pub(super) fn share_limit(text: &str) -> Result<f64, InvalidText> {
    let error = || invalid(text, "limit", "`> ` and a percent, such as `\"> 1%\"`");
    let hundredths = percent(above(text).ok_or_else(error)?).map_err(|_| error())?;
    Ok(f64::from(hundredths) / f64::from(crate::routing::FULL_WEIGHT))
}

/// Reads a limit on a latency, such as `> 800ms`.
pub(super) fn latency_limit(text: &str) -> Result<Duration, InvalidText> {
    let error = || invalid(text, "limit", "`> ` and a duration, such as `\"> 800ms\"`");
    match duration(above(text).ok_or_else(error)?) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err(error()),
    }
}

/// Reads a limit on a ratio, such as `> 2`, which is at least 1.
pub(super) fn ratio_limit(text: &str) -> Result<f64, InvalidText> {
    let error = || {
        invalid(
            text,
            "limit",
            "`> ` and a number of at least 1, such as `\"> 2\"`",
        )
    };
    let hundredths = scaled(above(text).ok_or_else(error)?, 100).ok_or_else(error)?;
    match u32::try_from(hundredths) {
        Ok(hundredths) if hundredths >= 100 => Ok(f64::from(hundredths) / 100.0),
        _ => Err(error()),
    }
}

/// Reads a window, such as `Mon-Fri 09:00-16:00 Europe/Warsaw`.
pub(super) fn window(text: &str) -> Result<Window, InvalidText> {
    let example = "days, hours and a time zone, such as `Mon-Fri 09:00-16:00 Europe/Warsaw`";
    text.parse().map_err(|_| invalid(text, "window", example))
}

/// Reads a freeze, such as `2026-12-20..2027-01-02 Europe/Warsaw`.
pub(super) fn freeze(text: &str) -> Result<Freeze, InvalidText> {
    let example = "two days and a time zone, such as `2026-12-20..2027-01-02 Europe/Warsaw`";
    text.parse().map_err(|_| invalid(text, "freeze", example))
}

fn above(text: &str) -> Option<&str> {
    Some(text.trim().strip_prefix('>')?.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("1d", 86_400_000),
            (".5s", 500),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-5s",
            "5 s",
            "5x",
            "1h30",
            ".s",
            "1e3s",
            "999999999999999999h",
            "5µ",
            "٣s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percents_are_exact_hundredths() {
        assert_eq!(percent("5%"), Ok(500));
        assert_eq!(percent("0.25%"), Ok(25));
        assert_eq!(percent("100%"), Ok(10_000));
        for text in ["5", "101%", "-1%", "%", "x%", "100.01%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024_as_in_compose() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("64k"), Ok(65_536));
        assert_eq!(size("10MiB"), Ok(10 << 20));
        assert_eq!(size("1.5g"), Ok(3 << 29));
        for text in ["", "g", "1x", "-1m", "1.2.3k"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_begin_with_a_greater_than_sign() {
        assert_eq!(share_limit("> 1%"), Ok(0.01));
        assert_eq!(latency_limit(">800ms"), Ok(Duration::from_millis(800)));
        assert_eq!(ratio_limit("> 2.5"), Ok(2.5));
        assert!(share_limit("1%").is_err());
        assert!(latency_limit("> 0s").is_err());
        assert!(ratio_limit("> 0.5").is_err());
        assert_eq!(
            share_limit("1%").unwrap_err().to_string(),
            "`1%` is not a limit: write `> ` and a percent, such as `\"> 1%\"`"
        );
    }
}
