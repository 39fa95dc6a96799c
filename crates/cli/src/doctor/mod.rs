//! `fourwave doctor`: what an interface, its driver and this kernel offer, what the stack would use, what to change, and
//! the proof that it works.

mod files;
mod irq;
mod item;
mod machine;
mod nic;
mod trial;

use std::net::IpAddr;

use anyhow::bail;
use fourwave::device::DeviceFeatures;
use fourwave::device::{AttachMode, XskConfig};
use fourwave::{CopyMode, TxChecksum, XdpMode};
use serde::Serialize;

use crate::affinity;
use crate::out;
use crate::stop::Stop;
use files::Files;
use item::{Item, Verdict};
use machine::Needs;
use nic::Nic;
use trial::{Proof, Trial};

/// What is asked for; checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) interface: String,
    /// `None`: all that there are.
    pub(crate) queues: Option<Vec<u32>>,
    /// Empty: anywhere.
    pub(crate) cores: Vec<usize>,
    pub(crate) xdp_mode: XdpMode,
    pub(crate) copy_mode: CopyMode,
    pub(crate) tx_checksum: TxChecksum,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) json: bool,
}

/// The whole of what is found.
#[derive(Clone, Debug, Serialize)]
struct Document {
    interface: String,
    items: Vec<Item>,
    proof: Proof,
    mode: Mode,
    /// Whether the mode asked for is to be had.
    available: bool,
    /// Why not.
    reason: Option<String>,
}

/// What was asked for, and what was negotiated; the latter only after the sockets were opened.
#[derive(Clone, Debug, Serialize)]
struct Mode {
    wished_xdp_mode: XdpMode,
    wished_copy: CopyMode,
    wished_tx_checksum: TxChecksum,
    xdp_mode: Option<AttachMode>,
    zero_copy: Option<bool>,
    tx_checksum: Option<bool>,
}

/// `fourwave doctor`.
pub(crate) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let nic = Nic::read(config)?;
    let trial = Trial::run(config, &nic.facts, &nic, stop);
    let document = Document::of(config, &nic, &trial, &Files::system());
    if config.json {
        out::json(&document)?;
    } else {
        document.print();
    }
    match document.reason {
        Some(reason) => bail!("{reason}"),
        None => Ok(()),
    }
}

impl Document {
    fn of(config: &Config, nic: &Nic, trial: &Trial, files: &Files) -> Self {
        let frame = XskConfig::default();
        let queues = nic.queues.len().max(1);
        let needs = Needs {
            frame_bytes: u64::from(frame.frame_count) * u64::from(frame.frame_size) * queues as u64,
            cores: &config.cores,
            queues,
        };
        let folder = files.interface(&nic.facts.name, nic.facts.ifindex);
        let mut items = nic.items(config, trial, files);
        items.push(irq::affinity(files, folder.as_deref(), &nic.facts.name, &config.cores));
        items.push(irq::numa(files, folder.as_deref(), &config.cores));
        items.extend(machine::items(files, needs));
        let reason = obstacle(config, nic, trial);
        let report = trial.report();
        Self {
            interface: nic.facts.name.clone(),
            items,
            proof: trial.proof(),
            mode: Mode {
                wished_xdp_mode: config.xdp_mode,
                wished_copy: config.copy_mode,
                wished_tx_checksum: config.tx_checksum,
                xdp_mode: report.map(|report| report.xdp_mode),
                zero_copy: report.map(|report| report.zero_copy),
                tx_checksum: report.map(|report| report.tx_checksum),
            },
            available: reason.is_none(),
            reason,
        }
    }

    fn print(&self) {
        for item in &self.items {
            let mark = match item.verdict {
                Verdict::Ok => "ok",
                Verdict::CouldBeBetter => "better",
                Verdict::Wrong => "WRONG",
            };
            out::result(&format!("{mark:<8}{:<16}{}", item.name, item.found));
            let lines = [("uses", Some(&item.uses)), ("try", item.improve.as_ref())];
            for (word, text) in lines.into_iter().filter_map(|(word, text)| Some((word, text?))) {
                if !text.is_empty() {
                    out::result(&format!("{:<24}  {word:<6}{text}", ""));
                }
            }
        }
        out::result(&format!("{:<8}{:<16}{}", "proof", self.proof.status, self.proof.sentence));
        let mode = match (self.mode.xdp_mode, self.mode.zero_copy) {
            (Some(mode), Some(true)) => format!("XDP {mode}, zero-copy"),
            (Some(mode), _) => format!("XDP {mode}, copied"),
            (None, _) => "not tried".to_owned(),
        };
        out::result(&format!(
            "{:<8}{mode:<16}  {}",
            "mode",
            if self.available { "as asked for" } else { "not as asked for" }
        ));
    }
}

/// Why the mode asked for is not to be had.
fn obstacle(config: &Config, nic: &Nic, trial: &Trial) -> Option<String> {
    let name = &nic.facts.name;
    if let Some(why) = nic.no_ethernet() {
        return Some(why);
    }
    let allowed = affinity::cores();
    if let Some(core) = config.cores.iter().find(|core| !allowed.contains(core)) {
        return Some(format!("core {core} does not exist or is not allowed to this process: choose from {allowed:?}"));
    }
    let (cores, queues) = (config.cores.len(), nic.queues.len());
    if cores != 0 && cores != queues {
        return Some(format!(
            "{cores} core(s) for {queues} queue(s): a worker serves one queue, so name one core for each"
        ));
    }
    match trial {
        Trial::Refused(why) => Some(why.clone()),
        // Nothing was tried, so the driver's word has to do.
        Trial::Occupied(_) => promised(config, nic).map(|what| format!("the driver of {name} does not offer {what}")),
        Trial::Opened { peer: Some(peer), exchange: Some(exchange), .. }
            if config.peer.is_some() && exchange.frames_received == 0 =>
        {
            Some(format!("{peer} did not answer over AF_XDP: is it on the link of {name}, and up?"))
        }
        Trial::Opened { .. } => None,
    }
}

/// What was asked for and the driver doesn't say that it has.
fn promised(config: &Config, nic: &Nic) -> Option<&'static str> {
    let has = nic.xdp.unwrap_or_default();
    if config.copy_mode == CopyMode::ZeroCopy && !has.zero_copy {
        return Some("zero-copy");
    }
    let copied = nic.facts.driver != "veth" && nic.features.as_ref().is_some_and(DeviceFeatures::tx_checksum);
    if config.tx_checksum == TxChecksum::Offload && !has.tx_checksum && !copied {
        return Some("transmit checksums");
    }
    (config.xdp_mode == XdpMode::Native && !(has.native && has.redirect)).then_some("native XDP")
}
