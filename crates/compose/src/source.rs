//! Texts that are read, and places in them. Not the reading.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A text with the name under which people know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Names `text`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            path: path.into(),
            text: text.into(),
        })
    }

    /// Returns the name: the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The offset in bytes, from 0.
    pub offset: u32,
}

/// A stretch of a text. Cheap to clone; it keeps its text alive, so that it can always be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    source: Arc<Source>,
    /// Where it starts.
    pub start: Position,
    /// Where it ends: the first place that is not in it.
    pub end: Position,
}

impl Span {
    /// Marks the stretch of `source` from `start` to before `end`.
    pub fn new(source: Arc<Source>, start: Position, end: Position) -> Self {
        Self { source, start, end }
    }

    /// Returns the text that it is in.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the path of the file that it is in.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Returns the text within it; empty where its ends do not fit the text.
    pub fn text(&self) -> &str {
        usize::try_from(self.start.offset)
            .ok()
            .zip(usize::try_from(self.end.offset).ok())
            .and_then(|(start, end)| self.source.text().get(start..end))
            .unwrap_or("")
    }

    /// Returns the stretch from the start of this one to the end of `other`.
    #[must_use]
    pub fn to(&self, other: &Self) -> Self {
        Self {
            source: Arc::clone(&self.source),
            start: self.start,
            end: other.end,
        }
    }
}

impl fmt::Display for Span {
    /// Writes `file:line:column`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}",
            self.path().display(),
            self.start.line,
            self.start.column
        )
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({self})")
    }
}
