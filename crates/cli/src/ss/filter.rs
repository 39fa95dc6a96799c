//! The filters of iproute2's `ss`, word for word: `state`, `exclude`, then conditions of addresses and ports.
//!
//! As there, conditions that follow one another must all hold, `and` and `or` bind equally and from the left, `not` binds to what
//! follows it, and every word is one of its own: spaces are between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::ops::RangeInclusive;

use fourwave::control::{Filter, MOST_TERMS, Network, Side, Term};

/// States by ss's names and by ours.
const STATES: [(&str, &str); 11] = [
    ("established", "ESTABLISHED"),
    ("syn-sent", "SYN-SENT"),
    ("syn-recv", "SYN-RECEIVED"),
    ("fin-wait-1", "FIN-WAIT-1"),
    ("fin-wait-2", "FIN-WAIT-2"),
    ("time-wait", "TIME-WAIT"),
    ("closed", "CLOSED"),
    ("close-wait", "CLOSE-WAIT"),
    ("last-ack", "LAST-ACK"),
    ("listening", "LISTEN"),
    ("closing", "CLOSING"),
];
const GROUPS: &str = "all, connected, synchronized, bucket, big";
/// What the answers of a resolver add at most.
const MOST_ADDRESSES: usize = 16;

/// What is looked up outside of the words: services and names of hosts.
pub(crate) trait Names {
    /// The port of a service of TCP's.
    fn service(&self, name: &str) -> Option<u16>;
    /// The addresses of a host.
    fn host(&self, name: &str) -> Vec<IpAddr>;
}

/// Those of this machine.
pub(crate) struct Machine;

impl Names for Machine {
    fn service(&self, name: &str) -> Option<u16> {
        service_in(&std::fs::read_to_string("/etc/services").ok()?, name)
    }

    fn host(&self, name: &str) -> Vec<IpAddr> {
        let found = (name, 0).to_socket_addrs().map(|all| all.map(|address| address.ip()).collect::<Vec<_>>());
        let mut found = found.unwrap_or_default();
        found.dedup();
        found.truncate(MOST_ADDRESSES);
        found
    }
}

/// services(5): a name, its port and protocol, other names, a comment.
fn service_in(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        (first == name || words.any(|word| word == name)).then(|| port.parse().ok())?
    })
}

/// Reads a filter. `listening` and `others`: whether listeners, and whether all else is shown if no state is named.
///
/// # Errors
/// A sentence that says which word is wrong, and what could be there.
pub(crate) fn parse(words: &[String], listening: bool, others: bool, names: &impl Names) -> Result<Filter, String> {
    // Words of one argument are words all the same: `'( dport = :443 )'`.
    let words: Vec<&str> = words.iter().flat_map(|argument| argument.split_whitespace()).collect();
    let (states, used) = states(&words, listening, others)?;
    let mut parser = Parser { words: &words, at: used, condition: Vec::new(), names };
    if used < words.len() {
        parser.conditions(0)?;
    }
    let condition = parser.condition;
    if condition.len() > MOST_TERMS {
        return Err(format!("the filter has {} terms: {MOST_TERMS} are the most", condition.len()));
    }
    Ok(Filter { states, condition })
}

/// The states, and how many words they took.
fn states(words: &[&str], listening: bool, others: bool) -> Result<(Vec<String>, usize), String> {
    let usual = |ours: &str| if ours == "LISTEN" { listening } else { others };
    let mut chosen: [bool; 11] = STATES.map(|(_, ours)| usual(ours));
    let (mut at, mut named) = (0, false);
    while let Some(verb) = words.get(at).filter(|word| ["state", "exclude", "excl"].contains(*word)) {
        let adds = *verb == "state";
        let Some(name) = words.get(at + 1) else {
            return Err(format!("{} is the last word: the name of a state follows it", quoted(words, at)));
        };
        let these = scan_state(name).ok_or_else(|| {
            let known: Vec<_> = STATES.iter().map(|(theirs, _)| *theirs).collect();
            format!("{} is no state: there are {}, and {GROUPS}", quoted(words, at + 1), known.join(", "))
        })?;
        if !named {
            chosen = [!adds; 11];
        }
        named = true;
        for (chosen, this) in chosen.iter_mut().zip(these) {
            *chosen = if adds { *chosen | this } else { *chosen & !this };
        }
        at += 2;
    }
    let states = STATES.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|((_, ours), _)| (*ours).to_owned());
    Ok((states.collect(), at))
}

/// ss's `scan_state`.
fn scan_state(name: &str) -> Option<[bool; 11]> {
    let name = name.to_ascii_lowercase();
    let but = |left_out: &[&str]| STATES.map(|(theirs, _)| !left_out.contains(&theirs));
    Some(match name.as_str() {
        "all" => [true; 11],
        "connected" => but(&["closed", "listening"]),
        "synchronized" => but(&["closed", "listening", "syn-sent"]),
        "bucket" => STATES.map(|(theirs, _)| ["syn-recv", "time-wait"].contains(&theirs)),
        "big" => but(&["syn-recv", "time-wait"]),
        other => {
            let other = match other {
                "close" | "unconnected" => "closed",
                "syn-rcv" => "syn-recv",
                other => other,
            };
            STATES.iter().find(|(theirs, _)| *theirs == other)?;
            STATES.map(|(theirs, _)| theirs == other)
        }
    })
}

/// A word and where it stands, for a sentence.
fn quoted(words: &[&str], at: usize) -> String {
    let before = if at == 0 { "first".to_owned() } else { format!("after `{}`", words[at - 1]) };
    format!("`{}` ({before}, word {} of the filter)", words[at], at + 1)
}

/// What a port is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Is,
    IsNot,
    AtLeast,
    AtMost,
    More,
    Less,
}

fn comparison(word: &str) -> Option<Comparison> {
    Some(match word {
        "=" | "==" | "eq" => Comparison::Is,
        "!=" | "ne" | "neq" => Comparison::IsNot,
        ">=" | "ge" | "geq" => Comparison::AtLeast,
        "<=" | "le" | "leq" => Comparison::AtMost,
        ">" | "gt" => Comparison::More,
        "<" | "lt" => Comparison::Less,
        _ => return None,
    })
}

fn joint(word: &str) -> Option<Term> {
    match word {
        "&" | "&&" | "and" => Some(Term::And),
        "|" | "||" | "or" => Some(Term::Or),
        _ => None,
    }
}

struct Parser<'a, N> {
    words: &'a [&'a str],
    at: usize,
    condition: Vec<Term>,
    names: &'a N,
}

/// Parentheses and negations within each other.
const MOST_DEPTH: usize = 64;

impl<'a, N: Names> Parser<'a, N> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self, wanted: &str) -> Result<&'a str, String> {
        let Some(word) = self.peek() else {
            let last = self.words.len() - 1;
            return Err(format!("the filter ends behind {}: {wanted} is missing", quoted(self.words, last)));
        };
        self.at += 1;
        Ok(word)
    }

    /// The word that was taken last.
    fn last(&self) -> String {
        quoted(self.words, self.at - 1)
    }

    /// Conditions up to the end, or to a closing parenthesis.
    fn conditions(&mut self, depth: usize) -> Result<(), String> {
        self.condition(depth)?;
        while let Some(word) = self.peek() {
            if word == ")" && depth > 0 {
                return Ok(());
            }
            let joint = joint(word);
            self.at += usize::from(joint.is_some());
            self.condition(depth)?;
            self.condition.push(joint.unwrap_or(Term::And));
        }
        Ok(())
    }

    fn condition(&mut self, depth: usize) -> Result<(), String> {
        if depth > MOST_DEPTH {
            return Err(format!("{} opens more than {MOST_DEPTH} parentheses within each other", self.last()));
        }
        let word = self.next("a condition")?;
        match word {
            "(" => {
                let opened = self.last();
                self.conditions(depth + 1)?;
                match self.peek() {
                    Some(_) => self.at += 1,
                    None => return Err(format!("{opened} is not closed: `)` is missing")),
                }
            }
            "!" | "not" => {
                self.condition(depth + 1)?;
                self.condition.push(Term::Not);
            }
            "dst" => self.host(Side::Remote)?,
            "src" => self.host(Side::Local)?,
            "dport" => self.port(Side::Remote)?,
            "sport" => self.port(Side::Local)?,
            "state" | "exclude" | "excl" => {
                return Err(format!("{} comes too late: states are named before all conditions", self.last()));
            }
            "dev" | "fwmark" | "cgroup" | "autobound" => {
                return Err(format!(
                    "{} is of no use here: fourwave's connections have none of the kernel's",
                    self.last()
                ));
            }
            ")" => return Err(format!("{} closes what was not opened, or holds nothing", self.last())),
            _ => return Err(self.no_condition(word)),
        }
        Ok(())
    }

    fn no_condition(&self, word: &str) -> String {
        let (known, wrong) = ("`dst`, `src`, `dport`, `sport`, `not` or `(`", self.last());
        if joint(word).is_some() || comparison(word).is_some() {
            return format!("{wrong} stands where a condition begins: {known}");
        }
        let glued = word.trim_start_matches(['(', '!']);
        if ["dst", "src", "dport", "sport"].iter().any(|name| glued.starts_with(name) && glued != *name)
            || glued != word
        {
            return format!("{wrong} is several words in one: put spaces between them, as in `( dport = :443 )`");
        }
        format!("{wrong} is no condition: there are {known}")
    }

    fn host(&mut self, side: Side) -> Result<(), String> {
        let name = self.words[self.at - 1];
        if let Some(how) = self.peek().and_then(comparison) {
            self.at += 1;
            if how != Comparison::Is {
                return Err(format!("{} compares no addresses: write `not {name} …`", self.last()));
            }
        }
        let word = self.next("an address")?;
        let host = self.address(word)?;
        self.condition.push(Term::Host { side, networks: host.networks, port: host.port, ipv6: host.ipv6 });
        Ok(())
    }

    fn port(&mut self, side: Side) -> Result<(), String> {
        let how = self.peek().and_then(comparison);
        self.at += usize::from(how.is_some());
        let word = self.next("a port")?;
        let (family, rest) = family(word);
        let text = rest.strip_prefix(':').unwrap_or(rest);
        let port = if text == "*" || text.is_empty() { None } else { Some(self.number(text)?) };
        let (how, terms) = (how.unwrap_or(Comparison::Is), &mut self.condition);
        if let Some(ipv6) = family {
            terms.push(Term::Host { side, networks: Vec::new(), port: None, ipv6: Some(ipv6) });
        }
        match (how, port) {
            // Any port is more than none.
            (Comparison::AtLeast | Comparison::More, None) => terms.push(Term::AtLeast(side, 0)),
            (Comparison::AtMost | Comparison::Less, None) => terms.extend([Term::AtLeast(side, 0), Term::Not]),
            (Comparison::AtLeast, Some(port)) => terms.push(Term::AtLeast(side, port)),
            (Comparison::AtMost, Some(port)) => terms.push(Term::AtMost(side, port)),
            (Comparison::More, Some(port)) => terms.extend([Term::AtMost(side, port), Term::Not]),
            (Comparison::Less, Some(port)) => terms.extend([Term::AtLeast(side, port), Term::Not]),
            (Comparison::Is, port) => terms.push(any_host(side, port)),
            (Comparison::IsNot, port) => terms.extend([any_host(side, port), Term::Not]),
        }
        if family.is_some() {
            terms.push(Term::And);
        }
        Ok(())
    }

    /// A port by number, decimal, hexadecimal or octal as C has them, or the name of a service.
    fn number(&self, text: &str) -> Result<u16, String> {
        let digits = |text: &str, radix| u64::from_str_radix(text, radix).ok();
        let number = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
            Some(hex) => digits(hex, 16),
            None if text.len() > 1 && text.starts_with('0') => digits(text, 8),
            None => digits(text, 10),
        };
        let port = match number {
            Some(number) => u16::try_from(number).ok(),
            None => self.names.service(text),
        };
        port.ok_or_else(|| {
            format!("{}: `{text}` is neither a port (0 to 65535) nor a service of /etc/services", self.last())
        })
    }

    /// ss's `parse_hostcond`: `ADDRESS`, `ADDRESS/BITS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`, `*:PORT`, `:PORT`.
    fn address(&self, word: &str) -> Result<Host, String> {
        let (ipv6, rest) = family(word);
        if ["unix:", "link:", "netlink:", "vsock:"].iter().any(|other| rest.starts_with(other)) {
            return Err(format!("{}: all that is listed is TCP over IPv4 and IPv6", self.last()));
        }
        if let Ok(address) = rest.parse::<Ipv6Addr>()
            && self.split(rest)?.0.parse::<Ipv6Addr>().is_err()
        {
            // ss wants brackets here; without them there is only this one meaning.
            let network = Network { address: address.into(), bits: 128 };
            return Ok(Host { networks: vec![network], port: None, ipv6 });
        }
        let (host, port) = self.split(rest)?;
        let port = if port.is_empty() || port == "*" { None } else { Some(self.number(port)?) };
        let networks = if host.is_empty() || host == "*" { Vec::new() } else { self.networks(host)? };
        Ok(Host { networks, port, ipv6 })
    }

    /// What stands for the address, and what for the port.
    fn split<'b>(&self, text: &'b str) -> Result<(&'b str, &'b str), String> {
        if let Some(inside) = text.strip_prefix('[') {
            let (host, rest) = inside.split_once(']').ok_or_else(|| format!("{}: `]` is missing", self.last()))?;
            return match rest.strip_prefix(':') {
                Some(port) => Ok((host, port)),
                None if rest.is_empty() => Ok((host, "")),
                None => Err(format!("{}: behind `]` comes `:` and a port", self.last())),
            };
        }
        if let Some(rest) = text.strip_prefix('*') {
            return Ok(("*", rest.strip_prefix(':').unwrap_or(rest)));
        }
        // Behind the length of a prefix, if there is one.
        let from = text.find('/').unwrap_or(0);
        Ok(text[from..].rfind(':').map_or((text, ""), |at| (&text[..from + at], &text[from + at + 1..])))
    }

    fn networks(&self, host: &str) -> Result<Vec<Network>, String> {
        if ["any", "all", "default"].contains(&host) {
            return Ok(Vec::new());
        }
        let (address, bits) = host.split_once('/').map_or((host, None), |(address, bits)| (address, Some(bits)));
        let literal = address.parse().map(IpAddr::V6).ok().or_else(|| short_ipv4(address).map(IpAddr::V4));
        if let Some(address) = literal {
            let most: u8 = if address.is_ipv4() { 32 } else { 128 };
            let within: RangeInclusive<u8> = 0..=most;
            let bits = match bits {
                None => Some(most),
                Some(bits) => bits.parse().ok().filter(|bits| within.contains(bits)).or_else(|| mask(address, bits)),
            };
            let bits = bits.ok_or_else(|| format!("{}: a prefix of it has 0 to {most} bits", self.last()))?;
            return Ok(vec![Network { address, bits }]);
        }
        let network = |address: IpAddr| Network { address, bits: if address.is_ipv4() { 32 } else { 128 } };
        let found: Vec<_> = if bits.is_none() { self.names.host(host) } else { Vec::new() };
        if found.is_empty() {
            return Err(format!("{}: `{host}` is neither an address nor a host that can be resolved", self.last()));
        }
        Ok(found.into_iter().map(network).collect())
    }
}

/// What `dst` and `src` ask for.
struct Host {
    networks: Vec<Network>,
    port: Option<u16>,
    ipv6: Option<bool>,
}

const fn any_host(side: Side, port: Option<u16>) -> Term {
    Term::Host { side, networks: Vec::new(), port, ipv6: None }
}

/// `inet:` and `inet6:`.
fn family(word: &str) -> (Option<bool>, &str) {
    match (word.strip_prefix("inet:"), word.strip_prefix("inet6:")) {
        (Some(rest), _) => (Some(false), rest),
        (_, Some(rest)) => (Some(true), rest),
        _ => (None, word),
    }
}

/// As iproute2 reads them: what is left out behind is zero.
fn short_ipv4(text: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = text.split('.').map(|octet| octet.parse().ok()).collect::<Option<_>>()?;
    let mut address = [0; 4];
    address.get_mut(..octets.len())?.copy_from_slice(&octets);
    Some(address.into())
}

/// `10.0.0.0/255.0.0.0`.
fn mask(address: IpAddr, mask: &str) -> Option<u8> {
    let mask = mask.parse::<Ipv4Addr>().ok().filter(|_| address.is_ipv4())?.to_bits();
    let bits = mask.leading_ones();
    (mask.count_ones() == bits).then(|| u8::try_from(bits).ok())?
}

#[cfg(test)]
mod tests;
