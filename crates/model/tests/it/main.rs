//! Integration tests of the model: whole files in, values and complaints out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod delivery;
mod delivery_schema;
mod fixture;
mod render;
