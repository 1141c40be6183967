//! The binary: arguments, configuration, lifecycle, roles, CLI commands.

fn main() {}
