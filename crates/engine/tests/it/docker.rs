//! The Docker engine over a real Docker Engine.

mod builds;
mod by_hand;
mod contract;
mod daemon;
mod images;
mod instances;
mod registry;
mod restarts;
mod support;
