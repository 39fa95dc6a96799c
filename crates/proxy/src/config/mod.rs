//! What a proxy is to do, from a TOML file, checked.
//!
//! A file is read as it was written first, and then checked once, into values that need no checks any more. A mistake names the place, the field, the value, and what is allowed.

mod check;
mod raw;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use fourwave::Duration;

/// What a proxy is to do. See `deploy/proxy.toml` for every key of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients connect to; at least one.
    pub listeners: Vec<Listener>,
    /// Backends that stand in for each other; at least one.
    pub pools: Vec<Pool>,
    /// Bytes that a connection may hold unsent, and as many unread: what the other side does not take stays with its sender.
    pub buffer_bytes: u32,
    /// How long connections may go on after the end was asked for.
    pub drain_time: Duration,
    /// Local ports of connections to backends.
    pub source_ports: RangeInclusive<u16>,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// The table `[stack]`: for who starts the stack.
    pub stack: toml::Table,
}

/// Where clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique among listeners.
    pub name: String,
    /// The address and port.
    pub address: SocketAddr,
    /// The pool its connections go to: an index into [`Config::pools`].
    pub pool: usize,
    /// Which versions of the PROXY protocol's header its clients begin with; none: there is no header.
    pub accepts: Headers,
    /// How long a client has for that header.
    pub header_timeout: Duration,
    /// Connections at once.
    pub max_connections: u32,
    /// Connections that may wait while there are as many as that.
    pub queue: u32,
    /// How long they wait at most.
    pub queue_timeout: Duration,
}

/// Backends that stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name, unique among pools.
    pub name: String,
    /// How a connection's backend is chosen.
    pub balance: Balance,
    /// Further attempts when a backend can't be connected to.
    pub retries: u32,
    /// Bytes of a client's that are kept until its backend says a word: if that resets, or ends, without one, they go to another
    /// backend. 0: none are, as is right unless what clients ask may be asked twice.
    pub replay_bytes: u32,
    /// How long an attempt may take.
    pub connect_timeout: Duration,
    /// How long both directions may be silent; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a connection may be silent of which one direction has ended; `None`: for ever.
    pub half_closed_timeout: Option<Duration>,
    /// The header that backends are told the client's address with.
    pub sends: Option<Version>,
    /// Connections that may wait while every backend has as many as it may.
    pub queue: u32,
    /// How long they wait at most.
    pub queue_timeout: Duration,
    /// How it is found out which backends are well; `None`: all are taken to be.
    pub health: Option<Health>,
    /// The backends; at least one.
    pub backends: Vec<Backend>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name, unique in its pool.
    pub name: String,
    /// The address and port.
    pub address: SocketAddr,
    /// Whose TCP reaches it.
    pub via: Upstream,
    /// Connections at once.
    pub max_connections: u32,
}

/// Whose TCP reaches a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Upstream {
    /// What the proxy itself runs on.
    #[default]
    Stack,
    /// The kernel's sockets.
    Kernel,
}

/// How a connection's backend is chosen among those that are well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest connections.
    LeastConnections,
    /// By the client's address, so that it comes back to the same one (Maglev).
    Maglev,
}

/// Versions of the PROXY protocol's header that are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers {
    /// The text.
    pub v1: bool,
    /// The binary one.
    pub v2: bool,
}

impl Headers {
    /// Whether there is a header.
    #[must_use]
    pub const fn any(self) -> bool {
        self.v1 || self.v2
    }
}

/// A version of the PROXY protocol's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The text.
    V1,
    /// The binary one.
    V2,
}

/// How it is found out whether a backend is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// Time from the beginning of a check to that of the next.
    pub interval: Duration,
    /// How long a check may take, at most the interval.
    pub timeout: Duration,
    /// Good answers in a row until a backend that is down is up.
    pub rise: u32,
    /// Checks that fail in a row until a backend that is up is down.
    pub fall: u32,
}

/// What is asked of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A connection.
    Connect,
    /// `GET path`, and a status of this range.
    Http {
        /// The path.
        path: String,
        /// The header `Host`; `None`: the backend's address.
        host: Option<String>,
        /// What is good.
        expect: RangeInclusive<u16>,
    },
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard error.
    Stderr,
    /// The end of a file, which is opened again by every reload.
    File(PathBuf),
}

/// A mistake in a configuration: one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// It is no TOML, or has a key that there is not, or a value of a wrong type.
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value that is not allowed.
    Value {
        /// Where: `listener "web"`.
        place: String,
        /// The field, as in the file.
        field: &'static str,
        /// The value, as in the file.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// There is no table of a kind of which at least one is needed.
    Missing {
        /// Where: `pool "web"`; empty: in the whole file.
        place: String,
        /// The table's name, as in the file: `[[listener]]`.
        table: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = |place: &str| if place.is_empty() { "" } else { ": " };
        match self {
            Self::Syntax { line, message } => write!(f, "line {line}: {message}"),
            Self::Value { place, field, value, allowed } => {
                write!(f, "{place}{}`{field} = {value}` is not allowed: {allowed}", colon(place))
            }
            Self::Missing { place, table } => {
                write!(f, "{place}{}there is no {table}, and at least one is needed", colon(place))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// The first mistake: its place, the field, the value, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw: raw::Config = toml::from_str(text).map_err(|error| {
            let until = error.span().map_or("", |span| text.get(..span.start).unwrap_or(text));
            let line = until.matches('\n').count() + 1;
            let written = text.lines().nth(line - 1).unwrap_or_default().trim();
            let no_table = text.parse::<toml::Table>().is_err();
            let hint = quotes_hint(no_table, written, error.message());
            ConfigError::Syntax { line, message: sentence(error.message(), written) + hint }
        })?;
        check::config(raw)
    }
}

/// What to add to what the parser says of a line: it takes a text without quotes for the beginning of a number, a date or `true`.
/// `no_table`: the file is not well formed, whatever its keys.
#[must_use]
pub fn quotes_hint(no_table: bool, line: &str, said: &str) -> &'static str {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    let text = value.contains(|c: char| c.is_alphabetic() || "./:-".contains(c));
    let lacks_quotes = text && !value.starts_with(['"', '\'', '[', '{']);
    if no_table && lacks_quotes && !said.contains("duplicate") { "; texts stand in quotes" } else { "" }
}

/// What the parser says; of a value of the wrong type also the field, which the parser leaves out.
fn sentence(message: &str, written: &str) -> String {
    let message = message.replace('\n', " ").trim().to_owned();
    match message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once("expected ")) {
        Some((_, "i64" | "u64")) => format!("`{written}` is not allowed: a whole number is expected"),
        Some((_, expected)) => format!("`{written}` is not allowed: {expected} is expected"),
        None => message,
    }
}
