//! Bare frames with several under way.

use std::time::Instant;

use anyhow::bail;

use super::Config;
use super::recorder::{Next, Recorder};
use crate::measure::Clock;
use crate::stack;
use crate::stop::Stop;

/// Frames under way at the most: as many fit into the rings of both ends.
pub(crate) const MOST: usize = 1024;

/// Fills the recorder until it is full or the end is asked for. Frames that don't come back are errors, and others go in
/// their places.
pub(super) fn run(config: &Config, stop: &Stop, clock: Clock, recorder: &mut Recorder) -> anyhow::Result<()> {
    let builder = stack::builder(&config.at, config.target.ip())?;
    let (bytes, frames) = (config.steps[0].sizes.largest() as usize, config.pipeline.min(MOST));
    let (mut port, mut window) = builder.raw_window(config.target.ip(), bytes, u32::try_from(frames)?)?;
    if !config.at.keep_privileges {
        fourwave::drop_privileges()?;
    }
    let (mut next, mut lost, mut heard) = (Next::Send, 0, Instant::now());
    while next == Next::Send && !stop.requested() {
        port.exchange(&mut window, |sent, back, count| {
            let now = clock.now();
            let sent = now - fourwave::Duration::from(back.saturating_duration_since(sent));
            heard = back;
            for _ in 0..count {
                if next == Next::Send {
                    next = recorder.record(0, sent, now);
                }
            }
        })?;
        recorder.tick(clock.now());
        (lost..window.lost()).for_each(|_| recorder.error());
        lost = window.lost();
        if heard.elapsed() > config.timeout {
            bail!("no answer from {}; is `fourwave serve echo --stack raw` running there?", config.target);
        }
    }
    Ok(())
}
