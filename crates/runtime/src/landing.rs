//! Where flows land, as the interface's RSS has it: told to the shards at start, and again when the table changes.

use crate::error::Error;
use crate::neighbours::Mailbox;
use crate::outbox::Outbox;
use crate::privileges::Privileges;
use crate::worker::Command;
use stack::{Landing, Rss, RssFields, RssInput, RssTransform};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use xdp::rss::{HashInput, RssFacts, RssWatch, Symmetry};

pub(crate) mod probe;

/// How often the table is looked at, a few ioctls each time. Until a change is noticed its flows are handed over.
const LOOK: Duration = Duration::from_secs(2);

/// Follows the RSS of an interface for as long as it lives.
#[derive(Debug)]
pub(crate) struct LandingWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// RSS as it was read first, to be followed once there are loops to tell.
#[derive(Debug)]
pub(crate) struct FirstLook {
    watch: RssWatch,
    queues: Vec<u32>,
    refuted: bool,
}

impl FirstLook {
    /// Reads how the interface spreads flows over its queues; `queues` are those served, in the order of the shards.
    pub(crate) fn new(ifindex: u32, queues: &[u32]) -> Result<Self, Error> {
        let (watch, queues) = (RssWatch::open(ifindex)?, queues.to_vec());
        Ok(Self { watch, queues, refuted: false })
    }

    /// What the shards are to be told before they run.
    pub(crate) fn landing(&self) -> Landing {
        plan(self.watch.facts(), &self.queues)
    }

    /// What it says was found to be wrong: what it says later is not to be believed, either.
    pub(crate) const fn refute(&mut self) {
        self.refuted = true;
    }

    /// Begins to follow it; with one shard, or if it was refuted, there is nothing to be followed.
    pub(crate) fn follow(
        mut self,
        mailboxes: Vec<Mailbox>,
        privileges: Privileges,
    ) -> Result<Option<LandingWatch>, Error> {
        if self.queues.len() < 2 || self.refuted {
            return Ok(None);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            if let Err(error) = privileges.give_up() {
                return tracing::error!(%error, "the interface's RSS table is not followed");
            }
            let mut loops = Outbox::all(mailboxes);
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(LOOK);
                loops.iter_mut().for_each(Outbox::flush);
                match self.watch.changed() {
                    Ok(Some(facts)) => tell(&plan(facts, &self.queues), &mut loops),
                    Ok(None) => {}
                    // An interface that is gone is noticed by the loops.
                    Err(error) => tracing::debug!(%error, "the interface's RSS table could not be read"),
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("fw-landing".into())
            .spawn(run)
            .map_err(Error::system("starting the thread that follows the RSS table"))?;
        Ok(Some(LandingWatch { stop, thread: Some(thread) }))
    }
}

impl Drop for LandingWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn tell(landing: &Landing, loops: &mut [Outbox]) {
    tracing::info!(
        known = *landing != Landing::Unknown,
        "the interface's RSS has changed: source ports are chosen anew"
    );
    loops.iter_mut().for_each(|each| each.tell(Command::Landing(landing.clone())));
}

/// What the shards can go by: of each entry of the table the shard that serves its queue.
fn plan(facts: &RssFacts, queues: &[u32]) -> Landing {
    let planned = match (facts, facts.obstacle()) {
        (_, Some(why)) => Err(why),
        (RssFacts::Unknown(why), None) => Err(why.clone()),
        (RssFacts::Known(rss), None) => convert(rss, queues),
    };
    match planned {
        Ok(rss) => Landing::Rss(rss),
        Err(why) => {
            tracing::debug!(why, "where flows land is not known: it is learnt from their first replies");
            Landing::Unknown
        }
    }
}

fn convert(rss: &xdp::rss::Rss, queues: &[u32]) -> Result<Rss, String> {
    let shard = |queue: &u32| {
        let index = queues.iter().position(|served| served == queue);
        let index = index.and_then(|index| u16::try_from(index).ok());
        index.ok_or_else(|| {
            tracing::warn!(
                "the RSS table leads to queue {queue}, which no shard serves: the kernel resets what comes there"
            );
            format!("the RSS table leads to queue {queue}")
        })
    };
    let table = rss.table.iter().map(shard).collect::<Result<_, _>>()?;
    let transform = match rss.symmetry {
        Symmetry::None => RssTransform::Nothing,
        Symmetry::Xor => RssTransform::SymmetricXor,
        Symmetry::OrXor => RssTransform::SymmetricOrXor,
        _ => return Err("the RSS hash is of an unknown kind".into()),
    };
    let fields = RssFields { ipv4: input(rss.tcp4)?, ipv6: input(rss.tcp6)?, transform };
    Rss::new(rss.key.clone(), table, fields).map_err(|error| error.to_string())
}

fn input(hashed: HashInput) -> Result<RssInput, String> {
    match hashed {
        HashInput::FourTuple => Ok(RssInput::AddressesAndPorts),
        HashInput::Addresses => Ok(RssInput::Addresses),
        HashInput::Nothing => Ok(RssInput::Nothing),
        _ => Err("what the RSS hash is made of is not known".into()),
    }
}

#[cfg(test)]
mod tests;
