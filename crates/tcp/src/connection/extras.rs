//! What few connections have, attached when it is first asked for: an idle connection pays a pointer for all of it.

use super::{Connection, Event};
use crate::linger::Linger;

/// The state of the mechanisms that most connections never use.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) linger: Linger,
}

impl Extras {
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.linger.take_outcome().map(Event::Lingered)
    }
}

impl Connection {
    pub(super) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }
}
