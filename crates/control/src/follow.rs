//! The one task that fetches from repositories elsewhere: when it is time, when a webhook says so, when
//! somebody asks. One fetch for each app at a time; what is asked meanwhile is done together
//! afterwards. Not how long to wait after a failure, which is the model's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use towpath_model::id::AppName;
use towpath_model::pipeline::Reference;
use towpath_model::repository::outside::{Forge, Remote, RepositorySecret, Wanted};

use crate::error::{Error, describe};
use crate::platform::Platform;

/// Webhooks that come faster than they are looked at are refused: so many may wait.
const QUEUE: usize = 64;

/// Looks that wait for a fetch under way. More are dropped: the next fetch has what they are about.
const WAITING_MAX: usize = 100;

/// What is to be looked at.
#[derive(Debug)]
pub(crate) struct Look {
    app: AppName,
    actor: String,
    request: Option<PullRequest>,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// What a forge says of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Whose it is.
    pub forge: Forge,
    /// Its number there.
    pub number: u64,
    /// The branch that it is from.
    pub from: String,
    /// The branch that it is meant for.
    pub into: String,
    /// Whether it is from another repository.
    pub fork: bool,
    /// Whether it is over: merged or declined.
    pub closed: bool,
}

impl Look {
    /// Looks at all branches and tags.
    pub(crate) fn branches(app: &AppName, actor: &str) -> Self {
        Self {
            app: app.clone(),
            actor: actor.to_owned(),
            request: None,
            done: None,
        }
    }

    /// Looks at a pull request too.
    pub(crate) fn request(app: &AppName, request: PullRequest, actor: &str) -> Self {
        Self {
            request: Some(request),
            ..Self::branches(app, actor)
        }
    }
}

/// How the last fetch ended: when one was good, and why the last was not.
type Last = (Option<Timestamp>, Option<String>);

/// A cheap handle to the task.
#[derive(Debug, Clone)]
pub(crate) struct Follower {
    looks: mpsc::Sender<Look>,
    last: Arc<Mutex<BTreeMap<AppName, Last>>>,
}

impl Follower {
    /// Makes a handle, and what its task reads.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Look>) {
        let (looks, receiver) = mpsc::channel(QUEUE);
        let last = Arc::default();
        (Self { looks, last }, receiver)
    }

    /// Takes a place in the queue; fails when there is none.
    pub(crate) fn reserve(&self) -> Result<mpsc::Permit<'_, Look>, Error> {
        self.looks.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => Error::Busy,
            mpsc::error::TrySendError::Closed(()) => Error::Stopping,
        })
    }

    /// Asks for a look, unless too many wait: then it comes when it is time.
    pub(crate) fn try_look(&self, look: Look) {
        drop(self.looks.try_send(look));
    }

    /// Asks for a look, and waits for its end.
    pub(crate) async fn look(&self, mut look: Look) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        look.done = Some(done);
        self.looks.send(look).await.map_err(|_| Error::Stopping)?;
        answer
            .await
            .map_err(|_| Error::Stopping)?
            .map_err(Error::NotFetched)
    }

    /// Returns how the last fetch for an app ended.
    pub(crate) fn last(&self, app: &AppName) -> Last {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(app).cloned().unwrap_or_default()
    }

    fn note(&self, app: &AppName, ended: &Result<(), String>, at: Timestamp) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = last.entry(app.clone()).or_default();
        match ended {
            Ok(()) => *entry = (Some(at), None),
            Err(fault) => entry.1 = Some(fault.clone()),
        }
    }
}

/// One app that is looked at.
#[derive(Debug)]
struct Followed {
    next: Option<Instant>,
    failures: u32,
    is_under_way: bool,
    waiting: Vec<Look>,
}

/// A fetch that ended: for which app, for whom, and why it failed.
type Ended = (AppName, Vec<Look>, Result<(), String>);

/// The task's own state.
struct Work {
    platform: Platform,
    apps: BTreeMap<AppName, Followed>,
    fetches: JoinSet<Ended>,
}

/// Follows until the platform stops. A fetch under way is given up then, and made up for at the next
/// start.
pub(crate) async fn run(
    platform: Platform,
    mut looks: mpsc::Receiver<Look>,
    stop: CancellationToken,
) {
    let mut work = Work {
        platform,
        apps: BTreeMap::new(),
        fetches: JoinSet::new(),
    };
    work.begin().await;
    loop {
        let next = work.apps.values().filter(|one| !one.is_under_way);
        let next = next.filter_map(|one| one.next).min();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            Some(look) = looks.recv() => work.wait(look),
            Some(Ok((app, looks, ended))) = work.fetches.join_next() => {
                work.ended(app, looks, &ended).await;
            }
            () = due => {}
        }
        work.start_due();
    }
}

impl Work {
    /// Finds the apps that follow a repository.
    async fn begin(&mut self) {
        match self.platform.apps().await {
            Ok(apps) => {
                for app in apps {
                    if self.platform.followed(&app.name).await.is_ok() {
                        self.wait(Look::branches(&app.name, "towpath"));
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the repositories to follow cannot be listed"),
        }
        self.start_due();
    }

    fn wait(&mut self, look: Look) {
        let followed = self.apps.entry(look.app.clone()).or_insert(Followed {
            next: None,
            failures: 0,
            is_under_way: false,
            waiting: Vec::new(),
        });
        followed.next = Some(Instant::now());
        if followed.waiting.len() < WAITING_MAX {
            followed.waiting.push(look);
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for (app, followed) in &mut self.apps {
            if followed.is_under_way || followed.next.is_none_or(|next| next > now) {
                continue;
            }
            followed.is_under_way = true;
            let looks = std::mem::take(&mut followed.waiting);
            let (platform, app) = (self.platform.clone(), app.clone());
            self.fetches.spawn(async move {
                let ended = platform.follow(&app, &looks).await;
                (app, looks, ended.map_err(|error| describe(&error)))
            });
        }
    }

    async fn ended(&mut self, app: AppName, looks: Vec<Look>, ended: &Result<(), String>) {
        let now = self.platform.shared.ports.clock.now();
        self.platform.shared.follower.note(&app, ended, now);
        for done in looks.into_iter().filter_map(|look| look.done) {
            // Who asked may be gone.
            drop(done.send(ended.clone()));
        }
        let outside = self.platform.followed(&app).await.ok();
        let Some(followed) = self.apps.get_mut(&app) else {
            return;
        };
        followed.is_under_way = false;
        followed.failures = match ended {
            Ok(()) => 0,
            Err(_) => followed.failures.saturating_add(1),
        };
        if let Err(reason) = ended {
            let failures = followed.failures;
            tracing::warn!(%app, reason, failures, "the repository elsewhere cannot be followed");
        }
        let Some(outside) = outside else {
            self.apps.remove(&app);
            return;
        };
        if followed.waiting.is_empty() {
            followed.next = Some(Instant::now() + outside.wait(followed.failures));
        }
    }
}

impl Platform {
    /// Fetches, and takes in what came.
    async fn follow(&self, app: &AppName, looks: &[Look]) -> Result<(), Error> {
        let Ok(outside) = self.followed(app).await else {
            return Ok(());
        };
        let ports = &self.shared.ports;
        self.make_repository(app, "towpath").await?;
        let credential = ports
            .store
            .repository_secret(app, RepositorySecret::Credential);
        let authorities = ports
            .store
            .repository_secret(app, RepositorySecret::Authorities);
        let remote = Remote {
            url: outside.url,
            credential: credential.await?,
            authorities: authorities.await?,
        };
        let actor = looks.first().map_or("towpath", |look| look.actor.as_str());
        let fetched = ports
            .repositories
            .fetch(app, &remote, Wanted::BranchesAndTags);
        fetched.await.map_err(Error::Git)?;
        self.take_in(app, actor).await?;
        for look in looks {
            if let Some(request) = &look.request {
                self.follow_request(app, &remote, request, &look.actor)
                    .await?;
            }
        }
        Ok(())
    }

    async fn follow_request(
        &self,
        app: &AppName,
        remote: &Remote,
        request: &PullRequest,
        actor: &str,
    ) -> Result<(), Error> {
        let PullRequest {
            forge,
            number,
            from,
            into,
            fork,
            closed,
        } = request.clone();
        if closed {
            return self.close_request(app, number, actor).await;
        }
        let reference = Reference::PullRequest {
            number,
            from,
            into,
            fork,
        };
        let settings = self.shared.ports.store.repository(app).await?;
        if !settings.follow.wants(&reference) {
            return Ok(());
        }
        let wanted = Wanted::PullRequest(forge, number);
        let repositories = &self.shared.ports.repositories;
        let fetched = repositories.fetch(app, remote, wanted).await;
        fetched.map_err(Error::Git)?;
        let intake = &self.shared.intake;
        intake.ask(app, Some(reference), actor).await.map(drop)
    }

    /// Takes a webhook whose signature was good. It only causes a look; `delivery` tells it from all
    /// others, and one that was taken before is refused.
    pub async fn take_webhook(
        &self,
        app: &AppName,
        delivery: &[String],
        told: Option<PullRequest>,
        actor: &str,
    ) -> Result<(), Error> {
        self.followed(app).await?;
        let place = self.shared.follower.reserve()?;
        let store = &self.shared.ports.store;
        let now = self.shared.ports.clock.now();
        for key in delivery {
            if !store.note_delivery(app, key, now).await? {
                return Err(Error::Repeated);
            }
        }
        place.send(match told {
            Some(request) => Look::request(app, request, actor),
            None => Look::branches(app, actor),
        });
        Ok(())
    }
}
