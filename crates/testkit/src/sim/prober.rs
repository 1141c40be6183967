//! The simulated prober: it lives and dies with the control plane, and tries the truth.

use std::collections::BTreeMap;

use towpath_model::id::InstanceId;
use towpath_model::observation::ProbeRecord;
use towpath_model::port::ProbeTarget;

use super::clock::{Ms, moment, ms, since_start};
use super::engine::Engine;

#[derive(Debug)]
struct Watched {
    target: ProbeTarget,
    next: Ms,
    record: ProbeRecord,
}

/// The prober.
#[derive(Debug, Default)]
pub(super) struct Prober {
    watched: BTreeMap<InstanceId, Watched>,
}

impl Prober {
    pub(super) fn due(&self) -> Option<Ms> {
        self.watched.values().map(|one| one.next).min()
    }

    /// Replaces what is watched. Records of what stays are kept.
    pub(super) fn watch(&mut self, targets: Vec<ProbeTarget>, now: Ms) {
        let mut before = std::mem::take(&mut self.watched);
        for target in targets {
            let known = before.remove(&target.id);
            let next = now + ms(target.interval);
            let watched = match known {
                Some(known) => Watched {
                    next: known.next.min(next),
                    record: known.record,
                    target,
                },
                None => Watched {
                    next: now + 1,
                    record: ProbeRecord::default(),
                    target,
                },
            };
            self.watched.insert(watched.target.id.clone(), watched);
        }
    }

    /// Makes the tries that are due. Returns whether a record turned.
    pub(super) fn advance(&mut self, now: Ms, engine: &Engine) -> bool {
        let mut turned = false;
        for (id, watched) in &mut self.watched {
            if watched.next > now {
                continue;
            }
            watched.next = now + ms(watched.target.interval);
            let answers = engine.processes.get(id).is_some_and(|one| one.answers(now));
            turned |= note(watched, answers, now);
        }
        turned
    }

    pub(super) fn records(&self) -> BTreeMap<InstanceId, ProbeRecord> {
        let tried = self
            .watched
            .iter()
            .filter(|(_, one)| one.record.last_at.is_some());
        tried
            .map(|(id, one)| (id.clone(), one.record.clone()))
            .collect()
    }
}

/// Adds one try to a record. Returns whether the prober wakes the control plane for it.
fn note(watched: &mut Watched, answers: bool, now: Ms) -> bool {
    let record = &mut watched.record;
    record.last_at = Some(moment(now));
    if answers {
        let turned = record.successes == 0;
        record.successes += 1;
        record.failures = 0;
        record.counted_failures = 0;
        return turned;
    }
    record.successes = 0;
    record.failures += 1;
    record.last_error = Some("connection refused".to_owned());
    let period = ms(watched.target.check.start_period);
    if now >= since_start(watched.target.since) + period {
        record.counted_failures += 1;
        return record.counted_failures == watched.target.check.retries.max(1);
    }
    record.failures == 1
}
