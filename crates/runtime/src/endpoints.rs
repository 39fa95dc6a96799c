//! Ports of shared addresses that become the stack's while it runs.

use crate::error::Error;
use crate::kernel;
use socket2::Socket;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use xdp::Steering;

/// The steering program, and what is held in the kernel for it.
#[derive(Debug)]
pub(crate) struct Endpoints {
    steering: Arc<Mutex<Steering>>,
    /// Addresses shared with the kernel; none if the stack has its own.
    shared: Vec<IpAddr>,
    /// What is the stack's. With what holds it in the kernel, for as long as the stack runs: a port that is not listened on
    /// any more still has connections. What was listened on from the start is held elsewhere.
    claimed: Mutex<Vec<(SocketAddr, Option<Socket>)>>,
}

impl Endpoints {
    pub(crate) fn new(steering: Arc<Mutex<Steering>>, shared: Vec<IpAddr>, listen: &[SocketAddr]) -> Self {
        let claimed = listen.iter().map(|address| (*address, None)).collect();
        Self { steering, shared, claimed: Mutex::new(claimed) }
    }

    /// See [`Running::claim`](crate::Running::claim).
    pub(crate) fn claim(&self, address: SocketAddr) -> Result<(), Error> {
        if self.shared.is_empty() {
            return Ok(());
        }
        let meant = self.meant_by(address);
        if meant.is_empty() {
            let has = self.shared.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::NotShared { ip: address.ip(), has });
        }
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.iter().any(|(before, _)| *before == address) {
            return Ok(());
        }
        let sockets = kernel::reserve(&[address])?;
        let mut steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        for ip in meant {
            steering.add_endpoint(ip, address.port())?;
        }
        claimed.extend(sockets.into_iter().map(|socket| (address, Some(socket))));
        Ok(())
    }

    /// The shared addresses that an address to listen on stands for.
    fn meant_by(&self, address: SocketAddr) -> Vec<IpAddr> {
        let any = |ip: &IpAddr| address.ip().is_unspecified() && ip.is_ipv4() == address.is_ipv4();
        self.shared.iter().filter(|ip| any(ip) || **ip == address.ip()).copied().collect()
    }
}
