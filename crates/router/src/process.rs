//! The whole router process: the order in which its parts start and stop. Not what they do.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Error};
use crate::control::{Control, socket};
use crate::names::NameServers;
use crate::shared::Shared;
use crate::table_file::TableFile;
use crate::worker::{self, Worker};

/// Runs the router until `shutdown` is cancelled and the requests in flight are finished, or the
/// grace of [`crate::Limits::shutdown_grace`] is over.
///
/// The last table in [`Config::state_dir`] is served at once, with no control plane. Problems with
/// single listeners are reported, never returned.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let state_dir = |source| Error::StateDir {
        path: config.state_dir.clone(),
        source,
    };
    fs::create_dir_all(&config.state_dir).map_err(state_dir)?;
    raise_open_files();
    let lock = lock(&config)?;
    let socket = socket::bind(&config.control_socket).await?;
    let boot = format!("{:016x}", rand::random::<u64>());
    let file = TableFile::new(config.state_dir.clone());
    let last = file.load(&boot);
    let shared = Arc::new(Shared::new(config.limits.clone()));
    let workers = (0..config.workers.get())
        .map(|index| worker::start(index, Arc::clone(&shared)).map_err(Error::Worker))
        .collect::<Result<Vec<_>, _>>()?;

    // Few clients, each with one call at a time: a short queue is enough.
    let (calls, queue) = mpsc::channel(16);
    let names = NameServers::new(Arc::clone(&shared), config.resolvers.clone());
    let mut control = Control::new(boot, file, Arc::clone(&shared), workers, names);
    control.resume(last).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(socket::serve(
        socket,
        calls,
        Arc::clone(&shared),
        shutdown.clone(),
    ));
    let workers = control.run(queue, shutdown).await;
    tasks.shutdown().await;
    // A socket that is gone already is gone. It goes before the requests in flight have ended, and
    // while the lock is held: the next router may start meanwhile, and its socket must stay.
    drop(fs::remove_file(&config.control_socket));
    drop(lock);
    finish(workers, config.limits.shutdown_grace).await;
    Ok(())
}

/// Raises the soft limit of open files to the hard one: each request in flight has two connections,
/// and the usual soft limit of 1,024 is from the days of `select`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// Makes sure that there is no other router of this state directory: two that start at once would
/// each take the other's control socket for a stale one. The kernel drops the lock with the process.
fn lock(config: &Config) -> Result<fs::File, Error> {
    let path = config.state_dir.join("lock");
    let file = fs::File::create(&path).map_err(|source| Error::Lock {
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::AlreadyRunning {
            path: config.control_socket.clone(),
        }),
        Err(fs::TryLockError::Error(source)) => Err(Error::Lock { path, source }),
    }
}

/// Waits for the workers, which have their own deadline.
async fn finish(workers: Vec<Worker>, grace: Duration) {
    let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    });
    let deadline = grace + Duration::from_secs(5);
    if tokio::time::timeout(deadline, joined).await.is_err() {
        tracing::error!("a worker thread did not finish");
    }
}
