//! The router over real sockets: each test starts a whole router and the backends behind it.

mod support;

mod forwarding;
