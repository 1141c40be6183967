//! Tables for people, and the words for times in them.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

/// Makes a table without lines.
pub(crate) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    table.add_rows(rows);
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Says how long ago a moment was.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7_199 => format!("{} min ago", seconds / 60),
        7_200..=172_799 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Writes a number of bytes in the largest unit of which there is one.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fitting = units.into_iter().find(|(bits, _)| bytes >> bits > 0);
    let Some((bits, unit)) = fitting else {
        return format!("{bytes} B");
    };
    let tenths = (u128::from(bytes) * 10) >> bits;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_they_fill() {
        for (bytes, words) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_600_000, "1.5 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }

    #[test]
    fn a_time_is_told_in_the_largest_unit_that_says_enough() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let before = |seconds| {
            ago(
                Timestamp::from_second(1_000_000_i64 - seconds).unwrap(),
                now,
            )
        };
        assert_eq!(
            [before(5), before(600), before(7_300)],
            ["5 s ago", "10 min ago", "2 h ago"]
        );
        assert_eq!(before(200_000), "2 days ago");
        assert_eq!(before(-5), "0 s ago");
    }
}
