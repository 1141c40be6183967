//! Splits a command line into words as the reference implementation does. Not a shell: variables and
//! globs are plain text, and an operator (`;`, `&`, `|`, `<`, `>`) ends the command.

/// A command line whose quotes or parentheses do not close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quote, a parenthesis or a backslash in this command is not closed")]
pub(crate) struct Unclosed;

/// What protects blank space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
    Back,
    /// Within `$(...)`.
    Substitution,
}

struct Splitter {
    words: Vec<String>,
    word: String,
    /// Whether there is a word, which may be empty.
    begun: bool,
    quote: Quote,
}

/// Splits `line` at blank space that nothing protects.
pub(crate) fn split(line: &str) -> Result<Vec<String>, Unclosed> {
    let mut splitter = Splitter {
        words: Vec::new(),
        word: String::new(),
        begun: false,
        quote: Quote::None,
    };
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && splitter.quote != Quote::Single {
            splitter.push(match chars.next().ok_or(Unclosed)? {
                'n' => '\n',
                't' => '\t',
                c => c,
            });
        } else if splitter.quote == Quote::None && matches!(c, ';' | '&' | '|' | '<' | '>') {
            splitter.drop_descriptor(c);
            break;
        } else {
            splitter.take(c)?;
        }
    }
    splitter.end_word();
    match splitter.quote {
        Quote::None => Ok(splitter.words),
        _ => Err(Unclosed),
    }
}

impl Splitter {
    fn push(&mut self, c: char) {
        self.word.push(c);
        self.begun = true;
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.begun) {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// The `2` of `2>` is a part of the operator.
    fn drop_descriptor(&mut self, operator: char) {
        if operator == '>' && self.word.starts_with(|c: char| c.is_ascii_digit()) {
            self.begun = false;
        }
    }

    fn take(&mut self, c: char) -> Result<(), Unclosed> {
        match (c, self.quote) {
            (' ' | '\t' | '\r' | '\n', Quote::None) => self.end_word(),
            ('"', Quote::Double) | ('\'', Quote::Single) => {
                self.quote = Quote::None;
                self.begun = true;
            }
            ('"', Quote::None) => self.quote = Quote::Double,
            ('\'', Quote::None) => self.quote = Quote::Single,
            ('`', Quote::None) => {
                self.quote = Quote::Back;
                self.push(c);
            }
            ('`', Quote::Back) | (')', Quote::Substitution) => {
                self.quote = Quote::None;
                self.push(c);
            }
            ('(', Quote::None) if self.word.ends_with('$') => {
                self.quote = Quote::Substitution;
                self.push(c);
            }
            ('(', Quote::None | Quote::Substitution) | (')', Quote::None) => return Err(Unclosed),
            (c, _) => self.push(c),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_reference_splits_them() {
        for (line, words) in [
            ("a b  c", vec!["a", "b", "c"]),
            ("a 'b c' \"d e\"", vec!["a", "b c", "d e"]),
            ("a\\ b", vec!["a b"]),
            ("--x='a b'c", vec!["--x=a bc"]),
            ("\"a\\\"b\"", vec!["a\"b"]),
            ("'a\\b'", vec!["a\\b"]),
            ("\"x\\ny\"", vec!["x\ny"]),
            ("''", vec![""]),
            ("  ", vec![]),
            ("a\n b", vec!["a", "b"]),
            ("$X *", vec!["$X", "*"]),
            ("a | b", vec!["a"]),
            ("a; b", vec!["a"]),
            ("a 2>&1", vec!["a"]),
            ("sh -c \"a > b\" > c", vec!["sh", "-c", "a > b"]),
            ("a `b c` d", vec!["a", "`b c`", "d"]),
            ("a $(b c) d", vec!["a", "$(b c)", "d"]),
            ("a #b", vec!["a", "#b"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        for line in ["'a", "a\\", "x (y)", "a)", "a $((1))", "\"b"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
