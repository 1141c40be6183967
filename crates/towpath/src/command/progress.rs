//! How a deployment is watched: live for people, a line for each change for logs, JSON for
//! programs. Ctrl-C ends the watching, never the deployment.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use towpath_api::client::Client;
use towpath_api::{Deployment, DeploymentState, Failure as ApiFailure, Progress, ServiceProgress};
use towpath_model::id::EnvironmentId;

use crate::arguments::Wait;
use crate::exit::Failure;

/// Watches a deployment until what `wait` asks for, and returns the exit code.
pub(crate) async fn watch(
    client: &Client,
    id: &EnvironmentId,
    number: u32,
    wait: Wait,
    json: bool,
) -> Result<ExitCode> {
    let mut stream = client.progress(id, number).await?;
    let mut screen = Screen::new(json);
    loop {
        let next = tokio::select! {
            next = stream.next() => next?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen for Ctrl-C")?;
                screen.end();
                screen.say(&format!("deployment {number} goes on; watch it with towpath status"));
                return Ok(ExitCode::from(130));
            }
        };
        let Some(progress) = next else {
            anyhow::bail!("the control plane stopped telling of deployment {number}; it goes on");
        };
        screen.show(&progress)?;
        if let Some(code) = verdict(&progress.deployment, wait) {
            screen.end();
            conclude(&screen, &progress.deployment);
            return Ok(code);
        }
    }
}

/// Returns the exit code once what was waited for is known.
fn verdict(deployment: &Deployment, wait: Wait) -> Option<ExitCode> {
    use DeploymentState as State;
    match deployment.state {
        // Draining: the stable release changed hands; what is left is to clear away the old one.
        State::Succeeded | State::Draining => Some(ExitCode::SUCCESS),
        State::Failed
        | State::RolledBack
        | State::Aborted
        | State::Superseded
        | State::RollbackFailed => Some(ExitCode::from(Failure::Operation.code())),
        State::Baking if wait == Wait::Traffic => Some(ExitCode::SUCCESS),
        State::Paused if deployment.pause.as_ref().is_some_and(needs_a_person) => {
            Some(ExitCode::from(Failure::Operation.code()))
        }
        State::Queued
        | State::Preparing
        | State::Provisioning
        | State::Shifting
        | State::Baking
        | State::Paused
        | State::RollingBack => None,
    }
}

fn needs_a_person(pause: &towpath_api::Pause) -> bool {
    pause.reason == towpath_api::PauseReason::Failed
}

/// Says how it ended.
fn conclude(screen: &Screen, deployment: &Deployment) {
    let Deployment {
        number,
        release,
        environment,
        ..
    } = deployment;
    match &deployment.failure {
        None => {
            let took = deployment
                .shifted_at
                .map(|at| at.duration_since(deployment.requested_at));
            let took = took.map_or_else(String::new, |took| {
                format!(" after {:.2} s", took.as_secs_f64())
            });
            let text = format!(
                "release {release} has all the traffic of {environment}{took} (deployment {number})"
            );
            screen.say(&text);
        }
        Some(failure) => {
            let state = deployment.state.words();
            screen.say(&format!(
                "deployment {number} of release {release} to {environment}: {state}"
            ));
            explain(screen, failure);
        }
    }
}

fn explain(screen: &Screen, failure: &ApiFailure) {
    screen.say(&format!("  because: {}", failure.reason));
    if !failure.log_tail.is_empty() {
        let service = failure.service.as_deref().unwrap_or("it");
        screen.say(&format!("  the last lines of {service}:"));
        for line in &failure.log_tail {
            screen.say(&format!("    {line}"));
        }
    }
}

/// Where progress is shown.
struct Screen {
    json: bool,
    bar: Option<ProgressBar>,
    last: String,
}

impl Screen {
    fn new(json: bool) -> Self {
        let live = !json && std::io::stderr().is_terminal();
        let bar = live.then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            json,
            bar,
            last: String::new(),
        }
    }

    fn show(&mut self, progress: &Progress) -> Result<()> {
        if self.json {
            let line = serde_json::to_string(progress).context("cannot write JSON")?;
            // A reader that went away does not stop the deployment.
            drop(writeln!(std::io::stdout(), "{line}"));
            return Ok(());
        }
        let line = describe(progress);
        if line == self.last {
            return Ok(());
        }
        match &self.bar {
            Some(bar) => bar.set_message(line.clone()),
            None => self.say(&line),
        }
        self.last = line;
        Ok(())
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        if !self.json {
            // Nobody is left to be told when the output is closed.
            drop(writeln!(std::io::stdout(), "{text}"));
        }
    }
}

/// Writes a moment of a deployment on one line.
fn describe(progress: &Progress) -> String {
    let deployment = &progress.deployment;
    let services: Vec<String> = progress
        .services
        .iter()
        .filter(|service| !service.unchanged)
        .map(describe_service)
        .collect();
    let mut line = format!("{:<12}", deployment.state.words());
    if let Some(pause) = &deployment.pause {
        line.push_str(&format!(" {}", pause.detail));
    }
    if !services.is_empty() {
        line.push_str(&format!(" {}", services.join("  ")));
    }
    if let Some(fault) = &progress.engine_fault {
        line.push_str(&format!("  waiting: {fault}"));
    }
    line
}

fn describe_service(service: &ServiceProgress) -> String {
    if service.wanted == 0 {
        return service.service.clone();
    }
    let mut text = format!("{} {}/{}", service.service, service.healthy, service.wanted);
    if let Some(percent) = service.traffic_percent {
        text.push_str(&format!(" {percent:.0}%"));
    }
    if service.failures > 0 {
        text.push_str(&format!(" ({} failed)", service.failures));
    }
    text
}
