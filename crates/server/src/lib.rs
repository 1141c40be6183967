//! HTTP over control.
