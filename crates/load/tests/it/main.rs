//! The load generator against small servers that misbehave on purpose.

mod http;
mod servers;
mod websocket;
