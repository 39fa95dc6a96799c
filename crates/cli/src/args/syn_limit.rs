//! Flags of the limit on SYNs of one source prefix.

use std::time::Duration;

use clap::Args;
use fourwave::SynLimit;

use super::{Stack, UsageError};

/// A limit as far as it was typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct SynLimitArgs {
    /// New connections (SYNs) a second from one source prefix, 0.001 to 1000000; the XDP program drops what is beyond that. Not
    /// with --stack kernel or raw [default: no limit]
    #[arg(long = "syn-limit", value_name = "RATE", value_parser = parse_rate)]
    pub(super) interval: Option<Duration>,

    /// SYNs of a prefix that may come at once, 1 to 1000000; only with --syn-limit [default: as many as in a second]
    #[arg(long = "syn-limit-burst", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) burst: Option<u32>,

    /// Bits of an IPv4 source that are its prefix, 0 to 32; only with --syn-limit [default: 24]
    #[arg(long = "syn-limit-prefix-v4", value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub(super) prefix_v4: Option<u8>,

    /// Bits of an IPv6 source that are its prefix, 0 to 128; only with --syn-limit [default: 56]
    #[arg(long = "syn-limit-prefix-v6", value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=128))]
    pub(super) prefix_v6: Option<u8>,
}

impl SynLimitArgs {
    /// What `self` has, else what `other` has.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            interval: self.interval.or(other.interval),
            burst: self.burst.or(other.burst),
            prefix_v4: self.prefix_v4.or(other.prefix_v4),
            prefix_v6: self.prefix_v6.or(other.prefix_v6),
        }
    }

    /// Checked, what a file says as well.
    pub(super) fn resolve(self, stack: Stack) -> Result<Option<SynLimit>, UsageError> {
        let given = [
            ("--syn-limit-burst", self.burst.is_some()),
            ("--syn-limit-prefix-v4", self.prefix_v4.is_some()),
            ("--syn-limit-prefix-v6", self.prefix_v6.is_some()),
        ];
        let Some(interval) = self.interval else {
            return match given.iter().find(|(_, given)| *given) {
                Some((flag, _)) => {
                    Err(UsageError(format!("{flag} needs --syn-limit: there is no limit without a rate")))
                }
                None => Ok(None),
            };
        };
        if stack != Stack::Fourwave {
            let (name, why) = (stack.name(), "SYNs are limited on their way to this stack");
            return Err(UsageError(format!("--syn-limit is not for --stack {name}: {why}")));
        }
        let default = SynLimit::per_second(1.0 / interval.as_secs_f64());
        let limit = SynLimit {
            interval,
            burst: self.burst.unwrap_or(default.burst),
            prefix_v4: self.prefix_v4.unwrap_or(default.prefix_v4),
            prefix_v6: self.prefix_v6.unwrap_or(default.prefix_v6),
        };
        limit.check().map(|()| Some(limit)).map_err(|error| UsageError(error.to_string()))
    }
}

/// SYNs a second, as the time for each.
pub(super) fn parse_rate(text: &str) -> Result<Duration, String> {
    let limit = text.parse().ok().map(SynLimit::per_second).filter(|limit| limit.check().is_ok());
    limit.map(|limit| limit.interval).ok_or(format!("`{text}` is no number of SYNs a second from 0.001 to 1000000"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::serve;
    use super::*;

    const PLAIN: &str = "fourwave serve echo --listen 10.77.0.1:7";

    fn limit(flags: &str) -> Result<Option<SynLimit>, UsageError> {
        serve(format!("{PLAIN} {flags}").trim()).map(|config| config.at.syn_limit)
    }

    #[test]
    fn there_is_no_limit_unless_a_rate_is_given() {
        assert_eq!(limit("").unwrap(), None);
        let hundred = SynLimit { interval: Duration::from_millis(10), burst: 100, prefix_v4: 24, prefix_v6: 56 };
        assert_eq!(limit("--syn-limit 100").unwrap(), Some(hundred));
        let all = "--syn-limit 0.5 --syn-limit-burst 7 --syn-limit-prefix-v4 32 --syn-limit-prefix-v6 0";
        let expected = SynLimit { interval: Duration::from_secs(2), burst: 7, prefix_v4: 32, prefix_v6: 0 };
        assert_eq!(limit(all).unwrap(), Some(expected));
        for flag in ["--syn-limit-burst 7", "--syn-limit-prefix-v4 32", "--syn-limit-prefix-v6 64"] {
            let said = limit(flag).unwrap_err().to_string();
            assert!(said.contains("needs --syn-limit"), "{said}");
        }
        for stack in ["kernel", "raw"] {
            let said = limit(&format!("--syn-limit 5 --stack {stack}")).unwrap_err().to_string();
            assert!(said.contains(&format!("not for --stack {stack}")), "{said}");
        }
    }

    #[test]
    fn the_file_has_it_as_well_and_flags_win() {
        let path = std::env::temp_dir().join(format!("fourwave-syn-limit-{}.toml", std::process::id()));
        let with = |text: &str, flags: &str| {
            std::fs::write(&path, text).unwrap();
            let limit = limit(&format!("--config {} {flags}", path.display()));
            std::fs::remove_file(&path).unwrap();
            limit
        };
        let file = "syn-limit = 200\nsyn-limit-burst = 50\nsyn-limit-prefix-v4 = 20\nsyn-limit-prefix-v6 = 48\n";
        let expected = SynLimit { interval: Duration::from_millis(5), burst: 50, prefix_v4: 20, prefix_v6: 48 };
        assert_eq!(with(file, "").unwrap(), Some(expected));
        assert_eq!(with(file, "--syn-limit-burst 9").unwrap(), Some(SynLimit { burst: 9, ..expected }));
        for (wrong, words) in [
            ("syn-limit = 0", "0.001 to 1000000"),
            ("syn-limit = 5\nsyn-limit-burst = 0", "1 to 1000000"),
            ("syn-limit = 5\nsyn-limit-prefix-v4 = 33", "0 to 32"),
            ("syn-limit = 5\nsyn-limit-prefix-v6 = 129", "0 to 128"),
        ] {
            let said = with(wrong, "").unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}
