//! The proof: sockets are really opened, and a neighbour is asked through them.

use std::net::IpAddr;

use fourwave::Report;
use fourwave::device::{self, Exchange, InterfaceFacts, XskConfig};
use serde::Serialize;

use super::{Config, Nic};
use crate::out;
use crate::stop::Stop;

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) enum Trial {
    /// The sockets were opened as asked for, and closed again.
    Opened { report: Box<Report>, peer: Option<IpAddr>, exchange: Option<Exchange> },
    /// They were refused; why.
    Refused(String),
    /// A stack runs on the interface, and is not to be disturbed; which.
    Occupied(String),
}

/// `proof` of the JSON document.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Proof {
    /// `answered`, `unanswered`, `opened` (nobody to ask), `refused`, `occupied`.
    pub(crate) status: &'static str,
    pub(crate) sentence: String,
    pub(crate) peer: Option<IpAddr>,
    #[serde(flatten)]
    pub(crate) exchange: Exchange,
    /// Nanoseconds: the shortest, the median, the longest.
    pub(crate) round_trip_ns: Option<[u64; 3]>,
}

impl Trial {
    pub(crate) fn run(config: &Config, facts: &InterfaceFacts, nic: &Nic, stop: &Stop) -> Self {
        // What else would be refused could be mended, and would not help.
        if let Some(why) = nic.no_ethernet() {
            return Self::Refused(why);
        }
        // Any other program is refused below, as a start would be.
        if let Some(id) = facts.xdp_program
            && device::program_name(id).is_some_and(|name| name.starts_with("fourwave"))
        {
            let name = &facts.name;
            return Self::Occupied(format!(
                "a fourwave stack runs on {name} (XDP program {id}): `fourwave ss` shows it"
            ));
        }
        let peer = config.peer.or_else(|| device::likely_peer(facts).ok().flatten());
        let wanted = XskConfig {
            interface: facts.name.clone(),
            xdp_mode: config.xdp_mode,
            copy_mode: config.copy_mode,
            tx_checksum: config.tx_checksum,
            ..XskConfig::default()
        };
        match device::prove(&wanted, &nic.queues, peer, &|| stop.requested()) {
            Ok((report, exchange)) => Self::Opened { report: Box::new(report), peer, exchange },
            Err(error) => Self::Refused(out::sentence(&error.into())),
        }
    }

    /// What was negotiated.
    pub(crate) fn report(&self) -> Option<&Report> {
        match self {
            Self::Opened { report, .. } => Some(report),
            _ => None,
        }
    }

    pub(crate) fn proof(&self) -> Proof {
        let bare = |status, sentence: &str| Proof {
            status,
            sentence: sentence.to_owned(),
            peer: None,
            exchange: Exchange::default(),
            round_trip_ns: None,
        };
        match self {
            Self::Refused(why) => bare("refused", why),
            Self::Occupied(who) => bare("occupied", who),
            Self::Opened { peer: Some(peer), exchange: Some(exchange), .. } => asked(*peer, exchange),
            Self::Opened { .. } => {
                bare("opened", "the sockets were opened; nobody on the link is known to ask: --peer IP")
            }
        }
    }
}

fn asked(peer: IpAddr, exchange: &Exchange) -> Proof {
    let mut times = exchange.round_trips_ns.clone();
    times.sort_unstable();
    let round_trip_ns = match times[..] {
        [] => None,
        [first, ..] => Some([first, times[times.len() / 2], times[times.len() - 1]]),
    };
    let sent = exchange.frames_sent;
    let sentence = match round_trip_ns {
        Some([_, median, _]) => format!(
            "{} of {sent} questions to {peer} answered, on queue {}; round trip {}",
            exchange.frames_received,
            super::item::list(&exchange.answered_on),
            out::nanoseconds(median as f64)
        ),
        None => format!(
            "{sent} questions to {peer} went out ({} completed), and none was answered",
            exchange.frames_completed
        ),
    };
    let status = if round_trip_ns.is_some() { "answered" } else { "unanswered" };
    Proof { status, sentence, peer: Some(peer), exchange: exchange.clone(), round_trip_ns }
}
