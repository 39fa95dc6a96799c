//! The connection table by itself, with so many flows in it. smoltcp has none: it asks each socket.

use super::{
    Run,
    client::{PORT, SERVER, address},
    random::Random,
};
use core::net::{Ipv4Addr, SocketAddr};
use stack::{FlowKey, FlowTable, Owner};

fn key(id: u32) -> FlowKey {
    let (ip, port) = address(id);
    FlowKey::new(SocketAddr::from((SERVER, PORT)), SocketAddr::from((Ipv4Addr::from_bits(ip), port)))
}

/// A random one of so many flows is looked up: its hash, its bucket, and its owner's key, which it is compared with. Which one is
/// next depends on what was found, so that no two are under way at once.
pub fn look_up(flows: usize) -> Run {
    let keys: Vec<FlowKey> = (0..flows as u32).map(key).collect();
    let mut table = FlowTable::new([7; 16]);
    for (slot, key) in (0..).zip(&keys) {
        table.insert(table.hash(key), Owner::Connection(slot));
    }
    let mut random = Random(3);
    Box::new(move |times| {
        for _ in 0..times {
            let wanted = random.below(flows as u64) as u32;
            let flow = key(wanted);
            let same = |owner| matches!(owner, Owner::Connection(slot) if keys[slot as usize] == flow);
            let found = table.find(table.hash(&flow), same);
            let Some(Owner::Connection(slot)) = found else { panic!("{flow:?} is in the table") };
            random.0 = random.0.wrapping_add(slot.into());
        }
    })
}
