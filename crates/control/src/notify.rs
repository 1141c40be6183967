//! Notifications: the audit trail is made into messages, and those are sent until they arrive. What is
//! made is written down with the place in the trail, so nothing is lost and nothing is made twice,
//! whenever the control plane ends. Not what becomes a message, which is `model::notify`.

mod audience;
mod deliver;
mod gather;
mod try_out;

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::platform::Shared;

pub use try_out::TriedOut;

/// Makes messages and sends them until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let made = Notify::new();
    tokio::join!(
        gather::run(&shared, &made, &stop),
        deliver::run(&shared, &made, &stop),
    );
}
