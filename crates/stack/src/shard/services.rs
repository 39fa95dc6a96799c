//! What the shard does for the application beside its connections: timers, messages, and the word that the end has come.

use super::{App, Io, Shard};
use crate::{
    messages::Message,
    timers::{TimerId, TooManyTimers},
};
use wheel::{Duration, Instant};

impl Shard {
    pub(crate) fn start_timer(&mut self, now: Instant, after: Duration, key: u64) -> Result<TimerId, TooManyTimers> {
        self.timers.start(now + after, key).inspect_err(|_| self.counters.timers_full += 1)
    }

    pub(crate) fn stop_timer(&mut self, timer: TimerId) -> bool {
        self.timers.stop(timer)
    }

    pub(crate) fn post(&mut self, shard: u16, message: Message) -> Result<(), Message> {
        self.outbox.put(shard, message).inspect_err(|_| self.counters.messages_full += 1)?;
        self.counters.messages_out += 1;
        Ok(())
    }

    /// The application hears of its timers and of what it has posted to itself.
    #[inline(never)]
    pub(super) fn advance_services(&mut self, now: Instant, app: &mut impl App) {
        self.tell_timers(now, app);
        self.tell_own_messages(now, app);
    }

    /// Whether the application has timers, or messages to itself.
    #[inline]
    pub(super) const fn has_services(&self) -> bool {
        self.timers.len() | self.outbox.own_len() > 0
    }

    /// No more than there are: those started meanwhile with no time at all may be due at once, for ever.
    fn tell_timers(&mut self, now: Instant, app: &mut impl App) {
        for _ in 0..self.timers.len() {
            let Some((timer, key)) = self.timers.poll(now) else { return };
            self.counters.timers_fired += 1;
            app.on_timer(&mut Io { shard: self, now }, timer, key);
        }
    }

    /// Those posted meanwhile wait for the next turn.
    fn tell_own_messages(&mut self, now: Instant, app: &mut impl App) {
        for _ in 0..self.outbox.own_len() {
            let Some(message) = self.outbox.next_own() else { return };
            self.on_message(now, message, app);
        }
    }

    /// A message has come from another shard, or another thread.
    pub fn on_message(&mut self, now: Instant, message: Message, app: &mut impl App) {
        self.counters.messages_in += 1;
        app.on_message(&mut Io { shard: self, now }, message);
    }

    /// Whether the application has posted messages to other shards that are still here.
    #[must_use]
    pub const fn has_messages(&self) -> bool {
        self.outbox.waits()
    }

    /// Gives `send` each message to another shard, with that shard's index, in their order. What it hands back, for want of
    /// room there, waits here, and what is for the same shard with it.
    pub fn forward_messages(&mut self, send: impl FnMut(u16, Message) -> Result<(), Message>) {
        self.outbox.forward(send);
    }

    /// The end was asked for: the application is told, and listeners are closed. Its connections live on, until
    /// [`drain`](Self::drain).
    pub fn begin_drain(&mut self, now: Instant, app: &mut impl App) {
        app.on_drain(&mut Io { shard: self, now });
        self.close_listeners(now);
        if let Ok(sockets) = self.sockets() {
            sockets.close_listeners();
        }
    }
}
