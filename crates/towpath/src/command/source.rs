//! The source tree of an app: what of a directory belongs to a release, its digest, its archive.
//! Not how it is unpacked, which is the server's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use ignore::WalkBuilder;
use towpath_api::tree::{ContentHash, EntryKind, Tree, TreePath};
use towpath_model::delivery::Engine;
use towpath_model::id::Digest;

/// A file that says what is not part of a release, as `.gitignore` does.
const IGNORE_FILE: &str = ".towpathignore";

/// What a build of an image leaves out, which processes miss as little. The Docker engine needs it
/// though: a `Dockerfile` and what is mounted are often named in it.
const BUILD_IGNORE_FILE: &str = ".dockerignore";

/// A source tree that was walked: what is in it, and its digest.
#[derive(Debug)]
pub(crate) struct SourceTree {
    root: PathBuf,
    entries: Vec<(TreePath, EntryKind)>,
    /// The digest of the tree.
    pub(crate) digest: Digest,
    /// The digest of each file, of its content and whether it may be executed.
    pub(crate) files: BTreeMap<String, Digest>,
    /// Links that lead outside of the tree: they are left out.
    pub(crate) left_out: Vec<String>,
}

impl SourceTree {
    /// Walks a directory. What `.gitignore` or `.towpathignore` name is left out, for processes what
    /// `.dockerignore` names too, and `.git` and `secret_files`, the files that secrets are read
    /// from, always.
    pub(crate) fn walk(
        root: &Path,
        engine: Engine,
        secret_files: &BTreeSet<PathBuf>,
    ) -> Result<Self> {
        let mut builder = WalkBuilder::new(root);
        builder
            .hidden(false)
            .git_global(false)
            .require_git(false)
            .follow_links(false);
        builder.add_custom_ignore_filename(IGNORE_FILE);
        if engine == Engine::Process {
            builder.add_custom_ignore_filename(BUILD_IGNORE_FILE);
        }
        builder.filter_entry(|entry| entry.file_name() != ".git");
        let mut tree = Tree::default();
        let mut files = BTreeMap::new();
        let mut entries = Vec::new();
        let mut left_out = Vec::new();
        for entry in builder.build() {
            let entry = entry.with_context(|| format!("cannot walk {}", root.display()))?;
            if secret_files.contains(entry.path()) {
                continue;
            }
            let Some((path, kind)) = classify(root, &entry)? else {
                continue;
            };
            if kind == EntryKind::Symlink && !stays(root, &path, entry.path())? {
                left_out.push(path.to_string());
                continue;
            }
            let content = content(entry.path(), kind)?;
            files.insert(path.to_string(), kind.digest(&content));
            tree.insert(path.clone(), kind, content);
            entries.push((path, kind));
        }
        entries.sort();
        Ok(Self {
            root: root.to_owned(),
            entries,
            digest: tree.digest(),
            files,
            left_out,
        })
    }

    /// Writes the tree as a gzip-compressed tar archive to a file that nobody else sees.
    pub(crate) fn archive(&self) -> Result<File> {
        let file = tempfile::tempfile().context("cannot make a temporary file")?;
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        archive.follow_symlinks(false);
        for (path, _) in &self.entries {
            archive
                .append_path_with_name(self.root.join(path.as_str()), path.as_str())
                .with_context(|| format!("cannot read {path}"))?;
        }
        let mut file = archive.into_inner()?.finish()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

fn classify(root: &Path, entry: &ignore::DirEntry) -> Result<Option<(TreePath, EntryKind)>> {
    let Some(kind) = entry.file_type() else {
        return Ok(None);
    };
    let kind = if kind.is_symlink() {
        EntryKind::Symlink
    } else if kind.is_file() {
        EntryKind::of_mode(entry.metadata()?.permissions().mode())
    } else {
        return Ok(None);
    };
    let relative = entry
        .path()
        .strip_prefix(root)
        .context("a walk that left its root")?;
    let Some(text) = relative.to_str() else {
        bail!(
            "{} has a name that is not UTF-8: rename it, or name it in .towpathignore",
            entry.path().display()
        );
    };
    Ok(Some((TreePath::new(text)?, kind)))
}

/// Tells whether a symbolic link leads to something within the tree, or to nothing.
fn stays(root: &Path, at: &TreePath, path: &Path) -> Result<bool> {
    let target =
        std::fs::read_link(path).with_context(|| format!("cannot read {}", path.display()))?;
    let may = target.to_str().is_some_and(|target| at.may_link_to(target));
    let root = root.canonicalize().context("cannot find the source tree")?;
    Ok(may
        && path
            .canonicalize()
            .map_or(true, |end| end.starts_with(&root)))
}

fn content(path: &Path, kind: EntryKind) -> Result<Digest> {
    let cannot = || format!("cannot read {}", path.display());
    if kind == EntryKind::Symlink {
        let target = std::fs::read_link(path).with_context(cannot)?;
        return Ok(Digest::of(target.as_os_str().as_encoded_bytes()));
    }
    let mut file = File::open(path).with_context(cannot)?;
    let mut hash = ContentHash::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut buffer).with_context(cannot)?;
        if length == 0 {
            return Ok(hash.finish());
        }
        hash.update(buffer.get(..length).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_not_part_of_the_tree() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("src/main.py", "print()");
        write(".gitignore", "node_modules/\n");
        write("node_modules/left-pad.js", "x");
        write(".git/HEAD", "ref");
        write(".env", "A=1");
        let tree = SourceTree::walk(directory.path(), Engine::Process, &BTreeSet::new()).unwrap();
        let names: Vec<_> = tree.entries.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, [".env", ".gitignore", "src/main.py"]);
        let before = tree.digest.clone();
        write("node_modules/right-pad.js", "y");
        assert_eq!(
            SourceTree::walk(directory.path(), Engine::Process, &BTreeSet::new())
                .unwrap()
                .digest,
            before
        );
        write("src/main.py", "print(1)");
        assert_ne!(
            SourceTree::walk(directory.path(), Engine::Process, &BTreeSet::new())
                .unwrap()
                .digest,
            before
        );
    }

    #[test]
    fn what_a_build_leaves_out_is_left_in_for_the_docker_engine() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            (".dockerignore", "Dockerfile\n"),
            ("Dockerfile", "FROM base"),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let has = |engine| {
            let tree = SourceTree::walk(directory.path(), engine, &BTreeSet::new()).unwrap();
            tree.files.contains_key("Dockerfile")
        };
        assert!(has(Engine::Docker));
        assert!(!has(Engine::Process));
    }

    #[test]
    fn links_that_lead_outside_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, directory.path().join(name)).unwrap();
        };
        std::fs::write(directory.path().join("file"), "x").unwrap();
        link("file", "inside");
        link("/etc/hostname", "absolute");
        link("../elsewhere", "above");
        let tree = SourceTree::walk(directory.path(), Engine::Process, &BTreeSet::new()).unwrap();
        let names: Vec<_> = tree.entries.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, ["file", "inside"]);
        let mut left_out = tree.left_out;
        left_out.sort();
        assert_eq!(left_out, ["above", "absolute"]);
    }

    #[test]
    fn the_file_of_a_secret_is_never_part_of_the_tree() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("password.txt");
        std::fs::write(&secret, "hunter2").unwrap();
        std::fs::write(directory.path().join("app"), "x").unwrap();
        let tree =
            SourceTree::walk(directory.path(), Engine::Process, &BTreeSet::from([secret])).unwrap();
        let names: Vec<_> = tree.entries.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, ["app"]);
    }
}
