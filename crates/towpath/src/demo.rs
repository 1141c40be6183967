//! `towpath demo`: the whole story of an app on this machine, told as it happens, with what it
//! measured. It drives the same program that users type, from the outside. Not a test: it shows,
//! and ends with a table. The story is the same on every engine.

mod act;
mod answer;
mod cast;
mod command_line;
mod docker;
mod process;
mod report;
mod side_by_side;
mod stage;
mod story;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use towpath_model::delivery::Engine;

use report::Report;
use stage::Stage;

/// What the demo was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// What the app runs on.
    pub(crate) engine: Engine,
    /// Print the outcome as JSON, and nothing of the story.
    pub(crate) json: bool,
    /// Leave the directory behind, with everything stopped.
    pub(crate) keep: bool,
}

/// Tells the story. The exit code is 1 when an act ended otherwise than it should.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let teller = report::Teller::new(options.json);
    let cast = cast::choose(options.engine).await?;
    teller.title(&format!("Towpath demo: {}", cast.title()));
    let mut stage = Stage::set(cast, options.keep).context("cannot set the stage of the demo")?;
    teller.line(&format!(
        "everything is in {} and {} when it ends",
        stage.place().directory.display(),
        if options.keep { "stays" } else { "goes" }
    ));
    let told = tokio::select! {
        told = story::tell(&mut stage, &teller) => told,
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Err(anyhow::anyhow!("interrupted")),
            Err(error) => Err(error).context("cannot listen for Ctrl-C"),
        },
    };
    let left = stage.clear_away().await;
    let mut report: Report = told?;
    report.left_behind = left?;
    teller.report(&report)?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
