//! An interface that changes while it is used: itself, its addresses, and the routes that lead out of it.
//!
//! All of it is about the network namespace of the thread that opens a mirror.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::error::Error;
use crate::facts::{self, InterfaceFacts};
use crate::neighbours::{self, Route};
use crate::netlink::{self, Requests};

/// Groups of linux/rtnetlink.h: links, and addresses and routes of both families.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];
/// Datagrams read in one [`InterfaceMirror::poll_changes`].
const DATAGRAMS_PER_POLL: usize = 64;
/// `NLM_F_REPLACE` of linux/netlink.h: a new route took the place of another, which may have led out of any interface.
const REPLACED: u16 = 0x100;

/// Says when an interface, its addresses or its routes may have changed, and how they are now.
///
/// What changed is not told: the kernel tells of some changes only indirectly (IPv4 routes go with the interface that goes
/// down), and others get lost when too many come at once. So everything is read again.
#[derive(Debug)]
pub struct InterfaceMirror {
    ifindex: u32,
    changes: Socket,
    /// Messages were lost, and what waited then has not all been read: until it has, the kernel drops what comes without another
    /// word.
    losing: bool,
    requests: Requests,
}

impl InterfaceMirror {
    /// Subscribes to the changes of an interface. They are not missed from here on: read after opening.
    ///
    /// # Errors
    /// A failed system call.
    pub fn open(ifindex: u32) -> Result<Self, Error> {
        let open = || {
            let mut changes = Socket::new(NETLINK_ROUTE)?;
            changes.bind(&SocketAddr::new(0, 0))?;
            changes.set_non_blocking(true)?;
            GROUPS.into_iter().try_for_each(|group| changes.add_membership(group))?;
            Ok(Self { ifindex, changes, losing: false, requests: Requests::open()? })
        };
        open().map_err(|source| Error::system("subscribing to the kernel's changes of interfaces", source))
    }

    /// A descriptor that becomes readable when there are changes.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is `self`'s, and open as long as it lives.
        unsafe { BorrowedFd::borrow_raw(self.changes.as_raw_fd()) }
    }

    /// Sets `changed` if anything of the interface may have changed; never blocks. True if everything was read. Reads a
    /// bounded number of messages: after false there may be more, and a descriptor that is waited for edge by edge does not
    /// say so again.
    ///
    /// # Errors
    /// A failed system call. Lost messages are a change.
    pub fn poll_changes(&mut self, changed: &mut bool) -> Result<bool, Error> {
        for _ in 0..DATAGRAMS_PER_POLL {
            match self.changes.recv_from_full() {
                Ok((bytes, _)) => *changed |= netlink::messages(&bytes).any(|message| self.concerns(&message)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Whatever was read of the interface before is old.
                    *changed |= std::mem::take(&mut self.losing);
                    return Ok(true);
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    *changed = true;
                    self.losing = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::system("reading the kernel's changes of interfaces", error)),
            }
        }
        Ok(false)
    }

    fn concerns(&self, message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
        let NetlinkPayload::InnerMessage(inner) = &message.payload else { return false };
        match inner {
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
                link.header.index == self.ifindex
            }
            RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
                address.header.index == self.ifindex
            }
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                message.header.flags & REPLACED != 0 || neighbours::route(route, self.ifindex).is_some()
            }
            _ => false,
        }
    }

    /// The interface as it is now, but for what its driver says (`driver`, and the queues of its channels); `None` if it is
    /// gone: deleted, or moved to another namespace.
    ///
    /// # Errors
    /// A failed system call.
    pub fn facts(&mut self) -> Result<Option<InterfaceFacts>, Error> {
        let failed = |source| Error::system("asking the kernel for an interface", source);
        let mut question = LinkMessage::default();
        question.header.index = self.ifindex;
        let link = match self.requests.get(RouteNetlinkMessage::GetLink(question)) {
            Ok(RouteNetlinkMessage::NewLink(link)) => link,
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => return Err(failed(error)),
            _ => return Ok(None),
        };
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        });
        let mut facts = InterfaceFacts::from_link(name.unwrap_or_default(), &link);
        facts.addresses = facts::addresses(&mut self.requests, self.ifindex).map_err(failed)?;
        Ok(Some(facts))
    }

    /// The routes that lead out of the interface now, as [`neighbours::routes`].
    ///
    /// # Errors
    /// A failed system call.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        neighbours::read_routes(&mut self.requests, self.ifindex)
            .map_err(|source| Error::system("reading the kernel's routes", source))
    }
}
