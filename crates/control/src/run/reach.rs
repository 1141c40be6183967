//! How far each log was read that is followed, so that what is left of it can be told from the whole.
//! Not the reading.

use std::collections::HashMap;

use jiff::Timestamp;
use towpath_model::id::InstanceId;
use towpath_model::port::LogLine;

/// How far each stream of each instance was heard.
#[derive(Debug, Default)]
pub(super) struct Reach(HashMap<(InstanceId, String), Place>);

/// A place in a stream, whose lines come in the order of their time.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: Timestamp,
    /// Lines of that time.
    lines: u32,
}

impl Reach {
    /// Notes a line that was heard.
    pub(super) fn note(&mut self, line: &LogLine) {
        let (at, lines) = (line.at, 0);
        let place = self.0.entry(key(line)).or_insert(Place { at, lines });
        if place.at == line.at {
            place.lines = place.lines.saturating_add(1);
        } else {
            *place = Place { at, lines: 1 };
        }
    }

    /// Tells whether a line was heard already, of logs that are read again from their beginning.
    pub(super) fn had(&mut self, line: &LogLine) -> bool {
        let Some(place) = self.0.get_mut(&key(line)) else {
            return false;
        };
        if place.at == line.at && place.lines > 0 {
            place.lines -= 1;
            return true;
        }
        line.at < place.at
    }
}

fn key(line: &LogLine) -> (InstanceId, String) {
    (line.instance.clone(), line.stream.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(instance: &str, second: i64, text: &str) -> LogLine {
        LogLine {
            at: Timestamp::new(second, 0).unwrap(),
            instance: instance.parse().unwrap(),
            stream: "stdout".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_was_not_heard_is_what_comes_after_it_in_each_stream() {
        let whole = [
            line("shop/dev/web-1", 1, "a"),
            line("shop/dev/web-1", 2, "b"),
            line("shop/dev/web-1", 2, "c"),
            line("shop/dev/web-2", 1, "d"),
            line("shop/dev/web-1", 3, "e"),
        ];
        for heard_of_first in 0..=4 {
            let mut reach = Reach::default();
            let of_first = whole.iter().filter(|one| one.instance == whole[0].instance);
            for line in of_first.take(heard_of_first) {
                reach.note(line);
            }
            let rest = whole.iter().filter(|line| !reach.had(line));
            let rest: Vec<&str> = rest.map(|line| line.text.as_str()).collect();
            let mut wanted = vec!["a", "b", "c", "d", "e"];
            let of_first = ["a", "b", "c", "e"];
            wanted.retain(|text| !of_first.iter().take(heard_of_first).any(|one| one == text));
            assert_eq!(rest, wanted, "{heard_of_first}");
        }
    }
}
