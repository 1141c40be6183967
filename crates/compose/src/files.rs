//! The files that a load may read, as a port: real ones, or some in memory for tests. Not what is in
//! them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::{Position, Source, Span};

/// The largest file that is read, in bytes.
const LARGEST: usize = 16 << 20;

/// Files that can be read. All paths are absolute.
pub trait Files {
    /// Returns the content of the file at `path`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Says whether there is anything at `path`.
    fn exists(&self, path: &Path) -> bool;
    /// Says whether there is a directory at `path`.
    fn is_dir(&self, path: &Path) -> bool;
    /// Returns `path` with symbolic links resolved; the path itself where that cannot be done.
    fn canonical(&self, path: &Path) -> PathBuf;
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let size = std::fs::metadata(path)?.len();
        if usize::try_from(size).is_ok_and(|size| size <= LARGEST) {
            return std::fs::read(path);
        }
        Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the file is larger than {} MiB", LARGEST >> 20),
        ))
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    }
}

/// The files of one directory of this machine. What is outside of it is not there, however one gets
/// to it: by a path, or by a symbolic link.
#[derive(Debug, Clone)]
pub struct DirectoryFiles {
    root: PathBuf,
}

impl DirectoryFiles {
    /// Makes the files of a directory, which has to be there.
    pub fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            root: directory.canonicalize()?,
        })
    }

    /// Returns the directory, with symbolic links resolved.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let path = path.canonicalize().ok()?;
        path.starts_with(&self.root).then_some(path)
    }
}

impl Files for DirectoryFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.inside(path) {
            Some(path) => RealFiles.read(&path),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.inside(path).is_some()
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.inside(path).is_some_and(|path| path.is_dir())
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        self.inside(path).unwrap_or_else(|| path.to_owned())
    }
}

/// Files in memory, by absolute path; a directory is there when a file within it is.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(BTreeMap<PathBuf, Vec<u8>>);

impl MemoryFiles {
    /// Adds a file.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.into(), content.into());
        self
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path) || self.is_dir(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.0
            .keys()
            .any(|file| file != path && file.starts_with(path))
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// Reads a text file in UTF-8; a byte order mark at its start is dropped.
pub(crate) fn read_source(files: &dyn Files, path: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let bytes = files.read(path).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => "the file does not exist".to_owned(),
            io::ErrorKind::IsADirectory => "this is a directory, not a file".to_owned(),
            _ => format!("the file cannot be read: {error}"),
        };
        Box::new(Diagnostic::error("unreadable-file", message).in_file(path))
    })?;
    if bytes.len() > LARGEST {
        let message = format!("the file is larger than {} MiB", LARGEST >> 20);
        return Err(Box::new(
            Diagnostic::error("unreadable-file", message).in_file(path),
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => {
            let text = text
                .strip_prefix('\u{feff}')
                .map(str::to_owned)
                .unwrap_or(text);
            Ok(Source::new(path, text))
        }
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Err(Box::new(not_utf8(path, text, valid)))
        }
    }
}

/// Points at the first byte that is not UTF-8; what is before it is the same in `text`.
fn not_utf8(path: &Path, text: String, valid: usize) -> Diagnostic {
    let before = text.get(..valid).unwrap_or_default();
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let last_line = before.rsplit('\n').next().unwrap_or_default();
    let place = Position {
        line: small(before.matches('\n').count() + 1),
        column: small(last_line.chars().count() + 1),
        offset: small(valid),
    };
    let span = Span::new(Source::new(path, text), place, place);
    Diagnostic::error("not-utf8", "the file is not text in UTF-8").at(&span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_not_utf8_is_pointed_at() {
        let files = MemoryFiles::default().with("/f", b"a: b\nc: \xff\n".as_slice());
        let refused = read_source(&files, Path::new("/f")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "/f:2:4: error: the file is not text in UTF-8"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let refused = read_source(&MemoryFiles::default(), Path::new("/f")).unwrap_err();
        assert_eq!(refused.to_string(), "/f: error: the file does not exist");
    }
}
