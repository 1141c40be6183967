//! Takes an archive apart into a source tree. Nothing of it can get outside of its
//! directory: paths are checked, links are made last, and other things than files are refused. Not
//! where the archive is from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tar::EntryType;
use towpath_model::id::Digest;
use towpath_model::tree::{BadPath, ContentHash, ENTRIES_MAX, EntryKind, Tree, TreePath};

/// The most bytes that the files of a tree may have together.
const TREE_BYTES_MAX: u64 = 8 << 30;

/// The most that is read behind the end of an archive, where only zeros may be.
const PADDING_BYTES_MAX: u64 = 1 << 20;

/// Why an archive was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no archive, or a broken one.
    #[error("the archive cannot be read")]
    Archive(#[source] io::Error),
    /// A path leads outside.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// A path is in it twice.
    #[error("`{0}` is in the archive twice")]
    Twice(String),
    /// It is neither a file, nor a directory, nor a symbolic link.
    #[error("`{0}` is neither a file, a directory nor a symbolic link")]
    Kind(String),
    /// A link leads outside.
    #[error("the symbolic link `{0}` leads outside of the source tree")]
    Link(String),
    /// It is larger than what is taken.
    #[error("{0}")]
    TooLarge(String),
    /// It is another tree than was said.
    #[error("the tree in the archive is {found}, not {wanted}: it changed while it was uploaded")]
    Digest {
        /// The digest that was said.
        wanted: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// The disk did not take it.
    #[error("cannot write {}", path.display())]
    Files {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Says what of the disk failed.
    pub fn files(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Files { path, source }
    }

    /// Tells whether there was no room.
    pub fn is_full(&self) -> bool {
        let Self::Files { source, .. } = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// A tree that was taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// Unpacks a gzipped tar archive into `directory`, which must not be there yet. Blocks.
pub(crate) fn unpack(archive: impl Read, directory: &Path) -> Result<Unpacked, Error> {
    unpack_tar(GzDecoder::new(archive), directory)
}

/// Unpacks a tar archive into `directory`, which must not be there yet, and reads it to its end.
/// Blocks.
pub(crate) fn unpack_tar(archive: impl Read, directory: &Path) -> Result<Unpacked, Error> {
    let mut unpacker = Unpacker {
        directory,
        tree: Tree::default(),
        links: BTreeMap::new(),
        bytes: 0,
    };
    fs::create_dir(directory).map_err(Error::files(directory))?;
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(Error::Archive)? {
        unpacker.entry(entry.map_err(Error::Archive)?)?;
    }
    unpacker.make_links()?;
    // Whoever writes it may say only at the very end that it failed.
    let mut rest = archive.into_inner().take(PADDING_BYTES_MAX);
    io::copy(&mut rest, &mut io::sink()).map_err(Error::Archive)?;
    Ok(Unpacked {
        digest: unpacker.tree.digest(),
        bytes: unpacker.bytes,
    })
}

struct Unpacker<'d> {
    directory: &'d Path,
    tree: Tree,
    links: BTreeMap<String, String>,
    bytes: u64,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: tar::Entry<'_, impl Read>) -> Result<(), Error> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let bytes = entry.path_bytes();
        let name = String::from_utf8_lossy(&bytes);
        let name = name.strip_prefix("./").unwrap_or(&name);
        let name = name.strip_suffix('/').unwrap_or(name).to_owned();
        if kind == EntryType::Directory {
            return self.make_directory(&name);
        }
        let path = TreePath::new(&name)?;
        if self.tree.contains(&path) {
            return Err(Error::Twice(name));
        }
        if self.tree.len() >= ENTRIES_MAX {
            let message = format!("the source tree has more than {ENTRIES_MAX} files");
            return Err(Error::TooLarge(message));
        }
        match kind {
            EntryType::Regular | EntryType::Continuous => self.file(path, entry),
            EntryType::Symlink => self.note_link(path, &entry),
            _ => Err(Error::Kind(name)),
        }
    }

    fn make_directory(&self, name: &str) -> Result<(), Error> {
        if name.is_empty() || name == "." {
            return Ok(());
        }
        let path = self.directory.join(TreePath::new(name)?.as_str());
        fs::create_dir_all(&path).map_err(Error::files(&path))
    }

    fn file(&mut self, at: TreePath, mut entry: tar::Entry<'_, impl Read>) -> Result<(), Error> {
        let path = self.directory.join(at.as_str());
        let parent = path.parent().unwrap_or(self.directory);
        fs::create_dir_all(parent).map_err(Error::files(parent))?;
        let executable = entry.header().mode().map_err(Error::Archive)? & 0o100 != 0;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(if executable { 0o755 } else { 0o644 })
            .open(&path)
            .map_err(Error::files(&path))?;
        let mut hash = ContentHash::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = entry.read(&mut buffer).map_err(Error::Archive)?;
            let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else {
                break;
            };
            self.bytes = self
                .bytes
                .saturating_add(u64::try_from(length).unwrap_or(0));
            if self.bytes > TREE_BYTES_MAX {
                let limit = TREE_BYTES_MAX >> 30;
                let message = format!("the files of the source tree have more than {limit} GiB");
                return Err(Error::TooLarge(message));
            }
            hash.update(piece);
            file.write_all(piece).map_err(Error::files(&path))?;
        }
        let kind = if executable {
            EntryKind::Executable
        } else {
            EntryKind::File
        };
        self.tree.insert(at, kind, hash.finish());
        Ok(())
    }

    fn note_link(&mut self, at: TreePath, entry: &tar::Entry<'_, impl Read>) -> Result<(), Error> {
        let target = entry.link_name_bytes().unwrap_or_default();
        let target = String::from_utf8_lossy(&target).into_owned();
        if !at.may_link_to(&target) {
            return Err(Error::Link(at.to_string()));
        }
        let content = Digest::of(target.as_bytes());
        self.links.insert(at.as_str().to_owned(), target);
        self.tree.insert(at, EntryKind::Symlink, content);
        Ok(())
    }

    /// Makes the links when all files are written, so that no file is written through one; then
    /// sees where each really leads, as links on the way may have led it elsewhere.
    fn make_links(&self) -> Result<(), Error> {
        let root = self
            .directory
            .canonicalize()
            .map_err(Error::files(self.directory))?;
        for (at, target) in &self.links {
            let path = self.directory.join(at);
            let parent = path.parent().unwrap_or(self.directory);
            fs::create_dir_all(parent).map_err(Error::files(parent))?;
            match symlink(target, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::Twice(at.clone()));
                }
                made => made.map_err(Error::files(&path))?,
            }
        }
        for at in self.links.keys() {
            let leads_outside = self
                .directory
                .join(at)
                .canonicalize()
                .is_ok_and(|end| !end.starts_with(&root));
            if leads_outside {
                return Err(Error::Link(at.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    type Archive = Builder<GzEncoder<Vec<u8>>>;

    fn archive(fill: impl FnOnce(&mut Archive)) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        fill(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// Adds an entry whose name is not checked by the archive's builder.
    fn add(builder: &mut Archive, name: &str, kind: EntryType, content: &[u8], link: &str) {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o755);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    fn unpack_into(directory: &Path, bytes: &[u8]) -> Result<Unpacked, Error> {
        unpack(bytes, &directory.join("tree"))
    }

    #[test]
    fn a_tree_comes_out_as_it_went_in() {
        let bytes = archive(|builder| {
            add(builder, "bin/run", EntryType::Regular, b"#!/bin/sh\n", "");
            add(builder, "empty/", EntryType::Directory, b"", "");
            add(builder, "current", EntryType::Symlink, b"", "bin/run");
        });
        let directory = tempfile::tempdir().unwrap();
        let unpacked = unpack_into(directory.path(), &bytes).unwrap();
        let mut tree = Tree::default();
        let path = |text| TreePath::new(text).unwrap();
        let run = Digest::of(b"#!/bin/sh\n");
        tree.insert(path("bin/run"), EntryKind::Executable, run);
        tree.insert(path("current"), EntryKind::Symlink, Digest::of(b"bin/run"));
        assert_eq!((unpacked.digest, unpacked.bytes), (tree.digest(), 10));
        let read = fs::read(directory.path().join("tree/current")).unwrap();
        assert_eq!(read, b"#!/bin/sh\n");
        assert!(directory.path().join("tree/empty").is_dir());
    }

    #[test]
    fn whatever_could_get_outside_is_refused() {
        type Entry = (&'static str, EntryType, &'static str);
        let cases: [&[Entry]; 7] = [
            &[("../evil", EntryType::Regular, "")],
            &[("/tmp/evil", EntryType::Regular, "")],
            &[("a/../../evil", EntryType::Regular, "")],
            &[("link", EntryType::Symlink, "/etc")],
            &[("link", EntryType::Symlink, "../outside")],
            // The letters of `b/up/..` stay inside; `b/up` leads to the top, and `..` from there out.
            &[
                ("b/up", EntryType::Symlink, ".."),
                ("out", EntryType::Symlink, "b/up/.."),
            ],
            &[
                ("dir", EntryType::Symlink, "."),
                ("dir/file", EntryType::Regular, ""),
            ],
        ];
        for case in cases {
            let bytes = archive(|builder| {
                for (name, kind, link) in case {
                    add(builder, name, *kind, b"", link);
                }
            });
            let directory = tempfile::tempdir().unwrap();
            assert!(unpack_into(directory.path(), &bytes).is_err(), "{case:?}");
            let outside: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
            assert_eq!(outside.len(), 1, "{case:?}");
        }
    }

    #[test]
    fn devices_hard_links_and_doubles_are_refused() {
        for kind in [
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
            EntryType::Link,
        ] {
            let bytes = archive(|builder| add(builder, "x", kind, b"", "y"));
            let directory = tempfile::tempdir().unwrap();
            let refused = unpack_into(directory.path(), &bytes).unwrap_err();
            assert!(matches!(refused, Error::Kind(_)), "{kind:?}");
        }
        let bytes = archive(|builder| {
            add(builder, "x", EntryType::Regular, b"", "");
            add(builder, "x", EntryType::Regular, b"", "");
        });
        let directory = tempfile::tempdir().unwrap();
        let refused = unpack_into(directory.path(), &bytes).unwrap_err();
        assert!(matches!(refused, Error::Twice(_)));
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refused = unpack_into(directory.path(), b"no archive").unwrap_err();
        assert!(matches!(refused, Error::Archive(_)), "{refused}");
    }
}
