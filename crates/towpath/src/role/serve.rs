//! The control plane as a process: the one place where all parts are put together. Not what they
//! do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use towpath_control::{Config, Platform, Ports};
use towpath_engine::docker::{DockerConfig, DockerEngine, Names};
use towpath_engine::host::HostEngine;
use towpath_engine::probe::{HttpProber, RunInInstance};
use towpath_engine::process::{ProcessConfig, ProcessEngine};
use towpath_engine::redirect::PacketFilter;
use towpath_model::port::{Clock, DataDirectory};
use towpath_model::repository::GitProgram;
use towpath_notify::{Config as SenderConfig, Sender};
use towpath_pipeline::GitRepositories;
use towpath_server::{Certificate, Config as Doors, Context as ServerContext, Listeners};
use towpath_store::{MasterKey, Store};

use super::clock::SystemClock;
use super::ports::FreeSockets;
use super::router::{self, RouterPort, find_or_start};
use super::{SHIM, api_socket, pre_receive};
use crate::arguments::Serve;
use crate::settings::Settings;

/// Runs the control plane until it is told to stop. What it started goes on.
pub(crate) async fn run(data: &Path, serve: &Serve, settings: &Settings) -> Result<()> {
    let doors = doors(data, serve)?;
    let key = match &settings.master_key {
        Some(text) => MasterKey::from_base64(text).context("TOWPATH_MASTER_KEY cannot be used")?,
        None => MasterKey::from_directory(data)?,
    };
    let store = Arc::new(Store::open(data, key).await?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let directory = DataDirectory(data.to_owned());
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let git = git_program(&settings.variables);
    pre_receive::install(&directory, &program)?;
    let mut process = ProcessConfig::new(program, vec![SHIM.into()]);
    process.base_environment = base_environment(&settings.variables);
    let processes = ProcessEngine::open(&directory, Arc::clone(&clock), process)?;
    let docker = docker_config(&settings.variables);
    let containers = DockerEngine::open(&directory, Arc::clone(&clock), docker)?;
    let engine = Arc::new(HostEngine::new(Arc::new(processes), Arc::new(containers)));
    let beside: Arc<dyn RunInInstance> = Arc::<HostEngine>::clone(&engine);
    let prober = Arc::new(HttpProber::new(Arc::clone(&clock), beside));
    let router_port = Arc::new(RouterPort::new(find_or_start(data).await?));
    let free = FreeSockets::default();
    let is_free = Arc::new(move |address: SocketAddr| free.find(address));
    let sender = Arc::new(Sender::new(SenderConfig::default(), Arc::clone(&clock)));
    let ports = Ports {
        store,
        console: Arc::<HostEngine>::clone(&engine),
        engine,
        prober,
        router: router_port,
        notifier: Arc::<Sender>::clone(&sender),
        forges: sender,
        redirects: Arc::new(PacketFilter::new(&directory)),
        repositories: Arc::new(GitRepositories::new(directory.clone(), git.clone())),
        clock,
        is_free,
    };
    // The sockets first: who cannot be asked must not begin to do things.
    let listeners = Listeners::open(&doors).await?;
    let config = Config {
        git,
        ..Config::new(directory)
    };
    let platform = Platform::start(config, ports).await?;
    let stop = CancellationToken::new();
    let context = ServerContext {
        platform: platform.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        stop: stop.clone(),
    };
    let served = tokio::join!(
        async {
            let served = towpath_server::serve(listeners, context).await;
            // Whoever asked over the API to stop ends the wait for a signal too.
            stop.cancel();
            served.context("the API failed")
        },
        async {
            tokio::select! {
                signalled = stop_signal() => signalled?,
                () = stop.cancelled() => {}
            }
            stop.cancel();
            Ok(())
        },
        router::keep_alive(data, stop.clone()),
    );
    platform.shutdown().await;
    served.0.and(served.1)
}

/// Returns where is listened. A certificate that cannot be used is found before anything is started.
fn doors(data: &Path, serve: &Serve) -> Result<Doors> {
    let certificate = match (&serve.tls_cert, &serve.tls_key) {
        (Some(chain), Some(key)) => Some(Certificate::load(chain.clone(), key.clone())?),
        _ => None,
    };
    if let Some(address) = serve.listen
        && certificate.is_none()
        && is_of_a_network(address)
    {
        tracing::warn!(
            "tokens cross the network in the clear: {address} speaks plain HTTP; add --tls-cert FILE \
             --tls-key FILE, or listen on 127.0.0.1:{} behind a proxy or a tunnel",
            address.port()
        );
    }
    Ok(Doors {
        socket: api_socket(data),
        tcp: serve.listen,
        certificate,
    })
}

/// Tells whether others than this machine may reach an address.
fn is_of_a_network(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// Returns the variables that every instance gets, under all others.
fn base_environment(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    ["PATH", "HOME", "LANG", "LC_ALL", "TZ"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), variables.get(name)?.clone())))
        .collect()
}

/// Returns how Git is run: the one that is found as this program's user finds it.
fn git_program(variables: &BTreeMap<String, String>) -> GitProgram {
    let mut git = GitProgram::default();
    if let Some(path) = variables.get("PATH").filter(|path| !path.is_empty()) {
        git.search_path.clone_from(path);
    }
    git
}

/// Returns where Docker is, and who one is at registries: as the Docker CLI has it.
fn docker_config(variables: &BTreeMap<String, String>) -> DockerConfig {
    let get = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    let mut config = DockerConfig::new(get("DOCKER_HOST").cloned());
    config.credentials = get("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| get("HOME").map(|home| PathBuf::from(home).join(".docker")));
    config.search_path = get("PATH").map(OsString::from);
    config.ssh_agent = get("SSH_AUTH_SOCK").map(PathBuf::from);
    config.names = Names::Router;
    config
}

/// Waits until somebody asks this process to stop.
pub(crate) async fn stop_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for Ctrl-C"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_this_machines_own() {
        for (address, expected) in [
            ("127.0.0.1:4222", false),
            ("127.1.2.3:4222", false),
            ("[::1]:4222", false),
            ("[::ffff:127.0.0.1]:4222", false),
            ("0.0.0.0:4222", true),
            ("[::]:4222", true),
            ("10.0.0.7:4222", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(is_of_a_network(address), expected, "{address}");
        }
    }
}
