//! Integration tests of the model: whole files in, values and complaints out; whole deployments,
//! told to the pure core step by step. Random ones are the simulator's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod adoption;
mod adoption_plan;
mod capacity;
mod delivery;
mod delivery_schema;
mod fixture;
mod health;
mod hold;
mod names;
mod notify;
mod pipeline;
mod preview;
mod reference;
mod render;
mod render_build;
mod render_cases;
mod render_docker;
mod render_rules;
mod rollback;
mod rollout;
mod stateful;
mod world;
