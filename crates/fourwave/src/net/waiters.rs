//! Tasks that wait for the same direction, however many: for calls that take `&self`, as `accept` and `readable` do.
//!
//! All are woken at once and look for themselves, so one that is dropped meanwhile takes no other's turn away. The shard wakes
//! them and never waits for the lock: if somebody has it, that one does it when it lets go.

use super::ready::Direction;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
pub(crate) struct Waiters {
    list: Mutex<Vec<(u64, Waker)>>,
    next: AtomicU64,
    /// Somebody is in the list.
    any: AtomicBool,
    /// All in the list are to be woken.
    due: AtomicBool,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self {
            list: Mutex::new(Vec::new()),
            next: AtomicU64::new(0),
            any: AtomicBool::new(false),
            due: AtomicBool::new(false),
        }
    }

    /// The shard's: wakes all. Whoever comes from now on looks before it sleeps.
    pub(crate) fn wake(&self) {
        if self.any.load(Ordering::SeqCst) {
            self.due.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.wake_due();
        }
    }

    fn wake_due(&self) {
        while self.due.load(Ordering::SeqCst) {
            let mut list = match self.list.try_lock() {
                Ok(list) => list,
                Err(TryLockError::Poisoned(list)) => list.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.due.store(false, Ordering::SeqCst);
            self.any.store(false, Ordering::SeqCst);
            let woken = std::mem::take(&mut *list);
            drop(list);
            woken.into_iter().for_each(|(_, waker)| waker.wake());
            fence(Ordering::SeqCst);
        }
    }

    /// Changes the list; what became due meanwhile is done.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<(u64, Waker)>) -> T) -> T {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut list);
        self.any.store(!list.is_empty(), Ordering::SeqCst);
        drop(list);
        fence(Ordering::SeqCst);
        self.wake_due();
        result
    }

    // What a changed place held is dropped behind the lock: with a waker may go a task, and with that its places here.

    fn enter(&self, place: &mut Option<u64>, waker: &Waker) {
        let key = *place.get_or_insert_with(|| self.next.fetch_add(1, Ordering::Relaxed));
        let waker = waker.clone();
        let before = self.change(|list| match list.iter_mut().find(|(other, _)| *other == key) {
            Some((_, known)) => Some(std::mem::replace(known, waker)),
            None => {
                list.push((key, waker));
                None
            }
        });
        drop(before);
    }

    fn leave(&self, key: u64) {
        let place = |list: &Vec<(u64, Waker)>| list.iter().position(|(other, _)| *other == key);
        let gone = self.change(|list| place(list).map(|at| list.swap_remove(at)));
        drop(gone);
    }
}

/// Waits for a direction until `attempt` gives something. It may be dropped at any time.
#[derive(Debug)]
pub(crate) struct Waiting<'a, F> {
    direction: &'a Direction,
    place: Option<u64>,
    attempt: F,
}

impl<'a, F> Waiting<'a, F> {
    pub(crate) const fn new(direction: &'a Direction, attempt: F) -> Self {
        Self { direction, place: None, attempt }
    }
}

impl<T, F: FnMut() -> Option<T> + Unpin> Future for Waiting<'_, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if let Some(result) = (this.attempt)() {
            return Poll::Ready(result);
        }
        this.direction.waiters.enter(&mut this.place, cx.waker());
        this.direction.arm();
        match (this.attempt)() {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        if let Some(key) = self.place {
            self.direction.waiters.leave(key);
        }
    }
}
