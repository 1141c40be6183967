//! Chooses the backend of a request and counts the request as in flight, as one step against table
//! swaps. Not how the request gets there.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, header};
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
    /// The fields, in which sticky routes look for their cookie.
    pub(crate) headers: Option<&'a HeaderMap>,
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
    admit_with(shared, query, choice, tried, || {})
}

/// The same; `between` runs after each choice, before the request is counted.
fn admit_with(
    shared: &Shared,
    query: Query<'_>,
    choice: Choice<'_>,
    tried: &[Arc<Instance>],
    between: impl Fn(),
) -> Admission {
    loop {
        let table = shared.table();
        let admission = admit_by(&table, query, choice, tried, &between);
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
    between: &impl Fn(),
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
        Choice::Weighted => weighted(route, query.headers, pick, tried),
        Choice::Only(workload) => only(route, workload, pick, tried),
    };
    between();
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
    headers: Option<&HeaderMap>,
    pick: u64,
    tried: &[Arc<Instance>],
) -> Option<(usize, &'r Arc<Instance>)> {
    let sticky = headers
        .filter(|_| route.policy.sticky)
        .and_then(cookies)
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

/// Returns the value of the `Cookie` field.
pub(crate) fn cookies(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::COOKIE)?.to_str().ok()
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use towpath_model::id::Digest;
    use towpath_model::routing::{
        Backend, FULL_WEIGHT, Listener, Protocol, Route, RoutePolicy, RouteTable, Target,
    };

    use super::*;
    use crate::config::Limits;
    use crate::registry::Registry;

    const LISTENER: &str = "127.0.0.1:80";

    fn table(numbers: &[u32]) -> RouteTable {
        let backend = |&number: &u32| Backend {
            instance: format!("shop/production/web-{number}").parse().unwrap(),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        let target = Target {
            workload: WorkloadId::new("web".parse().unwrap(), &Digest::of(b"a")),
            weight: FULL_WEIGHT,
            backends: numbers.iter().map(backend).collect(),
        };
        let route = Route {
            environment: "shop/production".parse().unwrap(),
            name: "web".to_owned(),
            hosts: Vec::new(),
            path_prefix: "/".to_owned(),
            targets: vec![target],
            shield: None,
            mode: RouteMode::Serving,
            policy: RoutePolicy::default(),
        };
        let listener = Listener {
            protocol: Protocol::Http,
            routes: vec![route],
        };
        RouteTable {
            listeners: [(LISTENER.parse().unwrap(), listener)].into(),
            ..RouteTable::default()
        }
    }

    fn chosen(shared: &Shared, between: impl Fn()) -> Pick {
        let query = Query {
            listener: LISTENER.parse().unwrap(),
            host: "",
            path: "/",
            headers: None,
        };
        match admit_with(shared, query, Choice::Weighted, &[], between) {
            Admission::Forward(pick) => pick,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_choice_that_a_swap_overtakes_is_made_again() {
        let shared = Shared::new(Limits::default());
        let mut registry = Registry::new(1, Arc::clone(&shared.signals));
        shared.swap(registry.compile(&table(&[1])));
        let next = std::cell::RefCell::new(Some(registry.compile(&table(&[2]))));
        let pick = chosen(&shared, || {
            if let Some(next) = next.take() {
                shared.swap(next);
            }
        });
        assert_eq!(pick.lease.instance().id.number, 2);
        let busy = registry
            .instances()
            .filter(|instance| instance.in_flight() > 0);
        assert_eq!(
            busy.map(|instance| instance.id.number).collect::<Vec<_>>(),
            [2]
        );
    }

    /// The ways of two workers and of the control side cross many thousands of times. A
    /// backend that left the table and has nothing in flight must never be chosen again.
    #[test]
    fn a_choice_from_a_table_that_is_no_longer_in_force_is_seen_or_made_again() {
        let shared = Shared::new(Limits::default());
        let mut registry = Registry::new(1, Arc::clone(&shared.signals));
        let (both, one) = (table(&[1, 2]), table(&[1]));
        shared.swap(registry.compile(&both));
        let leaving: Vec<_> = registry.instances().map(Arc::clone).collect();
        let leaving = leaving
            .iter()
            .find(|instance| instance.id.number == 2)
            .unwrap();

        let (stop, gone) = (AtomicBool::new(false), AtomicBool::new(false));
        let (violations, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let pick = chosen(&shared, std::thread::yield_now);
                        if pick.lease.instance().id.number == 2 {
                            used.fetch_add(1, Ordering::Relaxed);
                            let wrong = usize::from(gone.load(Ordering::SeqCst));
                            violations.fetch_add(wrong, Ordering::Relaxed);
                        }
                    }
                });
            }
            for _ in 0..1_000 {
                gone.store(false, Ordering::SeqCst);
                let before = used.load(Ordering::Relaxed);
                shared.swap(registry.compile(&both));
                while used.load(Ordering::Relaxed) == before {
                    std::thread::yield_now();
                }
                shared.swap(registry.compile(&one));
                while leaving.in_flight() > 0 {
                    std::thread::yield_now();
                }
                gone.store(true, Ordering::SeqCst);
                (0..10).for_each(|_| std::thread::yield_now());
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(violations.load(Ordering::Relaxed), 0);
    }
}
