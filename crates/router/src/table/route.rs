//! One route in its compiled form, and what of it outlives a table. Not how a backend is chosen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use towpath_model::id::WorkloadId;
use towpath_model::routing::{FULL_WEIGHT, RouteMode, RoutePolicy, Shield};

use crate::counters::Counters;
use crate::instance::Instance;

/// Steps through all residues of [`FULL_WEIGHT`], with which it shares no factor. It is near the
/// golden section of it, so that every stretch of the walk is spread evenly.
const STRIDE: u64 = 6_181;

/// Requests that match go to one of the targets.
#[derive(Debug)]
pub(crate) struct Route {
    /// The path prefix without its last slash.
    pub(crate) prefix: String,
    pub(crate) targets: Vec<Target>,
    pub(crate) shield: Option<Shield>,
    pub(crate) mode: RouteMode,
    pub(crate) policy: Policy,
    pub(crate) state: Arc<RouteState>,
}

/// One release's side of a route.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) workload: WorkloadId,
    pub(crate) weight: u32,
    pub(crate) backends: Vec<Arc<Instance>>,
    pub(crate) counters: Arc<Counters>,
    /// The `Set-Cookie` value that sends a client back here, on sticky routes.
    pub(crate) cookie: Option<http::HeaderValue>,
}

/// Limits and timeouts of a route.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_body_bytes: u64,
    pub(crate) rate_limit_per_s: u32,
    pub(crate) sticky: bool,
}

impl From<&RoutePolicy> for Policy {
    fn from(policy: &RoutePolicy) -> Self {
        Self {
            connect_timeout: Duration::from_millis(policy.connect_timeout_ms),
            response_timeout: Duration::from_millis(policy.response_timeout_ms),
            idle_timeout: Duration::from_millis(policy.idle_timeout_ms),
            max_body_bytes: policy.max_body_bytes,
            rate_limit_per_s: policy.rate_limit_per_s,
            sticky: policy.sticky,
        }
    }
}

/// What of a route outlives a table: where its weighted walk stands, its rate, its held requests.
#[derive(Debug, Default)]
pub(crate) struct RouteState {
    picks: AtomicU64,
    /// When the last permitted request would have been due at exactly the permitted rate, in
    /// nanoseconds since the start of the process.
    due_ns: AtomicU64,
    held: AtomicU32,
    /// Requests answered by the router itself, by status: 404 has no route and is not here.
    pub(crate) refused: [AtomicU64; 5],
}

/// The statuses counted in [`RouteState::refused`].
pub(crate) const REFUSED: [u16; 5] = [413, 429, 502, 503, 504];

impl RouteState {
    /// Returns the number of the next pick.
    pub(crate) fn next_pick(&self) -> u64 {
        self.picks.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the number of a pick that was made, to choose once more for the same request.
    pub(crate) fn last_pick(&self) -> u64 {
        self.picks.load(Ordering::Relaxed)
    }

    /// Whether one more request at `now_ns` is within `per_second`, with a burst of as many.
    ///
    /// This is the generic cell rate algorithm (ITU-T I.371): one number, no bucket to refill.
    pub(crate) fn is_within_rate(&self, per_second: u32, now_ns: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        let interval = 1_000_000_000 / u64::from(per_second);
        let burst = interval.saturating_mul(u64::from(per_second));
        self.due_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                let next = due.max(now_ns) + interval;
                (next <= now_ns + burst).then_some(next)
            })
            .is_ok()
    }

    /// Holds one more request, unless `limit` are held already.
    pub(crate) fn hold(self: &Arc<Self>, limit: u32) -> Option<Held> {
        let more = |held| (held < limit).then_some(held + 1);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Held(Arc::clone(self)))
    }

    /// Returns how many requests are held by a pause.
    pub(crate) fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    /// Counts a request that the router answered itself with `status`.
    pub(crate) fn refuse(&self, status: http::StatusCode) {
        let at = REFUSED
            .iter()
            .position(|&refused| refused == status.as_u16());
        if let Some(counter) = at.and_then(|at| self.refused.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request held by a paused route, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Held(Arc<RouteState>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Route {
    /// Returns the index of the target that pick number `pick` falls to.
    ///
    /// Over any [`FULL_WEIGHT`] consecutive picks each target gets exactly its weight, and every
    /// shorter stretch is within a few picks of it.
    pub(crate) fn weighted(&self, pick: u64) -> Option<usize> {
        let total: u64 = self
            .targets
            .iter()
            .map(|target| u64::from(target.weight))
            .sum();
        let full = u64::from(FULL_WEIGHT);
        let step = (pick % full) * STRIDE % full;
        let at = step * total / full;
        let mut end = 0;
        self.targets.iter().position(|target| {
            end += u64::from(target.weight);
            at < end
        })
    }

    /// Returns the index of the target of `workload`.
    pub(crate) fn target_of(&self, workload: &WorkloadId) -> Option<usize> {
        self.targets
            .iter()
            .position(|target| &target.workload == workload)
    }

    #[cfg(test)]
    pub(crate) fn for_test(prefix: &str) -> Self {
        Self {
            prefix: super::normal_prefix(prefix),
            targets: Vec::new(),
            shield: None,
            mode: RouteMode::Serving,
            policy: Policy::from(&RoutePolicy::default()),
            state: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_model::id::Digest;

    use super::*;

    fn weights(weights: &[u32]) -> Route {
        let mut route = Route::for_test("/");
        for (n, &weight) in weights.iter().enumerate() {
            let digest = Digest::of(n.to_string().as_bytes());
            route.targets.push(Target {
                workload: WorkloadId::new("web".parse().unwrap(), &digest),
                weight,
                backends: Vec::new(),
                counters: Arc::new(Counters::new(1)),
                cookie: None,
            });
        }
        route
    }

    #[test]
    fn weights_are_exact_over_ten_thousand_picks_from_anywhere() {
        let route = weights(&[500, 1, 9_499, 0]);
        for start in [0, 7, 123_456] {
            let mut counts = [0; 4];
            for pick in start..start + 10_000 {
                counts[route.weighted(pick).unwrap()] += 1;
            }
            assert_eq!(counts, [500, 1, 9_499, 0]);
        }
    }

    #[test]
    fn weights_are_near_exact_over_short_stretches() {
        let route = weights(&[500, 9_500]);
        for start in (0..10_000).step_by(100) {
            let hits = (start..start + 200)
                .filter(|&pick| route.weighted(pick) == Some(0))
                .count();
            assert!((8..=12).contains(&hits), "{hits} of 200 at {start}");
        }
    }

    #[test]
    fn a_route_without_weights_has_no_target() {
        assert_eq!(weights(&[]).weighted(0), None);
        assert_eq!(weights(&[0, 0]).weighted(5), None);
    }

    #[test]
    fn a_rate_limit_lets_a_burst_through_and_then_the_rate() {
        let state = RouteState::default();
        let second = 1_000_000_000;
        let within = |now| (0..100).filter(|_| state.is_within_rate(10, now)).count();
        assert_eq!(within(second), 10);
        assert_eq!(within(second), 0);
        assert_eq!(within(second + second / 2), 5);
        assert_eq!(within(10 * second), 10);
        assert!((0..100).all(|_| state.is_within_rate(0, 0)));
    }

    #[test]
    fn no_more_requests_are_held_than_the_limit() {
        let state = Arc::new(RouteState::default());
        let first = state.hold(1);
        assert!(first.is_some());
        assert!(state.hold(1).is_none());
        drop(first);
        assert!(state.hold(1).is_some());
    }
}
