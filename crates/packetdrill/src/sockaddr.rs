//! Socket addresses as C has them.

use crate::{
    errno::{Errno, Result},
    user,
};
use libc::{c_int, sockaddr, socklen_t};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const V4_LEN: usize = size_of::<libc::sockaddr_in>();
const V6_LEN: usize = size_of::<libc::sockaddr_in6>();

/// An address family and, if it is one of IP's, the address. IPv4 within IPv6 is IPv4.
pub(crate) fn read(from: *const sockaddr, len: socklen_t) -> Result<(c_int, Option<SocketAddr>)> {
    let len = len as usize;
    if len < size_of::<libc::sa_family_t>() || len > size_of::<libc::sockaddr_storage>() {
        return Err(Errno(libc::EINVAL));
    }
    let bytes = user::read(from.cast(), len)?;
    let family = c_int::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
    let address = match family {
        libc::AF_INET if len >= V4_LEN => {
            let port = u16::from_be_bytes([bytes[2], bytes[3]]);
            Some(SocketAddr::new(IpAddr::from([bytes[4], bytes[5], bytes[6], bytes[7]]), port))
        }
        libc::AF_INET6 if len >= V6_LEN - 4 => {
            let port = u16::from_be_bytes([bytes[2], bytes[3]]);
            let mut ip = [0; 16];
            ip.copy_from_slice(&bytes[8..24]);
            Some(SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port))
        }
        libc::AF_INET | libc::AF_INET6 => return Err(Errno(libc::EINVAL)),
        _ => None,
    };
    Ok((family, address))
}

/// Writes an address for a socket of `family`, as far as `*len` has room, and its whole length to `len`.
pub(crate) fn write(address: SocketAddr, family: c_int, to: *mut sockaddr, len: *mut socklen_t) -> Result<()> {
    if to.is_null() {
        return Ok(());
    }
    let bytes = encode(address, family);
    let room = usize::try_from(user::int(len.cast())?).map_err(|_| Errno(libc::EINVAL))?;
    user::write(to.cast(), &bytes[..bytes.len().min(room)])?;
    let whole = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    user::write(len.cast(), &whole.to_ne_bytes())
}

fn encode(address: SocketAddr, family: c_int) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(V6_LEN);
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    match (address.ip(), family) {
        (IpAddr::V4(ip), libc::AF_INET) => {
            bytes.extend(family_bytes(libc::AF_INET));
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(Ipv4Addr::octets(&ip));
            bytes.resize(V4_LEN, 0);
        }
        (ip, _) => {
            bytes.extend(family_bytes(libc::AF_INET6));
            bytes.extend(address.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(mapped(ip).octets());
            bytes.resize(V6_LEN, 0);
        }
    }
    bytes
}

fn family_bytes(family: c_int) -> [u8; 2] {
    u16::try_from(family).unwrap_or_default().to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(address: &str, family: c_int) -> (c_int, Option<SocketAddr>) {
        let bytes = encode(address.parse().expect("an address"), family);
        read(bytes.as_ptr().cast(), socklen_t::try_from(bytes.len()).expect("short")).expect("readable")
    }

    #[test]
    fn addresses_survive_the_way_there_and_back() {
        let four = "192.0.2.1:8080".parse().ok();
        assert_eq!(through("192.0.2.1:8080", libc::AF_INET), (libc::AF_INET, four));
        assert_eq!(through("192.0.2.1:8080", libc::AF_INET6), (libc::AF_INET6, four));
        assert_eq!(through("[2001:db8::1]:80", libc::AF_INET6), (libc::AF_INET6, "[2001:db8::1]:80".parse().ok()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!(read(std::ptr::null(), 16), Err(Errno(libc::EFAULT)));
        assert_eq!(read(std::ptr::null(), 1), Err(Errno(libc::EINVAL)));
        let short = [2u8, 0, 0, 80];
        assert_eq!(read(short.as_ptr().cast(), 4), Err(Errno(libc::EINVAL)));
    }
}
