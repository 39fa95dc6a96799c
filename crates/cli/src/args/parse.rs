//! Words of the command line that are more than a number or a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// An address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) address: IpAddr,
    pub(crate) bits: u8,
}

/// Numbers given as `0,2-3`: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberList(pub(crate) Vec<usize>);

/// `all`, or numbers as in a [`NumberList`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Queues {
    #[default]
    All,
    These(Vec<u32>),
}

/// An address and a port.
pub(super) fn parse_socket(text: &str) -> Result<SocketAddr, String> {
    let wrong = "give an IP address and a port, such as 10.77.0.1:7 or [fd77::1]:7; names are not looked up";
    text.parse().map_err(|_| wrong.to_owned())
}

pub(super) fn parse_queues(text: &str) -> Result<Queues, String> {
    if text == "all" {
        return Ok(Queues::All);
    }
    let numbers = parse_list(text).map_err(|why| format!("{why}; or give `all`"))?.0;
    let queues = numbers.into_iter().map(u32::try_from).collect::<Result<_, _>>();
    queues.map(Queues::These).map_err(|error| error.to_string())
}

pub(super) fn parse_prefix(text: &str) -> Result<Prefix, String> {
    let (address, bits) = text.split_once('/').ok_or("give it with its prefix, such as 10.77.0.1/24")?;
    let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is no IP address"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| *bits <= longest);
    let bits = bits.ok_or(format!("the prefix length goes from 0 to {longest}"))?;
    Ok(Prefix { address, bits })
}

pub(super) fn parse_list(text: &str) -> Result<NumberList, String> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        for number in parse_range(part)? {
            if numbers.contains(&number) {
                return Err(format!("{number} is there twice"));
            }
            numbers.push(number);
        }
    }
    Ok(NumberList(numbers))
}

/// Of a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss(pub(crate) u32);

/// A share given as `1%` or `0.05%`, to a millionth.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 500000")]
pub(super) fn parse_loss(text: &str) -> Result<Loss, String> {
    let percent = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    let percent = percent.filter(|percent| (0.0..=50.0).contains(percent));
    let percent = percent.ok_or("give a share from 0% to 50%, such as 1% or 0.05%")?;
    Ok(Loss((percent * 1e4).round() as u32))
}

/// Addresses given as `10.0.0.1,10.0.0.5-10.0.0.9`: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressList(pub(crate) Vec<IpAddr>);

pub(super) fn parse_addresses(text: &str) -> Result<AddressList, String> {
    const MOST: usize = 1024;
    let mut all = Vec::new();
    for part in text.split(',') {
        for ip in address_range(part)? {
            if all.contains(&ip) {
                return Err(format!("{ip} is there twice"));
            }
            if all.len() == MOST {
                return Err(format!("{MOST} addresses are the most"));
            }
            all.push(ip);
        }
    }
    Ok(AddressList(all))
}

fn address_range(text: &str) -> Result<Box<dyn Iterator<Item = IpAddr>>, String> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("`{text}` is no IP address"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (address(first)?, address(last)?) {
        (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => {
            Ok(Box::new((a.to_bits()..=b.to_bits()).map(|ip| Ipv4Addr::from_bits(ip).into())))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => {
            Ok(Box::new((a.to_bits()..=b.to_bits()).map(|ip| Ipv6Addr::from_bits(ip).into())))
        }
        _ => Err(format!("`{text}` goes backwards, or from one IP version to the other")),
    }
}

/// Ports given as `1024-65535`, or one.
pub(super) fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("`{text}` is no range of ports: they go from 1 to 65535, the lower one first");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().map_err(|_| wrong())?..=last.parse().map_err(|_| wrong())?;
    if *range.start() == 0 || range.is_empty() { Err(wrong()) } else { Ok(range) }
}

fn parse_range(text: &str) -> Result<RangeInclusive<usize>, String> {
    const HIGHEST: usize = 4095;
    let number = |text: &str| {
        let number = text.parse().ok().filter(|number| *number <= HIGHEST);
        number.ok_or(format!("`{text}` is no number from 0 to {HIGHEST}"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("`{text}` goes backwards"));
    }
    Ok(first..=last)
}

pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.001, 86_400.0)
}

/// Longer points meet the stalls of small virtual machines, see `bench --help`.
pub(super) fn parse_point_seconds(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.1, 6.0)
}

pub(super) fn parse_pause(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.0, 600.0)
}

/// 2MSL.
pub(super) fn parse_time_wait(text: &str) -> Result<Duration, String> {
    seconds_within(text, 1.0, 240.0)
}

/// RFC 6298 asks for a second at least; Linux and this stack take less.
pub(super) fn parse_min_rto(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.001, 1.0)
}

pub(super) fn parse_patience(text: &str) -> Result<Duration, String> {
    seconds_within(text, 1.0, 86_400.0)
}

pub(super) fn parse_warmup(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.0, 3600.0)
}

pub(super) fn parse_ramp(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.0, 3600.0)
}

pub(super) fn parse_idle_time(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.1, 86_400.0)
}

pub(super) fn parse_drain_time(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0.0, 86_400.0)
}

fn seconds_within(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let seconds = seconds.filter(|seconds| (least..=most).contains(seconds));
    let seconds = seconds.ok_or(format!("seconds go from {least} to {most} here"))?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse_list("0,2-4").unwrap().0, [0, 2, 3, 4]);
        for wrong in ["", "a", "3-1", "1,1", "1-", "0,0-3", "9999999999"] {
            assert!(parse_list(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn losses() {
        for (text, ppm) in [("0%", 0), ("1%", 10_000), ("0.05", 500), ("50 %", 500_000)] {
            assert_eq!(parse_loss(text), Ok(Loss(ppm)), "{text}");
        }
        for wrong in ["", "%", "50.1%", "-1", "nan", "1e9", "a lot"] {
            assert!(parse_loss(wrong).unwrap_err().contains("0% to 50%"), "{wrong}");
        }
    }

    #[test]
    fn sockets() {
        assert_eq!(parse_socket("10.77.0.1:7").unwrap().port(), 7);
        assert!(parse_socket("[fd77::1]:7").unwrap().is_ipv6());
        for wrong in ["10.77.0.1", "localhost:7", "fd77::1:7", "10.77.0.1:70000", ""] {
            assert!(parse_socket(wrong).unwrap_err().contains("such as 10.77.0.1:7 or [fd77::1]:7"), "{wrong}");
        }
    }

    #[test]
    fn addresses() {
        let list = |text| parse_addresses(text).map(|list| list.0.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(list("10.0.0.8").unwrap(), ["10.0.0.8"]);
        assert_eq!(list("10.0.0.255-10.0.1.1,10.0.0.1").unwrap(), ["10.0.0.255", "10.0.1.0", "10.0.1.1", "10.0.0.1"]);
        assert_eq!(list("fd77::ffff-fd77::1:0").unwrap(), ["fd77::ffff", "fd77::1:0"]);
        assert_eq!(list("10.0.0.0-10.0.3.255").unwrap().len(), 1024);
        for (wrong, says) in [
            ("", "no IP address"),
            ("10.0.0.1/24", "no IP address"),
            ("10.0.0.2-10.0.0.1", "backwards"),
            ("10.0.0.1-fd77::1", "backwards, or from one"),
            ("10.0.0.1,10.0.0.1", "twice"),
            ("10.0.0.0-10.0.4.0", "1024"),
            ("::-ffff::", "1024"),
        ] {
            assert!(list(wrong).unwrap_err().contains(says), "{wrong}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(parse_ports("1024-65535"), Ok(1024..=65535));
        assert_eq!(parse_ports("61000"), Ok(61000..=61000));
        for wrong in ["0", "0-5", "9-5", "1-65536", "", "-", "a-b"] {
            assert!(parse_ports(wrong).unwrap_err().contains("1 to 65535"), "{wrong}");
        }
    }

    #[test]
    fn queues() {
        assert_eq!(parse_queues("all"), Ok(Queues::All));
        assert_eq!(parse_queues("1,0"), Ok(Queues::These(vec![1, 0])));
        assert!(parse_queues("al").unwrap_err().contains("`all`"));
    }

    #[test]
    fn prefixes() {
        let prefix = parse_prefix("fd77::1/64").unwrap();
        assert_eq!((prefix.address.is_ipv6(), prefix.bits), (true, 64));
        for wrong in ["10.0.0.1", "10.0.0.1/33", "10.0.0/8", "fd77::1/129"] {
            assert!(parse_prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(parse_seconds("0.5").unwrap(), Duration::from_millis(500));
        for wrong in ["NaN", "-1", "inf", "0", "x"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
        assert!(parse_point_seconds("7").is_err());
    }
}
