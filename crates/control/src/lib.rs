//! What the platform does: commands, queries, reconcilers, deployments.
