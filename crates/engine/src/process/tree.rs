//! Copies and seals source trees. Not what is built in them.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Copies a tree into a new directory: files with their modes and times, and symbolic links. On
/// file systems that can, the copies share their blocks with the originals. What is neither a
/// file, a directory nor a link is left out.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&source, &target)?;
            // The execute bit is what lets another user pass.
            fs::set_permissions(&target, entry.metadata()?.permissions())?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
            // Build tools compare times: a copy that is younger than what was built is built anew.
            let modified = entry.metadata()?.modified()?;
            let file = File::options().read(true).open(&target)?;
            file.set_times(FileTimes::new().set_modified(modified))?;
        }
    }
    Ok(())
}

/// Takes the right to write away from every file, so that an instance cannot change what others
/// run. Directories stay writable: programs leave caches and pid files beside themselves.
pub(super) fn seal(tree: &Path) -> io::Result<()> {
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            seal(&entry.path())?;
        } else if kind.is_file() {
            let mut permissions = entry.metadata()?.permissions();
            let mode = permissions.mode();
            if mode & 0o222 != 0 {
                permissions.set_mode(mode & !0o222);
                fs::set_permissions(entry.path(), permissions)?;
            }
        }
    }
    Ok(())
}

/// Removes a tree, if it is there.
pub(super) fn remove(tree: &Path) -> io::Result<()> {
    match fs::remove_dir_all(tree) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_files_modes_times_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/run"), "x").unwrap();
        fs::set_permissions(from.join("sub/run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("sub/run", from.join("link")).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("sub/run")
        );
        let (a, b) = (
            from.join("sub/run").metadata().unwrap(),
            to.join("sub/run").metadata().unwrap(),
        );
        assert_eq!(a.modified().unwrap(), b.modified().unwrap());
        assert_eq!(b.permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn sealed_files_are_read_only_and_can_be_removed() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("sub/run"), "x").unwrap();
        seal(&tree).unwrap();
        let mode = tree
            .join("sub/run")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o222, 0);
        remove(&tree).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
