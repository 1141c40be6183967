//! The commands, one file each. Not the arguments, which [`crate::arguments`] has.

mod adopt;
mod approval;
mod cache;
mod check;
mod completions;
mod config;
mod connect;
mod console;
mod deploy;
mod environment;
mod event;
mod git;
mod hold;
mod init;
mod log;
mod man;
mod notify;
mod pipeline;
mod plan;
mod progress;
mod project;
mod release;
mod repository;
mod rollout;
mod secret;
mod source;
mod standard_input;
mod stats;
mod status;
mod stop;
mod table;
mod terminal;
mod token;
mod traffic;

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use crate::arguments::{Arguments, Command, Data};
use crate::demo;
use crate::role::{router, serve};
use crate::settings::Settings;

/// Runs a command to its end.
pub(crate) async fn run(arguments: Arguments, settings: Settings) -> Result<ExitCode> {
    match arguments.command {
        Command::Demo(demo) => {
            demo::run(demo::Options {
                engine: demo.engine.into(),
                json: demo.json,
                keep: demo.keep,
            })
            .await
        }
        Command::Init(init) => init::run(&init, &settings),
        Command::Check(check) => check::run(&check, &settings),
        Command::Config(config) => config::run(&config, &settings),
        Command::Schema => print(&format!("{:#}\n", towpath_model::delivery::schema())),
        Command::Up(up) => deploy::up(&up, &settings).await,
        Command::Adopt(adopt) => adopt::run(&adopt, &settings).await,
        Command::Plan(plan) => plan::run(&plan, &settings).await,
        Command::Deploy(deploy) => deploy::deploy(&deploy, &settings).await,
        Command::Runs(runs) => pipeline::run(&runs, &settings).await,
        Command::Promote(promote) => pipeline::promote(&promote, &settings).await,
        Command::Hotfix(hotfix) => pipeline::hotfix(&hotfix, &settings).await,
        Command::Approvals(approvals) => approval::run(&approvals, &settings).await,
        Command::Approve(decide) => pipeline::decide(&decide, true, &settings).await,
        Command::Reject(decide) => pipeline::decide(&decide, false, &settings).await,
        Command::Rollback(rollback) => rollout::rollback(&rollback, &settings).await,
        Command::Abort(on) => rollout::run(rollout::Verb::Abort, &on, &settings).await,
        Command::Pause(on) => rollout::run(rollout::Verb::Pause, &on, &settings).await,
        Command::Resume(on) => rollout::run(rollout::Verb::Resume, &on, &settings).await,
        Command::Hold(on) => hold::hold(&on, &settings).await,
        Command::ReleaseHold(on) => hold::release(&on, &settings).await,
        Command::Traffic(traffic) => traffic::run(&traffic, &settings).await,
        Command::Status(on) => status::status(&on, &settings).await,
        Command::Deployments(deployments) => status::deployments(&deployments, &settings).await,
        Command::Releases(releases) => release::run(&releases, &settings).await,
        Command::Events(events) => event::run(&events, &settings).await,
        Command::Logs(logs) => log::run(&logs, &settings).await,
        Command::Exec(exec) => console::exec(&exec, &settings).await,
        Command::Run(run) => console::run(&run, &settings).await,
        Command::Stats(stats) => stats::run(&stats, &settings).await,
        Command::Scale(scale) => environment::scale(&scale, &settings).await,
        Command::Down(on) => environment::down(&on, &settings).await,
        Command::Env(env) => environment::run(&env, &settings).await,
        Command::Secret(secret) => secret::run(&secret, &settings).await,
        Command::Repository(command) => repository::run(&command, &settings).await,
        Command::Cache(command) => cache::run(&command, &settings).await,
        Command::Notify(notify) => notify::run(&notify, &settings).await,
        Command::Token(token) => token::run(&token, &settings).await,
        Command::Serve(serve) => {
            let data = prepare(&serve.data, &settings)?;
            serve::run(&data, &serve, &settings).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Stop(stop) => stop::run(&stop, &settings).await,
        Command::Router(data) => {
            let data = prepare(&data, &settings)?;
            run_router(&data).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions(completions) => completions::run(&completions),
        Command::Man(man) => man::run(&man),
    }
}

/// Runs the router until somebody asks this process to stop, and the requests in flight have ended.
async fn run_router(data: &Path) -> Result<()> {
    let stop = CancellationToken::new();
    let routed = async {
        let routed = router::run(data, stop.clone()).await;
        stop.cancel();
        routed
    };
    let signalled = async {
        let signalled = tokio::select! {
            signalled = serve::stop_signal() => signalled,
            () = stop.cancelled() => Ok(()),
        };
        stop.cancel();
        signalled
    };
    let (routed, signalled) = tokio::join!(routed, signalled);
    routed.and(signalled)
}

/// Makes a data directory where there is none. Others may pass through it, as instances of other users
/// must, and not look around.
pub(crate) fn make_data_directory(data: &Path) -> Result<()> {
    let cannot = || format!("cannot make the data directory {}", data.display());
    if let Some(parent) = data.parent() {
        std::fs::create_dir_all(parent).with_context(cannot)?;
    }
    let made = std::fs::DirBuilder::new().mode(0o711).create(data);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(cannot)
        }
        _ => Ok(()),
    }
}

/// Makes the data directory of a role, and its log.
fn prepare(data: &Data, settings: &Settings) -> Result<PathBuf> {
    let data = data.data.clone().unwrap_or_else(|| settings.home.clone());
    make_data_directory(&data)?;
    let filter = settings.log.as_deref().unwrap_or("info");
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A line that has no room on a full disk is lost; complaining of it would panic.
        .log_internal_errors(false)
        .init();
    data.canonicalize()
        .with_context(|| format!("cannot find {}", data.display()))
}

/// Prints to standard output. A reader that went away is no error.
pub(crate) fn print(text: &str) -> Result<ExitCode> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot print")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
