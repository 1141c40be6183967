//! From the model's values to the wire's: pure functions. Nothing that is secret is in the values
//! that they take.

pub(crate) mod adoption;
pub(crate) mod deployment;
pub(crate) mod environment;
pub(crate) mod rest;
pub(crate) mod run;
