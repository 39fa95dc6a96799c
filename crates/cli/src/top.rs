//! `fourwave top`: what a running process does, interval by interval.

mod frame;
mod screen;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fourwave::control::Process;
use serde::Serialize;

use crate::args::Top;
use crate::out;
use crate::ss::{self, processes};
use crate::stop::Stop;
use frame::{Frame, Sample};
use screen::Screen;

/// Connections of a frame where there is no terminal to say how many fit.
const LINES: usize = 20;

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Document {
    frames: Vec<Frame>,
}

/// `fourwave top`.
pub(crate) fn run(args: &Top, stop: &Stop) -> anyhow::Result<()> {
    let mut document = Document { frames: Vec::new() };
    let mut screen = (!args.json && std::io::stdout().is_terminal()).then(Screen::enter);
    let ended = stop.flag();
    let mut before = look(args, LINES, None, &ended)?;
    let result = loop {
        stop.sleep(args.interval);
        if stop.requested() || out::nobody_reads() {
            break Ok(());
        }
        let lines = args.lines.or_else(|| screen.as_ref()?.room(before.heads())).unwrap_or(LINES);
        let now = match look(args, lines, Some(&before), &ended) {
            // It is a part.
            Ok(_) if stop.requested() => break Ok(()),
            Ok(now) => now,
            Err(error) => break Err(error),
        };
        let frame = now.since(&before);
        match &mut screen {
            Some(screen) => screen.draw(&frame.lines(args.sort)),
            None if args.json => {}
            None => out::result(&format!("{}\n", frame.lines(args.sort).join("\n"))),
        }
        if args.json {
            document.frames.push(frame);
        }
        before = now;
        before.frames += 1;
        if args.count.is_some_and(|count| before.frames >= count) {
            break Ok(());
        }
    };
    drop(screen);
    if args.json {
        // What there is, though it ended sooner than asked for.
        out::json(&document)?;
    }
    result
}

/// Looks at all processes, until the flag is set. `lines`: how many connections are to be kept.
fn look(args: &Top, lines: usize, before: Option<&Sample>, ended: &Arc<AtomicBool>) -> anyhow::Result<Sample> {
    let at_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut sample = Sample::new(Instant::now(), at_unix_s, before.map_or(0, |before| before.frames));
    for process in ss::processes_until(args.pid, ended)? {
        let asked = ask(&process, args, lines, &mut sample, before, ended);
        match asked {
            Ok(()) => {}
            Err(_) if ended.load(Ordering::Relaxed) => break,
            Err(error) if args.pid.is_some() => return Err(error),
            // It has ended just now.
            Err(_) if processes(Some(process.pid)).is_err() => {}
            Err(_) => sample.add_silent(process.pid),
        }
    }
    sample.keep(args.sort, lines);
    Ok(sample)
}

fn ask(
    process: &Process,
    args: &Top,
    lines: usize,
    sample: &mut Sample,
    before: Option<&Sample>,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    let counts = process.counters().with_context(|| ss::silent(process))?;
    sample.count(process.pid, &counts);
    ss::each(process, &args.filter, |row| {
        sample.add(row, before, args.sort, lines);
        !ended.load(Ordering::Relaxed)
    })
}
