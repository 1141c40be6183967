//! Test only: simulated engine and router, virtual clock, contract suite, tidy checks.

pub mod contract;
pub mod dockerd;
pub mod sim;
pub mod tidy;
pub mod world;
