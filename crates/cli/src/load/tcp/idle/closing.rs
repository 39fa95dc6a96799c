//! How the connections end once the time is over.

use std::sync::atomic::Ordering;

use fourwave::{ConnId, Instant, Io};

use super::{Load, Memory, Phase, WINDOW};
use crate::load::CloseBy;
use crate::load::pace::Evenly;
use crate::load::tcp::counts::Count;
use crate::load::tcp::window::Window;

/// Connections that are closed in order, some at a time.
#[derive(Debug)]
pub(super) struct Ending {
    left: Vec<ConnId>,
    pub(super) evenly: Evenly,
    /// Of those that are left, so many may be closed by now.
    pub(super) may: usize,
    pub(super) under_way: usize,
    /// When the last of them ended, and since when there is none.
    pub(super) moved: Instant,
    last: Option<Instant>,
}

impl Load {
    /// The time is over: all are closed.
    pub(super) fn end(&mut self, io: &mut Io<'_>) {
        if self.ending.is_some() || self.done {
            return;
        }
        let now = io.now();
        self.times.ended = Some(now);
        (self.times.resident, self.times.server) = self.resident.as_mut().map_or([0; 2], Memory::now).into();
        (self.missing, self.ramp) = (0, Some(Evenly::new(0, std::time::Duration::ZERO, now)));
        // What was to come and go comes no more.
        self.churning = None;
        let (mut left, mut answering) = (Vec::new(), 0);
        for (conn, link) in self.links.iter() {
            answering += u64::from(link.answers);
            left.push(conn);
        }
        self.shared.counts.add(Count::Answering, answering);
        self.window = Window::new(WINDOW);
        let evenly = Evenly::new(left.len(), self.config.ramp_down, now);
        self.ending = Some(Ending { left, evenly, may: 0, under_way: 0, moved: now, last: None });
        self.close(io);
    }

    /// Goes on closing; behind the last one it is over.
    pub(super) fn close(&mut self, io: &mut Io<'_>) {
        let now = io.now();
        let Some(mut ending) = self.ending.take() else { return };
        ending.may += ending.evenly.due(now);
        while self.window.has_room() && ending.may > 0 {
            let Some(conn) = ending.left.pop() else { break };
            ending.may -= 1;
            let Some(link) = self.links.get_mut(conn) else { continue };
            if link.short || link.phase == Phase::Connecting || self.config.close == Some(CloseBy::Reset) {
                self.links.remove(conn);
                let _ = io.abort(conn);
            } else {
                link.fresh = true;
                ending.under_way += 1;
                self.window.begin(now, conn);
                self.shut(io, conn);
            }
        }
        if ending.under_way == 0 {
            ending.moved = now;
        }
        let all = ending.left.is_empty() && ending.under_way == 0;
        // The probe goes last.
        let probes = all && self.probe.as_mut().is_some_and(|probe| probe.end(io));
        let waits = *ending.last.get_or_insert(now) + self.timeout;
        if !all {
            ending.last = None;
        }
        let stuck = now >= ending.moved + self.timeout || probes && now >= waits;
        self.ending = Some(ending);
        if (all && !probes || stuck) && !self.done {
            self.done = true;
            if self.shared.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
                io.finish();
            }
        }
    }
}
