//! What stack the scripts find: `--so_flags`, and the settings that their first line makes with sysctl.

use stack::{Congestion, Duration, Ecn, LocalAddress, MacAddr, Route, Settings, ShardConfig, TcpConfig};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Our interface's address, and that of everybody else.
pub(crate) const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(crate) const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// `key=value`, separated by commas. See the README for the keys.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    addresses: Vec<LocalAddress>,
    mtu: u16,
    settings: Settings,
    /// Where sysctls are read, `None`: nowhere.
    sysctls: Option<PathBuf>,
}

impl Default for Profile {
    /// The Linux of the scripts in `gtests/net/tcp`, and the addresses their runner uses.
    fn default() -> Self {
        let address = |ip, prefix_len| LocalAddress { ip, prefix_len, owned: false };
        Self {
            addresses: vec![
                address(IpAddr::from([192, 168, 0, 1]), 16),
                address(IpAddr::from([0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1]), 48),
            ],
            mtu: 1500,
            settings: Settings {
                // tcp_rmem's maximum: it takes a window scale of 8 to offer it.
                receive_buffer_bytes: 15 << 20,
                send_buffer_bytes: 4 << 20,
                // As large from the start as they may be: a script is about one mechanism at a time.
                receive_buffer_start_bytes: 1 << 30,
                send_buffer_start_bytes: 1 << 30,
                min_rto: Duration::from_millis(200),
                // A Linux host paces for BBR or with the fq qdisc only, and its HyStart is not RFC 9406's, which without pacing
                // takes eight segments of an acknowledgment at most.
                pacing: false,
                hystart: false,
                ..Settings::default()
            },
            sysctls: Some(PathBuf::from("/proc/sys/net/ipv4")),
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(flags: &str) -> Result<Self, String> {
        let mut profile = Self::default();
        let mut addresses = Vec::new();
        for flag in flags.split(',').map(str::trim).filter(|flag| !flag.is_empty()) {
            let (key, value) = flag.split_once('=').ok_or_else(|| format!("{flag}: key=value is expected"))?;
            match key {
                "address" => addresses.push(parse_address(value)?),
                "mtu" => profile.mtu = number(key, value)?,
                "receive_buffer" => profile.settings.receive_buffer_bytes = number(key, value)?,
                "send_buffer" => profile.settings.send_buffer_bytes = number(key, value)?,
                "min_rto_ms" => profile.settings.min_rto = Duration::from_millis(number(key, value)?),
                "initial_rto_ms" => profile.settings.initial_rto = Duration::from_millis(number(key, value)?),
                "delayed_ack_ms" => profile.settings.delayed_ack = Duration::from_millis(number(key, value)?),
                "pacing" => profile.settings.pacing = number::<u8>(key, value)? != 0,
                "hystart" => profile.settings.hystart = number::<u8>(key, value)? != 0,
                "sysctls" => profile.sysctls = parse_folder(value)?,
                _ => return Err(format!("{key} is no flag of this shared object")),
            }
        }
        if !addresses.is_empty() {
            profile.addresses = addresses;
        }
        Ok(profile)
    }
}

/// A setting that is not in there keeps its default, so a folder that does not exist would go unnoticed.
fn parse_folder(value: &str) -> Result<Option<PathBuf>, String> {
    let folder = PathBuf::from(value);
    match value {
        "none" => Ok(None),
        _ if folder.is_dir() => Ok(Some(folder)),
        _ => Err(format!("sysctls={value}: there is no such folder")),
    }
}

fn parse_address(value: &str) -> Result<LocalAddress, String> {
    let (ip, prefix_len) = value.split_once('/').ok_or_else(|| format!("address={value}: ip/length is expected"))?;
    let ip = ip.parse().map_err(|_| format!("address={value}: {ip} is no address"))?;
    Ok(LocalAddress { ip, prefix_len: number("address", prefix_len)?, owned: false })
}

fn number<N: FromStr>(key: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{key}={value}: a number is expected"))
}

impl Profile {
    /// The shard's configuration, with the sysctls as they are now.
    pub(crate) fn shard_config(&self) -> Result<ShardConfig, String> {
        let mut settings = self.settings.clone();
        if let Some(folder) = &self.sysctls {
            Sysctls(folder).apply(&mut settings);
        }
        // Scripts are compared to the byte, but for numbers: the secrets may as well be constants.
        let mut config =
            ShardConfig::new(OUR_MAC, self.mtu, self.addresses.clone(), [[7; 16], [8; 16], [9; 16], [10; 16]]);
        config.tcp = TcpConfig::new(settings).map_err(|error| error.to_string())?;
        config.routes =
            [IpAddr::from([0; 4]), IpAddr::from([0; 16])].map(|prefix| Route::new(prefix, 0, None)).to_vec();
        // Linux's own range: a script may name a port of it.
        config.ports = 32_768..=60_999;
        Ok(config)
    }
}

/// The settings of the network namespace, as the script's init command left them.
struct Sysctls<'p>(&'p Path);

impl Sysctls<'_> {
    fn apply(&self, settings: &mut Settings) {
        let switch = |name| self.number(name).map(|value| value != 0);
        settings.timestamps = switch("tcp_timestamps").unwrap_or(settings.timestamps);
        settings.sack = switch("tcp_sack").unwrap_or(settings.sack);
        settings.ecn = match self.number("tcp_ecn") {
            Some(0) => Ecn::Off,
            Some(1) => Ecn::Ask,
            Some(_) => Ecn::Answer,
            None => settings.ecn,
        };
        let linear = self.number("tcp_syn_linear_timeouts").and_then(|n| n.try_into().ok());
        settings.syn_linear_timeouts = linear.unwrap_or(settings.syn_linear_timeouts);
        let burst = self.number("tcp_min_tso_segs").and_then(|n| n.try_into().ok());
        settings.min_burst = burst.unwrap_or(settings.min_burst);
        settings.slow_start_after_idle = switch("tcp_slow_start_after_idle").unwrap_or(settings.slow_start_after_idle);
        // Linux's other controllers are not those of these scripts.
        if self.text("tcp_congestion_control").is_some_and(|name| name == "reno") {
            settings.congestion = Congestion::NewReno;
        }
        settings.window_scaling = switch("tcp_window_scaling").unwrap_or(settings.window_scaling);
    }

    /// Its first word.
    fn text(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.0.join(name)).ok()?;
        text.split_whitespace().next().map(str::to_owned)
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_offers_a_window_scale_of_8() {
        let config = Profile::default().shard_config().expect("valid");
        assert_eq!(config.tcp.window_scale(), 8);
        assert_eq!(config.mtu, 1500);
    }

    #[test]
    fn flags_are_parsed_and_mistakes_named() {
        let profile: Profile = "mtu=1520, address=10.0.0.1/8,min_rto_ms=1,sysctls=none".parse().expect("valid");
        let config = profile.shard_config().expect("valid");
        assert_eq!((config.mtu, config.addresses.len()), (1520, 1));
        assert_eq!(config.tcp.min_rto, Duration::from_millis(1));
        assert!("mtu=many".parse::<Profile>().unwrap_err().contains("mtu=many"));
        assert!("sysctls=/no/such/folder".parse::<Profile>().unwrap_err().contains("no such folder"));
        assert!("color=red".parse::<Profile>().unwrap_err().contains("color"));
        assert!("mtu".parse::<Profile>().unwrap_err().contains("key=value"));
    }
}
