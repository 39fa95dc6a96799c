//! `--config FILE`: the flags of the stack from a TOML file. Flags win over the file.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::limits::{FRAMES, MAX_CONNECTIONS, POOL_BYTES, TRACE_RECORDS, parse_ring, within};
use super::parse::{parse_list, parse_min_rto, parse_patience, parse_prefix, parse_queues, parse_time_wait};
use super::syn_limit::parse_rate;
use super::tcp::{BUFFERS, HALF_OPEN, parse_syn_cookies};
use super::{
    Congestion, CopyMode, Ecn, Idle, LimitArgs, ListenArgs, NumberList, Prefix, Profile, Queues, Stack, SynCookies,
    SynLimitArgs, TcpArgs, TxChecksum, UsageError, XdpMode,
};

/// What a file may say: the flags of [`super::StackArgs`] and [`ListenArgs`] by their own names. What is for listening has
/// no effect on commands that do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileArgs {
    pub(super) stack: Option<Stack>,
    pub(super) interface: Option<String>,
    pub(super) address: Option<Prefix>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) dad_probes: Option<u8>,
    pub(super) vlan: Option<u16>,
    pub(super) queues: Option<Queues>,
    pub(super) cores: Option<NumberList>,
    pub(super) idle: Option<Idle>,
    pub(super) xdp_mode: Option<XdpMode>,
    pub(super) copy: Option<CopyMode>,
    pub(super) tx_checksum: Option<TxChecksum>,
    pub(super) metrics: Option<SocketAddr>,
    #[serde(default, deserialize_with = "trace_records")]
    pub(super) trace_records: Option<u32>,
    pub(super) trace_directory: Option<PathBuf>,
    #[serde(default)]
    pub(super) keep_privileges: bool,
    #[serde(default, deserialize_with = "max_connections")]
    max_connections: Option<u32>,
    #[serde(default, deserialize_with = "pool_bytes")]
    pool_bytes: Option<u64>,
    #[serde(default, deserialize_with = "frames")]
    frames: Option<u32>,
    #[serde(default, deserialize_with = "ring")]
    ring: Option<u32>,
    #[serde(default, deserialize_with = "time_wait")]
    time_wait: Option<Duration>,
    ecn: Option<Ecn>,
    congestion: Option<Congestion>,
    #[serde(default, deserialize_with = "min_rto")]
    min_rto: Option<Duration>,
    #[serde(default, deserialize_with = "buffer")]
    receive_buffer: Option<u32>,
    #[serde(default, deserialize_with = "buffer")]
    send_buffer: Option<u32>,
    profile: Option<Profile>,
    #[serde(default, deserialize_with = "backlog")]
    backlog: Option<u32>,
    syn_cookies: Option<SynCookies>,
    #[serde(default, deserialize_with = "patience")]
    keepalive: Option<Duration>,
    #[serde(default, deserialize_with = "patience")]
    user_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "syn_limit")]
    syn_limit: Option<Duration>,
    syn_limit_burst: Option<u32>,
    syn_limit_prefix_v4: Option<u8>,
    syn_limit_prefix_v6: Option<u8>,
}

impl FileArgs {
    /// Reads and checks a file; a mistake names the file, the line, and what is allowed.
    pub(super) fn read(path: &Path) -> Result<Self, UsageError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| UsageError(format!("cannot read --config {}: {error}", path.display())))?;
        Self::parse(&text).map_err(|why| UsageError(format!("{}: {why}", path.display())))
    }

    /// The same out of a table of another file.
    pub(super) fn of(table: &toml::Table) -> Result<Self, UsageError> {
        let read: Result<Self, toml::de::Error> = table.clone().try_into();
        // With the key, which the error has on a line of its own.
        read.map_err(|error| UsageError(format!("[stack]: {}", error.to_string().trim().replace('\n', " "))))
    }

    pub(super) const fn limits(&self) -> LimitArgs {
        let Self { max_connections, pool_bytes, frames, ring, .. } = *self;
        LimitArgs { max_connections, pool_bytes, frames, ring }
    }

    pub(super) const fn tcp(&self) -> TcpArgs {
        TcpArgs {
            time_wait: self.time_wait,
            ecn: self.ecn,
            congestion: self.congestion,
            min_rto: self.min_rto,
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            profile: self.profile,
        }
    }

    pub(super) const fn listen(&self) -> ListenArgs {
        ListenArgs {
            backlog: self.backlog,
            syn_cookies: self.syn_cookies,
            keepalive: self.keepalive,
            user_timeout: self.user_timeout,
            syn_limit: SynLimitArgs {
                interval: self.syn_limit,
                burst: self.syn_limit_burst,
                prefix_v4: self.syn_limit_prefix_v4,
                prefix_v6: self.syn_limit_prefix_v6,
            },
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let table = text.parse::<toml::Table>();
            if table.as_ref().is_ok_and(|table| {
                table.contains_key("listener") || table.get("stack").is_some_and(toml::Value::is_table)
            }) {
                return "this is a file for `fourwave proxy -c`: here the keys stand alone, without [stack]".into();
            }
            let until = error.span().map_or("", |span| text.get(..span.start).unwrap_or(text));
            let line = until.matches('\n').count() + 1;
            // The message for people ends with the place in the file; the sentence is enough here.
            let message = error.message().replace('\n', " ");
            let hint = proxy::config::quotes_hint(table.is_err(), text.lines().nth(line - 1).unwrap_or(""), &message);
            format!("line {line}: {}{hint}", message.trim())
        })
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_prefix(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for NumberList {
    /// As on the command line, `"0,2-3"`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_list(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Queues {
    /// As on the command line, `"all"` or `"0,2-3"`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_queues(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for SynCookies {
    /// A word or a number, as on the command line.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_syn_cookies(&Word::deserialize(deserializer)?.0).map_err(D::Error::custom)
    }
}

/// A number, quoted or not, or a name: as it would be typed.
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            toml::Value::Integer(number) => Ok(Self(number.to_string())),
            toml::Value::Float(number) => Ok(Self(number.to_string())),
            other => Err(D::Error::custom(format!("a number or a name, not a {}", other.type_str()))),
        }
    }
}

fn time_wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parse_time_wait(&Word::deserialize(deserializer)?.0).map(Some).map_err(D::Error::custom)
}

fn patience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parse_patience(&Word::deserialize(deserializer)?.0).map(Some).map_err(D::Error::custom)
}

fn backlog<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, "backlog", HALF_OPEN)
}

/// A number of a range, quoted or not.
fn number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<T>, D::Error> {
    let word = Word::deserialize(deserializer)?.0;
    within(range)(&word).map(Some).map_err(|why| D::Error::custom(format!("{name} {why}")))
}

fn max_connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, "max-connections", MAX_CONNECTIONS)
}

fn pool_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer, "pool-bytes", POOL_BYTES)
}

fn frames<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, "frames", FRAMES)
}

fn trace_records<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, "trace-records", TRACE_RECORDS)
}

fn ring<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    parse_ring(&Word::deserialize(deserializer)?.0).map(Some).map_err(D::Error::custom)
}

fn min_rto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parse_min_rto(&Word::deserialize(deserializer)?.0).map(Some).map_err(D::Error::custom)
}

fn syn_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parse_rate(&Word::deserialize(deserializer)?.0).map(Some).map_err(D::Error::custom)
}

fn buffer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, "a buffer of", BUFFERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let file = FileArgs::parse(
            "stack = \"kernel\"\ninterface = \"eth1\"\naddress = \"10.0.0.9/24\"\ngateway = \"10.0.0.1\"\n\
             queues = \"0,2-3\"\ncores = \"1\"\nidle = \"sleep\"\nxdp-mode = \"native\"\ncopy = \"zero-copy\"\n\
             tx-checksum = \"offload\"\nmetrics = \"127.0.0.1:9464\"\n\
             trace-records = 1000\ntrace-directory = \"/var/tmp\"\n",
        )
        .unwrap();
        assert_eq!(file.stack, Some(Stack::Kernel));
        assert_eq!(file.interface.as_deref(), Some("eth1"));
        assert_eq!(file.address, Some(Prefix { address: [10, 0, 0, 9].into(), bits: 24 }));
        assert_eq!(file.gateway, Some([10, 0, 0, 1].into()));
        assert_eq!(file.queues, Some(Queues::These(vec![0, 2, 3])));
        assert_eq!(file.cores, Some(NumberList(vec![1])));
        assert_eq!(file.idle, Some(Idle::Sleep));
        assert_eq!(file.xdp_mode, Some(XdpMode::Native));
        assert_eq!(file.copy, Some(CopyMode::ZeroCopy));
        assert_eq!(file.tx_checksum, Some(TxChecksum::Offload));
        assert_eq!(file.metrics, Some(([127, 0, 0, 1], 9464).into()));
        assert_eq!((file.trace_records, file.trace_directory), (Some(1000), Some("/var/tmp".into())));
        let file = FileArgs::parse("max-connections = 10\npool-bytes = 16384\nframes = 128\nring = 64\n").unwrap();
        let limits = file.limits();
        assert_eq!((limits.max_connections, limits.pool_bytes), (Some(10), Some(16384)));
        assert_eq!((limits.frames, limits.ring), (Some(128), Some(64)));
        for wrong in ["max-connections = 0", "pool-bytes = 16383", "frames = 127", "ring = 100"] {
            let why = FileArgs::parse(wrong).unwrap_err();
            assert!(why.contains(wrong.rsplit(' ').next().unwrap()), "{why}");
        }
        let file = FileArgs::parse(
            "time-wait = 1.5\necn = \"ask\"\ncongestion = \"newreno\"\nbacklog = 100\nsyn-cookies = 50\n\
             keepalive = 60\nuser-timeout = 30\nmin-rto = 0.005\nreceive-buffer = 4096\nsend-buffer = 8192\n\
             profile = \"throughput\"\n",
        )
        .unwrap();
        assert_eq!((file.ecn, file.congestion), (Some(Ecn::Ask), Some(Congestion::Newreno)));
        assert_eq!((file.time_wait, file.min_rto), (Some(Duration::from_millis(1500)), Some(Duration::from_millis(5))));
        assert_eq!((file.receive_buffer, file.send_buffer), (Some(4096), Some(8192)));
        assert_eq!(file.profile, Some(Profile::Throughput));
        assert_eq!((file.backlog, file.syn_cookies), (Some(100), Some(SynCookies::From(50))));
        let times = [60, 30].map(|s| Some(Duration::from_secs(s)));
        assert_eq!([file.keepalive, file.user_timeout], times);
        assert_eq!(FileArgs::parse("syn-cookies = \"always\"").unwrap().syn_cookies, Some(SynCookies::Always));
        assert_eq!(FileArgs::parse("copy = \"copy\"").unwrap().copy, Some(CopyMode::Copied));
        assert_eq!(FileArgs::parse("").unwrap(), FileArgs::default());
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_what_is_allowed() {
        let cases = [
            ("\nidel = \"busy\"", ["line 2", "`idel`", "`idle`"]),
            ("idle = \"lazy\"", ["line 1", "`lazy`", "adaptive"]),
            ("queues = \"3-1\"", ["line 1", "3-1", "backwards"]),
            ("address = \"10.0.0.1\"", ["line 1", "prefix", "10.77.0.1/24"]),
            ("\ntime-wait = 0", ["line 2", "seconds", "1 to 240"]),
            ("syn-cookies = \"sometimes\"", ["line 1", "`sometimes`", "when-full"]),
            ("backlog = -1", ["line 1", "`-1`", "0 to 16777216"]),
            ("\ntrace-records = 16777217", ["line 2", "`16777217`", "0 to 16777216"]),
            ("frames = \"many\"", ["line 1", "`many`", "128 to 1048576"]),
            ("idle = \"busy\"\nidle = \"sleep\"", ["line 2", "duplicate", "key"]),
            ("\ninterface = fw-a0", ["line 2", "; texts stand", "in quotes"]),
            ("address = 10.77.0.1/24\nring = 64", ["line 1", "; texts stand", "in quotes"]),
            ("[stack]\ninterface = \"eth0\"", ["file for `fourwave proxy -c`", "keys stand alone", "without [stack]"]),
            ("[[listener]]\nname = \"web\"", ["file for `fourwave proxy -c`", "keys stand alone", "without [stack]"]),
        ];
        for (text, words) in cases {
            let why = FileArgs::parse(text).unwrap_err();
            assert_eq!(why.lines().count(), 1, "{why}");
            for word in words {
                assert!(why.contains(word), "{why:?} lacks {word:?}");
            }
        }
        for quoted in [
            "interface = \"fw-a0",
            "ring = 64 65",
            "idle = \"lazy\"",
            "backlog = -1",
            "time-wait = 1.5\ntime-wait = 1.5",
        ] {
            let why = FileArgs::parse(quoted).unwrap_err();
            assert!(!why.contains("in quotes"), "{why}");
        }
    }
}
