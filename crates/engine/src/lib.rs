//! Where workloads run.
