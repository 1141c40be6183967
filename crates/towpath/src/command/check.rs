//! `towpath check`: says whether the Compose files and the delivery file can be deployed, for every
//! environment. Nothing is asked of a control plane.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};
use towpath_compose::{Advice, Diagnostic, Diagnostics, Severity, advise};
use towpath_model::id::EnvironmentName;
use towpath_model::pipeline::plan::all_jobs;

use super::print;
use super::project::{App, delivery, warn};
use crate::arguments::Check;
use crate::exit;
use crate::settings::Settings;

/// Checks every environment, or the one that is named.
pub(crate) fn run(check: &Check, settings: &Settings) -> Result<ExitCode> {
    let outcome = findings(check, settings);
    if check.json {
        return report_json(outcome);
    }
    for (environment, warnings) in outcome? {
        warn(&warnings);
        print(&format!("{environment}: good\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The warnings and notes of each environment.
type Findings = Vec<(EnvironmentName, Vec<Diagnostic>)>;

/// Returns the warnings and notes of each environment.
fn findings(check: &Check, settings: &Settings) -> Result<Findings> {
    let names = if let Some(name) = &check.env {
        vec![name.clone()]
    } else {
        let here = std::env::current_dir()?;
        let names = delivery(&here)?.file.environment_names();
        names.iter().map(ToString::to_string).collect()
    };
    let mut findings = Vec::new();
    for name in names {
        let app = App::open(&check.files, Some(&name), settings)?;
        let mut warnings = app.loaded.warnings.clone();
        warnings.extend(app.render(None)?.warnings);
        warnings.extend(advise(&app.loaded).iter().map(Advice::to_diagnostic));
        findings.push((app.id.name, warnings));
    }
    if check.env.is_none() {
        check_jobs(check, settings)?;
    }
    Ok(findings)
}

/// Refuses jobs that cannot be rendered.
fn check_jobs(check: &Check, settings: &Settings) -> Result<()> {
    let here = std::env::current_dir()?;
    for job in all_jobs(&delivery(&here)?.file) {
        App::open(&check.files, Some(job.like.as_str()), settings)?.check_job(&job)?;
    }
    Ok(())
}

fn report_json(outcome: Result<Findings>) -> Result<ExitCode> {
    let (good, found) = match outcome {
        Ok(findings) => (
            true,
            findings.into_iter().flat_map(|(_, found)| found).collect(),
        ),
        Err(error) => match error.downcast::<Diagnostics>() {
            Ok(diagnostics) => (false, diagnostics.into_vec()),
            Err(error) => return Err(error),
        },
    };
    let found: Vec<Value> = found.iter().map(finding).collect();
    print(&format!(
        "{:#}\n",
        json!({ "good": good, "findings": found })
    ))?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::Failure::Input.code())
    })
}

fn finding(diagnostic: &Diagnostic) -> Value {
    let span = diagnostic.span.as_ref();
    let file = span.map(|span| span.path().display().to_string());
    json!({
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": file.or_else(|| diagnostic.file.as_ref().map(|file| file.display().to_string())),
        "line": span.map(|span| span.start.line),
        "column": span.map(|span| span.start.column),
        "help": diagnostic.help,
    })
}
