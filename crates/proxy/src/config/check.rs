//! From what is written to what is meant, or to the sentence that says what is wrong.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use fourwave::Duration;

use super::{
    AccessLog, Backend, Balance, Check, Config, ConfigError, Headers, Health, Listener, Pool, Upstream, Version,
    raw::{self, Time},
};

/// The most connections that a limit may be set to.
const MOST_CONNECTIONS: i64 = 1 << 24;
/// Connections in a queue.
const MOST_QUEUED: i64 = 1 << 20;
/// Backends of a pool: Maglev's table has a hundred places for each.
const MOST_BACKENDS: usize = 512;
const HOUR_MS: u64 = 3_600_000;

type Checked<T> = Result<T, ConfigError>;

pub(super) fn config(raw: raw::Config) -> Checked<Config> {
    let top = Place(String::new());
    if raw.listener.is_empty() {
        return Err(top.missing("[[listener]]"));
    }
    let pools = raw.pool.iter().map(pool).collect::<Checked<Vec<_>>>()?;
    unique(pools.iter().map(|pool| ("pool", &pool.name)))?;
    let listeners = raw.listener.iter().map(|l| listener(l, &pools)).collect::<Checked<Vec<_>>>()?;
    unique(listeners.iter().map(|listener| ("listener", &listener.name)))?;
    for (n, listener) in listeners.iter().enumerate() {
        let (ours, clashes) = (listener.address, |other: &Listener| {
            let (a, b) = (listener.address, other.address);
            let any = a.ip().is_unspecified() || b.ip().is_unspecified();
            a == b || (any && a.port() == b.port() && a.is_ipv4() == b.is_ipv4())
        });
        if let Some(other) = listeners[..n].iter().find(|other| clashes(other)) {
            let allowed = format!("an address and port that listener {:?} has not", other.name);
            return Err(listener_place(&listener.name).word("address", &ours.to_string(), &allowed));
        }
    }
    Ok(Config {
        listeners,
        pools,
        buffer_bytes: top.number("buffer", raw.buffer, 1 << 20, 4096..=1 << 30)?,
        drain_time: top.time("drain-time", raw.drain_time.as_ref(), 30_000, 0..=24 * HOUR_MS)?,
        source_ports: source_ports(&top, raw.source_ports.as_deref())?,
        access_log: match raw.access_log.as_deref() {
            None | Some("off") => AccessLog::Off,
            Some("stderr") => AccessLog::Stderr,
            Some("") => return Err(top.wrong("access-log", "\"\"", "off, stderr, or the path of a file")),
            Some(path) => AccessLog::File(path.into()),
        },
        stack: raw.stack,
    })
}

fn listener(raw: &raw::Listener, pools: &[Pool]) -> Checked<Listener> {
    let place = listener_place(&raw.name);
    place.name("name", &raw.name)?;
    let pool = pools.iter().position(|pool| pool.name == raw.pool).ok_or_else(|| {
        let names: Vec<_> = pools.iter().map(|pool| format!("{:?}", pool.name)).collect();
        let names = if names.is_empty() { "but there is no table [[pool]]".to_owned() } else { names.join(", ") };
        place.wrong("pool", &format!("{:?}", raw.pool), &format!("the name of a pool: {names}"))
    })?;
    let accepts = match raw.proxy_protocol.as_deref() {
        None | Some("off") => Headers::default(),
        Some("v1") => Headers { v1: true, v2: false },
        Some("v2") => Headers { v1: false, v2: true },
        Some("any") => Headers { v1: true, v2: true },
        Some(other) => return Err(place.word("proxy-protocol", other, "off, v1, v2, or any (of the two)")),
    };
    let address = place.address("address", &raw.address)?;
    Ok(Listener {
        name: raw.name.clone(),
        address,
        pool,
        accepts,
        header_timeout: place.time("header-timeout", raw.header_timeout.as_ref(), 5_000, 1..=HOUR_MS)?,
        max_connections: place.number("max-connections", raw.max_connections, 1 << 20, 1..=MOST_CONNECTIONS)?,
        queue: place.number("queue", raw.queue, 1024, 0..=MOST_QUEUED)?,
        queue_timeout: place.time("queue-timeout", raw.queue_timeout.as_ref(), 5_000, 1..=HOUR_MS)?,
    })
}

fn pool(raw: &raw::Pool) -> Checked<Pool> {
    let place = Place(format!("pool {:?}", raw.name));
    place.name("name", &raw.name)?;
    if raw.backend.is_empty() {
        return Err(place.missing("[[pool.backend]]"));
    }
    if raw.backend.len() > MOST_BACKENDS {
        let count = raw.backend.len().to_string();
        return Err(place.wrong("backend", &count, &format!("at most {MOST_BACKENDS} tables [[pool.backend]]")));
    }
    let backends = raw.backend.iter().map(|b| backend(&raw.name, b)).collect::<Checked<Vec<_>>>()?;
    unique(backends.iter().map(|backend| ("backend", &backend.name)))?;
    Ok(Pool {
        name: raw.name.clone(),
        balance: match raw.balance.as_deref() {
            None | Some("round-robin") => Balance::RoundRobin,
            Some("least-connections") => Balance::LeastConnections,
            Some("maglev") => Balance::Maglev,
            Some(other) => return Err(place.word("balance", other, "round-robin, least-connections, or maglev")),
        },
        retries: place.number("retries", raw.retries, 3, 0..=100)?,
        replay_bytes: place.number("replay", raw.replay, 0, 0..=1 << 20)?,
        connect_timeout: place.time("connect-timeout", raw.connect_timeout.as_ref(), 3_000, 1..=HOUR_MS)?,
        idle_timeout: place.patience("idle-timeout", raw.idle_timeout.as_ref(), 10 * 60_000)?,
        half_closed_timeout: place.patience("half-closed-timeout", raw.half_closed_timeout.as_ref(), 60_000)?,
        sends: match raw.send_proxy.as_deref() {
            None | Some("off") => None,
            Some("v1") => Some(Version::V1),
            Some("v2") => Some(Version::V2),
            Some(other) => return Err(place.word("send-proxy", other, "off, v1, or v2")),
        },
        queue: place.number("queue", raw.queue, 1024, 0..=MOST_QUEUED)?,
        queue_timeout: place.time("queue-timeout", raw.queue_timeout.as_ref(), 5_000, 1..=HOUR_MS)?,
        health: raw.health.as_ref().map(|raw| health(&place, raw)).transpose()?,
        backends,
    })
}

fn backend(pool: &str, raw: &raw::Backend) -> Checked<Backend> {
    let name = raw.name.clone().unwrap_or_else(|| raw.address.clone());
    let place = Place(format!("pool {pool:?}, backend {name:?}"));
    place.name("name", &name)?;
    let address = place.address("address", &raw.address)?;
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(place.word("address", &raw.address, "the address of one server"));
    }
    Ok(Backend {
        address,
        via: match raw.via.as_deref() {
            None | Some("stack") => Upstream::Stack,
            Some("kernel") => Upstream::Kernel,
            Some(other) => return Err(place.word("via", other, "stack or kernel")),
        },
        max_connections: place.number("max-connections", raw.max_connections, 1 << 20, 1..=MOST_CONNECTIONS)?,
        name,
    })
}

fn health(pool: &Place, raw: &raw::Health) -> Checked<Health> {
    let place = Place(format!("{}, health", pool.0));
    let check = match raw.check.as_str() {
        "connect" => {
            let path = raw.path.as_deref().map(|value| ("path", value));
            let host = raw.host.as_deref().map(|value| ("host", value));
            let expect = raw.expect.as_deref().map(|value| ("expect", value));
            if let Some((field, value)) = path.or(host).or(expect) {
                return Err(place.word(field, value, "only with check = \"http\""));
            }
            Check::Connect
        }
        "http" => {
            let path = raw.path.clone().unwrap_or_else(|| "/".into());
            let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
            if !path.starts_with('/') || !printable(&path) || path.len() > 1024 {
                return Err(place.word("path", &path, "a path that begins with /, of at most 1024 characters"));
            }
            if let Some(host) = raw.host.as_deref().filter(|host| !printable(host) || host.len() > 255) {
                return Err(place.word("host", host, "a name of at most 255 characters"));
            }
            Check::Http { path, host: raw.host.clone(), expect: statuses(&place, raw.expect.as_deref())? }
        }
        other => return Err(place.word("check", other, "connect or http")),
    };
    let interval = place.time("interval", raw.interval.as_ref(), 2_000, 10..=HOUR_MS)?;
    let most = interval.as_millis();
    Ok(Health {
        check,
        interval,
        timeout: place.time("timeout", raw.timeout.as_ref(), most.min(1_000), 1..=most)?,
        rise: place.number("rise", raw.rise, 2, 1..=100)?,
        fall: place.number("fall", raw.fall, 3, 1..=100)?,
    })
}

/// `200`, or `200-399`.
fn statuses(place: &Place, text: Option<&str>) -> Checked<RangeInclusive<u16>> {
    let Some(text) = text else { return Ok(200..=399) };
    range(text, 100..=599)
        .ok_or_else(|| place.word("expect", text, "a status, or a range such as \"200-399\", of 100 to 599"))
}

fn source_ports(place: &Place, text: Option<&str>) -> Checked<RangeInclusive<u16>> {
    let Some(text) = text else { return Ok(61_000..=65_535) };
    range(text, 1..=65_535)
        .ok_or_else(|| place.word("source-ports", text, "a range such as \"61000-65535\", of 1 to 65535"))
}

fn range(text: &str, within: RangeInclusive<u16>) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (within.contains(&first) && within.contains(&last) && first <= last).then_some(first..=last)
}

fn listener_place(name: &str) -> Place {
    Place(format!("listener {name:?}"))
}

fn unique<'a>(names: impl Iterator<Item = (&'static str, &'a String)>) -> Checked<()> {
    let mut seen = HashSet::new();
    for (kind, name) in names {
        if !seen.insert(name) {
            let place = Place(format!("{kind} {name:?}"));
            return Err(place.wrong("name", &format!("{name:?}"), "a name that no other has"));
        }
    }
    Ok(())
}

/// Where in the file a value is.
struct Place(String);

impl Place {
    fn wrong(&self, field: &'static str, value: &str, allowed: &str) -> ConfigError {
        let (place, value, allowed) = (self.0.clone(), value.to_owned(), allowed.to_owned());
        ConfigError::Value { place, field, value, allowed }
    }

    fn missing(&self, table: &'static str) -> ConfigError {
        ConfigError::Missing { place: self.0.clone(), table }
    }

    /// As [`Place::wrong`], of a text.
    fn word(&self, field: &'static str, value: &str, allowed: &str) -> ConfigError {
        self.wrong(field, &format!("{value:?}"), allowed)
    }

    fn name(&self, field: &'static str, name: &str) -> Checked<()> {
        let good = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        if good { Ok(()) } else { Err(self.word(field, name, "1 to 64 printable characters without spaces")) }
    }

    fn address(&self, field: &'static str, text: &str) -> Checked<SocketAddr> {
        let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        address.ok_or_else(|| {
            let allowed = "ADDRESS:PORT with a port of 1 to 65535, such as \"10.0.0.1:80\" or \"[fd00::1]:80\"; names are not resolved";
            self.word(field, text, allowed)
        })
    }

    fn number(
        &self,
        field: &'static str,
        value: Option<i64>,
        default: u32,
        allowed: RangeInclusive<i64>,
    ) -> Checked<u32> {
        let Some(value) = value else { return Ok(default) };
        let good = u32::try_from(value).ok().filter(|_| allowed.contains(&value));
        good.ok_or_else(|| self.wrong(field, &value.to_string(), &format!("{} to {}", allowed.start(), allowed.end())))
    }

    /// `allowed` and `default_ms` in milliseconds.
    fn time(
        &self,
        field: &'static str,
        value: Option<&Time>,
        default_ms: u64,
        allowed: RangeInclusive<u64>,
    ) -> Checked<Duration> {
        let Some(value) = value else { return Ok(Duration::from_millis(default_ms)) };
        let ms = milliseconds(value).filter(|ms| allowed.contains(ms));
        ms.map(Duration::from_millis).ok_or_else(|| {
            let (least, most) = (show(*allowed.start()), show(*allowed.end()));
            let allowed = format!("{least} to {most}, as a number of seconds or with a unit (ms, s, m, h)");
            self.wrong(field, &value.to_string(), &allowed)
        })
    }

    /// A time, or none at all: `"off"`.
    fn patience(&self, field: &'static str, value: Option<&Time>, default_ms: u64) -> Checked<Option<Duration>> {
        match value {
            Some(Time::Text(text)) if text == "off" => Ok(None),
            value => self.time(field, value, default_ms, 1..=24 * HOUR_MS).map(Some).map_err(|error| match error {
                ConfigError::Value { place, field, value, allowed } => {
                    ConfigError::Value { place, field, value, allowed: format!("off, or {allowed}") }
                }
                other => other,
            }),
        }
    }
}

fn milliseconds(time: &Time) -> Option<u64> {
    let (number, unit) = match time {
        Time::Whole(seconds) => return u64::try_from(*seconds).ok()?.checked_mul(1000),
        Time::Decimal(seconds) => (*seconds, 1000.0),
        Time::Text(text) => {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = match &text[digits.len()..] {
                "ms" => 1.0,
                "s" => 1000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return None,
            };
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            (plain.then(|| digits.parse().ok()).flatten()?, unit)
        }
    };
    let ms: f64 = number * unit;
    // Far within what a double and a u64 hold exactly.
    let whole = std::time::Duration::try_from_secs_f64(ms / 1000.0).ok()?;
    u64::try_from(whole.as_millis()).ok()
}

fn show(ms: u64) -> String {
    match ms {
        0 => "0".into(),
        ms if ms % HOUR_MS == 0 => format!("{}h", ms / HOUR_MS),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}
