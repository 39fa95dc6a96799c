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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ready::Kind;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn all_are_woken_once_and_who_has_left_is_not() {
        let waiters = Waiters::new();
        let ((one, first), (two, second), (three, third)) = (counted(), counted(), counted());
        let (mut a, mut b, mut c) = (None, None, None);
        waiters.enter(&mut a, &first);
        waiters.enter(&mut b, &first);
        waiters.enter(&mut b, &second);
        waiters.enter(&mut c, &third);
        waiters.leave(c.unwrap());
        waiters.wake();
        waiters.wake();
        let woken = [one, two, three].map(|count| count.0.load(Ordering::SeqCst));
        assert_eq!(woken, [1, 1, 0]);
    }

    /// The shard doesn't wait for the lock; who has it wakes in its place.
    #[test]
    fn a_wake_while_the_list_changes_is_not_lost() {
        let waiters = Waiters::new();
        let (count, waker) = counted();
        waiters.enter(&mut None, &waker);
        waiters.change(|_| {
            waiters.wake();
            assert_eq!(count.0.load(Ordering::SeqCst), 0);
        });
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    /// Each round comes when all have seen the last one: with one wake-up lost, none comes any more.
    #[test]
    fn none_of_many_misses_a_round() {
        const ROUNDS: usize = 3000;
        const TASKS: usize = 3;
        let direction = Arc::new(Direction::new(Kind::Read));
        let (round, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (direction, round, seen) = (Arc::clone(&direction), Arc::clone(&round), Arc::clone(&seen));
                runtime.spawn(async move {
                    for next in 1..=ROUNDS {
                        Waiting::new(&direction, || (round.load(Ordering::Relaxed) >= next).then_some(())).await;
                        seen.fetch_add(1, Ordering::Release);
                    }
                })
            })
            .collect();
        let shard = std::thread::spawn(move || {
            for next in 1..=ROUNDS {
                while seen.load(Ordering::Acquire) < (next - 1) * TASKS {
                    std::thread::yield_now();
                }
                round.store(next, Ordering::Relaxed);
                direction.signal();
            }
        });
        runtime.block_on(async {
            let all = async {
                for task in tasks {
                    task.await.unwrap();
                }
            };
            assert!(tokio::time::timeout(std::time::Duration::from_secs(60), all).await.is_ok(), "a wake-up was lost");
        });
        shard.join().unwrap();
    }
}
