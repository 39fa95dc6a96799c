//! Version 1, the text (section 2.1).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Progress, V1_MOST_BYTES};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The bytes so far, of which the first are those of the signature.
pub(super) fn look(bytes: &[u8]) -> Progress {
    if let Some(line) = bytes.strip_suffix(b"\n") {
        // CR LF and nothing else ends it.
        let text = line.strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
        return text.and_then(parse).map_or(Progress::Malformed, Progress::Done);
    }
    if bytes.len() >= V1_MOST_BYTES { Progress::Malformed } else { Progress::More }
}

fn parse(line: &str) -> Option<Header> {
    // One space between the parts; what follows UNKNOWN is to be ignored.
    let mut parts = line.split(' ');
    if parts.next() != Some("PROXY") {
        return None;
    }
    let four = parts.next()?;
    if four == "UNKNOWN" {
        return Some(Header::Local);
    }
    let (source, destination) = (parts.next()?, parts.next()?);
    let (source_port, destination_port) = (port(parts.next()?)?, port(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    let (source, destination) = match four {
        // Rust's own parser takes no leading zeros, as the specification has it.
        "TCP4" => (source.parse::<Ipv4Addr>().ok()?.into(), destination.parse::<Ipv4Addr>().ok()?.into()),
        "TCP6" => (source.parse::<Ipv6Addr>().ok()?.into(), destination.parse::<Ipv6Addr>().ok()?.into()),
        _ => return None,
    };
    Some(Header::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// 0 to 65535 in decimal without leading zeros.
fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

pub(super) fn write(header: &Header) -> Vec<u8> {
    let mut text = String::from("PROXY ");
    let _ = match header {
        Header::Local => write!(text, "UNKNOWN"),
        Header::Proxied { source, destination } => {
            let family = if source.is_ipv4() && destination.is_ipv4() { "TCP4" } else { "TCP6" };
            let ip = |address: &SocketAddr| match (family, address.ip()) {
                ("TCP6", std::net::IpAddr::V4(ip)) => ip.to_ipv6_mapped().into(),
                (_, ip) => ip,
            };
            let (from, to) = (ip(source), ip(destination));
            write!(text, "{family} {from} {to} {} {}", source.port(), destination.port())
        }
    };
    text.push_str("\r\n");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;
    use crate::config::Headers;

    fn parse_line(line: &str) -> Progress {
        let v1 = Headers { v1: true, v2: false };
        let (taken, progress) = read(v1, line.as_bytes(), 7);
        if matches!(progress, Progress::Done(_)) {
            assert_eq!(taken, line.find('\n').unwrap() + 1);
        }
        progress
    }

    /// The lines of section 2.1.
    #[test]
    fn the_examples_of_the_specification() {
        let done = |source: &str, destination: &str| {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            Progress::Done(Header::Proxied { source, destination })
        };
        assert_eq!(
            parse_line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
            done("255.255.255.255:65535", "255.255.255.255:65535")
        );
        let ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(
            parse_line(&format!("PROXY TCP6 {ones} {ones} 65535 65535\r\n")),
            done(&format!("[{ones}]:65535"), &format!("[{ones}]:65535"))
        );
        assert_eq!(parse_line("PROXY UNKNOWN\r\n"), Progress::Done(Header::Local));
        let longest = format!("PROXY UNKNOWN {ones} {ones} 65535 65535\r\n");
        assert_eq!(longest.len(), V1_MOST_BYTES);
        assert_eq!(parse_line(&longest), Progress::Done(Header::Local));
        assert_eq!(
            parse_line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n"),
            done("192.168.0.1:56324", "192.168.0.11:443")
        );
    }

    #[test]
    fn what_is_not_to_the_letter_is_refused() {
        for line in [
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            "PROXY TCP4 1.2.3.4 1.2.3.\u{ff14} 1 2\r\n",
            "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        ] {
            assert_eq!(parse_line(line), Progress::Malformed, "{line:?}");
        }
    }

    /// A line without end is given up at the length that none has.
    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let v1 = Headers { v1: true, v2: false };
        let long = format!("PROXY UNKNOWN {}", "x".repeat(1000));
        assert_eq!(read(v1, long.as_bytes(), 1000), (V1_MOST_BYTES, Progress::Malformed));
    }
}
