//! Taking over a Compose project, and letting it go again. Not the rules, which are
//! `model::adoption`, nor the work, which the environment's keeper does step by step.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use towpath_model::adoption::found::FoundProject;
use towpath_model::adoption::plan::{Plan, PlannedPort, plan};
use towpath_model::adoption::takeover::Takeover;
use towpath_model::adoption::{Adoption, PortClaim};
use towpath_model::command::Refusal;
use towpath_model::id::{Digest, EnvironmentId, ReleaseNumber, SecretVersion, ServiceName};
use towpath_model::port::{PortError, Volumes};
use towpath_model::release::Rendering;
use towpath_model::render::Draft;
use towpath_store::NewRelease;

use crate::error::Error;
use crate::platform::Platform;

/// The longest that letting go may take before the caller is told that it goes on without them.
const LONGEST_LEAVE: Duration = Duration::from_secs(30);

/// A project to take over.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// The Compose project.
    pub project: String,
    /// What its files render to.
    pub draft: Draft,
    /// The digest of the source tree, which was uploaded before.
    pub source: Option<Digest>,
    /// The commit that the tree is at, where it is a clean checkout.
    pub commit: Option<String>,
    /// What becomes of the traffic to published ports.
    pub ports: Ports,
    /// Who asks.
    pub actor: String,
}

/// What becomes of the traffic to published ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// It moves to the router at once.
    Move,
    /// It stays with the containers until a release replaces them.
    Keep,
}

impl Platform {
    /// Returns the projects that somebody started with Docker Compose.
    pub async fn compose_projects(&self) -> Result<Vec<FoundProject>, Error> {
        Ok(self.shared.ports.engine.compose_projects().await?)
    }

    /// Says what would become of a project. Nothing is made; the environment need not be there.
    pub async fn plan_adoption(
        &self,
        id: &EnvironmentId,
        project: &str,
        draft: &Draft,
        ports: Ports,
    ) -> Result<Plan, Error> {
        // A value that is not set yet is set before the adoption: only its number matters here.
        let versions = draft.secrets().into_iter().cloned();
        let versions = versions.map(|name| (name, SecretVersion(1))).collect();
        let rendering = draft.pin(&versions)?;
        self.planned(id, project, &rendering, ports).await
    }

    async fn planned(
        &self,
        id: &EnvironmentId,
        project: &str,
        rendering: &Rendering,
        ports: Ports,
    ) -> Result<Plan, Error> {
        let found = self.compose_projects().await?;
        let found = found.into_iter().find(|one| one.name == project);
        let found = found
            .ok_or_else(|| Error::NotFound(format!("Docker Compose project `{project}` here")))?;
        let mut plan = plan(&found, rendering);
        self.refuse_what_is_adopted(id, &mut plan);
        if ports == Ports::Move && !plan.ports.is_empty() {
            match self.shared.ports.redirects.available().await {
                Ok(notes) => plan.notes.extend(notes),
                Err(error) => plan.refusals.push(format!(
                    "the traffic cannot be moved to the router ({error}): run the control plane as root, or leave the traffic where it is with --keep-ports"
                )),
            }
        }
        if ports == Ports::Move {
            plan.notes.extend(left_to_containers(&plan));
        }
        if ports == Ports::Keep && !plan.ports.is_empty() {
            plan.notes.push(
                "the ports stay with the containers: the first release that replaces these leaves a moment in which nobody answers".to_owned(),
            );
        }
        Ok(plan)
    }

    /// Refuses containers that are an environment's already.
    fn refuse_what_is_adopted(&self, id: &EnvironmentId, plan: &mut Plan) {
        for snapshot in self.shared.snapshots() {
            let environment = &snapshot.environment;
            let Some(adopted) = environment.adopted.as_ref() else {
                continue;
            };
            let has = |container: &String| adopted.containers.values().any(|one| one == container);
            if plan.containers.iter().any(|one| has(&one.id)) {
                let whose = if &environment.id == id {
                    "this environment"
                } else {
                    environment.id.app.as_str()
                };
                plan.refusals.push(format!(
                    "it was taken over already, by {whose} (`{}`)",
                    environment.id
                ));
            }
        }
    }

    /// Takes a project over. Returns when that is written down: the keeper does the rest, and begins
    /// again where it was if the control plane is killed.
    pub async fn adopt(&self, id: &EnvironmentId, adopt: Adopt) -> Result<ReleaseNumber, Error> {
        self.refuse_while_destroyed(id)?;
        let rendering = self.pinned(id, &adopt.draft).await?;
        let snapshot = self.snapshot(id)?;
        let environment = &snapshot.environment;
        if environment.stable.is_some() || !environment.instances.is_empty() {
            return Err(Refusal::NotNew(id.clone()).into());
        }
        let plan = self
            .planned(id, &adopt.project, &rendering, adopt.ports)
            .await?;
        if !plan.refusals.is_empty() {
            return Err(Error::NotAdopted {
                project: plan.project,
                reasons: plan.refusals.join("; "),
            });
        }
        let held: Vec<SocketAddr> = plan.ports.iter().map(|port| port.listen).collect();
        self.check_ports(id, &plan.rendering, &held)?;
        let ports = self.claims(id, &plan, adopt.ports).await?;
        let store = &self.shared.ports.store;
        if let Some(digest) = &adopt.source
            && store.source(digest).await?.is_none()
        {
            return Err(Error::NoSource(digest.to_string()));
        }
        let new = NewRelease {
            source: adopt.source,
            commit: adopt.commit,
            message: Some(format!("taken over from Docker Compose ({})", plan.project)),
            created_at: self.shared.ports.clock.now(),
            created_by: adopt.actor.clone(),
        };
        let release = store.create_release(&id.app, new).await?.number;
        store.insert_rendering(id, release, &plan.rendering).await?;
        let peers = self.peers(id, &plan.rendering).await?;
        let adoption = adoption(plan, release, ports, peers, adopt.actor);
        self.edit(id, move |environment, now| {
            Ok(((), environment.adopt(adoption, now)?))
        })
        .await?;
        Ok(release)
    }

    /// Gives each port another one that the router listens on until it is free.
    async fn claims(
        &self,
        id: &EnvironmentId,
        plan: &Plan,
        ports: Ports,
    ) -> Result<Vec<PortClaim>, Error> {
        let mut claims = Vec::new();
        for port in &plan.ports {
            // A redirect is only made for IPv4.
            let moves = ports == Ports::Move && port.listen.is_ipv4();
            let via = if moves {
                Some(self.via(id, port.listen).await?)
            } else {
                None
            };
            claims.push(PortClaim {
                service: port.service.clone(),
                listen: port.listen,
                via,
                container: port.container.clone(),
            });
        }
        Ok(claims)
    }

    async fn via(&self, id: &EnvironmentId, listen: SocketAddr) -> Result<u16, Error> {
        let name = format!("published.{}.{}", listen.ip(), listen.port());
        let name = ServiceName::new(name).map_err(|error| Error::NotFound(error.to_string()))?;
        let is_free = Arc::clone(&self.shared.ports.is_free);
        let range = self.shared.config.internal_ports.clone();
        let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let port = self
            .shared
            .ports
            .store
            .allocate_port(id, &name, range, |port| {
                is_free(SocketAddr::new(everywhere, port))
            })
            .await?;
        Ok(port)
    }

    /// Returns the published ports that are on their way to the router.
    pub fn takeovers(&self, id: &EnvironmentId) -> Result<Option<Vec<Takeover>>, Error> {
        let snapshot = self.snapshot(id)?;
        let adopted = snapshot.environment.adopted.as_ref();
        Ok(adopted.map(|adopted| adopted.takeovers.clone()))
    }

    /// Lets go of what was taken over: traffic goes back to the containers, and everything is
    /// forgotten. Nothing is stopped. Asked again, it goes on.
    pub async fn let_go(&self, id: &EnvironmentId, actor: &str) -> Result<(), Error> {
        let by = actor.to_owned();
        self.edit(id, move |environment, now| {
            Ok(((), environment.let_go(&by, now)?))
        })
        .await?;
        let mut snapshots = self.watch(id)?;
        let gone = snapshots.wait_for(|snapshot| {
            snapshot.environment.is_empty() && snapshot.observation.instances.is_empty()
        });
        let in_time = tokio::time::timeout(LONGEST_LEAVE, gone).await;
        let gone = in_time.map_err(|_| PortError::Failed {
            attempted: format!("letting `{id}` go"),
            reason: "it is not done yet and goes on: see the log, or ask again".to_owned(),
        })?;
        drop(gone.map_err(|_| Error::Stopping)?);
        self.destroy(id, Volumes::Keep, actor).await
    }
}

/// Says what becomes of connections over IPv6, which are not moved.
fn left_to_containers(plan: &Plan) -> Option<String> {
    let over_v6 = |port: &&PlannedPort| port.listen.is_ipv6() || port.listen.ip().is_unspecified();
    let mut ports: Vec<String> = plan
        .ports
        .iter()
        .filter(over_v6)
        .map(|port| port.listen.port().to_string())
        .collect();
    ports.dedup();
    (!ports.is_empty()).then(|| {
        format!(
            "connections over IPv6 to {} are not moved: they reach the containers until a release replaces these; from then on the router answers at the address that the Compose file names, which is IPv4 where it names none",
            ports.join(", ")
        )
    })
}

fn adoption(
    plan: Plan,
    release: ReleaseNumber,
    ports: Vec<PortClaim>,
    peers: BTreeMap<ServiceName, SocketAddr>,
    actor: String,
) -> Adoption {
    Adoption {
        project: plan.project,
        release,
        rendering: Arc::new(plan.rendering),
        volumes: plan.volumes,
        networks: plan.networks,
        containers: plan
            .containers
            .into_iter()
            .map(|one| (one.service, one.id))
            .collect(),
        ports,
        scale: plan.scale,
        completed: plan.completed,
        peers,
        actor,
    }
}
