//! Constant HTTP and WebSocket load, counted.
