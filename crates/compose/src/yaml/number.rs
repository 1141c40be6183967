//! Writes numbers as the reference implementation writes them into texts. Not their reading.

use std::fmt::Write as _;

/// Writes a number with the fewest digits that read back as the same, with an exponent when that
/// is under -4 or over 5.
pub(crate) fn format_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(power @ (..-4 | 6..)) => {
            let mut text = digits.to_owned();
            let sign = if power < 0 { '-' } else { '+' };
            write!(text, "e{sign}{:02}", power.abs()).expect("writing to a string cannot fail");
            text
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_large_ones_have_an_exponent() {
        for (number, text) in [
            (1.1, "1.1"),
            (1000.0, "1000"),
            (123_456.5, "123456.5"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (12_345_678.5, "1.23456785e+07"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(format_float(number), text);
        }
    }
}
