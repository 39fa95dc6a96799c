//! The other way round: `fourwave load` and `ping` towards servers of the kernel's, which count for themselves.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sim::Rng;

use crate::conn::Failure;
use crate::echo::eventually;
use crate::peers::{Counts, Peer};
use crate::process::Running;
use crate::tally::End;
use crate::world::World;

/// The longest that one run may take: it has work for some seconds.
const LIMIT: Duration = Duration::from_secs(300);
/// Of `fourwave load`: far longer than any fault lasts.
const TIMEOUT_S: &str = "120";

/// One kind of run.
struct Work {
    kind: &'static str,
    to: To,
    flags: &'static str,
    /// What must be zero of its report.
    zero: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Echo,
    Discard,
}

/// Where they are.
pub(crate) const ECHO: &str = "10.79.0.2:9007";
pub(crate) const ECHO_V6: &str = "[fd79::2]:9007";
pub(crate) const DISCARD: &str = "10.79.0.2:9009";

/// How a command that begins while its link is down says so: it ends at once, as does one that can't open its first connection.
const NO_LINK: [&str; 3] = [" is down: bring it up", "no route", "can't be reached"];

const ERRORS: &[&str] = &["connect_errors", "timeouts", "resets", "cut_off"];

const WORKS: [Work; 6] = [
    Work {
        kind: "exchange",
        to: To::Echo,
        flags: "load tcp TO --connections 12 --rate 300 --seconds SECONDS --warmup 0",
        zero: ERRORS,
    },
    Work {
        kind: "exchange, a connection each",
        to: To::Echo,
        flags: "load tcp TO --close client --connections 12 --rate 60 --seconds SECONDS --warmup 0",
        zero: ERRORS,
    },
    Work {
        kind: "bulk there and back",
        to: To::Echo,
        flags: "load tcp TO --mode bulk --direction both --verify --connections 3 --bytes 12000000",
        zero: &["connect_errors", "timeouts", "resets", "cut_off", "changed"],
    },
    Work {
        kind: "bulk up",
        to: To::Discard,
        flags: "load tcp TO --mode bulk --connections 2 --bytes 15000000",
        zero: ERRORS,
    },
    Work {
        kind: "opened and reset",
        to: To::Discard,
        flags: "load tcp TO --mode connect --close reset --connections 8 --rate 60 --seconds SECONDS --warmup 0",
        zero: &["connect_errors", "timeouts"],
    },
    Work {
        kind: "idle",
        to: To::Echo,
        flags: "load tcp TO --mode idle --connections 100 --think-ms 700 --seconds SECONDS",
        zero: ERRORS,
    },
];

/// Runs until the end, one behind the other.
pub(crate) fn run(world: &Arc<World>, echo: [&Peer; 2], discard: &Peer, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut turn = rng.index(WORKS.len());
    while !world.run.stops() {
        let work = &WORKS[turn % WORKS.len()];
        let v6 = rng.percent(40) && work.to == To::Echo;
        let (to, peer) = match work.to {
            To::Echo if v6 => (ECHO_V6, echo[1]),
            To::Echo => (ECHO, echo[0]),
            To::Discard => (DISCARD, discard),
        };
        let seconds = (3 + rng.below(6)).to_string();
        one(world, work, to, peer, &seconds);
        turn += 1;
        world.run.pause(Duration::from_millis(500));
    }
}

fn one(world: &Arc<World>, work: &Work, to: &str, peer: &Peer, seconds: &str) {
    let (age, before) = (world.age(), peer.counts());
    let interface = &world.lab.a().interface;
    let flags = work.flags.replace("TO", to).replace("SECONDS", seconds);
    let more = format!("{flags} --json --interface {interface} --time-wait 2 --timeout-s {TIMEOUT_S}");
    let args: Vec<_> = more.split(' ').map(str::to_owned).collect();
    let report = run_one(world, &args);
    // What the report says is what the other end has seen, once the last connection has ended there as well.
    let over = eventually(LIMIT, || {
        if report.is_err() {
            // Again and again: one that was under way may be accepted behind the end of who opened it.
            peer.let_go();
        }
        peer.open() == 0 || world.hurries()
    });
    let seen = peer.counts().since(before);
    let end = match report {
        _ if world.hurries() => End::Killed,
        Err(why) if world.was_cut(age) && NO_LINK.iter().any(|words| why.contains(words)) => End::Unreachable,
        Err(why) => world.judge(age, Failure::Broken(why)),
        Ok(_) if !over => End::Wrong(format!("{} connections have not ended at the server", peer.open())),
        Ok(report) => match deviation(work, &report, seen) {
            Some(why) => End::Wrong(why),
            None => End::Whole,
        },
    };
    world.book.enter(work.kind, true, seen.came, seen.went, &end);
}

/// The report of one run.
fn run_one(world: &Arc<World>, args: &[String]) -> Result<Value, String> {
    let mut running = Running::start(&world.run.fourwave, &world.lab.a().namespace, args)?;
    let pid = running.process().pid();
    world.hold_client(Some(running));
    // Faults are done to it meanwhile.
    let ended = eventually(LIMIT, || world.client_has_ended() || world.hurries());
    let Some(running) = world.hold_client(None) else { return Err(format!("process {pid} is gone")) };
    if !ended {
        return Err(format!("`{}` has not ended within {} s", args.join(" "), LIMIT.as_secs()));
    }
    let text = running.output(Duration::from_secs(1))?;
    serde_json::from_str(&text).map_err(|error| format!("{error} in its report {text:?}"))
}

/// What the two ends do not agree about.
fn deviation(work: &Work, report: &Value, seen: Counts) -> Option<String> {
    let of = |key: &str| report[key].as_u64().unwrap_or(0);
    if let Some(key) = work.zero.iter().find(|key| of(key) != 0) {
        return Some(format!("{} {key}: {}", of(key), short(report)));
    }
    // Of what was reset the other end may have heard nothing.
    if work.kind == "opened and reset" {
        let (connects, accepted) = (of("connects"), seen.accepted);
        return (accepted > connects).then(|| format!("{connects} connects, and {accepted} accepted"));
    }
    // Connections that are kept are no connects of the report.
    let connects = if work.kind == "exchange" { of("connections") } else { of("connects") };
    if connects != seen.accepted || seen.broken != 0 {
        let Counts { accepted, broken, came, went } = seen;
        return Some(format!(
            "{connects} connects, and {accepted} accepted, {broken} broken; {came} bytes came and {went} went: {}",
            short(report)
        ));
    }
    // Bytes of messages; those of a mode that counts none are as many at the other end both ways.
    let (sent, received) = (of("bytes_sent"), of("bytes_received"));
    let echoes = work.to == To::Echo;
    let agrees = match work.kind {
        "idle" => seen.came == seen.went,
        _ => sent == seen.came && received == seen.went,
    };
    (!agrees || echoes && seen.came != seen.went).then(|| {
        format!("{sent} bytes sent and {received} received, and the server saw {} come and {} go", seen.came, seen.went)
    })
}

/// Of a report what tells its errors.
fn short(report: &Value) -> String {
    let keys = ["connects", "connect_errors", "timeouts", "resets", "cut_off", "changed", "requests", "responses"];
    let told = keys.iter().filter(|key| !report[**key].is_null()).map(|key| format!("{key} {}", report[*key]));
    told.collect::<Vec<_>>().join(", ")
}
