//! The one task that takes in what repositories have, one after the other: what two pushes bring at the
//! same moment is handed on once. Not how it is taken in.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use towpath_model::id::AppName;
use towpath_model::pipeline::Reference;

use crate::error::Error;
use crate::git::TakenIn;
use crate::platform::Platform;

/// Whoever asks waits for the answer, so more than one for each connection never wait.
const QUEUE: usize = 64;

/// A cheap handle to the task.
#[derive(Debug, Clone)]
pub(crate) struct Intake(mpsc::Sender<Request>);

/// What is asked of the task.
#[derive(Debug)]
pub(crate) struct Request {
    app: AppName,
    /// The pull request that is meant, where one is.
    reference: Option<Reference>,
    actor: String,
    done: oneshot::Sender<Result<Vec<TakenIn>, Error>>,
}

impl Intake {
    /// Makes a handle, and what its task reads.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Has the repository of an app looked at. Returns what was handed on.
    pub(crate) async fn ask(
        &self,
        app: &AppName,
        reference: Option<Reference>,
        actor: &str,
    ) -> Result<Vec<TakenIn>, Error> {
        let (done, answer) = oneshot::channel();
        let request = Request {
            app: app.clone(),
            reference,
            actor: actor.to_owned(),
            done,
        };
        self.0.send(request).await.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)?
    }
}

/// Does what is asked until the platform stops. What is interrupted is taken in at the next start.
pub(crate) async fn run(
    platform: Platform,
    mut requests: mpsc::Receiver<Request>,
    stop: CancellationToken,
) {
    let work = async {
        take_in_what_was_left(&platform).await;
        while let Some(request) = requests.recv().await {
            let (app, actor) = (&request.app, &request.actor);
            let taken = match request.reference {
                Some(reference) => platform.take_in_request(app, reference, actor).await,
                None => platform.take_in_now(app, actor).await,
            };
            // Who asked may be gone.
            drop(request.done.send(taken));
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Takes in what came to a repository while nobody could take it in.
async fn take_in_what_was_left(platform: &Platform) {
    let apps = match platform.apps().await {
        Ok(apps) => apps,
        Err(error) => {
            tracing::error!(%error, "the repositories cannot be listed");
            return;
        }
    };
    for app in apps {
        let taken = match platform.has_repository(&app.name).await {
            Ok(true) => platform.take_in_now(&app.name, "towpath").await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            let error = crate::error::describe(&error);
            tracing::error!(app = %app.name, error, "what came to a repository cannot be taken in");
        }
    }
}
