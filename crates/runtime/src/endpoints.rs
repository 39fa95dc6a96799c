//! Ports that are opened to the stack's listeners while it runs.

use crate::error::Error;
use crate::kernel::{self, Holder};
use crate::options::Options;
use socket2::Socket;
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
    claimed: Arc<Mutex<Claimed>>,
}

/// What is the stack's, with what holds it in the kernel: for as long as the stack runs, since a port that is not listened on
/// any more still has connections. What was listened on from the start is held elsewhere.
type Claimed = Vec<(SocketAddr, Option<Socket>)>;

impl Endpoints {
    pub(crate) fn new(options: &Options, shared: &[IpAddr], steering: Arc<Mutex<Steering>>) -> Self {
        let addresses = options.owned().map(|own| own.ip).chain(shared.iter().copied()).collect();
        let claimed = options.listen.iter().map(|address| (*address, None)).collect();
        Self { steering, addresses, owned: options.address.is_some(), claimed: Arc::new(Mutex::new(claimed)) }
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

    /// Takes a port, for as long as the stack runs; `0.0.0.0` and `::` mean all addresses of their family. Port 0 of a shared
    /// address: the kernel chooses. Returns the address with the port. One that is the stack's already stays it.
    ///
    /// # Errors
    /// Somebody has the port on the kernel's sockets, the address is none of the stack's, the program's table is full, or
    /// missing privilege.
    pub fn open(&self, address: SocketAddr) -> Result<SocketAddr, Error> {
        self.claim(address).map(|(address, _)| address)
    }

    /// As [`open`](Self::open); and whether the port was not the stack's before.
    pub(crate) fn claim(&self, address: SocketAddr) -> Result<(SocketAddr, bool), Error> {
        if self.owned {
            return Ok((address, false));
        }
        let meant = self.meant_by(address);
        if meant.is_empty() {
            let has = self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::NotShared { ip: address.ip(), has });
        }
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.iter().any(|(before, _)| *before == address) {
            return Ok((address, false));
        }
        let reserved = kernel::reserve(&[address]);
        if matches!(reserved, Err(Error::InUse { .. })) && claimed.iter().any(|(of, _)| of.port() == address.port()) {
            // It may be of ours: only now is this stack among those that tell.
            drop(claimed);
            return Err(Error::InUse { address, holder: Holder::of(address) });
        }
        let sockets = reserved?;
        let got = sockets.first().map(Socket::local_addr).transpose().map_err(Error::system("reading a port"))?;
        let port = got.and_then(|got| got.as_socket()).map_or(address.port(), |got| got.port());
        let mut steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = meant.iter().try_for_each(|ip| steering.add_endpoint(*ip, port)) {
            // All or none: nobody holds the port from here on, and the kernel may give it to somebody.
            for ip in meant {
                let _ = steering.remove_endpoint(ip, port);
            }
            return Err(error.into());
        }
        let address = SocketAddr::new(address.ip(), port);
        claimed.extend(sockets.into_iter().map(|socket| (address, Some(socket))));
        Ok((address, true))
    }

    /// Gives a port back to the kernel that was taken while the stack runs, and that nobody has listened on since.
    pub(crate) fn give_back(&self, address: SocketAddr) -> Result<(), Error> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = |(of, socket): &(SocketAddr, Option<Socket>)| *of == address && socket.is_some();
        let Some(at) = claimed.iter().position(ours) else { return Ok(()) };
        let mut steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        for ip in self.meant_by(address) {
            steering.remove_endpoint(ip, address.port())?;
        }
        // Nothing arrives here any more: whoever gets the port now has it whole.
        claimed.swap_remove(at);
        Ok(())
    }

    /// The ports that are held in the kernel; none while one is being opened.
    pub(crate) fn held(&self) -> Vec<SocketAddr> {
        // Who opens one may be told who has it, which is asked of this stack as well.
        let claimed = self.claimed.try_lock().ok().filter(|_| !self.owned);
        claimed.iter().flat_map(|claimed| claimed.iter()).map(|(address, _)| *address).collect()
    }

    /// The shared addresses that an address to listen on stands for.
    fn meant_by(&self, address: SocketAddr) -> Vec<IpAddr> {
        let any = |ip: &IpAddr| address.ip().is_unspecified() && ip.is_ipv4() == address.is_ipv4();
        self.addresses.iter().filter(|ip| any(ip) || **ip == address.ip()).copied().collect()
    }
}
