//! Gathers what a build may see: the context of the source tree without what `.dockerignore` names,
//! and the Dockerfile; as a list, or as a tar. Not the rules of that file ([`super::ignore`]).

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write as _};
use std::path::{Component, Path, PathBuf};

use tar::{Builder, EntryType, Header};
use towpath_model::container::ImageBuild;

use super::ignore::Ignore;

/// The name of a Dockerfile that is not a file of the context.
const GIVEN: &str = ".towpath.dockerfile";

/// What is sent to Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    /// The tar.
    pub(super) path: PathBuf,
    /// The Dockerfile in it.
    pub(super) dockerfile: String,
}

/// What a build may see.
#[derive(Debug)]
pub(super) struct Survey {
    /// What is in the context, in the order of a walk: a directory before what is in it.
    pub(super) found: Vec<Found>,
    /// The name and the text of the Dockerfile.
    pub(super) dockerfile: (String, Vec<u8>),
}

/// A file, directory or symbolic link of a context.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path in the context.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
    /// Where a symbolic link leads.
    pub(super) link: Option<String>,
}

/// Lists the context of a build. `tree` is the source tree.
pub(super) fn survey(tree: Option<&Path>, recipe: &ImageBuild) -> Result<Survey, String> {
    let root = root(tree, recipe)?;
    let (named, ignore) = rules(root.as_deref(), recipe)?;
    let mut found = Vec::new();
    if let Some(root) = &root {
        walk(root, Path::new(""), &ignore, &mut Vec::new(), &mut found)
            .map_err(|error| format!("cannot list the context: {error}"))?;
    }
    let text = match dockerfile(root.as_deref(), tree, recipe, &named)? {
        Dockerfile::Text(text) => text,
        Dockerfile::Inside(path) => {
            fs::read(path).map_err(|error| format!("cannot read `{named}`: {error}"))?
        }
    };
    let name = named.rsplit('/').next().unwrap_or(&named).to_owned();
    Ok(Survey {
        found,
        dockerfile: (name, text),
    })
}

/// Adds what is in a directory, which is `inner` from the root, each with the directories above it
/// that are ignored themselves and wait in `above`.
fn walk(
    root: &Path,
    inner: &Path,
    ignore: &Ignore,
    above: &mut Vec<Found>,
    found: &mut Vec<Found>,
) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(inner))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let inner = inner.join(entry.file_name());
        let name = inner.to_string_lossy().into_owned();
        let metadata = entry.metadata()?;
        let is_ignored = ignore.is_ignored(&name);
        let is_directory = metadata.is_dir();
        if (is_ignored && !is_directory)
            || !(is_directory || metadata.is_file() || metadata.is_symlink())
        {
            continue;
        }
        let link = metadata.is_symlink().then(|| fs::read_link(entry.path()));
        let one = Found {
            name,
            path: entry.path(),
            metadata,
            link: link
                .transpose()?
                .map(|link| link.to_string_lossy().into_owned()),
        };
        above.push(one);
        if !is_ignored {
            found.append(above);
        }
        if is_directory && (!is_ignored || ignore.may_have_exceptions(&[])) {
            walk(root, &inner, ignore, above, found)?;
        }
        // It had nothing that is wanted.
        if is_ignored {
            above.pop_if(|last| last.path == entry.path());
        }
    }
    Ok(())
}

/// Returns the directory of the context; none where the Dockerfile needs none.
fn root(tree: Option<&Path>, recipe: &ImageBuild) -> Result<Option<PathBuf>, String> {
    let root = match tree {
        Some(tree) => Some(inside(tree, &recipe.context)?),
        None if recipe.dockerfile_inline.is_some() => None,
        None => return Err("the release has no source tree to build from".to_owned()),
    };
    if let Some(root) = root.as_deref().filter(|root| !root.is_dir()) {
        return Err(format!(
            "the context {} is not a directory",
            shown(root, tree)
        ));
    }
    Ok(root)
}

/// Returns the path of the Dockerfile from the context, and what is ignored with it.
fn rules(root: Option<&Path>, recipe: &ImageBuild) -> Result<(String, Ignore), String> {
    let named = clean(recipe.dockerfile.as_deref().unwrap_or("Dockerfile"));
    let ignore = match root {
        Some(root) => Ignore::read(root, &named)
            .map_err(|error| format!("cannot read what is ignored: {error}"))?,
        None => Ignore::default(),
    };
    Ok((named, ignore))
}

/// Where the Dockerfile is.
enum Dockerfile {
    /// It is no file of the context.
    Text(Vec<u8>),
    /// It is this one.
    Inside(PathBuf),
}

fn dockerfile(
    root: Option<&Path>,
    tree: Option<&Path>,
    recipe: &ImageBuild,
    named: &str,
) -> Result<Dockerfile, String> {
    if let Some(text) = &recipe.dockerfile_inline {
        return Ok(Dockerfile::Text(text.clone().into_bytes()));
    }
    let (Some(root), Some(tree)) = (root, tree) else {
        return Err("there is no Dockerfile".to_owned());
    };
    if named.starts_with("../") {
        // It is beside the context, which Docker allows.
        let path = normal(&root.join(named));
        if !path.starts_with(normal(tree)) {
            return Err(format!(
                "the Dockerfile `{named}` is outside of the source tree"
            ));
        }
        let text = fs::read(&path).map_err(|error| format!("cannot read `{named}`: {error}"))?;
        return Ok(Dockerfile::Text(text));
    }
    let path = root.join(named);
    if !path.is_file() {
        return Err(format!(
            "there is no Dockerfile `{named}` in {}",
            shown(root, Some(tree))
        ));
    }
    Ok(Dockerfile::Inside(path))
}

/// Writes the context of a build to a file. `tree` is the source tree.
pub(super) fn gather(
    tree: Option<&Path>,
    recipe: &ImageBuild,
    to: &Path,
) -> Result<Context, String> {
    let root = root(tree, recipe)?;
    let file = File::create(to).map_err(|error| format!("cannot write the context: {error}"))?;
    let mut tar = Builder::new(BufWriter::new(file));
    tar.follow_symlinks(false);
    let dockerfile = write(&mut tar, root.as_deref(), tree, recipe)?;
    let done = tar.into_inner().and_then(|mut writer| writer.flush());
    done.map_err(|error| format!("cannot write the context: {error}"))?;
    Ok(Context {
        path: to.to_owned(),
        dockerfile,
    })
}

type Tar = Builder<BufWriter<File>>;

fn write(
    tar: &mut Tar,
    root: Option<&Path>,
    tree: Option<&Path>,
    recipe: &ImageBuild,
) -> Result<String, String> {
    let failed = |error: io::Error| format!("cannot gather the context: {error}");
    let (named, ignore) = rules(root, recipe)?;
    if let Some(root) = root {
        let always = [named.as_str(), ".dockerignore"];
        add_directory(tar, root, Path::new(""), &ignore, &always).map_err(failed)?;
    }
    match dockerfile(root, tree, recipe, &named)? {
        Dockerfile::Text(text) => {
            add_text(tar, &text).map_err(failed)?;
            Ok(GIVEN.to_owned())
        }
        Dockerfile::Inside(_) => Ok(named),
    }
}

fn add_text(tar: &mut Tar, text: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(u64::try_from(text.len()).unwrap_or_default());
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Regular);
    tar.append_data(&mut header, GIVEN, text)
}

/// Adds what is in a directory, which is `inner` from the root. A directory that is ignored is
/// walked all the same where an exception may be in it.
fn add_directory(
    tar: &mut Tar,
    root: &Path,
    inner: &Path,
    ignore: &Ignore,
    always: &[&str],
) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(inner))?.collect::<io::Result<Vec<_>>>()?;
    // The same tree makes the same tar, so that Docker finds its layers again.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = inner.join(entry.file_name());
        let text = name.to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        let wanted = always.contains(&text.as_str()) || !ignore.is_ignored(&text);
        if kind.is_dir() {
            if wanted {
                append(tar, &entry.path(), &name)?;
            }
            if wanted || ignore.may_have_exceptions(always) {
                add_directory(tar, root, &name, ignore, always)?;
            }
        } else if wanted && (kind.is_file() || kind.is_symlink()) {
            append(tar, &entry.path(), &name)?;
        }
    }
    Ok(())
}

/// Adds one entry, owned by root and without its times, as Docker compares it.
fn append(tar: &mut Tar, path: &Path, name: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let mut header = Header::new_gnu();
    header.set_metadata(&metadata);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    if metadata.is_symlink() {
        header.set_size(0);
        return tar.append_link(&mut header, name, fs::read_link(path)?);
    }
    if metadata.is_dir() {
        header.set_size(0);
        return tar.append_data(&mut header, name, io::empty());
    }
    tar.append_data(&mut header, name, File::open(path)?)
}

/// Returns a path of the tree, which cannot lead out of it.
fn inside(tree: &Path, relative: &str) -> Result<PathBuf, String> {
    if relative.contains("://") || relative.starts_with("git@") {
        return Err(format!(
            "the context `{relative}` is not in the source tree"
        ));
    }
    let path = normal(&tree.join(relative));
    if path.starts_with(normal(tree)) {
        Ok(path)
    } else {
        Err(format!(
            "the context `{relative}` is outside of the source tree"
        ))
    }
}

/// Takes `.` and `..` out of a path.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// Writes a relative path without what means nothing.
fn clean(path: &str) -> String {
    let path = path.trim_start_matches("./");
    normal_relative(path)
}

fn normal_relative(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

fn shown(path: &Path, tree: Option<&Path>) -> String {
    let relative = tree.and_then(|tree| path.strip_prefix(tree).ok());
    match relative.map(|path| path.display().to_string()) {
        Some(path) if path.is_empty() => "the source tree".to_owned(),
        Some(path) => format!("`{path}`"),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn gathered(tree: &Path, recipe: &ImageBuild) -> Result<(String, Vec<String>), String> {
        let to = tempfile::tempdir().unwrap();
        let context = gather(Some(tree), recipe, &to.path().join("c.tar"))?;
        let mut archive = tar::Archive::new(File::open(context.path).unwrap());
        let mut names: Vec<String> = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            names.push(entry.path().unwrap().to_string_lossy().into_owned());
        }
        names.sort();
        Ok((context.dockerfile, names))
    }

    fn recipe(context: &str) -> ImageBuild {
        ImageBuild {
            context: context.to_owned(),
            ..ImageBuild::default()
        }
    }

    #[test]
    fn what_is_ignored_is_not_sent_but_for_the_dockerfile() {
        let tree = tree(&[
            ("app/Dockerfile", ""),
            ("app/.dockerignore", "*\n!src\nsrc/secret\n"),
            ("app/src/main", ""),
            ("app/src/secret", ""),
            ("app/target/big", ""),
            ("other/file", ""),
        ]);
        let (dockerfile, names) = gathered(tree.path(), &recipe("app")).unwrap();
        assert_eq!(dockerfile, "Dockerfile");
        assert_eq!(names, [".dockerignore", "Dockerfile", "src", "src/main"]);
    }

    #[test]
    fn a_list_has_the_directories_of_exceptions_and_nothing_else_that_is_ignored() {
        let tree = tree(&[
            ("Dockerfile", "FROM x"),
            (".dockerignore", "*\n!a/b/c\n!z\n"),
            ("a/b/c", ""),
            ("a/b/d", ""),
            ("a/e/f", ""),
            ("m/n", ""),
            ("z/y", ""),
        ]);
        let survey = survey(Some(tree.path()), &recipe(".")).unwrap();
        let names: Vec<&str> = survey.found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "z", "z/y"]);
        assert_eq!(
            survey.dockerfile,
            ("Dockerfile".to_owned(), b"FROM x".to_vec())
        );
    }

    #[test]
    fn a_list_is_of_what_a_tar_would_have_and_fails_as_it() {
        let tree = tree(&[("docker/web", "FROM x"), ("web/index", "hello")]);
        let mut beside = recipe("./web");
        beside.dockerfile = Some("../docker/web".to_owned());
        let found = survey(Some(tree.path()), &beside).unwrap();
        assert_eq!(found.dockerfile, ("web".to_owned(), b"FROM x".to_vec()));
        assert_eq!(found.found.len(), 1);
        beside.dockerfile = None;
        let missing = survey(Some(tree.path()), &beside).unwrap_err();
        assert!(missing.contains("`Dockerfile`") && missing.contains("`web`"));
        assert!(survey(Some(tree.path()), &recipe("..")).is_err());
    }

    #[test]
    fn a_dockerfile_may_be_beside_the_context_but_not_outside_of_the_tree() {
        let tree = tree(&[("docker/web", "FROM x"), ("web/index", "")]);
        let mut beside = recipe("./web");
        beside.dockerfile = Some("../docker/web".to_owned());
        let (dockerfile, names) = gathered(tree.path(), &beside).unwrap();
        assert_eq!(dockerfile, GIVEN);
        assert_eq!(names, [GIVEN, "index"]);
        beside.dockerfile = Some("../../web".to_owned());
        assert!(
            gathered(tree.path(), &beside)
                .unwrap_err()
                .contains("outside")
        );
    }

    #[test]
    fn a_context_cannot_lead_out_of_the_tree() {
        let tree = tree(&[("Dockerfile", "")]);
        for context in ["..", "../x", "a/../../x", "/etc", "https://host/x.git"] {
            assert!(
                gathered(tree.path(), &recipe(context)).is_err(),
                "{context}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let tree = tree(&[("app/file", "")]);
        let missing = gathered(tree.path(), &recipe("app")).unwrap_err();
        assert!(
            missing.contains("`Dockerfile`") && missing.contains("`app`"),
            "{missing}"
        );
        let missing = gathered(tree.path(), &recipe("web")).unwrap_err();
        assert!(missing.contains("`web`"), "{missing}");
    }

    #[test]
    fn an_inline_dockerfile_needs_no_tree() {
        let to = tempfile::tempdir().unwrap();
        let inline = ImageBuild {
            dockerfile_inline: Some("FROM scratch".to_owned()),
            args: BTreeMap::new(),
            ..ImageBuild::default()
        };
        let context = gather(None, &inline, &to.path().join("c.tar")).unwrap();
        assert_eq!(context.dockerfile, GIVEN);
    }
}
