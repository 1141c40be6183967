//! What is wrong with, or unwise in, a file that a person wrote. Not errors of the program itself.
//!
//! A [`Diagnostic`] names the place, says what is wrong and, where it can, what to write instead.
//! [`Diagnostics`] is the error type of everything that reads files: one or more of them.

mod render;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::source::{Source, Span};

pub use self::render::Style;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted, but is not what it should be.
    Warning,
    /// The file is as it may be, and would be better otherwise.
    Note,
}

/// One thing that is wrong with a file, or unwise in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// A stable name for programs, like `unknown-key`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: lowercase, no full stop.
    pub message: String,
    /// The file, where there is no span: one that is missing, for example.
    pub file: Option<PathBuf>,
    /// The place.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Makes an error without a place.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            file: None,
            span: None,
            help: None,
        }
    }

    /// Makes a warning without a place.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// Makes a note without a place.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::error(code, message)
        }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, span: &Span) -> Self {
        self.span = Some(span.clone());
        self
    }

    /// Says where, if that is known.
    #[must_use]
    pub fn at_maybe(mut self, span: Option<&Span>) -> Self {
        self.span = span.cloned();
        self
    }

    /// Says in which file, where there is no place in it.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Shows paths within `directory` as one would type them there.
    #[must_use]
    pub fn relative_to(&self, directory: &Path) -> Self {
        let shorten = |path: &Path| -> PathBuf {
            let below = path.strip_prefix(directory).unwrap_or(path);
            if below.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                below.to_owned()
            }
        };
        let mut shown = self.clone();
        shown.file = self.file.as_deref().map(shorten);
        shown.span = self.span.as_ref().map(|span| {
            let source = Source::new(shorten(span.path()), span.source().text());
            Span::new(source, span.start, span.end)
        });
        if let Some(prefix) = directory.to_str().filter(|path| *path != "/") {
            let prefix = format!("{prefix}/");
            shown.message = shown.message.replace(&prefix, "");
            shown.help = shown.help.map(|help| help.replace(&prefix, ""));
        }
        shown
    }

    /// Draws it for a person: `file:line:column: error: ...`, the lines concerned with the place
    /// underlined, and the help.
    pub fn render(&self, style: Style) -> String {
        render::render(self, style)
    }
}

impl fmt::Display for Diagnostic {
    /// Writes one line: `file:line:column: error: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.span, &self.file) {
            (Some(span), _) => write!(f, "{span}: ")?,
            (None, Some(file)) => write!(f, "{}: ", file.display())?,
            (None, None) => {}
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{severity}: {}", self.message)
    }
}

/// One or more diagnostics: why a file was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostics {
    first: Box<Diagnostic>,
    rest: Vec<Diagnostic>,
}

/// The most diagnostics that are shown at once.
const MOST: usize = 100;

impl Diagnostics {
    /// Succeeds when there is none. What is said several times, of a file that several others
    /// include, is kept once. Of very many only the first are kept, and their number.
    pub fn check(all: Vec<Diagnostic>) -> Result<(), Self> {
        let mut found: Vec<Diagnostic> = Vec::new();
        let mut more = 0_usize;
        for diagnostic in all {
            if found.contains(&diagnostic) {
                continue;
            }
            if found.len() < MOST {
                found.push(diagnostic);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            found.push(Diagnostic::error(
                "more",
                format!("and {more} more, which are not shown"),
            ));
        }
        let mut found = found.into_iter();
        match found.next() {
            None => Ok(()),
            Some(first) => Err(Self {
                first: Box::new(first),
                rest: found.collect(),
            }),
        }
    }

    /// Returns the first.
    pub fn first(&self) -> &Diagnostic {
        &self.first
    }

    /// Goes through all of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        std::iter::once(&*self.first).chain(&self.rest)
    }

    /// Returns all of them; never empty.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        let mut all = vec![*self.first];
        all.extend(self.rest);
        all
    }

    /// Draws all of them for a person, an empty line between two.
    pub fn render(&self, style: Style) -> String {
        let drawn: Vec<String> = self.iter().map(|one| one.render(style)).collect();
        drawn.join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(first: Diagnostic) -> Self {
        Self {
            first: Box::new(first),
            rest: Vec::new(),
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, one) in self.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            one.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The longest word that another one is looked for, in bytes.
const LONGEST_WORD: usize = 80;

/// Returns the candidate that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Any letter is near to any other.
    let limit = match word.chars().count() {
        ..=2 => return None,
        length => length / 3,
    };
    let is_near = |candidate: &&str| {
        word.len() <= LONGEST_WORD && candidate.len().abs_diff(word.len()) <= 4 * limit
    };
    candidates
        .into_iter()
        .filter(is_near)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Position;

    fn example() -> Diagnostic {
        let source = Source::new("compose.yaml", "services:\n  web:\n    imge: nginx\n");
        let place = |line, column, offset| Position {
            line,
            column,
            offset,
        };
        let span = Span::new(source, place(3, 5, 21), place(3, 9, 25));
        Diagnostic::error("unknown-key", "unknown key `imge`")
            .at(&span)
            .help("did you mean `image`?")
    }

    #[test]
    fn one_line_names_file_line_and_column() {
        assert_eq!(
            example().to_string(),
            "compose.yaml:3:5: error: unknown key `imge`"
        );
    }

    #[test]
    fn what_is_said_several_times_is_kept_once() {
        let other = Diagnostic::error("empty", "nothing is there");
        let refused = Diagnostics::check(vec![example(), other.clone(), example(), other.clone()]);
        let kept: Vec<Diagnostic> = refused.unwrap_err().iter().cloned().collect();
        assert_eq!(kept, [example(), other]);
    }

    #[test]
    fn of_very_many_the_first_are_kept_and_the_number_of_the_others() {
        let many = (0..MOST + 7).map(|n| Diagnostic::error("many", n.to_string()));
        let refused = Diagnostics::check(many.collect()).unwrap_err();
        let last = refused.iter().last().unwrap().message.clone();
        assert_eq!(refused.iter().count(), MOST + 1);
        assert_eq!(last, "and 7 more, which are not shown");
    }

    #[test]
    fn a_drawing_underlines_the_place_and_gives_the_help() {
        insta::assert_snapshot!(example().render(Style::Plain), @r"
        compose.yaml:3:5: error: unknown key `imge`
          |
        3 |     imge: nginx
          |     ^^^^
          |
          = help: did you mean `image`?
        ");
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let keys = ["image", "init", "ports"];
        assert_eq!(nearest("imge", keys), Some("image"));
        assert_eq!(nearest("port", keys), Some("ports"));
        assert_eq!(nearest("whatever", keys), None);
        assert_eq!(nearest("b", ["a"]), None);
    }
}
