//! The one writer of the store: decides, writes, syncs, applies, acknowledges, in this order. It
//! blocks, so it has a thread of its own.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot};

use super::data::{Change, Data};
use super::log::{self, Log};

/// Writes that share one sync. It bounds how long the first of them waits for the last.
const LARGEST_BATCH: usize = 64;

/// A write that waits to be done.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) change: Change,
    /// For a key: whether it must not exist. A list never has a key twice.
    pub(super) only_new: bool,
    pub(super) reply: oneshot::Sender<Written>,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is on the disk.
    Done,
    /// Nothing changed: the key exists.
    Exists,
    /// Nothing changed: the disk is full.
    NoRoom,
}

#[derive(Debug)]
pub(super) struct Writer {
    log: Log,
    data: Arc<RwLock<Data>>,
    waiting: mpsc::Receiver<Write>,
    /// A write that has to see the effect of the batch before.
    next: Option<Write>,
}

impl Writer {
    pub(super) fn new(log: Log, data: Arc<RwLock<Data>>, waiting: mpsc::Receiver<Write>) -> Self {
        Self {
            log,
            data,
            waiting,
            next: None,
        }
    }

    /// Writes until nobody can send any more, or the disk fails.
    pub(super) fn run(mut self) -> Result<(), log::Error> {
        while let Some(first) = self.next.take().or_else(|| self.waiting.blocking_recv()) {
            let batch = self.collect(first);
            self.write(batch)?;
        }
        Ok(())
    }

    /// Collects what waits already, up to the first write to a key that the batch has.
    fn collect(&mut self, first: Write) -> Vec<Write> {
        let mut keys = HashSet::from([name(&first.change)]);
        let mut batch = vec![first];
        while batch.len() < LARGEST_BATCH {
            let Ok(write) = self.waiting.try_recv() else {
                break;
            };
            if !keys.insert(name(&write.change)) {
                self.next = Some(write);
                break;
            }
            batch.push(write);
        }
        batch
    }

    fn write(&mut self, batch: Vec<Write>) -> Result<(), log::Error> {
        let (existing, new): (Vec<_>, Vec<_>) = {
            let data = self.data.read().unwrap_or_else(PoisonError::into_inner);
            batch.into_iter().partition(|write| exists(&data, write))
        };
        acknowledge(existing, &Written::Exists);
        if new.is_empty() {
            return Ok(());
        }
        let changes: Vec<_> = new.iter().map(|write| write.change.clone()).collect();
        if !self.log.append(&changes)? {
            acknowledge(new, &Written::NoRoom);
            return Ok(());
        }
        {
            let mut data = self.data.write().unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                data.apply(change);
            }
        }
        acknowledge(new, &Written::Done);
        Ok(())
    }
}

fn name(change: &Change) -> (Option<String>, String) {
    match change {
        Change::Set { key, .. } => (None, key.clone()),
        Change::Append { list, key, .. } => (Some(list.clone()), key.clone()),
    }
}

fn exists(data: &Data, write: &Write) -> bool {
    match &write.change {
        Change::Set { key, .. } => write.only_new && data.value(key).is_some(),
        Change::Append { list, key, .. } => data.item(list, key).is_some(),
    }
}

fn acknowledge(writes: Vec<Write>, written: &Written) {
    for write in writes {
        // Whoever gave up waiting does not want to know.
        drop(write.reply.send(written.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_waiting_writes_to_one_key_the_second_sees_the_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = Log::open(directory.path()).expect("a new log").log;
        let (writes, waiting) = mpsc::channel(8);
        let mut replies = Vec::new();
        for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            let (reply, written) = oneshot::channel();
            let change = Change::Set {
                key: key.to_owned(),
                value: value.to_owned(),
            };
            writes
                .try_send(Write {
                    change,
                    only_new: true,
                    reply,
                })
                .expect("there is room");
            replies.push(written);
        }
        drop(writes);
        let data = Arc::new(RwLock::default());
        Writer::new(log, Arc::clone(&data), waiting)
            .run()
            .expect("the disk is fine");
        let replies: Vec<_> = replies
            .into_iter()
            .map(|reply| reply.blocking_recv().expect("answered"))
            .collect();
        assert_eq!(replies, [Written::Done, Written::Done, Written::Exists]);
        assert_eq!(data.read().expect("not poisoned").value("a"), Some("1"));
    }
}
