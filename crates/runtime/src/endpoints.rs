//! Ports that are opened to the stack's listeners while it runs.

use crate::error::Error;
use crate::kernel;
use crate::options::Options;
use socket2::Socket;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use xdp::Steering;

/// Makes what arrives for an address and port the stack's, for listeners that are opened while it runs
/// ([`Io::listen`](stack::Io::listen)). To be used in the network namespace of the interface, and with the privilege to
/// change the program's maps.
#[derive(Debug, Clone)]
pub struct Endpoints {
    steering: Arc<Mutex<Steering>>,
    /// The stack's addresses when it started.
    addresses: Arc<[IpAddr]>,
    /// They are the stack's alone: everything that arrives for them is its own already.
    owned: bool,
}

/// A port that is the stack's; it is given back on drop.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    steering: Arc<Mutex<Steering>>,
    steered: Vec<IpAddr>,
    /// Nobody else gets it from the kernel.
    _reserved: Vec<Socket>,
}

impl Endpoints {
    pub(crate) fn new(options: &Options, shared: &[IpAddr], steering: Arc<Mutex<Steering>>) -> Self {
        let owned = options.address.map(|own| own.ip);
        let addresses = owned.into_iter().chain(shared.iter().copied()).collect();
        Self { steering, addresses, owned: owned.is_some() }
    }

    /// The stack's addresses when it started.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Whether they are the stack's alone, so that every port of theirs is.
    #[must_use]
    pub const fn owned(&self) -> bool {
        self.owned
    }

    /// Takes a port; `0.0.0.0` and `::` mean all addresses of their family. Port 0 of a shared address: the kernel chooses.
    ///
    /// # Errors
    /// Somebody listens there on the kernel's sockets, the program's table is full, or missing privilege.
    pub fn open(&self, address: SocketAddr) -> Result<Endpoint, Error> {
        let steering = Arc::clone(&self.steering);
        if self.owned {
            return Ok(Endpoint { address, steering, steered: Vec::new(), _reserved: Vec::new() });
        }
        let reserved = kernel::reserve(&[address])?;
        let got = reserved.first().map(Socket::local_addr).transpose().map_err(Error::system("reading a port"))?;
        let port = got.and_then(|got| got.as_socket()).map_or(address.port(), |got| got.port());
        let mut endpoint = Endpoint {
            address: SocketAddr::new(address.ip(), port),
            steering,
            steered: Vec::new(),
            _reserved: reserved,
        };
        for ip in self.addresses.iter().copied() {
            let any = address.ip().is_unspecified() && ip.is_ipv4() == address.is_ipv4();
            if any || ip == address.ip() {
                self.steering.lock().unwrap_or_else(PoisonError::into_inner).add_endpoint(ip, port)?;
                endpoint.steered.push(ip);
            }
        }
        if endpoint.steered.is_empty() {
            return Err(Error::system(format!("listening on {address}"))(io::ErrorKind::AddrNotAvailable.into()));
        }
        Ok(endpoint)
    }
}

impl Endpoint {
    /// Where it is: with the port that was chosen.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let mut steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        for ip in self.steered.drain(..) {
            let _ = steering.remove_endpoint(ip, self.address.port());
        }
    }
}
