//! Files that instances are given before their start and that are taken from them after their end, as
//! tar archives. Not where an instance's workspace is, which each engine knows.
//!
//! Nothing of an archive gets outside of a workspace, and nothing from outside gets into an archive:
//! links are never followed, and one that leads outside is left out.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use tar::{Builder, EntryType, Header};
use towpath_model::id::ServiceName;
use towpath_model::port::{FilesTaken, FilesWanted, PortError};
use towpath_model::tree::TreePath;

/// Where the archives are in an environment's directory that its services are given.
const GIVEN: &str = "given";

fn place(environment: &Path, service: &ServiceName) -> PathBuf {
    environment.join(GIVEN).join(service.as_str())
}

/// Keeps archives for a service in an environment's directory. Blocks.
pub(crate) fn give(
    environment: &Path,
    service: &ServiceName,
    archives: &[PathBuf],
) -> Result<(), PortError> {
    let place = place(environment, service);
    let failed = |error: io::Error| PortError::Failed {
        attempted: format!("give files to `{service}`"),
        reason: error.to_string(),
    };
    remove(&place).map_err(failed)?;
    fs::create_dir_all(&place).map_err(failed)?;
    for (index, archive) in archives.iter().enumerate() {
        let own = place.join(format!("{index:04}.tar"));
        // Most often they are on the same file system, where that costs nothing.
        if fs::hard_link(archive, &own).is_err() {
            fs::copy(archive, &own).map_err(failed)?;
        }
    }
    Ok(())
}

/// Forgets all archives that services of an environment are given. Blocks.
pub(crate) fn forget(environment: &Path) -> io::Result<()> {
    remove(&environment.join(GIVEN))
}

fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns the archives that a service is given, in their order.
pub(crate) fn given(environment: &Path, service: &ServiceName) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(place(environment, service)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

/// Takes an archive apart into a workspace. Blocks.
pub(crate) fn unpack(archive: &Path, workspace: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = TreePath::new(&name).map_err(io::Error::other)?;
        let outside = || io::Error::other(format!("`{name}` leads outside"));
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Link => {}
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                if !path.may_link_to(&String::from_utf8_lossy(&target)) {
                    return Err(outside());
                }
            }
            _ => return Err(io::Error::other(format!("`{name}` is no file"))),
        }
        // It looks where the directory of the entry really is.
        if !entry.unpack_in(workspace)? {
            return Err(outside());
        }
    }
    Ok(())
}

/// Why files were not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// They are too large.
    #[error("the files have more than {} MiB together", .0 >> 20)]
    TooLarge(u64),
    /// One cannot be read, or the archive not be written.
    #[error(transparent)]
    Files(#[from] io::Error),
}

impl PackError {
    /// Says what was attempted.
    pub(crate) fn port(self, service: &ServiceName) -> PortError {
        match self {
            Self::TooLarge(_) => PortError::Refused(self.to_string()),
            Self::Files(error) => PortError::Failed {
                attempted: format!("take files from `{service}`"),
                reason: error.to_string(),
            },
        }
    }
}

/// An archive in the making.
pub(crate) struct Packer<'w> {
    builder: Builder<BufWriter<File>>,
    wanted: &'w FilesWanted,
    taken: FilesTaken,
    /// The files that are in it, which hard links may refer to.
    names: BTreeSet<String>,
}

impl<'w> Packer<'w> {
    pub(crate) fn create(archive: &Path, wanted: &'w FilesWanted) -> io::Result<Self> {
        Ok(Self {
            builder: Builder::new(BufWriter::new(File::create(archive)?)),
            wanted,
            taken: FilesTaken::default(),
            names: BTreeSet::new(),
        })
    }

    /// Adds a file, when it is wanted. `content` has `size` bytes, or is filled up with zeros.
    pub(crate) fn file(
        &mut self,
        path: &str,
        (mode, modified): (u32, u64),
        size: u64,
        content: impl Read,
    ) -> Result<(), PackError> {
        if !self.wanted.wants(path) || TreePath::new(path).is_err() {
            return Ok(());
        }
        let bytes = self.taken.bytes.saturating_add(size);
        if bytes > self.wanted.most_bytes {
            return Err(PackError::TooLarge(self.wanted.most_bytes));
        }
        let mut header = header(EntryType::Regular, mode & 0o777, modified);
        header.set_size(size);
        // Whoever still writes to it may make it shorter or longer meanwhile.
        let content = content.chain(io::repeat(0)).take(size);
        self.builder.append_data(&mut header, path, content)?;
        self.names.insert(path.to_owned());
        self.taken.files += 1;
        self.taken.bytes = bytes;
        Ok(())
    }

    /// Adds a symbolic link, when it is wanted and stays inside.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> Result<(), PackError> {
        let inside = TreePath::new(path).is_ok_and(|path| path.may_link_to(target));
        if self.wanted.wants(path) && inside {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            self.builder.append_link(&mut header, path, target)?;
            self.taken.files += 1;
        }
        Ok(())
    }

    /// Adds a further name of a file that is in the archive.
    pub(crate) fn hard_link(&mut self, path: &str, target: &str) -> Result<(), PackError> {
        if self.wanted.wants(path) && self.names.contains(target) {
            let mut header = header(EntryType::Link, 0o644, 0);
            self.builder.append_link(&mut header, path, target)?;
            self.names.insert(path.to_owned());
            self.taken.files += 1;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<FilesTaken, PackError> {
        let mut file = self.builder.into_inner()?;
        file.flush()?;
        file.get_ref().sync_data()?;
        Ok(self.taken)
    }
}

fn header(kind: EntryType, mode: u32, modified: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(modified);
    header.set_size(0);
    header
}

/// Takes what is wanted out of a directory of this machine. Blocks.
pub(crate) fn take(
    workspace: &Path,
    wanted: &FilesWanted,
    archive: &Path,
) -> Result<FilesTaken, PackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, workspace, flags, Mode::empty()).map_err(io::Error::from)?;
    let mut walk = Walk {
        root,
        workspace,
        packer: Packer::create(archive, wanted)?,
        starts: wanted
            .patterns
            .iter()
            .map(|pattern| start(pattern))
            .collect(),
    };
    walk.directory("")?;
    walk.packer.finish()
}

/// Returns the part of a pattern that stands for itself.
fn start(pattern: &str) -> String {
    let parts = pattern.split('/');
    let parts: Vec<&str> = parts
        .take_while(|part| !part.contains(['*', '?']))
        .collect();
    parts.join("/")
}

struct Walk<'w> {
    root: OwnedFd,
    workspace: &'w Path,
    packer: Packer<'w>,
    starts: Vec<String>,
}

impl Walk<'_> {
    fn directory(&mut self, path: &str) -> Result<(), PackError> {
        let mut entries =
            fs::read_dir(self.workspace.join(path))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            // What has no name in UTF-8 cannot be asked for.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            let kind = entry.file_type()?;
            if kind.is_dir() && self.may_have(&path) {
                self.directory(&path)?;
            } else if kind.is_symlink() {
                if let Ok(target) = fs::read_link(entry.path())
                    && let Some(target) = target.to_str()
                {
                    self.packer.symlink(&path, target)?;
                }
            } else if kind.is_file() && self.packer.wanted.wants(&path) {
                self.file(&path)?;
            } else if kind.is_fifo() || kind.is_socket() {
                tracing::debug!(path, "what is no file is not taken");
            }
        }
        Ok(())
    }

    /// Tells whether something below a directory may be wanted.
    fn may_have(&self, directory: &str) -> bool {
        let is_in = |inner: &str, outer: &str| {
            let rest = inner.strip_prefix(outer);
            outer.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut starts = self.starts.iter();
        starts.any(|start| is_in(directory, start) || is_in(start, directory))
    }

    fn file(&mut self, path: &str) -> Result<(), PackError> {
        // What was a file may be a link by now, or be behind one.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let stays = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = openat2(&self.root, path, flags, Mode::empty(), stays);
        let file = match opened {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(()),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(());
        }
        let modified = u64::try_from(metadata.mtime()).unwrap_or(0);
        let size = metadata.len();
        self.packer.file(
            path,
            (metadata.mode(), modified),
            size,
            BufReader::new(file),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn wanted(patterns: &[&str], most_bytes: u64) -> FilesWanted {
        FilesWanted {
            patterns: patterns.iter().map(|&text| text.to_owned()).collect(),
            most_bytes,
        }
    }

    fn names(archive: &Path) -> Vec<String> {
        let mut archive = tar::Archive::new(File::open(archive).unwrap());
        let names = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            String::from_utf8(entry.path_bytes().into_owned()).unwrap()
        });
        names.collect()
    }

    #[test]
    fn what_is_wanted_goes_from_one_workspace_to_another_and_no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir_all(from.join("dist/bin")).unwrap();
        fs::create_dir_all(from.join("other")).unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(place.path().join("secret"), "of the machine").unwrap();
        fs::write(from.join("dist/bin/app"), "program").unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(from.join("dist/bin/app"), mode).unwrap();
        fs::write(from.join("other/a.xml"), "<a/>").unwrap();
        fs::write(from.join("unwanted"), "x").unwrap();
        symlink("bin/app", from.join("dist/app")).unwrap();
        symlink("../../secret", from.join("dist/out")).unwrap();
        symlink(place.path(), from.join("dist/up")).unwrap();
        symlink("../other", from.join("dist/other")).unwrap();
        let archive = place.path().join("a.tar");
        let taken = take(&from, &wanted(&["dist", "**/*.xml"], 1_000), &archive).unwrap();
        let all = ["dist/app", "dist/bin/app", "dist/other", "other/a.xml"];
        assert_eq!(names(&archive), all);
        assert_eq!(
            taken,
            FilesTaken {
                files: 4,
                bytes: 11
            }
        );

        fs::write(to.join("other"), "was a file").unwrap();
        fs::remove_file(to.join("other")).unwrap();
        unpack(&archive, &to).unwrap();
        unpack(&archive, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("dist/app")).unwrap(), "program");
        let mode = fs::metadata(to.join("dist/bin/app")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o755);

        let refused = take(&from, &wanted(&["dist/**"], 6), &archive).unwrap_err();
        assert!(matches!(refused, PackError::TooLarge(6)), "{refused}");
        let none = take(&from, &wanted(&["nothing/**"], 6), &archive).unwrap();
        assert_eq!(none, FilesTaken::default());
    }

    #[test]
    fn an_archive_that_leads_out_of_the_workspace_is_refused() {
        type Entry = (&'static str, EntryType, &'static str);
        let cases: [&[Entry]; 5] = [
            &[("../evil", EntryType::Regular, "")],
            &[("/tmp/evil", EntryType::Regular, "")],
            &[("link", EntryType::Symlink, "../..")],
            &[("pipe", EntryType::Fifo, "")],
            &[("other", EntryType::Link, "../secret")],
        ];
        for case in cases {
            let place = tempfile::tempdir().unwrap();
            let workspace = place.path().join("workspace");
            fs::create_dir(&workspace).unwrap();
            fs::write(place.path().join("secret"), "x").unwrap();
            let mut builder = Builder::new(Vec::new());
            for (name, kind, link) in case {
                let mut header = header(*kind, 0o644, 0);
                let old = header.as_old_mut();
                let mut bytes = old.name.iter_mut().zip(name.bytes());
                bytes.by_ref().for_each(|(to, from)| *to = from);
                let bytes = old.linkname.iter_mut().zip(link.bytes());
                bytes.for_each(|(to, from)| *to = from);
                header.set_cksum();
                builder.append(&header, io::empty()).unwrap();
            }
            let archive = place.path().join("a.tar");
            fs::write(&archive, builder.into_inner().unwrap()).unwrap();
            assert!(unpack(&archive, &workspace).is_err(), "{case:?}");
            assert_eq!(fs::read_dir(&workspace).unwrap().count(), 0, "{case:?}");
        }
    }

    #[test]
    fn archives_are_kept_in_their_order_and_replaced_as_a_whole() {
        let place = tempfile::tempdir().unwrap();
        let service: ServiceName = "job".parse().unwrap();
        let archive = place.path().join("a.tar");
        fs::write(&archive, "x").unwrap();
        assert_eq!(given(place.path(), &service).unwrap().len(), 0);
        let two = [archive.clone(), archive.clone()];
        give(place.path(), &service, &two).unwrap();
        assert_eq!(given(place.path(), &service).unwrap().len(), 2);
        give(place.path(), &service, &[archive]).unwrap();
        assert_eq!(given(place.path(), &service).unwrap().len(), 1);
    }
}
