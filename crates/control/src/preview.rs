//! Previews: environments that are made like another one, with their own ports, host names, volumes and
//! lent secrets, and that somebody may have stay for longer. Not when they go ([`watch`]), and not the
//! rules, which are `model::preview`.

pub(crate) mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use towpath_model::command::Change;
use towpath_model::environment::Environment;
use towpath_model::id::{
    AppName, DeploymentNumber, EnvironmentId, EnvironmentName, ReleaseNumber, SecretName,
};
use towpath_model::pipeline::run::PreviewTarget;
use towpath_model::pipeline::{Demands, is_ephemeral};
use towpath_model::port::Volumes;
use towpath_model::preview::{
    Asked, Preview, Refusal, Terms, adapt, check_ttl, environment_of, published_ports,
};
use towpath_model::release::Rendering;
use towpath_model::render::{Draft, DraftService};

use crate::command::Redeploy;
use crate::error::Error;
use crate::platform::{Platform, Shared};

/// A preview that somebody asks for.
#[derive(Debug, Clone)]
pub struct NewPreview {
    /// What it is to be called.
    pub id: EnvironmentId,
    /// What it is to be.
    pub asked: Asked,
    /// The release that it is to have; that which is stable in the environment that it is like when
    /// absent.
    pub release: Option<ReleaseNumber>,
}

/// A preview that was made, and the deployment that brings its release to it.
#[derive(Debug, Clone)]
pub struct MadePreview {
    /// What it is.
    pub preview: Preview,
    /// Its release.
    pub release: ReleaseNumber,
    /// The deployment.
    pub deployment: DeploymentNumber,
}

/// The previews that are being made: they count as those that are there.
#[derive(Debug, Default)]
pub(crate) struct Previews(Mutex<BTreeSet<EnvironmentId>>);

/// The place of one preview among those that there may be.
struct Place<'p> {
    previews: &'p Previews,
    id: EnvironmentId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.previews.lock().remove(&self.id);
    }
}

impl Previews {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<EnvironmentId>> {
        // The set is whole between any two statements that hold the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform {
    /// Makes an environment that is like another one, and asks for the deployment of a release of that
    /// one. Nothing is made when that cannot be.
    pub async fn create_preview(&self, new: NewPreview) -> Result<MadePreview, Error> {
        let NewPreview { id, asked, release } = new;
        check_ttl(asked.ttl)?;
        let from = EnvironmentId::new(id.app.clone(), asked.like.clone());
        let snapshot = self.snapshot(&from)?;
        if let Some(other) = &snapshot.environment.preview {
            return Err(Refusal::OfPreview(from, other.like.clone()).into());
        }
        let nothing = || Refusal::NothingThere(from.clone());
        let release = release.or(snapshot.environment.stable);
        let release = release.ok_or_else(nothing)?;
        let draft = Draft::of(&self.rendering(&from, release).await?);
        let terms = draft.preview.clone().unwrap_or_default();
        let preview = self.make_preview(&id, asked, terms).await?;
        let asked = self.bring_out(&id, release, &draft, &preview.created_by);
        match asked.await {
            Ok(deployment) => Ok(MadePreview {
                preview,
                release,
                deployment,
            }),
            Err(error) => {
                self.shared.discard(&id).await?;
                Err(error)
            }
        }
    }

    /// Has a preview go so long after this moment.
    pub async fn extend_preview(
        &self,
        id: &EnvironmentId,
        ttl: Duration,
        actor: &str,
    ) -> Result<Preview, Error> {
        let actor = actor.to_owned();
        let extended = self.edit(id, move |environment, now| {
            Ok(match environment.extend(ttl, &actor, now) {
                Ok((_, change)) => (Ok(environment.preview.clone()), change),
                Err(refused) => (Err(refused), Change::default()),
            })
        });
        let preview = extended.await??;
        preview.ok_or_else(|| Refusal::NotPreview(id.clone()).into())
    }

    /// Makes the preview of a pull request, or has it stay on.
    pub(crate) async fn keep_preview(
        &self,
        id: &EnvironmentId,
        target: &PreviewTarget,
        actor: &str,
    ) -> Result<(), Error> {
        if self.is_being_destroyed(id) {
            // Another one of the name is made when this one is gone.
            return Err(Error::NotDestroyed {
                environment: id.clone(),
                reason: "it is being removed".to_owned(),
            });
        }
        if let Ok(snapshot) = self.snapshot(id) {
            if snapshot.environment.preview.is_none() {
                return Err(Refusal::Present(id.clone()).into());
            }
            let terms = target.terms.clone();
            let renew = move |environment: &mut Environment, now| {
                environment.renew(&terms, now);
                Ok(((), Change::default()))
            };
            return self.edit(id, renew).await;
        }
        let asked = Asked {
            like: target.like.clone(),
            ttl: None,
            secrets_from: None,
            request: Some(target.request.clone()),
            actor: actor.to_owned(),
        };
        let made = self.make_preview(id, asked, target.terms.clone());
        made.await.map(drop)
    }

    /// Removes the preview of a pull request that is over, and stops its runs.
    pub(crate) async fn end_preview_of(
        &self,
        app: &AppName,
        number: u64,
        actor: &str,
    ) -> Result<(), Error> {
        self.cancel_runs_of_request(app, number, actor).await?;
        let Ok(name) = environment_of(number) else {
            return Ok(());
        };
        let id = EnvironmentId::new(app.clone(), name);
        let Ok(snapshot) = self.snapshot(&id) else {
            return Ok(());
        };
        let preview = snapshot.environment.preview.as_ref();
        let request = preview.and_then(|preview| preview.request.as_ref());
        if request.is_none_or(|request| request.number != number) {
            return Ok(());
        }
        let asked = self.shared.ask_to_destroy(&id, Volumes::Delete, actor);
        asked.await.map(drop)
    }

    /// Returns what a release is for a preview that never had it, made of what it is in the
    /// environment that the preview is like. `None` for an environment that is none, or where the
    /// release never was.
    pub(crate) async fn rendering_for_preview(
        &self,
        id: &EnvironmentId,
        release: ReleaseNumber,
    ) -> Result<Option<Rendering>, Error> {
        let snapshot = self.snapshot(id)?;
        let Some(preview) = &snapshot.environment.preview else {
            return Ok(None);
        };
        let like = EnvironmentId::new(id.app.clone(), preview.like.clone());
        let store = &self.shared.ports.store;
        let Some(rendering) = store.rendering(&like, release).await? else {
            return Ok(None);
        };
        let rendering = self.render(id, &Draft::of(&rendering)).await?;
        store.insert_rendering(id, release, &rendering).await?;
        Ok(Some(rendering))
    }

    /// Makes what another environment runs what a preview runs, and lends it the secrets.
    pub(crate) async fn as_preview(
        &self,
        id: &EnvironmentId,
        preview: &Preview,
        draft: &Draft,
    ) -> Result<Draft, Error> {
        let mut draft = draft.clone();
        let mut ports = BTreeMap::new();
        for published in published_ports(&draft) {
            let is_free = Arc::clone(&self.shared.ports.is_free);
            let range = self.shared.config.internal_ports.clone();
            let store = &self.shared.ports.store;
            let own = store.allocate_port_in_place_of(id, published, range, |port| {
                is_free(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
            });
            ports.insert(published, own.await?);
        }
        adapt(&mut draft, &id.name, preview, &ports)?;
        draft.demands = Demands::default();
        self.lend_to_preview(id, preview, &draft).await?;
        Ok(draft)
    }

    /// Returns what is brought out: in a preview to which nothing came yet, with the release job that
    /// fills its volumes. What is kept of the release has no such job, so it is not run again.
    pub(crate) async fn seeded(
        &self,
        id: &EnvironmentId,
        rendering: Rendering,
    ) -> Result<Rendering, Error> {
        let snapshot = self.snapshot(id)?;
        let Environment {
            preview, stable, ..
        } = &snapshot.environment;
        let (Some(preview), None, Some(seed)) = (preview, stable, &rendering.seed) else {
            return Ok(rendering);
        };
        let mut draft = Draft::of(&rendering);
        let name = seed.spec.service.clone();
        draft.services.insert(name, DraftService::clone(seed));
        self.lend_to_preview(id, preview, &draft).await?;
        self.pinned(id, &draft).await
    }

    /// Gives a preview the secrets that it reads, in the versions of the moment, but for those that
    /// somebody set for it.
    async fn lend_to_preview(
        &self,
        id: &EnvironmentId,
        preview: &Preview,
        draft: &Draft,
    ) -> Result<(), Error> {
        let present = self.shared.ports.store.list_secrets(id).await?;
        let is_own = |name: &SecretName| {
            let mut own = present.iter().filter(|one| one.created_by != crate::SYSTEM);
            own.any(|one| &one.name == name)
        };
        let wanted: Vec<&SecretName> = draft.secrets().into_iter().collect();
        let wanted: Vec<&SecretName> = wanted.into_iter().filter(|name| !is_own(name)).collect();
        match &preview.secrets_from {
            Some(lender) => {
                let lender = EnvironmentId::new(id.app.clone(), lender.clone());
                let versions = self.shared.latest_of(&lender, &wanted).await?;
                self.shared.lend_secrets(&lender, id, &versions).await
            }
            None if wanted.is_empty() => Ok(()),
            None => Err(Refusal::unlent(preview, &wanted).into()),
        }
    }

    async fn make_preview(
        &self,
        id: &EnvironmentId,
        asked: Asked,
        terms: Terms,
    ) -> Result<Preview, Error> {
        if is_ephemeral(&id.name) {
            return Err(Refusal::Name(id.name.clone()).into());
        }
        let present = || Refusal::Present(id.clone());
        if self.snapshot(id).is_ok() {
            return Err(present().into());
        }
        let preview = Preview::new(asked, terms, self.shared.ports.clock.now());
        let place = self.shared.place_of_preview(id, &preview.terms)?;
        let mut environment = Environment::new(id.clone());
        environment.preview = Some(preview.clone());
        let words = Some(preview.words());
        let made = self.create(environment, &preview.created_by, words).await?;
        drop(place);
        if !made {
            return Err(present().into());
        }
        Ok(preview)
    }

    /// Asks for the first deployment to a preview.
    async fn bring_out(
        &self,
        id: &EnvironmentId,
        release: ReleaseNumber,
        draft: &Draft,
        actor: &str,
    ) -> Result<DeploymentNumber, Error> {
        let rendering = self.render(id, draft).await?;
        let again = Redeploy {
            release,
            rendering,
            strategy: None,
            actor: actor.to_owned(),
            past_gates: None,
        };
        self.redeploy(id, again).await
    }
}

impl Shared {
    /// Takes a place for one more preview; refused where there are as many as there may be.
    fn place_of_preview(&self, id: &EnvironmentId, terms: &Terms) -> Result<Place<'_>, Refusal> {
        let mut making = self.previews.lock();
        let mut names: BTreeSet<EnvironmentName> = making
            .iter()
            .filter(|one| one.app == id.app)
            .map(|one| one.name.clone())
            .collect();
        for snapshot in self.snapshots() {
            let Environment {
                id: other, preview, ..
            } = &snapshot.environment;
            if other.app == id.app && preview.is_some() && !self.removals.has(other) {
                names.insert(other.name.clone());
            }
        }
        let names: Vec<EnvironmentName> = names.into_iter().collect();
        terms.refuse_more(&id.app, &names)?;
        making.insert(id.clone());
        drop(making);
        Ok(Place {
            previews: &self.previews,
            id: id.clone(),
        })
    }
}
