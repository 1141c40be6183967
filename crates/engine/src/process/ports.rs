//! Free ports of the loopback interface for instances to listen on. Not ports that users choose.
//!
//! They are taken below the range from which the kernel takes the local ports of outgoing
//! connections: one of those could have a port between its choice and the instance's listening.
//! They are none of [`INTERNAL_PORTS`] either: a store that is being replaced comes back to its own.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketType, bind, socket};
use towpath_model::port::INTERNAL_PORTS;

/// The lowest port that is given out.
const LOWEST: u16 = 10_000;

/// A port is not given out again before so many others were.
const REMEMBERED: usize = 1_000;

/// Gives out ports, no two alike within a long time.
#[derive(Debug)]
pub(super) struct Ports {
    range: Range<u16>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u16,
    recent: VecDeque<u16>,
}

impl Ports {
    /// Starts somewhere in the range that depends on `seed`, so that several control planes on
    /// one machine do not try the same ports.
    pub(super) fn new(seed: u64) -> Self {
        let setting = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        Self::within(range_below(setting.as_deref().unwrap_or_default()), seed)
    }

    fn within(range: Range<u16>, seed: u64) -> Self {
        let length = u64::from(range.end - range.start).max(1);
        let offset = u16::try_from(seed % length).unwrap_or_default();
        Self {
            state: Mutex::new(State {
                next: range.start + offset,
                recent: VecDeque::new(),
            }),
            range,
        }
    }

    /// Returns a port that nobody listens on. `None` when there is none.
    pub(super) fn take(&self) -> Option<u16> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in self.range.clone() {
            let port = state.next;
            state.next = if port + 1 < self.range.end {
                port + 1
            } else {
                self.range.start
            };
            if !state.recent.contains(&port) && is_free(port) {
                if state.recent.len() == REMEMBERED {
                    state.recent.pop_front();
                }
                state.recent.push_back(port);
                return Some(port);
            }
        }
        None
    }

    /// Notes that an instance from before has this port.
    pub(super) fn remember(&self, port: u16) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.recent.push_back(port);
    }
}

/// Tells whether a port can be bound on every interface: then nobody has it on any.
fn is_free(port: u16) -> bool {
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    socket(AddressFamily::INET, SocketType::STREAM, None)
        .and_then(|socket| bind(&socket, &address))
        .is_ok()
}

/// Returns the ports under the kernel's own range, or over it where there are too few.
fn range_below(setting: &str) -> Range<u16> {
    let mut bounds = setting
        .split_ascii_whitespace()
        .filter_map(|bound| bound.parse().ok());
    let (low, high) = (
        bounds.next().unwrap_or(32_768),
        bounds.next().unwrap_or(60_999),
    );
    if low >= LOWEST + 4_000 {
        LOWEST..low.min(*INTERNAL_PORTS.start())
    } else if high < u16::MAX - 4_000 {
        high + 1..u16::MAX
    } else {
        LOWEST..u16::MAX
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn ports_are_outside_of_the_kernels_range() {
        assert_eq!(range_below("32768\t60999\n"), 10_000..21_000);
        assert_eq!(range_below("16000 60999"), 10_000..16_000);
        assert_eq!(range_below("1024 50000"), 50_001..65_535);
        assert_eq!(range_below("1024 65535"), 10_000..65_535);
        assert_eq!(range_below(""), 10_000..21_000);
    }

    #[test]
    fn no_port_is_given_twice_and_none_that_somebody_has() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let ports = Ports::within(taken.saturating_sub(2)..taken.saturating_add(3), 0);
        let given: Vec<u16> = std::iter::from_fn(|| ports.take()).collect();
        assert!(!given.contains(&taken));
        let mut unique = given.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), given.len());
    }
}
