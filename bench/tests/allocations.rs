//! What the memory allocator is asked for, in steady state: nothing, by segments of connections that are open.
#![allow(missing_docs)]

#[path = "../in_memory/mod.rs"]
mod in_memory;

use allocation_counter::AllocationInfo;

/// What a thousand operations of a case ask for, when it has come into its stride.
fn allocations(id: &str) -> AllocationInfo {
    let case = in_memory::cases().into_iter().find(|case| case.id() == id).expect("there is such a case");
    let mut run = (case.ours)(case.size);
    run(60_000);
    allocation_counter::measure(|| run(1000))
}

/// Issue: no allocation per segment.
#[test]
fn segments_allocate_nothing() {
    for id in ["segment/1", "segment/1000", "receive/1", "request/1", "exchange/1", "exchange/1000"] {
        assert_eq!(allocations(id), AllocationInfo::default(), "{id}");
    }
}

/// As many as a connection asks for from its SYN to its end, at most; it gives all of them back.
#[test]
fn a_connection_allocates_little_and_gives_it_back() {
    for (id, most) in [("open_close/0", 0), ("open_close/1000", 0), ("open_close_first/0", 0)] {
        let info = allocations(id);
        println!("{id}: {} allocations, {} bytes", info.count_total as f64 / 1000.0, info.bytes_total as f64 / 1000.0);
        assert!(info.count_total <= 1000 * most, "{id}: {info:?}");
        assert_eq!((info.count_current, info.bytes_current), (0, 0), "{id}");
    }
}

/// The counter counts.
#[test]
fn an_allocation_is_seen() {
    let info = allocation_counter::measure(|| drop(core::hint::black_box(Box::new(7_u64))));
    assert_eq!((info.count_total, info.bytes_total), (1, 8));
}
