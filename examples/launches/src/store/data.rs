//! What the store holds, in memory. It neither writes nor serves.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// One change, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// Gives a key a value.
    Set { key: String, value: String },
    /// Adds an item to a list, unless the list has its key.
    Append {
        list: String,
        key: String,
        value: String,
    },
}

/// An item of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Item {
    pub(super) index: usize,
    pub(super) key: String,
    pub(super) value: String,
}

/// All keys and lists.
#[derive(Debug, Default)]
pub(super) struct Data {
    keys: BTreeMap<String, String>,
    lists: BTreeMap<String, List>,
}

#[derive(Debug, Default)]
struct List {
    items: Vec<Item>,
    index: HashMap<String, usize>,
}

impl Data {
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    pub(super) fn item(&self, list: &str, key: &str) -> Option<&Item> {
        let list = self.lists.get(list)?;
        list.items.get(*list.index.get(key)?)
    }

    pub(super) fn length(&self, list: &str) -> usize {
        self.lists.get(list).map_or(0, |list| list.items.len())
    }

    pub(super) fn items(&self, list: &str, from: usize, limit: usize) -> &[Item] {
        let items = self
            .lists
            .get(list)
            .map_or(&[][..], |list| list.items.as_slice());
        let rest = items.get(from..).unwrap_or_default();
        rest.get(..limit).unwrap_or(rest)
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Set { key, value } => {
                self.keys.insert(key, value);
            }
            Change::Append { list, key, value } => {
                let list = self.lists.entry(list).or_default();
                let index = list.items.len();
                if list.index.insert(key.clone(), index).is_none() {
                    list.items.push(Item { index, key, value });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_each_key_once_in_the_order_of_arrival() {
        let mut data = Data::default();
        for key in ["b", "a", "c"] {
            let (list, value) = ("l".to_owned(), key.to_owned());
            data.apply(Change::Append {
                list,
                key: key.to_owned(),
                value,
            });
        }
        let keys = |from, limit| -> Vec<_> {
            data.items("l", from, limit)
                .iter()
                .map(|item| item.key.as_str())
                .collect()
        };
        assert_eq!(keys(0, 9), ["b", "a", "c"]);
        assert_eq!(keys(1, 1), ["a"]);
        assert_eq!(keys(9, 1), [""; 0]);
        assert_eq!(data.item("l", "c").map(|item| item.index), Some(2));
    }
}
