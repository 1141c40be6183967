//! Patterns of branches, tags and paths. Not what they decide.

/// Tells whether `text` is what `pattern` says: `*` stands for anything but `/`, `**` for anything,
/// `?` for one character but `/`. Takes time in proportion to both lengths at most.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern = parse(pattern);
    // Which lengths of the pattern's beginning stand for the text up to here.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    skip_stars(&pattern, &mut reached);
    for letter in text.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (index, part) in pattern.iter().enumerate() {
            if !reached[index] {
                continue;
            }
            match part {
                Part::Letter(wanted) if *wanted == letter => next[index + 1] = true,
                Part::One if letter != '/' => next[index + 1] = true,
                Part::Any if letter != '/' => next[index] = true,
                Part::Everything => next[index] = true,
                Part::Letter(_) | Part::One | Part::Any => {}
            }
        }
        skip_stars(&pattern, &mut next);
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// Tells whether one of the patterns matches.
pub fn any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Letter(char),
    One,
    Any,
    Everything,
}

fn parse(pattern: &str) -> Vec<Part> {
    let mut letters = pattern.chars().peekable();
    let mut parts = Vec::new();
    while let Some(letter) = letters.next() {
        parts.push(match letter {
            '*' if letters.next_if_eq(&'*').is_some() => {
                // `**/x` is also `x` at the top.
                if letters.next_if_eq(&'/').is_some() {
                    parts.push(Part::Everything);
                    continue;
                }
                Part::Everything
            }
            '*' => Part::Any,
            '?' => Part::One,
            letter => Part::Letter(letter),
        });
    }
    parts
}

/// A star may stand for nothing.
fn skip_stars(pattern: &[Part], reached: &mut [bool]) {
    for (index, part) in pattern.iter().enumerate() {
        if reached[index] && matches!(part, Part::Any | Part::Everything) {
            reached[index + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_its_part_of_the_path_and_two_do_not() {
        for (pattern, text, expected) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1.2", true),
            ("release/*", "release/1/2", false),
            ("release/**", "release/1/2", true),
            ("v*", "v1.0.0", true),
            ("v?.0", "v1.0", true),
            ("v?.0", "v10.0", false),
            ("**", "anything/at/all", true),
            ("**/*.rs", "src/a/b.rs", true),
            ("**/*.rs", "b.rs", true),
            ("web/**", "web/a/b", true),
            ("web/**", "webs/a", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_few() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(199)));
        assert!(matches(&pattern, &"a".repeat(5_000)));
    }
}
