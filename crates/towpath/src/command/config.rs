//! `towpath config`: the normalised Compose project, as `docker compose config` prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use towpath_compose::template::{Variable, variables};
use towpath_compose::{
    LoadOptions, Loaded, Project, Step, load, load_model, output, service_digests,
};

use super::print;
use super::project::options;
use super::standard_input::StandardInput;
use super::table::table;
use crate::arguments::{Config, Format};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// Prints it, or one of its parts.
pub(crate) fn run(config: &Config, settings: &Settings) -> Result<ExitCode> {
    refuse_digests(config)?;
    let options = asked(config, settings)?;
    let files = StandardInput::of(&config.files)?;
    let text = text(config, &options, &files)?;
    match &config.output {
        _ if config.quiet => Ok(ExitCode::SUCCESS),
        Some(path) if !text.is_empty() => {
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        _ => print(&text),
    }
}

/// Digests of images are a registry's, and this command asks nobody.
fn refuse_digests(config: &Config) -> Result<()> {
    let flag = match (config.resolve_image_digests, config.lock_image_digests) {
        (true, _) => "--resolve-image-digests",
        (_, true) => "--lock-image-digests",
        (false, false) => return Ok(()),
    };
    let message = format!("{flag} would have to ask a registry, and `towpath config` asks nobody");
    Err(Failed::new(Failure::Input, message)
        .hint("a deployment pins the images of a release by itself")
        .into())
}

fn asked(config: &Config, settings: &Settings) -> Result<LoadOptions> {
    let skipped = [
        (config.no_path_resolution, Step::Paths),
        (config.no_normalize, Step::Normalisation),
        (config.no_consistency, Step::Consistency),
        (config.no_env_resolution, Step::EnvFiles),
    ];
    Ok(LoadOptions {
        services: config.service.clone(),
        skipped: skipped
            .into_iter()
            .filter_map(|(asked, step)| asked.then_some(step))
            .collect(),
        ..options(&config.files, settings)?
    })
}

/// Returns what is asked for, with the end of its last line.
fn text(config: &Config, options: &LoadOptions, files: &StandardInput) -> Result<String> {
    if config.variables {
        return list_variables(config, options, files);
    }
    if config.no_interpolate {
        let model = output::model_to_json(&load_model(options, files)?);
        return if config.services {
            Ok(lines(&keys(&model, "services")))
        } else {
            document(config, &model)
        };
    }
    let loaded = load(options, files)?;
    if let Some(part) = part(config, &loaded)? {
        return Ok(lines(&part));
    }
    match config.format.unwrap_or_default() {
        Format::Json => document(config, &output::to_json(&loaded.project)),
        Format::Yaml => document(config, &output::for_yaml(&loaded.project)),
    }
}

fn document(config: &Config, document: &Value) -> Result<String> {
    match config.format.unwrap_or_default() {
        Format::Json => Ok(format!("{document:#}\n")),
        Format::Yaml => serde_saphyr::to_string(document).context("cannot write YAML"),
    }
}

fn lines(lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        lines => lines.join("\n") + "\n",
    }
}

/// Returns the lines of the part that is asked for; `None` for the whole.
fn part(config: &Config, loaded: &Loaded) -> Result<Option<Vec<String>>> {
    let project = &loaded.project;
    let lines = if config.services {
        in_order(project)
    } else if config.volumes {
        project.volumes.keys().cloned().collect()
    } else if config.networks {
        project.networks.keys().cloned().collect()
    } else if config.models {
        let models = project.models.values();
        models.map(|model| model.model.clone()).collect()
    } else if config.images {
        images(project)
    } else if config.profiles {
        profiles(loaded)
    } else if let Some(services) = &config.hash {
        hashes(&service_digests(project), services)?
    } else if config.environment {
        let variables = loaded.environment.iter();
        variables
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    } else {
        return Ok(None);
    };
    Ok(Some(lines))
}

fn map<'a>(project: &'a Value, part: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    project
        .get(part)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn keys(project: &Value, part: &str) -> Vec<String> {
    map(project, part).map(|(name, _)| name.clone()).collect()
}

/// Returns the names of the services, each behind those that it depends on.
fn in_order(project: &Project) -> Vec<String> {
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    // What is on top waits for what was put above it; a name that is met again is complete.
    let mut open: Vec<(&str, bool)> = Vec::new();
    open.extend(
        project
            .services
            .keys()
            .rev()
            .map(|name| (name.as_str(), false)),
    );
    while let Some((name, complete)) = open.pop() {
        if complete {
            names.push(name.to_owned());
            continue;
        }
        let Some(service) = project.services.get(name) else {
            continue;
        };
        if seen.insert(name) {
            open.push((name, true));
            let needed = service.depends_on.keys().rev();
            open.extend(needed.map(|name| (name.as_str(), false)));
        }
    }
    names
}

/// Returns the images of each service; one that is only built is named as Compose names it.
fn images(project: &Project) -> Vec<String> {
    let mut images = Vec::new();
    for (name, service) in &project.services {
        let built = || format!("{}-{name}", project.name);
        let own = service.image.clone().unwrap_or_else(built);
        let hooks = service.pre_start.iter();
        let others = hooks.filter_map(|hook| hook.image.clone());
        let others: Vec<String> = others.filter(|image| *image != own).collect();
        images.push(own);
        images.extend(others);
    }
    images
}

/// Returns the profiles that any service names, enabled or not.
fn profiles(loaded: &Loaded) -> Vec<String> {
    let services = loaded
        .project
        .services
        .values()
        .chain(loaded.disabled.values());
    let names: BTreeSet<&String> = services.flat_map(|service| &service.profiles).collect();
    names.into_iter().cloned().collect()
}

/// Returns the digest of each service, or of those named between commas: it changes when the
/// service does.
fn hashes(digests: &BTreeMap<String, String>, wanted: &str) -> Result<Vec<String>> {
    let named: Vec<&str> = match wanted {
        "*" => digests.keys().map(String::as_str).collect(),
        named => named.split(',').collect(),
    };
    let mut lines = Vec::new();
    for name in named {
        let Some(digest) = digests.get(name) else {
            let message = format!("there is no service `{name}`");
            return Err(Failed::new(Failure::NotFound, message).into());
        };
        lines.push(format!("{name} {digest}"));
    }
    Ok(lines)
}

fn list_variables(config: &Config, options: &LoadOptions, files: &StandardInput) -> Result<String> {
    // A value that is all variable cannot be judged.
    let mut options = options.clone();
    options.skipped.insert(Step::Schema);
    let model = load_model(&options, files)?;
    let mut found = BTreeMap::new();
    collect(&output::model_to_json(&model), &mut found);
    match config.format {
        None => Ok(variable_table(&found)),
        Some(_) => document(config, &variable_document(&found)),
    }
}

fn variable_table(found: &BTreeMap<String, Variable>) -> String {
    let rows = found.iter().map(|(name, variable)| {
        vec![
            name.clone(),
            variable.required.to_string(),
            variable.default.clone().unwrap_or_default(),
            variable.replacement.clone().unwrap_or_default(),
        ]
    });
    let heads = ["name", "required", "default value", "alternate value"];
    format!("{}\n", table(&heads, rows))
}

fn variable_document(found: &BTreeMap<String, Variable>) -> Value {
    let entry = |(name, variable): (&String, &Variable)| {
        let value = json!({
            "Name": name,
            "DefaultValue": variable.default.clone().unwrap_or_default(),
            "PresenceValue": variable.replacement.clone().unwrap_or_default(),
            "Required": variable.required,
        });
        (name.clone(), value)
    };
    Value::Object(found.iter().map(entry).collect())
}

fn collect(value: &Value, found: &mut BTreeMap<String, Variable>) {
    match value {
        Value::String(text) => variables(text, found),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => map.values().for_each(|value| collect(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use towpath_compose::MemoryFiles;

    use super::*;

    fn loaded(text: &str) -> Loaded {
        let options = LoadOptions {
            working_directory: PathBuf::from("/shop"),
            ..LoadOptions::default()
        };
        load(
            &options,
            &MemoryFiles::default().with("/shop/compose.yaml", text),
        )
        .unwrap()
    }

    #[test]
    fn variables_are_listed_also_where_a_value_is_all_variable() {
        let text = "services: {a: {image: x, pull_policy: \"${POLICY:-always}\"}}";
        let options = LoadOptions {
            working_directory: PathBuf::from("/shop"),
            skipped: [Step::Schema].into(),
            ..LoadOptions::default()
        };
        let files = MemoryFiles::default().with("/shop/compose.yaml", text);
        let mut found = BTreeMap::new();
        let model = load_model(&options, &files).unwrap();
        collect(&output::model_to_json(&model), &mut found);
        let policy = &found["POLICY"];
        assert_eq!(policy.default.as_deref(), Some("always"));
        let strict = LoadOptions {
            skipped: [].into(),
            ..options
        };
        assert!(load_model(&strict, &files).is_err());
    }

    #[test]
    fn services_come_behind_those_that_they_depend_on() {
        let loaded = loaded(
            "services: {a: {image: x, depends_on: [c]}, b: {image: x}, c: {image: x, depends_on: [d]}, d: {image: x}}",
        );
        assert_eq!(in_order(&loaded.project), ["d", "c", "a", "b"]);
    }

    #[test]
    fn images_are_those_of_services_and_of_their_hooks() {
        let loaded = loaded(
            "services: {a: {build: .}, b: {image: x, pre_start: [{command: c, image: y}, {command: d}]}}",
        );
        assert_eq!(images(&loaded.project), ["shop-a", "x", "y"]);
    }

    #[test]
    fn digests_are_of_the_services_that_are_named() {
        let digests = ["a", "b"].map(|name| (name.to_owned(), name.repeat(64)));
        let digests = BTreeMap::from(digests);
        assert_eq!(hashes(&digests, "*").unwrap().len(), 2);
        assert_eq!(
            hashes(&digests, "b").unwrap(),
            [format!("b {}", "b".repeat(64))]
        );
        assert!(hashes(&digests, "a,c").is_err());
    }
}
