//! Releases, events, plans, secrets, tokens and log lines, for the wire.

use towpath_api as api;
use towpath_control::{InstanceUsage, SecretInfo, Token, TriedOut, Verification};
use towpath_model::event::Event;
use towpath_model::id::EnvironmentId;
use towpath_model::plan::{Change, Plan, ServicePlan};
use towpath_model::port::{Capabilities, LogLine};
use towpath_model::release::Release;

use super::deployment::strategy;

pub(crate) fn release(release: &Release, stable_in: Vec<String>) -> api::Release {
    api::Release {
        app: release.app.to_string(),
        number: release.number.0,
        source: release.source.as_ref().map(ToString::to_string),
        commit: release.commit.clone(),
        message: release.message.clone(),
        created_at: release.created_at,
        created_by: release.created_by.clone(),
        stable_in,
    }
}

pub(crate) fn event(event: Event) -> api::Event {
    api::Event {
        sequence: event.sequence,
        at: event.at,
        actor: event.actor,
        environment: event.environment.map(|id| id.to_string()),
        what: event.what,
        subject: event.subject,
        from: event.from,
        to: event.to,
        reason: event.reason,
        hash: event.hash.to_string(),
    }
}

pub(crate) fn verification(verification: Verification, head: Option<String>) -> api::Verification {
    api::Verification {
        intact: verification.first_bad.is_none(),
        events: verification.count,
        head,
        broken: verification.first_bad.map(|bad| api::BrokenLink {
            sequence: bad.sequence,
            problem: bad.problem.to_string(),
        }),
    }
}

pub(crate) fn plan(id: &EnvironmentId, plan: &Plan) -> api::Plan {
    api::Plan {
        environment: id.to_string(),
        strategy: strategy(plan.strategy),
        empty: plan.is_empty(),
        irreversible: plan.irreversible,
        services: plan.services.iter().map(service_plan).collect(),
    }
}

fn service_plan(service: &ServicePlan) -> api::ServicePlan {
    let (change, fields) = match &service.change {
        Change::New => (api::Change::New, Vec::new()),
        Change::Job => (api::Change::Job, Vec::new()),
        Change::Replaced { fields } => (api::Change::Replaced, fields.clone()),
        Change::Unchanged => (api::Change::Unchanged, Vec::new()),
        Change::Removed => (api::Change::Removed, Vec::new()),
    };
    api::ServicePlan {
        service: service.service.to_string(),
        change,
        fields,
        replicas_before: service.replicas_before,
        replicas: service.replicas,
        stateful: service.exclusive.is_some(),
        exclusive: service.exclusive.clone(),
    }
}

pub(crate) fn secret(secret: SecretInfo) -> api::Secret {
    api::Secret {
        name: secret.name.to_string(),
        version: secret.version.0,
        created_at: secret.created_at,
        created_by: secret.created_by,
    }
}

pub(crate) fn token(token: Token) -> api::Token {
    api::Token {
        id: token.id,
        name: token.name,
        created_at: token.created_at,
        created_by: token.created_by,
        revoked_at: token.revoked_at,
    }
}

pub(crate) fn log_line(line: LogLine) -> api::LogLine {
    api::LogLine {
        at: line.at,
        service: line.instance.service.to_string(),
        instance: line.instance.number,
        stream: line.stream,
        text: line.text,
    }
}

pub(crate) fn engine(capabilities: Capabilities) -> api::EngineInfo {
    api::EngineInfo {
        name: capabilities.engine,
        no_limits: capabilities.limits.err(),
        no_users: capabilities.users.err(),
    }
}

pub(crate) fn usage(used: Vec<InstanceUsage>) -> api::Usage {
    let instances = used.into_iter().map(|one| api::InstanceUsage {
        service: one.id.service.to_string(),
        instance: one.id.number,
        at: one.usage.at,
        cpu_percent: one.cpu_percent,
        memory_bytes: one.usage.memory_bytes,
        memory_limit_bytes: one.usage.memory_limit_bytes,
        network_received_bytes: one.usage.network.map(|(received, _)| received),
        network_sent_bytes: one.usage.network.map(|(_, sent)| sent),
        disk_read_bytes: one.usage.disk.map(|(read, _)| read),
        disk_written_bytes: one.usage.disk.map(|(_, written)| written),
        pids: one.usage.pids,
    });
    api::Usage {
        instances: instances.collect(),
    }
}

/// Maps what became of a test message.
pub(crate) fn notify_test(tried: TriedOut) -> api::NotifyTest {
    let arrived = tried.outcome.is_ok();
    api::NotifyTest {
        target: tried.target.to_string(),
        channel: tried.channel.to_owned(),
        arrived,
        answer: tried.outcome.unwrap_or_else(|reason| reason),
    }
}
