//! Whole deployments onto a real Docker Engine, under load: what anybody's hand, an accident or a
//! restart does to them, and what cannot be done.

mod app;
mod by_hand;
pub(crate) mod cli;
mod console;
mod disk;
mod input;
mod kill;
pub(crate) mod leftovers;
mod restart;
mod runs;
