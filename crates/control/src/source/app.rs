//! The app in a source tree: its delivery file, and what it renders to in each environment. Nothing
//! outside of the tree is read, and no variable of the control plane's. Not where the tree is from.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use towpath_compose::{
    Diagnostic, Diagnostics, DirectoryFiles, Files as _, LoadOptions, Loaded, Severity, Source,
};
use towpath_model::delivery::{Delivery, FILE_NAME};
use towpath_model::id::{AppName, Digest, EnvironmentName};
use towpath_model::pipeline::cache::Identity;
use towpath_model::pipeline::endpoint::Endpoint;
use towpath_model::pipeline::project::{self, JobInputs, place_of};
use towpath_model::pipeline::run::Job;
use towpath_model::render::{self, Draft, RenderInputs, Rendered, wanted_files};
use towpath_model::tree::{ContentHash, EntryKind};

/// The app in a source tree. What it does blocks.
#[derive(Debug)]
pub struct AppTree {
    app: AppName,
    files: DirectoryFiles,
    delivery: Delivery,
    source: Digest,
    entries: BTreeMap<String, Digest>,
}

/// Why the app in a source tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AppTreeError {
    /// What its author wrote is wrong.
    #[error("{0}")]
    Invalid(#[from] Diagnostics),
    /// The disk did not give it.
    #[error("cannot read the source tree {}", path.display())]
    Files {
        /// The tree.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl AppTree {
    /// Opens the tree with this digest in a directory. Its delivery file must be sound, and of this
    /// app.
    pub fn open(app: &AppName, directory: &Path, source: Digest) -> Result<Self, AppTreeError> {
        let unreadable = |error| AppTreeError::Files {
            path: directory.to_owned(),
            source: error,
        };
        let files = DirectoryFiles::new(directory).map_err(unreadable)?;
        let delivery = delivery(&files).map_err(|found| shown(found, files.root()))?;
        if let Some(named) = &delivery.file.app
            && named != app
        {
            let message = format!("this is the app `{named}`, and it was pushed to `{app}`");
            let wrong = Diagnostic::error("another-app", message)
                .at_maybe(delivery.span(&["app"]))
                .help("push to the repository of that name, or leave `app` out");
            return Err(Diagnostics::from(wrong).into());
        }
        let mut entries = BTreeMap::new();
        walk(files.root(), "", &mut entries).map_err(unreadable)?;
        Ok(Self {
            app: app.clone(),
            files,
            delivery,
            source,
            entries,
        })
    }

    /// Returns the delivery file.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Renders the app for one environment.
    pub fn render(&self, environment: &EnvironmentName) -> Result<Rendered, Diagnostics> {
        self.try_render(environment)
            .map_err(|found| shown(found, self.files.root()))
    }

    /// Renders the app for every environment of its delivery file. Returns what is unwise in it; fails
    /// with all that is wrong, each said once.
    pub fn check(&self) -> Result<Vec<Diagnostic>, Diagnostics> {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for environment in self.delivery.file.environment_names() {
            let found = match self.render(&environment) {
                Ok(rendered) => rendered.warnings,
                Err(found) => found.into_vec(),
            };
            for one in found {
                let known = match one.severity {
                    Severity::Error => &mut errors,
                    Severity::Warning | Severity::Note => &mut warnings,
                };
                if !known.contains(&one) {
                    known.push(one);
                }
            }
        }
        Diagnostics::check(errors)?;
        Ok(warnings)
    }

    /// Returns what the cache of a job is called by, where it has one.
    pub fn cache_of(&self, job: &Job) -> Option<Identity> {
        project::cache_of(&self.delivery, &self.entries, job)
    }

    /// Renders the environment of a job, which is given these variables and looks at this environment.
    pub fn render_job(
        &self,
        job: &Job,
        variables: &BTreeMap<String, String>,
        target: Option<&Endpoint>,
    ) -> Result<Draft, Diagnostics> {
        self.try_render_job(job, variables, target)
            .map_err(|found| shown(found, self.files.root()))
    }

    fn try_render_job(
        &self,
        job: &Job,
        variables: &BTreeMap<String, String>,
        target: Option<&Endpoint>,
    ) -> Result<Draft, Diagnostics> {
        let missing = || {
            let message = format!("there is no job `{}`", job.name);
            Diagnostics::from(Diagnostic::error("unknown-name", message))
        };
        let loaded = self.load(&job.like)?;
        project::draft(&JobInputs {
            files: &self.wanted(&loaded)?,
            loaded: &loaded,
            delivery: &self.delivery,
            like: &job.like,
            place: place_of(&self.delivery, job).ok_or_else(missing)?,
            variant: &job.variant,
            variables,
            target,
            source: &self.source,
            tree: &self.entries,
        })
    }

    fn load(&self, environment: &EnvironmentName) -> Result<Loaded, Diagnostics> {
        let options = LoadOptions {
            working_directory: self.files.root().to_owned(),
            default_name: Some(self.app.to_string()),
            ..LoadOptions::default()
        };
        render::load(&self.delivery, environment, options, &self.files)
    }

    fn try_render(&self, environment: &EnvironmentName) -> Result<Rendered, Diagnostics> {
        let loaded = self.load(environment)?;
        let mut rendered = render::render(&RenderInputs {
            loaded: &loaded,
            delivery: &self.delivery,
            environment,
            source: Some(self.source.clone()),
            tree: &self.entries,
            files: &self.wanted(&loaded)?,
        })?;
        rendered.warnings.extend(loaded.warnings);
        let root = self.files.root();
        rendered.warnings = relative(&rendered.warnings, root);
        Ok(rendered)
    }

    /// Reads the files whose content a rendering needs.
    fn wanted(&self, loaded: &Loaded) -> Result<BTreeMap<String, String>, Diagnostics> {
        let mut contents = BTreeMap::new();
        for path in wanted_files(&loaded.project) {
            let unreadable = |reason: String| {
                let message = format!("the config file cannot be read: {reason}");
                Diagnostics::from(Diagnostic::error("unreadable-file", message).in_file(&path))
            };
            let bytes = self.files.read(Path::new(&path));
            let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
            let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
            contents.insert(path, text);
        }
        Ok(contents)
    }
}

/// Reads the delivery file; the default one where there is none.
fn delivery(files: &DirectoryFiles) -> Result<Delivery, Diagnostics> {
    let path = files.root().join(FILE_NAME);
    if !files.exists(&path) {
        return Ok(Delivery::default());
    }
    let unreadable = |reason: String| {
        let message = format!("the file cannot be read: {reason}");
        Diagnostics::from(Diagnostic::error("unreadable-file", message).in_file(FILE_NAME))
    };
    let bytes = files
        .read(&path)
        .map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
    Delivery::parse(&Source::new(FILE_NAME, text))
}

/// Notes the digest of everything below a directory of the tree, as a client does that uploads one.
fn walk(root: &Path, below: &str, entries: &mut BTreeMap<String, Digest>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        // A tree has only names in UTF-8.
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let path = if below.is_empty() {
            name
        } else {
            format!("{below}/{name}")
        };
        let kind = entry.file_type()?;
        let digest = if kind.is_dir() {
            walk(root, &path, entries)?;
            continue;
        } else if kind.is_symlink() {
            let target = std::fs::read_link(entry.path())?;
            EntryKind::Symlink.digest(&Digest::of(target.as_os_str().as_encoded_bytes()))
        } else {
            let mode = entry.metadata()?.permissions().mode();
            let file = std::fs::File::open(entry.path())?;
            EntryKind::of_mode(mode).digest(&content(file)?)
        };
        entries.insert(path, digest);
    }
    Ok(())
}

/// Returns the digest of all that a reader gives.
pub(crate) fn content(mut file: impl io::Read) -> io::Result<Digest> {
    let mut hash = ContentHash::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hash.finish());
        }
        hash.update(buffer.get(..length).unwrap_or_default());
    }
}

fn relative(found: &[Diagnostic], root: &Path) -> Vec<Diagnostic> {
    found.iter().map(|one| one.relative_to(root)).collect()
}

/// Shows places as one would name them in the tree.
fn shown(found: Diagnostics, root: &Path) -> Diagnostics {
    match Diagnostics::check(relative(&found.clone().into_vec(), root)) {
        Err(shown) => shown,
        Ok(()) => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn open(directory: &tempfile::TempDir) -> Result<AppTree, AppTreeError> {
        let app = "shop".parse().unwrap();
        AppTree::open(&app, directory.path(), Digest::of(b"tree"))
    }

    fn errors(directory: &tempfile::TempDir) -> String {
        match open(directory) {
            Ok(tree) => tree.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }

    const WEB: &str = "services: { web: { image: busybox, command: [httpd] } }\n";

    #[test]
    fn a_sound_app_renders_for_all_of_its_environments() {
        let two = "app: shop\nenvironments: { dev: {}, staging: {} }\n";
        let directory = tree(&[("compose.yaml", WEB), ("towpath.yaml", two)]);
        let tree = open(&directory).unwrap();
        tree.check().unwrap();
        let staging = "staging".parse().unwrap();
        let draft = tree.render(&staging).unwrap().draft;
        assert!(draft.services.contains_key(&"web".parse().unwrap()));
    }

    #[test]
    fn what_is_wrong_is_said_once_with_its_place_in_the_tree() {
        let bad = "services:\n  web:\n    image: busybox\n    comand: [httpd]\n";
        let two = "environments: { dev: {}, staging: {} }\n";
        let directory = tree(&[("compose.yaml", bad), ("towpath.yaml", two)]);
        let found = errors(&directory);
        assert!(found.starts_with("compose.yaml:4:5: error: "), "{found}");
        assert_eq!(found.lines().count(), 1, "{found}");

        let bad = "environments:\n  dev: { engin: docker }\n";
        let directory = tree(&[("compose.yaml", WEB), ("towpath.yaml", bad)]);
        let found = errors(&directory);
        assert!(found.starts_with("towpath.yaml:2:10: error: "), "{found}");
    }

    #[test]
    fn a_tree_of_another_app_is_refused() {
        let directory = tree(&[("compose.yaml", WEB), ("towpath.yaml", "app: other\n")]);
        let found = errors(&directory);
        assert!(found.starts_with("towpath.yaml:1:"), "{found}");
    }

    #[test]
    fn nothing_outside_of_the_tree_is_read() {
        let outside = tree(&[("stolen.env", "KEY=stolen\n")]);
        let path = outside.path().join("stolen.env");
        let path = path.to_str().unwrap();
        for reach in [
            format!("services: {{ web: {{ image: x, env_file: [\"{path}\"] }} }}\n"),
            format!("include: [\"{path}\"]\n{WEB}"),
            format!("services: {{ web: {{ extends: {{ file: \"{path}\", service: web }} }} }}\n"),
        ] {
            let directory = tree(&[("compose.yaml", &reach)]);
            let found = errors(&directory);
            assert!(!found.contains("KEY"), "{found}");
        }
        let directory = tree(&[("compose.yaml", WEB)]);
        std::os::unix::fs::symlink(path, directory.path().join(".env")).unwrap();
        let loaded = open(&directory).unwrap();
        let dev = "dev".parse().unwrap();
        let draft = loaded.render(&dev).unwrap().draft;
        assert!(!format!("{draft:?}").contains("stolen"));
    }
}
