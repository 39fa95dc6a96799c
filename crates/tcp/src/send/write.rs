//! What the application writes: copied into the pool, or held by reference until it is acknowledged.

use super::{Sender, autotune};
use crate::{config::Config, env::Env, pool::CHUNK_BYTES};
use bytes::Bytes;

/// Fewer bytes than these are copied even if they are given by reference. The chunk before a reference is left as full as it is,
/// half of one on average: a copy of less than that costs the pool no more memory, and hardly more time than the two atomic
/// operations of a reference.
pub(crate) const COPIED_BELOW: usize = CHUNK_BYTES / 2;

impl Sender {
    /// Takes as much of `bytes` as the send buffer and the pool have room for.
    #[inline]
    pub(crate) fn push(&mut self, env: &mut Env<'_>, bytes: &[u8]) -> usize {
        let room = self.buffer(env).saturating_sub(self.queue.len()) as usize;
        self.queue.push(env.pool, &bytes[..bytes.len().min(room)])
    }

    /// As one [`push`](Self::push) of all parts.
    pub(crate) fn push_parts(&mut self, env: &mut Env<'_>, parts: &[&[u8]]) -> usize {
        let room = self.buffer(env).saturating_sub(self.queue.len()) as usize;
        let mut taken = 0;
        for part in parts {
            let fits = part.len().min(room - taken);
            let pushed = self.queue.push(env.pool, &part[..fits]);
            taken += pushed;
            if pushed < part.len() {
                break;
            }
        }
        taken
    }

    /// Takes as much from the front of `bytes` as the send buffer has room for. It costs the pool nothing, so however scarce
    /// that is the connection's own limit is what counts.
    pub(crate) fn push_bytes(&mut self, env: &mut Env<'_>, bytes: &mut Bytes) -> usize {
        let room = self.limit(env.config).saturating_sub(self.queue.len()) as usize;
        let fits = bytes.len().min(room);
        if fits < COPIED_BELOW || !env.pool.may_refer() {
            let copied = self.push(env, bytes);
            drop(bytes.split_to(copied));
            return copied;
        }
        self.queue.refer(env.pool, bytes.split_to(fits));
        fits
    }

    /// Bytes the queue may hold now if what is added needs the pool: what is held by reference is not of it.
    #[inline]
    fn buffer(&self, env: &Env<'_>) -> u32 {
        let limit = self.limit(env.config);
        let share = env.pool.share(self.queue.len(), limit);
        if share == limit { share } else { self.scarce_buffer(env, limit) }
    }

    #[cold]
    fn scarce_buffer(&self, env: &Env<'_>, limit: u32) -> u32 {
        let referred = self.queue.referred(env.pool);
        env.pool.share(self.queue.len() - referred, limit).saturating_add(referred).min(limit)
    }

    /// Bytes the queue might hold if the pool were as large as need be.
    #[inline]
    pub(super) fn limit(&self, config: &Config) -> u32 {
        let sacked = self.flight.as_ref().map_or(0, |f| f.board.sacked());
        let start = autotune::start(self.profile, config.send_buffer_start_bytes);
        autotune::limit(self.congestion.window(), sacked, start, config.send_buffer_bytes)
    }

    /// There is room worth telling an application that waits. `referring`: what it waits to send is held by reference.
    pub(crate) fn writable(&self, env: &Env<'_>, referring: bool) -> bool {
        let limit = if referring { self.limit(env.config) } else { self.buffer(env) };
        autotune::is_writable(self.queue.len(), limit)
    }
}
