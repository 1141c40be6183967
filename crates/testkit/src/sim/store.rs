//! The simulated store: the record as text, which a crash leaves. A rendering never changes, so each
//! is written, read and compared once.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_model::environment::Environment;
use towpath_model::id::ReleaseNumber;
use towpath_model::release::Rendering;

use super::invariant::{Broken, Invariant};

/// What was written down.
#[derive(Debug)]
pub(super) struct Store {
    record: String,
    renderings: BTreeMap<ReleaseNumber, Arc<Rendering>>,
}

/// What has to be written down of a record.
#[derive(Debug)]
pub(super) struct Draft {
    /// The record without its renderings.
    record: String,
    /// The renderings that were not written down before.
    renderings: Vec<String>,
}

impl Draft {
    /// Returns everything that is written.
    pub(super) fn texts(&self) -> impl Iterator<Item = &String> {
        self.renderings.iter().chain([&self.record])
    }
}

impl Store {
    pub(super) fn new(record: &mut Environment) -> Self {
        Self {
            record: without_renderings(record),
            renderings: record.renderings.clone(),
        }
    }

    /// Makes the draft of a record.
    pub(super) fn draft(&self, record: &mut Environment) -> Result<Draft, Broken> {
        let mut renderings = Vec::new();
        for (release, rendering) in &record.renderings {
            let known = self.renderings.get(release);
            if known.is_some_and(|known| Arc::ptr_eq(known, rendering)) {
                continue;
            }
            let text = serde_json::to_string(rendering).expect("a rendering has only string keys");
            let read: Rendering = serde_json::from_str(&text).expect("it was written by us");
            if read != **rendering {
                return Invariant::NotInTheTrail.broken(format!(
                    "the rendering of release {release} is another one after it was written and read"
                ));
            }
            renderings.push(text);
        }
        Ok(Draft {
            record: without_renderings(record),
            renderings,
        })
    }

    /// Writes a draft of the record down.
    pub(super) fn write(&mut self, draft: Draft, record: &Environment) {
        self.record = draft.record;
        self.renderings.clone_from(&record.renderings);
    }

    /// Reads what was written down last: it has to be `record`.
    pub(super) fn read(&self, record: &Environment) -> Result<Environment, Broken> {
        let read: Environment = serde_json::from_str(&self.record).expect("it was written by us");
        let read = Environment {
            renderings: self.renderings.clone(),
            ..read
        };
        if &read != record {
            return Invariant::NotInTheTrail
                .broken("the record is another one after it was written and read");
        }
        Ok(read)
    }
}

/// Writes a record without its renderings, which are put back.
fn without_renderings(record: &mut Environment) -> String {
    let renderings = std::mem::take(&mut record.renderings);
    let text = serde_json::to_string(record).expect("a record has only string keys");
    record.renderings = renderings;
    text
}
