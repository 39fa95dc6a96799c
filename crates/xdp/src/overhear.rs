//! What stations tell everybody about themselves: that an address has another MAC address from now on (gratuitous ARP, RFC
//! 5227 section 3; unsolicited advertisements, RFC 4861 section 7.2.6). These frames are the kernel's, and stay so; the stack
//! reads a copy, since a station that an address of its own talks to, its gateway say, may be the one.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Error;
use crate::sys::{self, Instruction};

const ETH_P_IP: u32 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;
/// Every protocol: those of one kind get no tag to see (linux/if_ether.h).
const ETH_P_ALL: u16 = 3;
/// Where the kernel's filter machine has the tag that was taken off a frame (`SKF_AD_OFF + SKF_AD_VLAN_TAG` of
/// linux/filter.h).
const VLAN_TAG: u32 = 0xffff_f000 + 44;
/// And whom it is for (`SKF_AD_PKTTYPE`): not us, if it is in a VLAN that the kernel has no interface in.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
/// `PACKET_OTHERHOST` of linux/if_packet.h.
const OTHERHOST: u32 = 3;
/// Classic BPF, linux/bpf_common.h.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
/// Keeps what was loaded, to compare with it.
const KEEP: u16 = 0x07;
const JUMP_IF_KEPT: u16 = 0x1d;
const RETURN: u16 = 0x06;
/// A frame of these is far shorter.
const WHOLE: u32 = 2048;

/// What is told everybody in one network of an interface, for as long as it exists.
#[derive(Debug)]
pub struct Announcements(File);

impl Announcements {
    /// Of the family of `ip`, without a tag or in a VLAN.
    ///
    /// # Errors
    /// A missing privilege, or a failed system call.
    pub fn open(ifindex: u32, ip: IpAddr, vlan: Option<u16>) -> Result<Self, Error> {
        let protocol = if ip.is_ipv4() { ETH_P_ARP } else { ETH_P_IPV6 };
        let vlan = vlan.unwrap_or(0) & 0xfff;
        let bound = if vlan == 0 { protocol } else { ETH_P_ALL };
        let socket = sys::filtered_socket(ifindex, bound, &filter(protocol, vlan));
        Ok(Self(socket.map_err(|error| Error::system("listening to announcements", error))?.into()))
    }

    /// The next frame, without its tag; `None` if none is there. One that is longer than `frame` is cut.
    ///
    /// # Errors
    /// The interface is gone or down.
    pub fn next<'a>(&mut self, frame: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match self.0.read(frame) {
            Ok(len) => Ok(Some(&frame[..len])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What becomes readable when there is one.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lets through ARP for IPv4 by which a station tells its own address, or advertisements to all nodes.
fn filter(protocol: u16, vlan: u16) -> Vec<Instruction> {
    let step = |code, k| Instruction { code, jt: 0, jf: 0, k };
    // To be resolved below: refused if it is something else, or if it is that.
    let only = |k| Instruction { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k };
    let not = |k| Instruction { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k };
    let mut steps = match vlan {
        0 => vec![step(LOAD_BYTE, PACKET_TYPE), not(OTHERHOST)],
        _ => vec![
            step(LOAD_HALF, VLAN_TAG),
            step(AND, 0xfff),
            only(u32::from(vlan)),
            step(LOAD_HALF, 12),
            only(u32::from(protocol)),
        ],
    };
    if protocol == ETH_P_ARP {
        steps.extend([
            // ARP for IPv4, whose sender's and target's address are the same.
            step(LOAD_HALF, 16),
            only(ETH_P_IP),
            step(LOAD_WORD, 28),
            step(KEEP, 0),
            step(LOAD_WORD, 38),
            Instruction { code: JUMP_IF_KEPT, jt: 0, jf: 1, k: 0 },
        ]);
    } else {
        steps.extend([
            // ICMPv6, an advertisement, to ff02::1.
            step(LOAD_BYTE, 20),
            only(58),
            step(LOAD_BYTE, 54),
            only(136),
            step(LOAD_WORD, 38),
            only(0xff02_0000),
            step(LOAD_WORD, 50),
            only(1),
        ]);
    }
    let last = steps.len();
    for (at, step) in steps.iter_mut().enumerate() {
        // As many steps as lie between this one and the refusal behind the last.
        let far = u8::try_from(last - at).unwrap_or(u8::MAX);
        (step.jt, step.jf) = (step.jt * far, step.jf * far);
    }
    steps.extend([step(RETURN, WHOLE), step(RETURN, 0)]);
    steps
}
