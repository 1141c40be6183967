//! What tests share that break things at random moments: the moments, when an environment is settled
//! again, and that the load goes on. Not what is broken.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use towpath_api::{Deployment, DeploymentState, Environment, InstancePhase};
use towpath_load::Handle;
use towpath_model::id::EnvironmentId;

use crate::site::{LONGEST, Site, assert_none_lost};

/// Random moments, which can be had again.
#[derive(Debug)]
pub(crate) struct Moments(SmallRng);

impl Moments {
    /// Those of `TOWPATH_TEST_SEED`, or new ones.
    #[expect(clippy::print_stdout, reason = "a failed test can be had again")]
    pub(crate) fn new() -> Self {
        let given = std::env::var_os("TOWPATH_TEST_SEED");
        let given = given.and_then(|text| text.to_str()?.parse().ok());
        let now = || u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap();
        let seed = given.unwrap_or_else(now);
        println!("the moments again: TOWPATH_TEST_SEED={seed}");
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Returns one within a time.
    pub(crate) fn within(&mut self, time: Duration) -> Duration {
        time.mul_f64(self.0.random::<f64>())
    }
}

/// Tells whether the environment has exactly what its services want, healthy, and nothing else.
pub(crate) fn is_settled(environment: &Environment) -> bool {
    let wanted: u32 = environment
        .services
        .iter()
        .map(|service| service.wanted)
        .sum();
    environment.engine_fault.is_none()
        && environment.deployment.is_none()
        && environment
            .services
            .iter()
            .all(|service| service.healthy == service.wanted)
        && usize::try_from(wanted) == Ok(environment.instances.len())
        && environment
            .instances
            .iter()
            .all(|one| one.phase == InstancePhase::Running)
}

/// Waits until so many requests were sent.
pub(crate) async fn wait_for_requests(load: &Handle, sent: u64) {
    let deadline = Instant::now() + LONGEST;
    while load.snapshot().sent < sent {
        assert!(Instant::now() < deadline, "the load has stopped");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until more requests were sent.
pub(crate) async fn wait_for_more_requests(load: &Handle, more: u64) {
    wait_for_requests(load, load.snapshot().sent + more).await;
}

/// Deployments in each of which the control plane is killed and started again.
pub(crate) struct Kills<'k> {
    pub(crate) id: EnvironmentId,
    pub(crate) count: u32,
    /// The strategies, and about how many milliseconds a deployment takes by each.
    pub(crate) strategies: &'k [(&'k str, u64)],
    pub(crate) load: &'k Handle,
}

impl Kills<'_> {
    /// Brings out a release by `write` again and again, kills the control plane at a random moment of
    /// each, and has `check` look at the environment when it is settled. Nothing is lost.
    #[expect(clippy::print_stdout, reason = "a failed test says what was tried")]
    pub(crate) async fn run<S: AsRef<Site> + AsMut<Site>>(
        self,
        subject: &mut S,
        write: impl Fn(&S, &str),
        check: impl AsyncFn(&S, &Deployment, &Environment, &str),
    ) {
        let mut moments = Moments::new();
        for kill in 0..self.count {
            let at = usize::try_from(kill).unwrap() % self.strategies.len();
            let (strategy, length) = self.strategies[at];
            let before = self.load.snapshot();
            write(subject, &format!("{}", kill + 2));
            let name = self.id.name.as_str();
            let arguments = [
                "deploy",
                name,
                "--wait",
                "none",
                "--json",
                "--strategy",
                strategy,
            ];
            let site = subject.as_ref();
            let asked = site.run(&arguments).await.exited(0).json();
            let number = u32::try_from(asked["deployment"].as_u64().unwrap()).unwrap();
            let moment = moments.within(Duration::from_millis(length));
            // sleep: the moment of the kill is what is tried out, whatever happens in it.
            tokio::time::sleep(moment).await;
            let state = site.client().deployment(&self.id, number).await.unwrap();
            subject.as_mut().kill_control_plane().await;
            subject.as_mut().serve().await;
            let site = subject.as_ref();
            let state = state.state.words();
            let what = format!("kill {kill}, {strategy} after {moment:?}, {state}");
            println!("{what}");
            let ended = site.wait_for_end(&self.id, number).await;
            assert_eq!(
                ended.state,
                DeploymentState::Succeeded,
                "{what}: {ended:#?}\n{}",
                site.log()
            );
            let environment = site.wait_for(&self.id, "settled", is_settled).await;
            assert_eq!(environment.stable, Some(ended.release), "{what}");
            check(subject, &ended, &environment, &what).await;
            assert_none_lost(&self.load.snapshot().since(&before), &what);
        }
    }
}
