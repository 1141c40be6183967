//! How far each log was read that is followed, so that what is left of it can be told from the whole.
//! Not the reading.

use jiff::Timestamp;
use towpath_model::id::InstanceId;
use towpath_model::port::LogLine;

/// How far each stream of each instance was heard: few, of which one is heard many times in a row.
#[derive(Debug, Default)]
pub(super) struct Reach(Vec<Place>);

/// A place in a stream, whose lines come in the order of their time.
#[derive(Debug, Clone)]
struct Place {
    instance: InstanceId,
    stream: String,
    at: Timestamp,
    /// Lines of that time.
    lines: u32,
}

impl Reach {
    /// Notes a line that was heard.
    pub(super) fn note(&mut self, line: &LogLine) {
        let Some(place) = self.place(line) else {
            return self.0.push(Place {
                instance: line.instance.clone(),
                stream: line.stream.clone(),
                at: line.at,
                lines: 1,
            });
        };
        if place.at == line.at {
            place.lines = place.lines.saturating_add(1);
        } else {
            (place.at, place.lines) = (line.at, 1);
        }
    }

    /// Tells whether a line was heard already, of logs that are read again from their beginning.
    pub(super) fn had(&mut self, line: &LogLine) -> bool {
        let Some(place) = self.place(line) else {
            return false;
        };
        if place.at == line.at && place.lines > 0 {
            place.lines -= 1;
            return true;
        }
        line.at < place.at
    }

    fn place(&mut self, line: &LogLine) -> Option<&mut Place> {
        let mut places = self.0.iter_mut();
        places.find(|place| place.stream == line.stream && place.instance == line.instance)
    }
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
