//! From a push to production: what came in, the run that it begins, and the rules by which a run
//! moves. Not how jobs run, which is each environment's own business: a job is a deployment of an
//! environment that lives as long as the job.

pub mod push;

pub use push::{Push, Reference};
