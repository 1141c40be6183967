//! What an instance wrote that a deployment fails for: whose log is wanted, and what it said. Not the
//! reading, which whoever takes the step does before it is written down.

use crate::deployment::{Deployment, Failure};
use crate::environment::Environment;
use crate::id::{InstanceId, ServiceName};
use crate::step::Step;

impl Step {
    /// Returns the instance whose last lines are to be read now: the verdict on a deployment fell, and
    /// nothing that it wrote is known. [`Step::hear`] is the answer.
    pub fn unheard(&self) -> Option<&InstanceId> {
        let mut deployments = self.environment.deployment.iter().chain(&self.finished);
        deployments.find_map(|deployment| deployment.failure.as_ref()?.unheard.as_ref())
    }

    /// Takes in what the instance wrote: nothing when its log cannot be read, which is not asked for
    /// again.
    pub fn hear(&mut self, lines: &[String]) {
        let active = self.environment.deployment.iter_mut();
        let failures = active
            .chain(&mut self.finished)
            .filter_map(|deployment| deployment.failure.as_mut());
        for failure in failures.filter(|failure| failure.unheard.is_some()) {
            failure.unheard = None;
            failure.log_tail = lines.to_vec();
        }
    }
}

/// Has somebody asked for what is not known yet: the instance that the failure is about, else the last
/// one of its service.
pub(crate) fn want(environment: &Environment, deployment: &Deployment, failure: &mut Failure) {
    let heard = failure.aborted || !failure.log_tail.is_empty();
    if heard {
        failure.unheard = None;
    } else if failure.unheard.is_none() {
        let service = failure.service.as_ref();
        failure.unheard = service.and_then(|name| speaker(environment, deployment, name));
    }
}

/// Returns the last instance of a service of the candidate.
fn speaker(
    environment: &Environment,
    deployment: &Deployment,
    name: &ServiceName,
) -> Option<InstanceId> {
    let workload = &environment.service(deployment.release, name)?.workload;
    let mut instances = environment.instances.values().rev();
    let last = instances.find(|one| one.workload == *workload)?;
    Some(environment.instance_id(last))
}
