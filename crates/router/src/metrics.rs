//! The counters as text for Prometheus (exposition format 0.0.4). Not what counts.

use std::fmt::{self, Write};

use towpath_model::id::{EnvironmentId, WorkloadId};
use towpath_model::traffic::{LATENCY_BUCKETS, LatencyHistogram};

use crate::registry::Registry;
use crate::table::REFUSED;

/// Writes all metrics.
pub(crate) fn text(registry: &Registry, generation: u64, faults: usize) -> String {
    let mut text = String::new();
    write(&mut text, registry, generation, faults).expect("writing to a string cannot fail");
    text
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn labels(environment: &EnvironmentId, route: &str) -> String {
    let (app, name) = (&environment.app, &environment.name);
    format!(
        "app=\"{app}\",environment=\"{name}\",route=\"{}\"",
        escaped(route)
    )
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn with_workload(environment: &EnvironmentId, route: &str, workload: &WorkloadId) -> String {
    format!("{},workload=\"{workload}\"", labels(environment, route))
}

fn write(out: &mut String, registry: &Registry, generation: u64, faults: usize) -> fmt::Result {
    head(
        out,
        "towpath_router_generation",
        "gauge",
        "Generation of the table in force and on disk.",
    )?;
    writeln!(out, "towpath_router_generation {generation}")?;
    head(
        out,
        "towpath_router_listener_faults",
        "gauge",
        "Listeners that could not be opened.",
    )?;
    writeln!(out, "towpath_router_listener_faults {faults}")?;
    write_requests(out, registry)?;
    write_latency(out, registry)?;
    write_instances(out, registry)?;
    write_routes(out, registry)
}

fn write_requests(out: &mut String, registry: &Registry) -> fmt::Result {
    let mut counters: Vec<_> = registry.counters().collect();
    counters.sort_by_key(|&(key, _)| key);
    let snapshots: Vec<_> = counters
        .iter()
        .map(|(key, counters)| {
            (
                with_workload(&key.environment, &key.route, &key.workload),
                counters.snapshot(),
            )
        })
        .collect();
    let name = "towpath_router_requests_total";
    head(
        out,
        name,
        "counter",
        "Requests by route, workload and status class.",
    )?;
    for (labels, snapshot) in &snapshots {
        for (class, count) in (1..).zip(snapshot.classes) {
            writeln!(out, "{name}{{{labels},class=\"{class}xx\"}} {count}")?;
        }
    }
    let name = "towpath_router_unanswered_total";
    head(
        out,
        name,
        "counter",
        "Requests that got no answer from the workload.",
    )?;
    for (labels, snapshot) in &snapshots {
        writeln!(out, "{name}{{{labels}}} {}", snapshot.unanswered)?;
    }
    let name = "towpath_router_shielded_total";
    head(
        out,
        name,
        "counter",
        "Requests that were replayed on the stable side.",
    )?;
    for (labels, snapshot) in &snapshots {
        writeln!(out, "{name}{{{labels}}} {}", snapshot.shielded)?;
    }
    Ok(())
}

fn write_latency(out: &mut String, registry: &Registry) -> fmt::Result {
    let name = "towpath_router_latency_seconds";
    head(
        out,
        name,
        "histogram",
        "Time to the first byte of the answer.",
    )?;
    let mut counters: Vec<_> = registry.counters().collect();
    counters.sort_by_key(|&(key, _)| key);
    for (key, counters) in counters {
        let labels = with_workload(&key.environment, &key.route, &key.workload);
        let buckets: Vec<u64> = counters.snapshot().latency.into();
        let mut total = 0;
        for (index, count) in buckets.iter().enumerate().take(LATENCY_BUCKETS - 1) {
            total += count;
            let bound = LatencyHistogram::upper_bound(index).as_secs_f64();
            writeln!(out, "{name}_bucket{{{labels},le=\"{bound:.6}\"}} {total}")?;
        }
        let total: u64 = buckets.iter().sum();
        writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}")?;
        let sum = counters.latency_sum().as_secs_f64();
        writeln!(
            out,
            "{name}_sum{{{labels}}} {sum:.6}\n{name}_count{{{labels}}} {total}"
        )?;
    }
    Ok(())
}

fn write_instances(out: &mut String, registry: &Registry) -> fmt::Result {
    let mut instances: Vec<_> = registry.instances().collect();
    instances.sort_by_key(|instance| (&instance.id, instance.address));
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(usize) -> u32| {
        head(out, name, "gauge", help)?;
        for (at, instance) in instances.iter().enumerate() {
            let (id, address) = (&instance.id, instance.address);
            writeln!(
                out,
                "{name}{{instance=\"{id}\",address=\"{address}\"}} {}",
                value(at)
            )?;
        }
        Ok(())
    };
    let of = |at: usize| instances.get(at);
    gauge(
        "towpath_router_in_flight",
        "Requests whose answer is not complete.",
        &|at| of(at).map_or(0, |one| one.in_flight()),
    )?;
    gauge(
        "towpath_router_upgraded",
        "Upgraded and TCP connections.",
        &|at| of(at).map_or(0, |one| one.upgraded()),
    )?;
    gauge(
        "towpath_router_answering",
        "Whether the instance accepts connections.",
        &|at| of(at).map_or(0, |one| u32::from(one.is_answering())),
    )
}

fn write_routes(out: &mut String, registry: &Registry) -> fmt::Result {
    let mut routes: Vec<_> = registry.routes().collect();
    routes.sort_by_key(|&(key, _)| key);
    let name = "towpath_router_refused_total";
    head(
        out,
        name,
        "counter",
        "Requests that the router answered itself, by status.",
    )?;
    for ((environment, route), state) in &routes {
        let labels = labels(environment, route);
        for (status, count) in REFUSED.iter().zip(&state.refused) {
            let count = count.load(std::sync::atomic::Ordering::Relaxed);
            writeln!(out, "{name}{{{labels},status=\"{status}\"}} {count}")?;
        }
    }
    let name = "towpath_router_held";
    head(out, name, "gauge", "Requests held by a pause.")?;
    for ((environment, route), state) in &routes {
        writeln!(
            out,
            "{name}{{{}}} {}",
            labels(environment, route),
            state.held()
        )?;
    }
    Ok(())
}
