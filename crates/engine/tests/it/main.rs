//! The process engine over real processes.

mod instances;
mod support;
