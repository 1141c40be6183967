//! Compose files in, normalised project out.
