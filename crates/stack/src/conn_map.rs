//! The application's own state of its connections.

use crate::ConnId;
use alloc::vec::Vec;

type Side<T> = Vec<Option<(ConnId, T)>>;

/// What an application keeps for each of its connections, by their handles. Every look-up is an index and a comparison; a dead
/// handle finds nothing, even if a new connection has its number.
///
/// What belongs to a connection is to be [removed](Self::remove) when its handle dies: by
/// [`App::on_closed`](crate::App::on_closed), [`Io::close`](crate::Io::close) or [`Io::abort`](crate::Io::abort). What was
/// forgotten stays until a new connection with the same number gets something.
///
/// ```
/// use stack::{App, ConnId, ConnMap, Error, Io, ListenerId};
///
/// /// Counts the bytes of each connection.
/// #[derive(Default)]
/// struct Meter {
///     bytes: ConnMap<u64>,
/// }
///
/// impl App for Meter {
///     fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
///         self.bytes.insert(conn, 0);
///     }
///     fn on_data(&mut self, _: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
///         if let Some(bytes) = self.bytes.get_mut(conn) {
///             *bytes += data.len() as u64;
///         }
///         data.len()
///     }
///     fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
///         self.bytes.remove(conn);
///         let _ = io.close(conn);
///     }
///     fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, _: Option<Error>) {
///         self.bytes.remove(conn);
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ConnMap<T> {
    /// One for each [`Via`](crate::Via), which has numbers of its own.
    sides: [Side<T>; 2],
    len: usize,
}

impl<T> Default for ConnMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

const fn side(conn: ConnId) -> usize {
    conn.is_kernel() as usize
}

impl<T> ConnMap<T> {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self { sides: [const { Vec::new() }; 2], len: 0 }
    }

    /// Keeps `value` for a connection, and returns what it had before. What a dead one of the same number has left is dropped.
    pub fn insert(&mut self, conn: ConnId, value: T) -> Option<T> {
        let side = &mut self.sides[side(conn)];
        if side.len() <= conn.index() {
            side.resize_with(conn.index() + 1, || None);
        }
        let old = side[conn.index()].replace((conn, value));
        self.len += usize::from(old.is_none());
        old.filter(|(of, _)| *of == conn).map(|(_, value)| value)
    }

    /// What is kept for a connection.
    #[inline]
    #[must_use]
    pub fn get(&self, conn: ConnId) -> Option<&T> {
        let (of, value) = self.sides[side(conn)].get(conn.index())?.as_ref()?;
        (*of == conn).then_some(value)
    }

    /// What is kept for a connection, to change it.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        let (of, value) = self.sides[side(conn)].get_mut(conn.index())?.as_mut()?;
        (*of == conn).then_some(value)
    }

    /// What is kept for a connection, to change it; if it has nothing, it gets `make()`.
    pub fn get_or_insert_with(&mut self, conn: ConnId, make: impl FnOnce() -> T) -> &mut T {
        let side = &mut self.sides[side(conn)];
        if side.len() <= conn.index() {
            side.resize_with(conn.index() + 1, || None);
        }
        let place = &mut side[conn.index()];
        self.len += usize::from(place.is_none());
        place.take_if(|(of, _)| *of != conn);
        &mut place.get_or_insert_with(|| (conn, make())).1
    }

    /// Takes away what is kept for a connection.
    pub fn remove(&mut self, conn: ConnId) -> Option<T> {
        let place = self.sides[side(conn)].get_mut(conn.index())?;
        let (_, value) = place.take_if(|(of, _)| *of == conn)?;
        self.len -= 1;
        Some(value)
    }

    /// Connections for which something is kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in the order of their numbers. It takes as long as the most there have been at once.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.sides.iter().flatten().flatten().map(|(conn, value)| (*conn, value))
    }

    /// As [`iter`](Self::iter), to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut T)> {
        self.sides.iter_mut().flatten().flatten().map(|(conn, value)| (*conn, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn conn(slot: u32, generation: u32) -> ConnId {
        ConnId { slot, generation }
    }

    #[test]
    fn a_dead_handle_finds_and_takes_nothing() {
        let mut map = ConnMap::new();
        assert_eq!(map.insert(conn(3, 1), "old"), None);
        assert_eq!((map.get(conn(3, 2)), map.get(conn(2, 1)), map.get(conn(9, 1))), (None, None, None));
        assert_eq!(map.insert(conn(3, 2), "new"), None, "what the dead one has left is nobody's");
        assert_eq!((map.remove(conn(3, 1)), map.get(conn(3, 1)), map.len()), (None, None, 1));
        assert_eq!(map.insert(conn(3, 2), "newer"), Some("new"));
        assert_eq!((map.remove(conn(3, 2)), map.len()), (Some("newer"), 0));
        assert_eq!(map.remove(conn(3, 2)), None);
    }

    #[test]
    fn each_way_has_numbers_of_its_own() {
        let (stack, kernel) = (conn(3, 1), ConnId::kernel(3, 1));
        let mut map = ConnMap::new();
        map.insert(stack, "stack");
        map.insert(kernel, "kernel");
        assert_eq!((map.get(stack), map.get(kernel), map.len()), (Some(&"stack"), Some(&"kernel"), 2));
        assert_eq!((map.remove(stack), map.get(kernel)), (Some("stack"), Some(&"kernel")));
    }

    #[test]
    fn what_is_kept_can_be_changed_and_listed() {
        let mut map = ConnMap::default();
        map.insert(conn(5, 0), 50);
        *map.get_or_insert_with(conn(1, 7), || 10) += 1;
        *map.get_or_insert_with(conn(1, 7), || 90) += 1;
        map.insert(conn(1, 6), 0);
        *map.get_or_insert_with(conn(1, 7), || 11) += 1;
        map.iter_mut().for_each(|(_, value)| *value += 100);
        *map.get_mut(conn(5, 0)).unwrap() += 1;
        assert_eq!(map.iter().collect::<Vec<_>>(), [(conn(1, 7), &112), (conn(5, 0), &151)]);
        assert_eq!((map.len(), map.is_empty()), (2, false));
    }
}
