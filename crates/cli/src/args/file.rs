//! `--config FILE`: the flags of the stack from a TOML file. Flags win over the file.

use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::parse::{parse_list, parse_prefix};
use super::{CopyMode, Idle, NumberList, Prefix, Stack, UsageError, XdpMode};

/// What a file may say: the flags of [`super::StackArgs`] by their own names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileArgs {
    pub(super) stack: Option<Stack>,
    pub(super) interface: Option<String>,
    pub(super) address: Option<Prefix>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) vlan: Option<u16>,
    pub(super) queues: Option<NumberList>,
    pub(super) cores: Option<NumberList>,
    pub(super) idle: Option<Idle>,
    pub(super) xdp_mode: Option<XdpMode>,
    pub(super) copy: Option<CopyMode>,
}

impl FileArgs {
    /// Reads and checks a file; a mistake names the file, the line, and what is allowed.
    pub(super) fn read(path: &Path) -> Result<Self, UsageError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| UsageError(format!("cannot read --config {}: {error}", path.display())))?;
        Self::parse(&text).map_err(|why| UsageError(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let until = error.span().map_or("", |span| text.get(..span.start).unwrap_or(text));
            let line = until.matches('\n').count() + 1;
            // The message for people ends with the place in the file; the sentence is enough here.
            let message = error.message().replace('\n', " ");
            format!("line {line}: {}", message.trim())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let file = FileArgs::parse(
            "stack = \"kernel\"\ninterface = \"eth1\"\naddress = \"10.0.0.9/24\"\ngateway = \"10.0.0.1\"\n\
             queues = \"0,2-3\"\ncores = \"1\"\nidle = \"sleep\"\nxdp-mode = \"native\"\ncopy = \"zero-copy\"\n",
        )
        .unwrap();
        assert_eq!(file.stack, Some(Stack::Kernel));
        assert_eq!(file.interface.as_deref(), Some("eth1"));
        assert_eq!(file.address, Some(Prefix { address: [10, 0, 0, 9].into(), bits: 24 }));
        assert_eq!(file.gateway, Some([10, 0, 0, 1].into()));
        assert_eq!(file.queues, Some(NumberList(vec![0, 2, 3])));
        assert_eq!(file.cores, Some(NumberList(vec![1])));
        assert_eq!(file.idle, Some(Idle::Sleep));
        assert_eq!(file.xdp_mode, Some(XdpMode::Native));
        assert_eq!(file.copy, Some(CopyMode::ZeroCopy));
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
            ("idle = \"busy\"\nidle = \"sleep\"", ["line 2", "duplicate", "key"]),
        ];
        for (text, words) in cases {
            let why = FileArgs::parse(text).unwrap_err();
            assert_eq!(why.lines().count(), 1, "{why}");
            for word in words {
                assert!(why.contains(word), "{why:?} lacks {word:?}");
            }
        }
    }
}
