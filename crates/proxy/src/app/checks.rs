//! Health checks: on the first shard, which publishes what it finds.

use std::sync::Arc;

use fourwave::{ConnId, Duration, Instant, Io, TimerId};

use super::{CHECK, Proxy, Role, is_ours};
use crate::config::{Check, Health};
use crate::health::{Machine, StatusLine, request};
use crate::live::{Pool, Target};
use crate::proxy_protocol::{self, Header};

/// Between the first checks of two backends, so that they don't all begin at once.
const SPREAD: Duration = Duration::from_millis(5);

/// The backends that are checked.
#[derive(Debug, Default)]
pub(super) struct Checks {
    list: Vec<Checked>,
    /// Part of their timers' keys: those of an older list are of no use.
    epoch: u32,
}

#[derive(Debug)]
pub(super) struct Checked {
    pool: Arc<Pool>,
    target: Arc<Target>,
    health: Health,
    machine: Machine,
    began: Instant,
    conn: Option<ConnId>,
    status: StatusLine,
    timer: Option<TimerId>,
}

impl Proxy {
    /// Begins with the checks of the present configuration; what was found out before is kept.
    pub(super) fn restart_checks(&mut self, io: &mut Io<'_>) {
        let before = self.stop_checks(io);
        if self.place.index != 0 || self.draining {
            return;
        }
        for pool in self.live.pools.iter().filter(|pool| pool.config.health.is_none()) {
            // Checks of before may have said otherwise, one that was under way even since the reload; nobody will again.
            pool.targets.iter().for_each(|target| target.state.set_up(true));
        }
        let checked = self.live.pools.iter().flat_map(|pool| {
            let targets = pool.targets.iter();
            let health = pool.config.health.clone();
            health.into_iter().flat_map(move |health| targets.clone().map(move |t| (pool, t, health.clone())))
        });
        self.checks.list = checked
            .map(|(pool, target, health)| {
                let known = before.iter().find(|old| Arc::ptr_eq(&old.target.state, &target.state));
                let machine = known.map_or_else(|| Machine::new(target.state.is_up()), |old| old.machine);
                Checked {
                    pool: Arc::clone(pool),
                    target: Arc::clone(target),
                    health,
                    machine,
                    began: io.now(),
                    conn: None,
                    status: StatusLine::default(),
                    timer: None,
                }
            })
            .collect();
        let mut after = Duration::ZERO;
        for index in 0..self.checks.list.len() {
            self.start_check_timer(io, index, after);
            after += SPREAD;
        }
    }

    /// Ends all checks; the list of them.
    pub(super) fn stop_checks(&mut self, io: &mut Io<'_>) -> Vec<Checked> {
        self.checks.epoch = (self.checks.epoch + 1) & (u32::MAX >> 1);
        let list = std::mem::take(&mut self.checks.list);
        for checked in &list {
            if let Some(conn) = checked.conn {
                self.roles.remove(conn);
                let _ = io.abort(conn);
            }
            checked.timer.map(|timer| io.stop_timer(timer));
        }
        list
    }

    fn start_check_timer(&mut self, io: &mut Io<'_>, index: usize, after: Duration) {
        let key = CHECK | u64::from(self.checks.epoch) << 32 | index as u64;
        if let Some(checked) = self.checks.list.get_mut(index) {
            if let Some(timer) = checked.timer.take() {
                io.stop_timer(timer);
            }
            checked.timer = io.start_timer(after, key).ok();
        }
    }

    /// A check has taken too long, or the next one is due.
    pub(super) fn on_check_timer(&mut self, io: &mut Io<'_>, key: u64) {
        if key >> 32 != u64::from(self.checks.epoch) {
            return;
        }
        let index = usize::try_from(key & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        let Some(checked) = self.checks.list.get_mut(index) else { return };
        checked.timer = None;
        if checked.conn.is_some() {
            return self.checked(io, index, false);
        }
        checked.began = io.now();
        checked.status = StatusLine::default();
        let (pool, target) = (Arc::clone(&checked.pool), Arc::clone(&checked.target));
        let (timeout, interval) = (checked.health.timeout, checked.health.interval);
        let begun = self.shared.connect(io, target.config.via, target.config.address);
        if let Err(error) = begun {
            self.say_no_connection(io, error, &pool, &target);
            if is_ours(error) {
                // It says nothing of the backend.
                return self.start_check_timer(io, index, interval);
            }
        }
        self.shared.counters.checks.one();
        match begun {
            Ok(conn) => {
                if let Some(checked) = self.checks.list.get_mut(index) {
                    checked.conn = Some(conn);
                }
                self.roles.insert(conn, Role::Check(u32::try_from(index).unwrap_or(u32::MAX)));
                self.start_check_timer(io, index, timeout);
            }
            Err(_) => self.checked(io, index, false),
        }
    }

    pub(super) fn on_check_connected(&mut self, io: &mut Io<'_>, index: u32) {
        let index = index as usize;
        let Some(checked) = self.checks.list.get_mut(index) else { return };
        let Some(conn) = checked.conn else { return };
        let Check::Http { path, host, .. } = &checked.health.check else {
            return self.checked(io, index, true);
        };
        let host = host.clone().unwrap_or_else(|| checked.target.config.address.to_string());
        let header = checked.pool.config.sends.map(|version| proxy_protocol::write(version, &Header::Local));
        let bytes = [header.unwrap_or_default(), request(path, &host)].concat();
        if io.send(conn, &bytes) != Ok(bytes.len()) {
            self.checked(io, index, false);
        }
    }

    /// Takes all bytes of an answer.
    pub(super) fn on_check_data(&mut self, io: &mut Io<'_>, index: u32, data: &[u8]) -> usize {
        let index = index as usize;
        if let Some(checked) = self.checks.list.get_mut(index)
            && let Check::Http { expect, .. } = &checked.health.check
            && let Some(good) = checked.status.push(data, expect)
        {
            self.checked(io, index, good);
        }
        data.len()
    }

    /// The backend has closed without a status, or reset, or refused.
    pub(super) fn on_check_over(&mut self, io: &mut Io<'_>, index: u32) {
        self.checked(io, index as usize, false);
    }

    fn checked(&mut self, io: &mut Io<'_>, index: usize, good: bool) {
        let Some(checked) = self.checks.list.get_mut(index) else { return };
        if let Some(conn) = checked.conn.take()
            && self.roles.remove(conn).is_some()
        {
            // A reset leaves no TIME-WAIT to anybody.
            let _ = io.abort(conn);
        }
        self.shared.counters.checks_failed.add(u64::from(!good));
        let (rise, fall) = (checked.health.rise, checked.health.fall);
        let next = checked.began + checked.health.interval;
        let change = checked.machine.record(good, rise, fall);
        let gauge = Arc::clone(&checked.pool.gauge);
        if let Some(up) = change {
            checked.target.state.set_up(up);
            let (pool, config) = (&checked.pool.config.name, &checked.target.config);
            let word = if up { "up" } else { "down" };
            tracing::warn!("backend {pool}/{} ({}) is {word}", config.name, config.address);
        }
        self.start_check_timer(io, index, next.saturating_since(io.now()));
        if change == Some(true) && gauge.waiting() > 0 {
            self.tell_all(io, gauge.id);
        }
    }
}
