//! Whose targets count for what happened: those of the newest rendering, or of files that were never
//! rendered. Not what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_model::id::{AppName, Digest, EnvironmentId, ReleaseNumber};
use towpath_model::notify::{Origin, Targets};
use towpath_model::pipeline::is_ephemeral;
use towpath_model::pipeline::run::Run;

use crate::error::{Error, describe};
use crate::platform::Shared;

/// The most renderings, and source trees, whose targets are kept in memory.
const MOST_KNOWN: usize = 64;

/// The targets of renderings and of source trees, which never change.
#[derive(Debug, Default)]
pub(super) struct Known {
    rendered: BTreeMap<(EnvironmentId, ReleaseNumber), Arc<Targets>>,
    /// Those of source trees, while nothing is rendered.
    written: BTreeMap<Digest, Arc<Targets>>,
}

impl Known {
    /// Returns who may want to be told of something, and the environment whose secrets count: what
    /// the newest release says that was rendered for the environment; or, where there is none, the
    /// newest of the app; or, where nothing of the app was ever brought out, the files of its newest run.
    pub(super) async fn targets(
        &mut self,
        shared: &Shared,
        origin: &Origin,
    ) -> Result<Option<(EnvironmentId, Arc<Targets>)>, Error> {
        let store = &shared.ports.store;
        let (app, own) = match origin {
            Origin::Environment(id) => (&id.app, Some(id)),
            Origin::App(app) => (app, None),
        };
        if let Some(id) = own
            && let Some((release, _)) = store.renderings(id).await?.into_iter().next()
        {
            let targets = self.of(shared, id, release).await?;
            return Ok(Some((id.clone(), targets)));
        }
        let rendered = store.newest_renderings(app).await?;
        let mut lasting = rendered
            .into_iter()
            .filter(|(id, _)| !is_ephemeral(&id.name));
        let Some((id, release)) = lasting.next() else {
            return self.of_files(shared, app, own).await;
        };
        let targets = self.of(shared, &id, release).await?;
        Ok(Some((own.cloned().unwrap_or(id), targets)))
    }

    async fn of(
        &mut self,
        shared: &Shared,
        id: &EnvironmentId,
        release: ReleaseNumber,
    ) -> Result<Arc<Targets>, Error> {
        let key = (id.clone(), release);
        if let Some(targets) = self.rendered.get(&key) {
            return Ok(Arc::clone(targets));
        }
        let rendering = shared.ports.store.rendering(id, release).await?;
        let targets = Arc::new(rendering.map(|one| one.notify).unwrap_or_default());
        if self.rendered.len() == MOST_KNOWN {
            self.rendered.clear();
        }
        self.rendered.insert(key, Arc::clone(&targets));
        Ok(targets)
    }

    /// Returns whom the files of an app's newest run name, and the environment that it would have come to
    /// first: a run that fails before any deployment is told of, too.
    async fn of_files(
        &mut self,
        shared: &Shared,
        app: &AppName,
        own: Option<&EnvironmentId>,
    ) -> Result<Option<(EnvironmentId, Arc<Targets>)>, Error> {
        let newest = shared.ports.store.runs(app, 1).await?.pop();
        let run = newest.and_then(|run| serde_json::from_value::<Run>(run.document).ok());
        let Some(run) = run else {
            return Ok(None);
        };
        let first = run.targets.first().map(|target| &target.environment);
        let first = first.or_else(|| run.jobs.first().map(|job| &job.like));
        let Some(id) = own.cloned().or_else(|| Some(run.environment(first?))) else {
            return Ok(None);
        };
        let source = &run.push.source;
        if let Some(targets) = self.written.get(source) {
            return Ok(Some((id, Arc::clone(targets))));
        }
        let targets = match shared.check_out(app, source).await {
            Ok(checkout) => Arc::new(checkout.file().targets()),
            // The tree may be gone; what cannot be read names nobody, and holds up nothing.
            Err(error) => {
                let error = describe(&error);
                tracing::warn!(%app, error, "it is not known who is to be told of a run");
                Arc::default()
            }
        };
        if self.written.len() == MOST_KNOWN {
            self.written.clear();
        }
        self.written.insert(source.clone(), Arc::clone(&targets));
        Ok(Some((id, targets)))
    }
}
