//! From a push to production: what came in, the run that it begins, and the rules by which a run
//! moves. Not how jobs run, which is each environment's own business: a job is a deployment of an
//! environment that lives as long as the job.

pub mod behind;
pub mod cache;
pub mod command;
pub mod demand;
pub mod endpoint;
pub mod glob;
pub mod junit;
pub mod observation;
pub mod plan;
pub mod project;
pub mod push;
pub mod reuse;
pub mod run;
pub mod step;
pub mod steps;
pub mod trigger;
pub mod window;

pub use demand::Demands;
pub use plan::plan;
pub use push::{Push, Reference};
pub use run::Run;
pub use step::step;

use crate::id::{EnvironmentName, InvalidId, RunNumber};

/// What the names of the environments begin with that live as long as a job.
pub const EPHEMERAL: &str = "ci-";

/// The name of the service that is the job itself in its environment.
pub const JOB_SERVICE: &str = "job";

/// Tells whether an environment is that of a job, which people have no business with.
pub fn is_ephemeral(name: &EnvironmentName) -> bool {
    name.as_str().starts_with(EPHEMERAL)
}

/// Names the environment of one attempt at a job.
pub fn environment_of_job(
    run: RunNumber,
    job: u32,
    attempt: u32,
) -> Result<EnvironmentName, InvalidId> {
    EnvironmentName::new(format!("{EPHEMERAL}{run}-{job}-{attempt}"))
}
