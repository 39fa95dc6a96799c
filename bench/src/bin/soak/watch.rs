//! Those who look on: samples of memory, and an operator's tools.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::conn::Failure;
use crate::process::{Running, output};
use crate::tally::End;
use crate::told::Told;
use crate::world::{Run, World};

const LIMIT: Duration = Duration::from_secs(90);

/// A sample of every process each so often; one that has ended is told.
pub(crate) fn sample(run: &Run, worlds: &[Arc<World>], every: Duration) {
    while !run.stops() {
        for world in worlds {
            if world.has_died() {
                run.stop();
            }
            world.sample();
        }
        run.pause(every);
    }
}

/// Tools by turns.
pub(crate) fn look(run: &Run, worlds: &[Arc<World>], pause: Duration) {
    const TOOLS: [(&str, Tool); 7] = [
        ("metrics", metrics),
        ("ss", |world, pid| json(world, &["ss", "--json", "--pid", pid])),
        ("ss -a -i", |world, pid| text(world, &["ss", "-a", "-i", "--pid", pid])),
        ("ss --counters", |world, pid| json(world, &["ss", "--counters", "--json", "--pid", pid])),
        ("ss --steering", |world, pid| text(world, &["ss", "--steering", "--pid", pid])),
        ("top", |world, pid| json(world, &["top", "--json", "--interval", "0.5", "--pid", pid])),
        ("pcap", pcap),
    ];
    let mut turn = 0;
    while !run.stops() {
        for (at, world) in worlds.iter().enumerate() {
            let (name, tool) = TOOLS[(turn + at) % TOOLS.len()];
            let age = world.age();
            let Some(pid) = world.pid().map(|pid| pid.to_string()) else { continue };
            let end = match tool(world, &pid) {
                Ok(()) => End::Whole,
                Err(why) => world.judge(age, Failure::Broken(why)),
            };
            world.tools.enter(name, true, 0, 0, &end);
            run.pause(pause);
        }
        turn += 1;
    }
}

type Tool = fn(&World, &str) -> Result<(), String>;

fn metrics(world: &World, _: &str) -> Result<(), String> {
    let told = Told::by(&world.lab.a().namespace)?;
    let wrong = told.count("fourwave_build_info") != 1.0;
    if wrong { Err("it is not known which version this is".into()) } else { Ok(()) }
}

fn text(world: &World, args: &[&str]) -> Result<(), String> {
    output(&world.run.fourwave, &world.lab.a().namespace, args, LIMIT).map(|_| ())
}

fn json(world: &World, args: &[&str]) -> Result<(), String> {
    let text = output(&world.run.fourwave, &world.lab.a().namespace, args, LIMIT)?;
    serde_json::from_str::<Value>(&text).map(|_| ()).map_err(|error| format!("{error} in {text:?}"))
}

/// A second of all frames; to nowhere.
fn pcap(world: &World, pid: &str) -> Result<(), String> {
    let args = ["pcap", "--pid", pid, "--snaplen", "96", "--count", "2000", "-w", "/dev/null"];
    let args: Vec<_> = args.iter().map(ToString::to_string).collect();
    let mut running = Running::start(&world.run.fourwave, &world.lab.a().namespace, &args)?;
    world.run.pause(Duration::from_secs(1));
    running.process().hears(Signal::INT);
    running.output(LIMIT).map(|_| ())
}

/// The connections of a process by `ss --json`, as its states.
pub(crate) fn states(world: &World) -> Result<Vec<String>, String> {
    let pid = world.pid().ok_or("there is no process")?.to_string();
    let args = ["ss", "--json", "--pid", &pid];
    let text = output(&world.run.fourwave, &world.lab.a().namespace, &args, LIMIT)?;
    let rows: Vec<Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(rows.iter().map(|row| row["state"].as_str().unwrap_or("?").to_owned()).collect())
}
