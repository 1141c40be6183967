//! The data plane: listeners, matching, balancing, health, draining.
