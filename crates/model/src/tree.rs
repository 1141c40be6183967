//! The digest of a source tree, which client and server compute alike. Not the walking of
//! directories nor the unpacking of archives, which are theirs.
//!
//! A tree is its files, their executable bits and its symbolic links. Directories count only by
//! what is in them; owners, times and other permissions do not count.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use sha2::Digest as _;

use crate::id::Digest;

/// The largest archive of a source tree that a server takes, in bytes, as it is sent.
pub const ARCHIVE_BYTES_MAX: u64 = 1 << 30;

/// The most entries that a source tree may have.
pub const ENTRIES_MAX: usize = 200_000;

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A file.
    File,
    /// A file whose owner may execute it.
    Executable,
    /// A symbolic link; its content is its target.
    Symlink,
}

impl EntryKind {
    /// Returns that of a file with these permissions.
    pub fn of_mode(mode: u32) -> Self {
        if mode & 0o100 == 0 {
            Self::File
        } else {
            Self::Executable
        }
    }

    /// Returns the digest of an entry whose content has a digest: of that, and of what it is.
    pub fn digest(self, content: &Digest) -> Digest {
        Digest::of(format!("{self:?} {content}").as_bytes())
    }

    fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Executable => "executable",
            Self::Symlink => "symlink",
        }
    }
}

/// The entries of a tree, by their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, (EntryKind, Digest)>,
}

impl Tree {
    /// Adds an entry. An entry of that path is replaced.
    pub fn insert(&mut self, path: TreePath, kind: EntryKind, content: Digest) {
        self.entries.insert(path.0, (kind, content));
    }

    /// Tells whether there is an entry of that path.
    pub fn contains(&self, path: &TreePath) -> bool {
        self.entries.contains_key(&path.0)
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the digest: SHA-256 of a line for each entry, in the order of the paths' bytes:
    /// kind, length of the path, path, digest of the content.
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        for (path, (kind, content)) in &self.entries {
            let (word, length) = (kind.word(), path.len());
            writeln!(text, "{word} {length} {path} {content}")
                .expect("writing to a string cannot fail");
        }
        Digest::of(text.as_bytes())
    }
}

/// A path within a tree: relative, in UTF-8, with `/` between its parts, none of which is empty,
/// `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreePath(String);

impl TreePath {
    /// Accepts `path` when it stays within the tree.
    pub fn new(path: &str) -> Result<Self, BadPath> {
        let is_good = |part: &str| !matches!(part, "" | "." | "..");
        if path.len() <= 4096 && !path.contains('\0') && path.split('/').all(is_good) {
            Ok(Self(path.to_owned()))
        } else {
            Err(BadPath(path.to_owned()))
        }
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether a symbolic link here with this target stays within the tree, by its letters.
    pub fn may_link_to(&self, target: &str) -> bool {
        if target.starts_with('/') || target.is_empty() || target.contains('\0') {
            return false;
        }
        let mut depth = self.0.split('/').count() - 1;
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => match depth.checked_sub(1) {
                    Some(above) => depth = above,
                    None => return false,
                },
                _ => depth += 1,
            }
        }
        true
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path that cannot be in a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path within a source tree")]
pub struct BadPath(pub String);

/// The digest of a content that comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct ContentHash(sha2::Sha256);

impl ContentHash {
    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// Returns the digest of all pieces.
    pub fn finish(self) -> Digest {
        let mut text = String::with_capacity(64);
        for byte in self.0.finalize() {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        text.parse()
            .expect("64 hexadecimal characters are a digest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn tree(entries: &[(&str, EntryKind, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (name, kind, content) in entries {
            tree.insert(path(name), *kind, Digest::of(content.as_bytes()));
        }
        tree
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_discovery() {
        let one = ("a/b", EntryKind::File, "1");
        let two = ("a-b", EntryKind::File, "2");
        assert_eq!(tree(&[one, two]).digest(), tree(&[two, one]).digest());
    }

    #[test]
    fn path_kind_and_content_all_count() {
        let base = tree(&[("a", EntryKind::File, "1")]).digest();
        for other in [
            tree(&[("b", EntryKind::File, "1")]),
            tree(&[("a", EntryKind::Executable, "1")]),
            tree(&[("a", EntryKind::File, "2")]),
            tree(&[("a", EntryKind::Symlink, "1")]),
            Tree::default(),
        ] {
            assert_ne!(other.digest(), base);
        }
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for bad in [
            "",
            "/etc/passwd",
            "a//b",
            "../a",
            "a/../b",
            "./a",
            "a/",
            "a\0b",
        ] {
            assert!(TreePath::new(bad).is_err(), "{bad:?}");
        }
        assert!(TreePath::new("a/..b/c").is_ok());
    }

    #[test]
    fn links_that_leave_the_tree_are_refused() {
        for (at, target, may) in [
            ("bin/run", "../lib/run.sh", true),
            ("bin/run", "../../etc/passwd", false),
            ("run", "..", false),
            ("a/b/c", "../../x/../y", true),
            ("run", "/bin/sh", false),
            ("run", "", false),
        ] {
            assert_eq!(path(at).may_link_to(target), may, "{at} -> {target}");
        }
    }

    #[test]
    fn content_in_pieces_has_the_digest_of_the_whole() {
        let mut hash = ContentHash::default();
        hash.update(b"ab");
        hash.update(b"c");
        assert_eq!(hash.finish(), Digest::of(b"abc"));
    }
}
