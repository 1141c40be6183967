//! `include`: other sets of files, each with its own directory and variables, read as if they were a
//! part of this one.

use std::path::Path as FilePath;

use super::{Context, Environment, Loader};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dotenv::{self, Format};
use crate::files::read_source;
use crate::merge::merge_at;
use crate::paths::{absolute, join, parent};
use crate::reset::Resets;
use crate::schema;
use crate::tree::Path;
use crate::yaml::{Entry, Map, Node, Value};

/// What an include may bring.
const SECTIONS: &[&str] = &[
    "services", "jobs", "volumes", "networks", "secrets", "configs", "models",
];

/// How deep files may include files.
const DEPTH: usize = 50;

/// A text and where it stands.
type Placed<'n> = (&'n str, &'n Node);

impl Loader<'_> {
    /// Reads what `document`, from the file at `file`, includes, and puts it under what is there.
    pub(super) fn include(
        &self,
        document: &mut Node,
        file: &str,
        resets: &Resets,
        context: Context<'_>,
    ) -> Result<(), Diagnostics> {
        let removed = document
            .as_map_mut()
            .and_then(|map| map.shift_remove("include"));
        let Some(Entry { node: includes, .. }) = removed else {
            return Ok(());
        };
        if includes.is_null() {
            return Ok(());
        }
        self.warnings
            .borrow_mut()
            .extend(schema::check_includes(&includes)?);
        let mut including = context.including.to_vec();
        including.push(file.to_owned());
        if including.len() > DEPTH {
            let message = format!("files include files more than {DEPTH} deep");
            return Err(Diagnostic::error("too-deep", message)
                .at(&includes.span)
                .into());
        }
        for include in includes.as_list().unwrap_or_default() {
            if let Some(imported) = self.included(include, &including, context)? {
                import(imported, document, resets)?;
            }
        }
        Ok(())
    }

    fn included(
        &self,
        include: &Node,
        including: &[String],
        context: Context<'_>,
    ) -> Result<Option<Node>, Diagnostics> {
        let paths = match include.as_text() {
            Some(text) => vec![(text, include)],
            None => texts(include.get("path")),
        };
        let Some(&(first, place)) = paths.first() else {
            return Ok(None);
        };
        let mut files = Vec::with_capacity(paths.len());
        for (path, place) in &paths {
            refuse_remote(path, place)?;
            files.push(absolute(context.directory, path));
        }
        let main = absolute(context.directory, first);
        if including.contains(&main) {
            let chain: Vec<&str> = including.iter().map(String::as_str).collect();
            let message = format!(
                "`{first}` includes itself: {} -> {main}",
                chain.join(" -> ")
            );
            return Err(Diagnostic::error("include-cycle", message)
                .at(&place.span)
                .into());
        }
        for (file, (_, place)) in files.iter().zip(&paths) {
            self.require(file, place)?;
        }
        let named = include.get("project_directory").and_then(Node::as_text);
        let mut directory = match named {
            None | Some("") => parent(&main),
            Some(directory) => absolute(context.directory, directory),
        };
        let environment = self.include_environment(include, &directory, context)?;
        // As in the reference implementation, what is not a directory stands for the one it lies in.
        if named.is_some_and(|named| !named.is_empty() && !named.starts_with('/'))
            && !self.files.is_dir(FilePath::new(&directory))
        {
            directory = parent(&directory);
        }
        self.model(
            &files,
            Context {
                directory: &directory,
                environment: &environment,
                including,
                // Every include reads a file first, so this number is not one of another include.
                scope: self.reads.get() + 1,
                outer: Some(context.directory),
            },
        )
    }

    /// Refuses a file that does not exist at the place that names it.
    pub(super) fn require(&self, file: &str, place: &Node) -> Result<(), Diagnostics> {
        let path = FilePath::new(file);
        let wrong = if !self.files.exists(path) {
            "does not exist"
        } else if self.files.is_dir(path) {
            "is a directory"
        } else {
            return Ok(());
        };
        Err(
            Diagnostic::error("unreadable-file", format!("the file {file} {wrong}"))
                .at(&place.span)
                .into(),
        )
    }

    /// The variables of the outer files, and under them those of the include's own env files.
    fn include_environment(
        &self,
        include: &Node,
        directory: &str,
        context: Context<'_>,
    ) -> Result<Environment, Diagnostics> {
        let mut files = Vec::new();
        let named = texts(include.get("env_file"));
        if named.is_empty() {
            let default = join(directory, ".env");
            let path = FilePath::new(&default);
            if self.files.exists(path) && !self.files.is_dir(path) {
                files.push(default);
            }
        }
        for (name, place) in named {
            if name != "/dev/null" {
                let file = absolute(context.directory, name);
                self.require(&file, place)?;
                files.push(file);
            }
        }
        let mut found = Environment::new();
        for file in files {
            let source = read_source(self.files, FilePath::new(&file)).map_err(|error| *error)?;
            let lookup = |name: &str| context.environment.get(name).cloned();
            dotenv::read(&source, Format::DotEnv, &lookup, &mut found)?;
        }
        found.extend(context.environment.clone());
        Ok(found)
    }
}

/// Refuses a file that would have to be fetched.
pub(super) fn refuse_remote(path: &str, place: &Node) -> Result<(), Diagnostics> {
    let remote = [
        "https://",
        "http://",
        "git://",
        "ssh://",
        "git@",
        "oci://",
        "github.com/",
    ]
    .iter()
    .any(|prefix| path.starts_with(prefix));
    if !remote {
        return Ok(());
    }
    Err(
        Diagnostic::error("remote-file", format!("`{path}` would have to be fetched"))
            .at(&place.span)
            .help("check it out, and name the file in the working tree")
            .into(),
    )
}

/// Returns a text, or the texts of a list.
fn texts(node: Option<&Node>) -> Vec<Placed<'_>> {
    let Some(node) = node else {
        return Vec::new();
    };
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items
        .iter()
        .filter_map(|item| Some((item.as_text()?, item)))
        .collect()
}

/// Puts `document` over what it includes, element by element.
fn import(imported: Node, document: &mut Node, resets: &Resets) -> Result<(), Diagnostics> {
    let (Value::Map(mut imported), Some(target)) = (imported.value, document.as_map_mut()) else {
        return Ok(());
    };
    for section in SECTIONS {
        let Some(from) = imported.shift_remove(*section) else {
            continue;
        };
        let Value::Map(elements) = from.node.value else {
            continue;
        };
        let into = target
            .entry((*section).to_owned())
            .or_insert_with(|| Entry::new(from.key, Node::new(Value::Null, from.node.span)));
        if into.node.is_null() {
            into.node.value = Value::Map(Map::new());
        }
        let Some(into) = into.node.as_map_mut() else {
            continue;
        };
        for (name, mut element) in elements {
            let Some(over) = into.get_mut(&name) else {
                into.insert(name, element);
                continue;
            };
            resets.apply_to(&mut element.node, &[*section, &name]);
            let null = over.node.here(Value::Null);
            let own = std::mem::replace(&mut over.node, null);
            let mut path = Path::of(&[*section, &name]);
            over.node = merge_at(element.node, own, &mut path)?;
        }
    }
    Ok(())
}
