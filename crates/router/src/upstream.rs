//! Connections to backends. Not which backend, and not what is done when one fails.

pub(crate) mod h1;
pub(crate) mod h2;
