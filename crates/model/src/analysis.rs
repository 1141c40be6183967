//! The built-in gate: what the router counted, as a verdict on the candidate. No data is never a
//! pass.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::deployment::Baseline;
use crate::id::WorkloadId;
use crate::rollout::Analysis;
use crate::routing::RouterReport;
use crate::traffic::TrafficCounters;

/// A candidate's slowest percent must be at least this much slower than stable's to count: below
/// it, the histogram's buckets are coarser than the difference.
const P99_MARGIN: Duration = Duration::from_millis(100);

/// What the counts say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The candidate is as good as it has to be.
    Pass,
    /// It is not; why, in one sentence.
    Failed(String),
    /// Too few requests to tell.
    NoData {
        /// Requests that the candidate was given.
        requests: u64,
    },
}

/// Judges what the candidate and the stable side were counted with in the same time.
pub fn judge(
    analysis: &Analysis,
    candidate: &TrafficCounters,
    stable: &TrafficCounters,
) -> Verdict {
    let requests = candidate.requests();
    if requests < analysis.min_requests.max(1) {
        return Verdict::NoData { requests };
    }
    let rate = share(candidate.failures(), requests);
    let stable_rate = share(stable.failures(), stable.requests());
    let allowed = (analysis.max_error_rate + stable_rate).min(1.0);
    if rate > allowed {
        return Verdict::Failed(format!(
            "{} of {requests} requests failed ({:.1} %, allowed {:.1} %)",
            candidate.failures(),
            rate * 100.0,
            allowed * 100.0
        ));
    }
    slow(analysis, candidate, stable).map_or(Verdict::Pass, Verdict::Failed)
}

fn slow(
    analysis: &Analysis,
    candidate: &TrafficCounters,
    stable: &TrafficCounters,
) -> Option<String> {
    let p99 = candidate.latency.p99()?;
    if let Some(limit) = analysis.max_p99.filter(|limit| p99 > *limit) {
        return Some(format!("p99 is {p99:.2?}, allowed {limit:.2?}"));
    }
    let enough = stable.latency.count() >= analysis.min_requests.max(1);
    let stable_p99 = stable.latency.p99().filter(|_| enough)?;
    let limit = stable_p99
        .mul_f64(analysis.max_p99_ratio.max(1.0))
        .max(stable_p99 + P99_MARGIN);
    (p99 > limit).then(|| {
        format!(
            "p99 is {p99:.2?} beside {stable_p99:.2?} of the stable release (allowed {limit:.2?})"
        )
    })
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "counts of requests within one step are far below 2 to the power of 53"
)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Adds up the counters of each workload over all of its routes.
pub fn counters(report: &RouterReport) -> BTreeMap<WorkloadId, TrafficCounters> {
    let mut sums: BTreeMap<WorkloadId, TrafficCounters> = BTreeMap::new();
    for traffic in &report.traffic {
        sums.entry(traffic.workload.clone())
            .or_default()
            .merge(&traffic.counters);
    }
    sums
}

/// Returns what a workload was counted with since the baseline. After a restart of the router the
/// counters began anew, so all of them came since.
pub fn since(
    baseline: &Baseline,
    report: &RouterReport,
    now: &BTreeMap<WorkloadId, TrafficCounters>,
    workload: &WorkloadId,
) -> TrafficCounters {
    let counted = now.get(workload).cloned().unwrap_or_default();
    match baseline.counters.get(workload) {
        Some(before) if baseline.boot == report.boot => counted.since(before),
        _ => counted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(good: u64, bad: u64, latency_ms: u64) -> TrafficCounters {
        let mut counters = TrafficCounters {
            classes: [0, good, 0, 0, bad],
            ..Default::default()
        };
        for _ in 0..good + bad {
            counters.latency.record(Duration::from_millis(latency_ms));
        }
        counters
    }

    #[test]
    fn no_data_is_not_a_pass() {
        let verdict = judge(
            &Analysis::default(),
            &counted(0, 0, 1),
            &counted(1000, 0, 1),
        );
        assert_eq!(verdict, Verdict::NoData { requests: 0 });
    }

    #[test]
    fn more_errors_than_allowed_fail() {
        let verdict = judge(
            &Analysis::default(),
            &counted(95, 5, 1),
            &counted(1000, 0, 1),
        );
        assert!(matches!(verdict, Verdict::Failed(reason) if reason.starts_with("5 of 100")));
    }

    #[test]
    fn errors_that_stable_has_too_do_not_fail() {
        let verdict = judge(
            &Analysis::default(),
            &counted(95, 5, 1),
            &counted(900, 100, 1),
        );
        assert_eq!(verdict, Verdict::Pass);
    }

    #[test]
    fn four_slow_requests_of_few_are_no_tail_and_five_are() {
        let analysis = Analysis::default();
        let stable = counted(60, 0, 10);
        let slow = |requests: u64| {
            let mut candidate = counted(60 - requests, 0, 10);
            candidate.merge(&counted(requests, 0, 900));
            judge(&analysis, &candidate, &stable)
        };
        assert_eq!(slow(4), Verdict::Pass);
        assert!(matches!(slow(5), Verdict::Failed(_)));
    }

    #[test]
    fn much_slower_than_stable_fails_and_a_little_slower_does_not() {
        let analysis = Analysis::default();
        let stable = counted(1000, 0, 10);
        assert!(matches!(
            judge(&analysis, &counted(100, 0, 500), &stable),
            Verdict::Failed(_)
        ));
        assert_eq!(
            judge(&analysis, &counted(100, 0, 60), &stable),
            Verdict::Pass
        );
    }
}
