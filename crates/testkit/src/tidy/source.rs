//! Rust text split into code and comments, line for line. Not a parser: it knows comments, string
//! and character literals, nothing else.

/// A Rust file in two layers of the same shape: what is not of the layer is blank.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The code, without comments and without the insides of literals.
    pub code: String,
    /// The comments, documentation included.
    pub comments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Code,
    Comment,
    Literal,
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    source: Source,
}

impl Source {
    /// Splits `text`. Unfinished literals and comments end with the text.
    pub fn split(text: &str) -> Self {
        let mut reader = Reader {
            chars: text.chars().collect(),
            at: 0,
            source: Self::default(),
        };
        while let Some(next) = reader.peek(0) {
            reader.step(next);
        }
        reader.source
    }
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn behind(&self, back: usize) -> Option<char> {
        self.chars.get(self.at.checked_sub(back)?).copied()
    }

    fn step(&mut self, next: char) {
        match (next, self.peek(1)) {
            ('/', Some('/')) => self.line_comment(),
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', Some(after)) => self.quote(after),
            ('r', _) => self.raw_string_or_code(),
            _ => self.take(Layer::Code),
        }
    }

    fn take(&mut self, layer: Layer) {
        let Some(c) = self.peek(0) else { return };
        let blank = if c == '\n' { '\n' } else { ' ' };
        let on = |wanted| if layer == wanted { c } else { blank };
        self.source.code.push(on(Layer::Code));
        self.source.comments.push(on(Layer::Comment));
        self.at += 1;
    }

    fn take_many(&mut self, count: usize, layer: Layer) {
        for _ in 0..count {
            self.take(layer);
        }
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.take(Layer::Comment);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (None, _) => return,
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.take_many(2, Layer::Comment);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.take_many(2, Layer::Comment);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.take(Layer::Comment),
            }
        }
    }

    fn string(&mut self) {
        self.take(Layer::Literal);
        while let Some(c) = self.peek(0) {
            let escape = usize::from(c == '\\');
            self.take_many(1 + escape, Layer::Literal);
            if c == '"' {
                return;
            }
        }
    }

    /// Takes a character literal, or the tick of a lifetime.
    fn quote(&mut self, after: char) {
        if after == '\\' {
            self.take_many(3, Layer::Literal);
            while let Some(c) = self.peek(0) {
                self.take(Layer::Literal);
                if c == '\'' {
                    return;
                }
            }
        } else if self.peek(2) == Some('\'') {
            self.take_many(3, Layer::Literal);
        } else {
            self.take(Layer::Code);
        }
    }

    fn raw_string_or_code(&mut self) {
        let prefix = usize::from(matches!(self.behind(1), Some('b' | 'c')));
        let inside_a_word = self.behind(1 + prefix).is_some_and(is_word);
        let rest = self.chars.iter().skip(self.at + 1);
        let hashes = rest.take_while(|&&c| c == '#').count();
        if inside_a_word || self.peek(1 + hashes) != Some('"') {
            self.take(Layer::Code);
            return;
        }
        self.take_many(2 + hashes, Layer::Literal);
        while let Some(c) = self.peek(0) {
            let closes = c == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if closes {
                self.take_many(1 + hashes, Layer::Literal);
                return;
            }
            self.take(Layer::Literal);
        }
    }
}

/// Tells whether `c` may stand in an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the byte offsets at which `word` stands in `text` by itself: not as a part of a longer
/// identifier.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = text.get(..at).and_then(|head| head.chars().next_back());
            let after = text
                .get(at + word.len()..)
                .and_then(|tail| tail.chars().next());
            let ends_in_word = word.chars().next_back().is_some_and(is_word);
            !(before.is_some_and(is_word) || ends_in_word && after.is_some_and(is_word))
        })
}

/// Returns the number of the line, from 1, in which the byte `at` of `text` stands.
pub fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::split(text).code
    }

    #[test]
    fn literals_and_comments_are_not_code() {
        assert_eq!(code("a(\"x\\\"y\"); // b"), "a(      );     ");
        assert_eq!(
            code("a /* b /* c */ d */ e").trim_end(),
            "a                   e"
        );
        assert_eq!(code("r#\"b\"# c"), "       c");
        assert_eq!(code("br\"b\\\" c"), "b      c");
        assert_eq!(code("'x' '\\'' '\\u{41}' b").trim(), "b");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        assert_eq!(code("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(code("r#type for\"x\" y"), "r#type for    y");
    }

    #[test]
    fn comments_keep_their_lines() {
        let source = Source::split("a\n// b\nc \"//\" d");
        assert_eq!(source.comments, " \n// b\n        ");
        assert_eq!(source.code.lines().count(), 3);
    }

    #[test]
    fn a_word_is_not_a_part_of_a_word() {
        assert_eq!(
            words("xsleep(1) sleep(2)", "sleep(").collect::<Vec<_>>(),
            [10]
        );
        assert_eq!(words("sleepy sleep", "sleep").collect::<Vec<_>>(), [7]);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
