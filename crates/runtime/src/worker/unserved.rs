//! Packets of the stack's on a queue that no shard serves: the kernel gets them, and resets their connections.

use std::sync::{Arc, Mutex};
use xdp::{Report, Steering};

/// Looks whether there are any: somebody gave the interface more queues, which the kernel does not refuse while there are sockets
/// on the others.
#[derive(Debug)]
pub(crate) struct Unserved {
    steering: Arc<Mutex<Steering>>,
    /// At the first look, and where the kernel did not let it be read: not known.
    before: Option<u64>,
    interface: String,
    /// What sets the queues back.
    remedy: String,
}

impl Unserved {
    pub(crate) fn new(steering: Arc<Mutex<Steering>>, report: &Report) -> Self {
        let (interface, served) = (report.interface.clone(), report.queues.len());
        let channels = if report.driver == "veth" { "rx" } else { "combined" };
        let remedy = format!("ethtool -L {interface} {channels} {served}");
        Self { steering, before: None, interface, remedy }
    }

    /// Says it, if there are more than at the last look; true once it is said.
    pub(super) fn look(&mut self) -> bool {
        // Who changes the program's maps makes system calls meanwhile, and a loop waits for nobody.
        let Ok(steering) = self.steering.try_lock() else { return false };
        let Ok(now) = steering.without_socket() else { return false };
        let more = grew(&mut self.before, now);
        if more {
            tracing::warn!(
                "packets come to {} by a queue that no shard serves, and the kernel resets their connections: `{}`, or start anew",
                self.interface,
                self.remedy
            );
        }
        more
    }
}

/// Those of before the first look came while the sockets were opened.
fn grew(before: &mut Option<u64>, now: u64) -> bool {
    before.replace(now).is_some_and(|before| now > before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_while_the_sockets_were_opened_is_not_said() {
        let mut before = None;
        assert_eq!([5, 5, 6, 6].map(|now| grew(&mut before, now)), [false, false, true, false]);
    }
}
