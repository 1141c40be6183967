//! What people ask for. Each command is one edit of an environment's record; its keeper does the
//! rest. Not the checks themselves, which are `model::command`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use towpath_model::command::{Change, Refusal, Request};
use towpath_model::deployment::Kind;
use towpath_model::environment::{Environment, PublishedRoute};
use towpath_model::event::NewEvent;
use towpath_model::id::{DeploymentNumber, Digest, EnvironmentId, ReleaseNumber, ServiceName};
use towpath_model::plan::{Plan, plan};
use towpath_model::release::{Rendering, RouteSpec};
use towpath_model::render::Draft;
use towpath_model::rollout::{Settings, Strategy};
use towpath_model::routing::{Protocol, RouteMode};
use towpath_store::NewRelease;

use crate::error::Error;
use crate::platform::Platform;

/// A new release, and the wish to bring it out.
#[derive(Debug, Clone)]
pub struct Deploy {
    /// The digest of its source tree, which was uploaded before.
    pub source: Option<Digest>,
    /// The commit that the tree is at, where it is a clean checkout.
    pub commit: Option<String>,
    /// What its maker says of it.
    pub message: Option<String>,
    /// What it renders to, secrets not pinned yet.
    pub draft: Draft,
    /// Other settings than the draft's own.
    pub settings: Option<Settings>,
    /// Who asks.
    pub actor: String,
    /// Whether nobody in particular asks: refused while the environment is on hold.
    pub automatic: bool,
    /// Why it passes the gates of the environment, where its owner says so.
    pub past_gates: Option<String>,
}

/// The wish to bring out a release that there is.
pub(crate) struct Redeploy {
    /// The release.
    pub(crate) release: ReleaseNumber,
    /// What it renders to.
    pub(crate) rendering: Rendering,
    /// Another strategy than its own.
    pub(crate) strategy: Option<Strategy>,
    /// Who asks.
    pub(crate) actor: String,
    /// Why it passes the gates of the environment, where its owner says so.
    pub(crate) past_gates: Option<String>,
}

impl Platform {
    /// Makes a release and asks for its deployment, whatever the environment demands ([`Self::bring`]
    /// looks at that). Nothing is made when it cannot be deployed.
    pub async fn deploy(
        &self,
        id: &EnvironmentId,
        deploy: Deploy,
    ) -> Result<(ReleaseNumber, DeploymentNumber), Error> {
        self.refuse_while_destroyed(id)?;
        let rendering = self.render(id, &deploy.draft).await?;
        self.check_ports(id, &rendering, &[])?;
        let store = &self.shared.ports.store;
        if let Some(digest) = &deploy.source
            && store.source(digest).await?.is_none()
        {
            return Err(Error::NoSource(digest.to_string()));
        }
        if deploy.automatic
            && let Some(hold) = &self.snapshot(id)?.environment.hold
        {
            return Err(Refusal::OnHold(hold.reason.clone()).into());
        }
        let new = NewRelease {
            source: deploy.source,
            commit: deploy.commit,
            message: deploy.message,
            created_at: self.shared.ports.clock.now(),
            created_by: deploy.actor.clone(),
        };
        let release = store.create_release(&id.app, new).await?.number;
        store.insert_rendering(id, release, &rendering).await?;
        let request = Request {
            kind: Kind::Release,
            release,
            peers: self.peers(id, &rendering).await?,
            rendering: Arc::new(self.seeded(id, rendering).await?),
            settings: deploy.settings,
            actor: deploy.actor,
            automatic: deploy.automatic,
        };
        let number = self.request(id, request, deploy.past_gates).await?;
        Ok((release, number))
    }

    /// Asks for the deployment of a release that there is, as it was rendered for this environment,
    /// whatever the environment demands.
    pub(crate) async fn redeploy(
        &self,
        id: &EnvironmentId,
        again: Redeploy,
    ) -> Result<DeploymentNumber, Error> {
        let Redeploy {
            release, rendering, ..
        } = again;
        self.check_ports(id, &rendering, &[])?;
        let store = &self.shared.ports.store;
        if store.rendering(id, release).await?.is_none() {
            store.insert_rendering(id, release, &rendering).await?;
        }
        let request = Request {
            kind: Kind::Release,
            release,
            peers: self.peers(id, &rendering).await?,
            settings: again
                .strategy
                .map(|strategy| rendering.settings.with(strategy)),
            rendering: Arc::new(self.seeded(id, rendering).await?),
            actor: again.actor,
            automatic: false,
        };
        self.request(id, request, again.past_gates).await
    }

    /// Returns what a release renders to in an environment: as it was rendered for it, or as its source
    /// tree has it where it never was.
    pub(crate) async fn rendering_for(
        &self,
        id: &EnvironmentId,
        release: ReleaseNumber,
    ) -> Result<Rendering, Error> {
        let store = &self.shared.ports.store;
        if let Some(rendering) = store.rendering(id, release).await? {
            return Ok(rendering);
        }
        if let Some(made) = self.rendering_for_preview(id, release).await? {
            return Ok(made);
        }
        let found = store.release(&id.app, release).await?;
        let source = found.and_then(|release| release.source);
        let source = source.ok_or_else(|| Error::NoRelease {
            environment: id.clone(),
            release,
        })?;
        let checkout = self.shared.check_out(&id.app, &source).await?;
        let snapshot = self.snapshot(id)?;
        let preview = snapshot.environment.preview.as_ref();
        let as_name = preview.map_or(&id.name, |preview| &preview.like);
        let draft = checkout.draft(as_name).await?;
        self.render(id, &draft).await
    }

    /// Asks for an earlier release to come back: the one named, else the one before.
    pub async fn rollback(
        &self,
        id: &EnvironmentId,
        release: Option<ReleaseNumber>,
        actor: &str,
    ) -> Result<DeploymentNumber, Error> {
        let release = match release {
            Some(release) => release,
            None => self
                .snapshot(id)?
                .environment
                .rollback_target()
                .ok_or_else(|| Error::NoEarlierRelease(id.clone()))?,
        };
        let rendering = self.shared.ports.store.rendering(id, release).await?;
        let missing = || Error::NoRelease {
            environment: id.clone(),
            release,
        };
        let rendering = if let Some(rendering) = rendering {
            rendering
        } else {
            let made = self.rendering_for_preview(id, release).await?;
            made.ok_or_else(missing)?
        };
        self.shared.refuse_what_never_was(id, release)?;
        self.check_ports(id, &rendering, &[])?;
        let request = Request {
            kind: Kind::Rollback,
            release,
            peers: self.peers(id, &rendering).await?,
            rendering: Arc::new(self.seeded(id, rendering).await?),
            settings: None,
            actor: actor.to_owned(),
            automatic: false,
        };
        self.request(id, request, None).await
    }

    async fn request(
        &self,
        id: &EnvironmentId,
        request: Request,
        past_gates: Option<String>,
    ) -> Result<DeploymentNumber, Error> {
        let overridden = past_gates.map(|reason| NewEvent {
            reason: Some(reason),
            to: Some(format!("release {}", request.release)),
            ..self.shared.event(&request.actor, "gates.overridden", id)
        });
        self.edit(id, move |environment, now| {
            let (number, mut change) = environment.request(request, now)?;
            change.events.extend(overridden);
            Ok((number, change))
        })
        .await
    }

    pub(crate) async fn edit<T, F>(&self, id: &EnvironmentId, edit: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Environment, Timestamp) -> Result<(T, Change), Refusal> + Send + 'static,
    {
        self.refuse_while_destroyed(id)?;
        self.shared.keeper(id)?.edit(edit).await
    }

    pub(crate) fn refuse_while_destroyed(&self, id: &EnvironmentId) -> Result<(), Error> {
        if self.is_being_destroyed(id) {
            return Err(Error::BeingDestroyed(id.clone()));
        }
        Ok(())
    }

    /// Stops the active deployment and goes back to the stable release.
    pub async fn abort(&self, id: &EnvironmentId, actor: &str) -> Result<DeploymentNumber, Error> {
        let actor = actor.to_owned();
        self.edit(id, move |environment, now| environment.abort(&actor, now))
            .await
    }

    /// Keeps the active deployment where it is.
    pub async fn pause(&self, id: &EnvironmentId, actor: &str) -> Result<DeploymentNumber, Error> {
        let actor = actor.to_owned();
        self.edit(id, move |environment, now| environment.pause(&actor, now))
            .await
    }

    /// Lets a paused deployment go on.
    pub async fn resume(&self, id: &EnvironmentId, actor: &str) -> Result<DeploymentNumber, Error> {
        let actor = actor.to_owned();
        self.edit(id, move |environment, now| environment.resume(&actor, now))
            .await
    }

    /// Changes how many instances a service has.
    pub async fn scale(
        &self,
        id: &EnvironmentId,
        service: &ServiceName,
        count: u32,
        actor: &str,
    ) -> Result<(), Error> {
        let (service, actor) = (service.clone(), actor.to_owned());
        self.edit(id, move |environment, now| {
            Ok(((), environment.rescale(&service, count, &actor, now)?))
        })
        .await
    }

    /// Stops everything in an environment. Returns when that is written down, not when it is done.
    pub async fn down(&self, id: &EnvironmentId, actor: &str) -> Result<(), Error> {
        let actor = actor.to_owned();
        self.edit(id, move |environment, now| {
            Ok(((), environment.take_down(&actor, now)))
        })
        .await
    }

    /// Holds automatic deployment.
    pub async fn hold(&self, id: &EnvironmentId, reason: String, actor: &str) -> Result<(), Error> {
        let actor = actor.to_owned();
        self.edit(id, move |environment, now| {
            Ok(((), environment.put_on_hold(reason, &actor, now)))
        })
        .await
    }

    /// Lets automatic deployment go on.
    pub async fn release_hold(&self, id: &EnvironmentId, actor: &str) -> Result<(), Error> {
        let actor = actor.to_owned();
        self.edit(id, move |environment, now| {
            Ok(((), environment.release_hold(&actor, now)?))
        })
        .await
    }

    /// Has the router serve, hold or refuse all requests of an environment.
    pub async fn set_traffic(
        &self,
        id: &EnvironmentId,
        mode: RouteMode,
        actor: &str,
    ) -> Result<(), Error> {
        let actor = actor.to_owned();
        self.edit(id, move |environment, now| {
            Ok(((), environment.set_traffic(mode, &actor, now)))
        })
        .await
    }

    /// Says what a deployment of a draft would change. Nothing is made.
    pub async fn plan(&self, id: &EnvironmentId, draft: &Draft) -> Result<Plan, Error> {
        let rendering = self.render(id, draft).await?;
        self.check_ports(id, &rendering, &[])?;
        Ok(plan(&self.snapshot(id)?.environment, &rendering))
    }

    /// Pins the secrets of a draft to their latest versions. Volumes and networks that the
    /// environment took over stay those that it took over; in a preview all is its own.
    pub(crate) async fn render(
        &self,
        id: &EnvironmentId,
        draft: &Draft,
    ) -> Result<Rendering, Error> {
        let snapshot = self.snapshot(id)?;
        if let Some(preview) = &snapshot.environment.preview {
            let draft = self.as_preview(id, preview, draft).await?;
            return self.pinned(id, &draft).await;
        }
        let mut rendering = self.pinned(id, draft).await?;
        if let Some(adopted) = &snapshot.environment.adopted {
            adopted.apply(&mut rendering);
        }
        Ok(rendering)
    }

    /// Pins the secrets of a draft to their latest versions.
    pub(crate) async fn pinned(
        &self,
        id: &EnvironmentId,
        draft: &Draft,
    ) -> Result<Rendering, Error> {
        self.shared.keeper(id)?;
        let versions = self.shared.ports.store.latest_versions(id).await?;
        Ok(draft.pin(&versions)?)
    }

    /// Gives every service that listens an address of its own on the loopback interface, the same
    /// one for ever.
    pub(crate) async fn peers(
        &self,
        id: &EnvironmentId,
        rendering: &Rendering,
    ) -> Result<BTreeMap<ServiceName, SocketAddr>, Error> {
        let known = self.snapshot(id)?.environment.peers.clone();
        let mut peers = BTreeMap::new();
        for (name, service) in &rendering.services {
            if service.internal.is_none() || known.contains_key(name) {
                continue;
            }
            let is_free = Arc::clone(&self.shared.ports.is_free);
            let range = self.shared.config.internal_ports.clone();
            let port = self
                .shared
                .ports
                .store
                .allocate_port(id, name, range, |port| is_free(loopback(port)))
                .await?;
            peers.insert(name.clone(), loopback(port));
        }
        Ok(peers)
    }

    /// Refuses ports that another environment, or another program, has; those in `held` are had by
    /// containers that are taken over.
    pub(crate) fn check_ports(
        &self,
        id: &EnvironmentId,
        rendering: &Rendering,
        held: &[SocketAddr],
    ) -> Result<(), Error> {
        let wanted: Vec<&RouteSpec> = rendering
            .services
            .values()
            .flat_map(|service| &service.routes)
            .collect();
        let mut listening: BTreeSet<SocketAddr> = held.iter().copied().collect();
        for snapshot in self.shared.snapshots() {
            let environment = &snapshot.environment;
            listening.extend(environment.listens_on());
            if &environment.id == id {
                let takeovers = environment.adopted.iter().flat_map(|one| &one.takeovers);
                listening.extend(takeovers.map(|one| one.listen));
                continue;
            }
            for spec in &wanted {
                if environment
                    .published
                    .routes
                    .iter()
                    .any(|route| collides(spec, route))
                {
                    let (address, owner) = (address(spec), environment.id.clone());
                    return Err(Error::PortOfEnvironment { address, owner });
                }
            }
        }
        let taken = wanted
            .into_iter()
            .map(address)
            .find(|address| !listening.contains(address) && !(self.shared.ports.is_free)(*address));
        taken.map_or(Ok(()), |address| Err(Error::PortInUse(address)))
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn address(spec: &RouteSpec) -> SocketAddr {
    SocketAddr::new(
        spec.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        spec.port,
    )
}

/// Tells whether a route of another environment leaves no room for `spec`: the same socket, and
/// the same protocol of bytes, or the same host names.
fn collides(spec: &RouteSpec, other: &PublishedRoute) -> bool {
    let same_hosts = spec
        .hosts
        .iter()
        .any(|host| other.route.hosts.contains(host))
        || (spec.hosts.is_empty() && other.route.hosts.is_empty());
    let http = spec.protocol == Protocol::Http && other.protocol == Protocol::Http;
    address(spec) == other.listen
        && (!http || (same_hosts && spec.path_prefix == other.route.path_prefix))
}
