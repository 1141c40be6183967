//! Durations, sizes and numbers in the notations of Compose. Not their use: a value here knows how
//! it is written, not what it limits.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A length of time in nanoseconds, written like `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(i64);

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write a number and a unit, like `90s`, `1m30s` or `500ms`")]
pub struct InvalidDuration(pub String);

const NANOS: [(&str, i64); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];
const WEEK: i64 = 604_800_000_000_000;

impl Duration {
    /// Makes a duration of this many nanoseconds.
    pub fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Makes a duration of this many seconds.
    pub fn from_secs(secs: u32) -> Self {
        Self(i64::from(secs) * 1_000_000_000)
    }

    /// Returns the length in nanoseconds.
    pub fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the length for `std`; a negative one is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        value.to_std()
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        parse_duration(text)
            .map(Self)
            .ok_or_else(|| InvalidDuration(text.to_owned()))
    }
}

fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .map_or((rest, ""), |at| rest.split_at(at));
        let unit = number
            .1
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or((number.1, ""), |at| number.1.split_at(at));
        total = total.checked_add(scaled(number.0, unit_nanos(unit.0)?)?)?;
        rest = unit.1;
    }
    Some(if negative { -total } else { total })
}

fn unit_nanos(unit: &str) -> Option<i64> {
    if unit == "w" {
        return Some(WEEK);
    }
    NANOS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, nanos)| *nanos)
}

/// Multiplies a decimal text by `unit`, dropping what is smaller than one.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // Eighteen digits are finer than a nanosecond of a week, and fit the product into an i128.
    let (mut parts, mut scale): (i128, i128) = (0, 1);
    for digit in fraction.chars().take(18) {
        parts = parts * 10 + i128::from(digit.to_digit(10)?);
        scale *= 10;
    }
    let fraction = i64::try_from(i128::from(unit) * parts / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(fraction)
}

impl fmt::Display for Duration {
    /// Writes hours, minutes and seconds from the first that is not zero on, like `1h0m5s`;
    /// under a second, the largest unit that gives a whole part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 1_000_000_000 {
            let (unit, name) = match nanos {
                0..1_000 => (1, "ns"),
                1_000..1_000_000 => (1_000, "µs"),
                _ => (1_000_000, "ms"),
            };
            return write_decimal(f, nanos, unit, name);
        }
        let seconds = nanos / 1_000_000_000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write_decimal(f, nanos % 60_000_000_000, 1_000_000_000, "s")
    }
}

fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let mut rest = nanos % unit;
    if rest > 0 {
        f.write_str(".")?;
        let mut place = unit / 10;
        while rest > 0 && place > 0 {
            write!(f, "{}", rest / place)?;
            rest %= place;
            place /= 10;
        }
    }
    f.write_str(name)
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A number of bytes, written as a decimal text; read also with a unit, like `512m` or `1.5gb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub i64);

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write bytes, or a number and a unit, like `512m` or `1.5gb`")]
pub struct InvalidSize(pub String);

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        text.parse()
            .ok()
            .or_else(|| parse_size(text))
            .map(Self)
            .ok_or_else(|| InvalidSize(text.to_owned()))
    }
}

/// Reads a size in binary units: `k`, `kb` and `kib` are all 1024 bytes, in either case.
fn parse_size(text: &str) -> Option<i64> {
    let at = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.')
        .map(|at| at + 1)?;
    let (number, suffix) = text.split_at(at);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let suffix = suffix.strip_prefix(' ').unwrap_or(suffix);
    let mut letters = suffix.to_ascii_lowercase();
    let power = match letters.chars().next() {
        None | Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    if power > 0 {
        letters.remove(0);
    }
    if !matches!((power, letters.as_str()), (_, "" | "b") | (1.., "ib")) {
        return None;
    }
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    scaled(number, 1024_i64.checked_pow(power)?)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size in bytes, as a number or a text like `512m`")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<ByteSize, E> {
        Ok(ByteSize(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<ByteSize, E> {
        i64::try_from(value).map(ByteSize).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<ByteSize, E> {
        value.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// A decimal number, such as a count of CPUs; written without a fraction when it has none.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Decimal(pub f32);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Through text, because that gives the shortest decimal that reads back as the same f32.
        let text = self.0.to_string();
        if let Ok(whole) = text.parse::<i64>() {
            return serializer.serialize_i64(whole);
        }
        match text.parse::<f64>() {
            Ok(number) => serializer.serialize_f64(number),
            Err(_) => serializer.serialize_f32(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f32::deserialize(deserializer).map(Self)
    }
}

/// The permission bits of a file, written in octal like `0440`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FileMode(pub i64);

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0{:o}", self.0)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        i64::from_str_radix(&text, 8)
            .map(Self)
            .map_err(|_| de::Error::custom(format!("`{text}` is not a file mode in octal")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_the_notation_of_go() {
        for (text, written) in [
            ("90s", "1m30s"),
            ("1m30s", "1m30s"),
            ("1.5h", "1h30m0s"),
            ("0", "0s"),
            ("500ms", "500ms"),
            ("1500us", "1.5ms"),
            ("1d", "24h0m0s"),
            ("1w", "168h0m0s"),
            ("-2s", "-2s"),
            ("1h0m5s", "1h0m5s"),
            ("0.5s", "500ms"),
            ("1.25s", "1.25s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "10", "s", "1x", "1.2.3s", "-", "1 s", "99999999999h"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        for (text, bytes) in [
            ("1024", 1024),
            ("1k", 1024),
            ("1KB", 1024),
            ("1KiB", 1024),
            ("512m", 512 << 20),
            ("1.5g", 1_610_612_736),
            ("10b", 10),
            ("-1", -1),
            ("2 mb", 2 << 20),
        ] {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "m", "1x", "1kk", "-1m", "1ib"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn decimals_are_written_as_short_as_they_read_back() {
        let written = |number| serde_json::to_string(&Decimal(number)).unwrap();
        assert_eq!(written(0.5), "0.5");
        assert_eq!(written(2.0), "2");
        assert_eq!(written(0.1), "0.1");
    }

    #[test]
    fn file_modes_are_octal_texts() {
        let text = serde_json::to_string(&FileMode(0o440)).unwrap();
        assert_eq!(text, "\"0440\"");
        assert_eq!(
            serde_json::from_str::<FileMode>(&text).unwrap(),
            FileMode(0o440)
        );
    }
}
