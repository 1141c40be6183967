//! Relative paths to absolute ones. Not the reading of what is there.

use std::path::Path as FilePath;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files::Files;
use crate::paths::{absolute, expand_home, is_windows_absolute};
use crate::tree::{Path, Walk, walk};
use crate::yaml::{Node, Value};

/// What paths are relative to.
pub(crate) struct Base<'f> {
    /// The directory.
    pub(crate) directory: &'f str,
    /// The home directory.
    pub(crate) home: Option<&'f str>,
    /// Where symbolic links are looked up.
    pub(crate) files: &'f dyn Files,
}

/// Makes all paths beneath `root` absolute.
pub(crate) fn locate(root: &mut Node, base: &Base<'_>) -> Result<(), Diagnostics> {
    walk(root, &mut Path::default(), &mut |path, node| {
        if let Value::Text(text) = &node.value {
            if let Some(located) = base.text(path, text) {
                node.value = Value::Text(located);
            }
            return Ok(Walk::Past);
        }
        if path.matches("services.*.volumes.*") || path.matches("services.*.pre_start.*.volumes.*")
        {
            base.mount(node)?;
            return Ok(Walk::Past);
        }
        if path.matches("volumes.*") {
            base.volume(node);
            return Ok(Walk::Past);
        }
        Ok(Walk::Into)
    })
}

impl Base<'_> {
    fn text(&self, path: &Path, text: &str) -> Option<String> {
        let is = |pattern| path.matches(pattern);
        if is("services.*.build.context") || is("services.*.build.additional_contexts.*") {
            return (!is_remote_context(text)).then(|| self.absolute(text));
        }
        if is("services.*.extends.file")
            || is("services.*.env_file.*.path")
            || is("services.*.label_file.*")
            || is("services.*.pre_start.*.env_file.*.path")
            || is("services.*.pre_start.*.label_file.*")
        {
            return Some(self.absolute(text));
        }
        if is("services.*.develop.watch.*.path") {
            return Some(self.watched(text));
        }
        if is("services.*.build.ssh.*") || is("configs.*.file") || is("secrets.*.file") {
            return Some(self.unix_or_windows(text));
        }
        None
    }

    fn absolute(&self, text: &str) -> String {
        let text = expand_home(text, self.home);
        if text.is_empty() || text.starts_with('/') {
            text
        } else {
            absolute(self.directory, &text)
        }
    }

    fn unix_or_windows(&self, text: &str) -> String {
        let text = expand_home(text, self.home);
        if text.starts_with('/') || is_windows_absolute(&text) {
            text
        } else {
            absolute(self.directory, &text)
        }
    }

    fn watched(&self, text: &str) -> String {
        let path = self.absolute(text);
        if !path.starts_with('/') {
            return path;
        }
        let real = self.files.canonical(FilePath::new(&path));
        real.to_str().map_or(path, str::to_owned)
    }

    fn mount(&self, node: &mut Node) -> Result<(), Diagnostics> {
        if node.get("type").and_then(Node::as_text) != Some("bind") {
            return Ok(());
        }
        let span = node.span.clone();
        let source = node.as_map_mut().and_then(|map| map.get_mut("source"));
        let Some(source) = source else {
            return Err(
                Diagnostic::error("missing-key", "a bind mount needs `source`")
                    .at(&span)
                    .into(),
            );
        };
        if let Some(text) = source.node.as_text() {
            source.node.value = Value::Text(self.unix_or_windows(text));
        }
        Ok(())
    }

    /// A volume of the local driver may be a bind mount in disguise.
    fn volume(&self, node: &mut Node) {
        if node.get("driver").and_then(Node::as_text) != Some("local") {
            return;
        }
        let options = node.as_map_mut().and_then(|map| map.get_mut("driver_opts"));
        let Some(options) = options.and_then(|entry| entry.node.as_map_mut()) else {
            return;
        };
        let is_bind = options
            .get("o")
            .is_some_and(|option| option.node.as_text() == Some("bind"));
        if let Some(device) = options.get_mut("device").filter(|_| is_bind)
            && let Some(text) = device.node.as_text()
        {
            device.node.value = Value::Text(self.unix_or_windows(text));
        }
    }
}

fn is_remote_context(text: &str) -> bool {
    text.contains("://")
        || ["service:", "github.com/", "git@"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;
    use crate::source::Source;
    use crate::yaml::parse;

    fn located(text: &str) -> String {
        let mut node = parse(&Source::new("c.yaml", text)).unwrap();
        let base = Base {
            directory: "/w/p",
            home: Some("/home/u"),
            files: &MemoryFiles::default(),
        };
        locate(&mut node, &base).unwrap();
        node.to_json().to_string()
    }

    #[test]
    fn paths_become_absolute_and_names_stay() {
        for (text, result) in [
            (
                "services: {a: {build: {context: ../x, dockerfile: D}}}",
                r#"{"services":{"a":{"build":{"context":"/w/x","dockerfile":"D"}}}}"#,
            ),
            (
                "services: {a: {build: {context: 'https://github.com/a/b.git#main'}}}",
                r#"{"services":{"a":{"build":{"context":"https://github.com/a/b.git#main"}}}}"#,
            ),
            (
                "services: {a: {volumes: [{type: bind, source: ~/x}, {type: volume, source: v}]}}",
                r#"{"services":{"a":{"volumes":[{"type":"bind","source":"/home/u/x"},{"type":"volume","source":"v"}]}}}"#,
            ),
            (
                "secrets: {s: {file: ./s.txt}}",
                r#"{"secrets":{"s":{"file":"/w/p/s.txt"}}}"#,
            ),
            (
                "volumes: {v: {driver: local, driver_opts: {o: bind, device: ./d}}}",
                r#"{"volumes":{"v":{"driver":"local","driver_opts":{"o":"bind","device":"/w/p/d"}}}}"#,
            ),
        ] {
            assert_eq!(located(text), result);
        }
    }
}
