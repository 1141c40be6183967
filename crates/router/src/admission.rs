//! Chooses the backend of a request and counts the request as in flight, as one step against table
//! swaps. Not how the request gets there.

use std::net::SocketAddr;
use std::sync::Arc;

use towpath_model::id::WorkloadId;
use towpath_model::routing::RouteMode;

use crate::instance::{InFlight, Instance};
use crate::shared::Shared;
use crate::table::{Route, Table, Target};

/// What of a request decides where it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) listener: SocketAddr,
    /// As `normal_host` writes it.
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    /// The value of the `Cookie` field, for sticky routes.
    pub(crate) cookies: Option<&'a str>,
}

/// Which targets are eligible.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice<'a> {
    /// All, by weight.
    Weighted,
    /// Only this one, whatever its weight: the stable side of a shield.
    Only(&'a WorkloadId),
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Forward it to this backend.
    Forward(Pick),
    /// Hold it: the route is paused.
    Hold(Arc<Route>, u64),
    /// Answer it with the maintenance page.
    Maintenance(Arc<Route>),
    /// No route matches.
    NoRoute,
    /// No target has a backend that was not tried.
    NoBackend(Arc<Route>),
}

/// The chosen backend. The request counts as in flight to it for as long as this lives.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(crate) route: Arc<Route>,
    target: usize,
    pub(crate) lease: InFlight,
}

impl Pick {
    pub(crate) fn target(&self) -> Option<&Target> {
        self.route.targets.get(self.target)
    }
}

/// Chooses among the backends that are not in `tried`.
///
/// When this returns a pick, the table it was made from was in force after the request had been
/// counted: see [`Shared::swap`].
pub(crate) fn admit(
    shared: &Shared,
    query: Query<'_>,
    choice: Choice<'_>,
    tried: &[Arc<Instance>],
) -> Admission {
    loop {
        let table = shared.table();
        let admission = admit_by(&table, query, choice, tried);
        if !matches!(admission, Admission::Forward(_)) || shared.is_current(&table) {
            return admission;
        }
    }
}

fn admit_by(
    table: &Table,
    query: Query<'_>,
    choice: Choice<'_>,
    tried: &[Arc<Instance>],
) -> Admission {
    let Some(route) = table.find(query.listener, query.host, query.path) else {
        return Admission::NoRoute;
    };
    match route.mode {
        RouteMode::Serving => {}
        RouteMode::Paused { max_wait_ms } => {
            return Admission::Hold(Arc::clone(route), max_wait_ms);
        }
        RouteMode::Maintenance { .. } => return Admission::Maintenance(Arc::clone(route)),
    }
    // Only a request's first choice moves the walk on: repetitions would distort the weights.
    let pick = match choice {
        Choice::Weighted if tried.is_empty() => route.state.next_pick(),
        Choice::Weighted | Choice::Only(_) => route.state.last_pick(),
    };
    let chosen = match choice {
        Choice::Weighted => weighted(route, query.cookies, pick, tried),
        Choice::Only(workload) => only(route, workload, pick, tried),
    };
    match chosen {
        Some((target, instance)) => Admission::Forward(Pick {
            route: Arc::clone(route),
            target,
            lease: InFlight::enter(instance),
        }),
        None => Admission::NoBackend(Arc::clone(route)),
    }
}

fn only<'r>(
    route: &'r Route,
    workload: &WorkloadId,
    pick: u64,
    tried: &[Arc<Instance>],
) -> Option<(usize, &'r Arc<Instance>)> {
    let at = route.target_of(workload)?;
    let target = route.targets.get(at)?;
    let answering = least_busy(target, pick, |one| one.is_answering() && !is_in(tried, one));
    let any = || least_busy(target, pick, |one| !is_in(tried, one));
    Some((at, answering.or_else(any)?))
}

/// The sticky target or the one that the walk falls to; then the others that have a weight. Only
/// when nothing answers are instances tried that did not answer before.
fn weighted<'r>(
    route: &'r Route,
    cookies: Option<&str>,
    pick: u64,
    tried: &[Arc<Instance>],
) -> Option<(usize, &'r Arc<Instance>)> {
    let sticky = cookies
        .filter(|_| route.policy.sticky)
        .and_then(|text| sticky_target(route, text));
    let first = match sticky {
        Some(at) => at,
        None => route.weighted(pick)?,
    };
    let in_turn = || {
        (0..route.targets.len())
            .map(|offset| (first + offset) % route.targets.len())
            .filter_map(|at| Some((at, route.targets.get(at)?)))
            .filter(|(_, target)| target.weight > 0)
    };
    let answering = in_turn().find_map(|(at, target)| {
        let usable = |one: &Instance| one.is_answering() && !is_in(tried, one);
        Some((at, least_busy(target, pick, usable)?))
    });
    let any = || {
        in_turn().find_map(|(at, target)| {
            Some((at, least_busy(target, pick, |one| !is_in(tried, one))?))
        })
    };
    answering.or_else(any)
}

fn is_in(tried: &[Arc<Instance>], instance: &Instance) -> bool {
    tried
        .iter()
        .any(|one| std::ptr::eq(Arc::as_ptr(one), instance))
}

/// Chooses the less busy of two backends that `usable` accepts, drawn by `pick`.
fn least_busy(
    target: &Target,
    pick: u64,
    usable: impl Fn(&Instance) -> bool,
) -> Option<&Arc<Instance>> {
    let count = target.backends.iter().filter(|one| usable(one)).count();
    let nth = |n: usize| target.backends.iter().filter(|one| usable(one)).nth(n);
    if count <= 1 {
        return nth(0);
    }
    let drawn = scatter(pick);
    let first = usize::try_from(drawn >> 32).unwrap_or(0) % count;
    let gap = usize::try_from(drawn & 0xffff_ffff).unwrap_or(0) % (count - 1) + 1;
    let (one, other) = (nth(first)?, nth((first + gap) % count)?);
    Some(if other.in_flight() < one.in_flight() {
        other
    } else {
        one
    })
}

/// Spreads consecutive numbers over all 64 bits (the finalizer of splitmix64).
fn scatter(pick: u64) -> u64 {
    let mut z = pick.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the target that a client's cookie names, if it still has a weight.
fn sticky_target(route: &Route, cookies: &str) -> Option<usize> {
    let service = &route.targets.first()?.workload;
    let name = crate::registry::sticky_name(service);
    let pairs = cookies
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    let digest = pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .next()?;
    route
        .targets
        .iter()
        .position(|target| target.weight > 0 && target.workload.digest() == digest)
}
