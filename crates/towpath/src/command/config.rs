//! `towpath config`: the normalised Compose project, as `docker compose config` prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};
use towpath_compose::template::{Variable, variables};
use towpath_compose::{Loaded, RealFiles, load_model, output};
use towpath_model::id::Digest;

use super::print;
use super::project::{load, options};
use super::table::table;
use crate::arguments::{Config, Format};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// Prints it, or one of its parts.
pub(crate) fn run(config: &Config, settings: &Settings) -> Result<ExitCode> {
    if config.variables {
        return print(&list_variables(config, settings)?);
    }
    if config.no_interpolate {
        let model = load_model(&options(&config.files, settings)?, &RealFiles)?;
        return print_document(config, &output::model_to_json(&model));
    }
    let loaded = load(&config.files, settings)?;
    if config.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    match part(config, &loaded)? {
        Some(lines) if lines.is_empty() => Ok(ExitCode::SUCCESS),
        Some(lines) => print(&format!("{}\n", lines.join("\n"))),
        None => print_document(config, &output::to_json(&loaded.project)),
    }
}

fn print_document(config: &Config, document: &Value) -> Result<ExitCode> {
    match config.format {
        Format::Json => print(&format!("{document:#}\n")),
        Format::Yaml => print(&serde_saphyr::to_string(document).context("cannot write YAML")?),
    }
}

/// Returns the lines of the part that is asked for; `None` for the whole.
fn part(config: &Config, loaded: &Loaded) -> Result<Option<Vec<String>>> {
    let project = output::to_json(&loaded.project);
    let lines = if config.services {
        keys(&project, "services")
    } else if config.volumes {
        keys(&project, "volumes")
    } else if config.networks {
        keys(&project, "networks")
    } else if config.images {
        images(&loaded.project.name, &project)
    } else if config.profiles {
        profiles(loaded)
    } else if let Some(service) = &config.hash {
        hashes(&project, service)?
    } else if config.environment {
        loaded
            .environment
            .iter()
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

/// Returns the image of each service; one that is only built is named as Compose names it.
fn images(name: &str, project: &Value) -> Vec<String> {
    map(project, "services")
        .map(|(service, one)| {
            let image = one.get("image").and_then(Value::as_str);
            image.map_or_else(|| format!("{name}-{service}"), str::to_owned)
        })
        .collect()
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

/// Returns the digest of each service, or of one: it changes when the service does.
fn hashes(project: &Value, wanted: &str) -> Result<Vec<String>> {
    let services: Map<String, Value> = map(project, "services")
        .filter(|(name, _)| wanted == "*" || *name == wanted)
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect();
    if services.is_empty() && wanted != "*" {
        let message = format!("there is no service `{wanted}`");
        return Err(Failed::new(Failure::NotFound, message).into());
    }
    let line = |(name, service): (&String, &Value)| {
        format!("{name} {}", Digest::of(service.to_string().as_bytes()))
    };
    Ok(services.iter().map(line).collect())
}

fn list_variables(config: &Config, settings: &Settings) -> Result<String> {
    let model = load_model(&options(&config.files, settings)?, &RealFiles)?;
    let mut found = BTreeMap::new();
    collect(&output::model_to_json(&model), &mut found);
    let rows = found.iter().map(|(name, variable)| {
        vec![
            name.clone(),
            variable.required.to_string(),
            variable.default.clone().unwrap_or_default(),
            variable.replacement.clone().unwrap_or_default(),
        ]
    });
    Ok(format!(
        "{}\n",
        table(
            &["name", "required", "default value", "alternate value"],
            rows
        )
    ))
}

fn collect(value: &Value, found: &mut BTreeMap<String, Variable>) {
    match value {
        Value::String(text) => variables(text, found),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => map.values().for_each(|value| collect(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
