//! From the normalised tree to the typed project: texts become lists, durations, sizes and numbers, and
//! what says nothing is left out. Not the meaning of anything.

mod convert;
mod table;

use crate::diagnostic::Diagnostics;
use crate::model::Project;
use crate::yaml::{Map, Node, Value, decode};

/// Turns a value into the one that the typed project has; `None` leaves it out.
type Convert = fn(&Node) -> Result<Option<Value>, Diagnostics>;

/// The conversions of the keys of one element; any other key is a text.
type Table = &'static [(&'static str, Convert)];

/// Makes the typed project of a normalised tree.
pub(crate) fn project(model: &Node) -> Result<Project, Diagnostics> {
    let shaped = shape(model, &[table::PROJECT])?;
    decode(&model.here(shaped))
}

/// Converts all values of a map by tables.
fn shape(node: &Node, tables: &[Table]) -> Result<Value, Diagnostics> {
    let mut shaped = Map::new();
    for (key, entry) in node.as_map().into_iter().flatten() {
        if key.starts_with("x-") {
            shaped.insert(key.clone(), entry.clone());
            continue;
        }
        let rule = tables
            .iter()
            .copied()
            .flatten()
            .find(|(name, _)| name == key);
        let converted = match rule {
            Some((_, convert)) => convert(&entry.node)?,
            None => convert::text(&entry.node)?,
        };
        if let Some(value) = converted {
            let mut entry = entry.clone();
            entry.node.value = value;
            shaped.insert(key.clone(), entry);
        }
    }
    Ok(Value::Map(shaped))
}

/// Converts the elements of a map under names.
fn named(node: &Node, convert: Convert) -> Result<Option<Value>, Diagnostics> {
    let mut elements = Map::new();
    for (name, entry) in node.as_map().into_iter().flatten() {
        let mut entry = entry.clone();
        entry.node.value = convert(&entry.node)?.unwrap_or(Value::Null);
        elements.insert(name.clone(), entry);
    }
    Ok((!elements.is_empty()).then_some(Value::Map(elements)))
}

/// Converts the items of a list.
fn listed(node: &Node, convert: Convert) -> Result<Option<Value>, Diagnostics> {
    let mut items = Vec::new();
    for item in node.as_list().unwrap_or_default() {
        if let Some(value) = convert(item)? {
            items.push(item.here(value));
        }
    }
    Ok((!items.is_empty()).then_some(Value::List(items)))
}
