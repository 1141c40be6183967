//! The tests of the tree and of what testkit offers, in one binary.

mod sim;
mod tidy;
