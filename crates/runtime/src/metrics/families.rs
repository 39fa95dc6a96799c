//! Every metric, and where its values come from.

use super::text::{Family, Kind, Text};
use super::{Metrics, ShardMetrics};
use crate::totals::by_name;
use stack::State;

macro_rules! families {
    ($($id:ident = $name:literal, $kind:ident, $labels:literal, $help:literal;)*) => {
        $(pub(super) const $id: Family = Family { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*

        /// Every metric of a stack, in the order of docs/METRICS.md.
        pub const FAMILIES: &[Family] = &[$($id,)*];
    };
}

families! {
    BUILD = "fourwave_build_info", Gauge, "version", "1, with the version as a label";
    INTERFACE = "fourwave_interface_info", Gauge, "interface, driver, xdp_mode, copy", "1, with what was negotiated with the kernel as labels";
    UP = "fourwave_shard_up", Gauge, "shard", "1 if the shard's loop answered within a second; if not, it has no other metric";
    DROPS = "fourwave_drops_total", Counter, "shard, reason", "Frames and segments that were dropped or refused, by reason";
    CONNECTIONS = "fourwave_connections", Gauge, "shard, state", "Connections and records of the stack's own, by state (RFC 9293)";
    ACCEPTED = "fourwave_connections_accepted_total", Counter, "shard", "Connections that peers opened";
    OPENED = "fourwave_connections_opened_total", Counter, "shard", "Connections that the application began to open";
    CLOSED = "fourwave_connections_closed_total", Counter, "shard", "Connections that ended, however";
    FAILED = "fourwave_connections_failed_total", Counter, "shard, cause", "Connections that ended by an error, by cause";
    RESETS = "fourwave_resets_sent_total", Counter, "shard, cause", "Resets sent, by cause";
    SEGMENTS_IN = "fourwave_tcp_received_segments_total", Counter, "shard", "Segments given to a connection or to a half-open one";
    SEGMENTS_OUT = "fourwave_tcp_sent_segments_total", Counter, "shard", "Segments that connections sent";
    AGAIN = "fourwave_tcp_retransmitted_segments_total", Counter, "shard", "Segments sent again, for whatever reason";
    TIMEOUTS = "fourwave_tcp_retransmission_timeouts_total", Counter, "shard", "Retransmission timeouts (RFC 6298)";
    PROBES = "fourwave_tcp_loss_probes_total", Counter, "shard", "Tail loss probes (RFC 8985)";
    SYN_ACKS_AGAIN = "fourwave_tcp_syn_ack_retransmits_total", Counter, "shard", "SYN-ACKs sent again by their timer";
    HALF_OPENED = "fourwave_tcp_half_opened_total", Counter, "shard", "SYNs answered and remembered (SYN-RECEIVED)";
    HALF_EXPIRED = "fourwave_tcp_half_open_expired_total", Counter, "shard", "Handshakes whose last ACK never came";
    COOKIES = "fourwave_syn_cookies_sent_total", Counter, "shard", "SYNs answered by a cookie";
    COOKIES_BACK = "fourwave_syn_cookies_accepted_total", Counter, "shard", "Connections that a returned cookie opened";
    TIME_WAIT_IN = "fourwave_time_wait_answers_total", Counter, "shard", "Segments that TIME-WAIT answered by an ACK";
    TIME_WAIT_REUSED = "fourwave_time_wait_reused_total", Counter, "shard", "TIME-WAIT records whose place an active open took";
    TABLE = "fourwave_table_entries", Gauge, "shard, table", "Entries of a bounded table or queue";
    TABLE_LIMIT = "fourwave_table_limit_entries", Gauge, "shard, table", "The most entries that a bounded table or queue may have";
    LIMITS = "fourwave_limit_met_total", Counter, "shard, limit", "Times that a limit was met and no frame was dropped for it";
    LISTENERS = "fourwave_listeners", Gauge, "shard", "Listeners of the stack's own";
    ACCEPT_QUEUE = "fourwave_accept_queue_connections", Gauge, "shard", "Connections that wait to be accepted, of all listeners";
    POOL = "fourwave_pool_used_bytes", Gauge, "shard", "Memory held for data: queued, unacknowledged, unread or out of order";
    POOL_LIMIT = "fourwave_pool_limit_bytes", Gauge, "shard", "The most memory that may be held for data";
    MEMORY = "fourwave_memory_pressure_total", Counter, "shard, effect", "What it has cost that memory for data is limited, by effect";
    REFERENCES = "fourwave_references", Gauge, "shard", "Pieces of the application's memory that are held by reference";
    LOOP_TIME = "fourwave_loop_seconds_total", Counter, "shard, state", "What the loop did with its time: busy, idle (it spun) or asleep";
    LOOP_TURN = "fourwave_loop_turn_seconds", Histogram, "shard, state", "How long turns took that found something to do (busy) or nothing (idle)";
    LOOP_STALLS = "fourwave_loop_stalls_total", Counter, "shard", "Turns that took more than 8.4 ms: the loop was kept from its core, or by the application";
    RECEIVED_PACKETS = "fourwave_device_received_packets_total", Counter, "shard", "Packets taken from the device";
    RECEIVED_BYTES = "fourwave_device_received_bytes_total", Counter, "shard", "Bytes of packets taken from the device, from the Ethernet header on";
    SENT_PACKETS = "fourwave_device_sent_packets_total", Counter, "shard", "Packets handed to the device";
    SENT_BYTES = "fourwave_device_sent_bytes_total", Counter, "shard", "Bytes of packets handed to the device, from the Ethernet header on";
    COMPLETED = "fourwave_device_completed_frames_total", Counter, "shard", "Frames that the device has sent and given back";
    RING = "fourwave_ring_descriptors", Gauge, "shard, ring", "Descriptors in an AF_XDP ring: rx, tx, fill, completion";
    RING_SIZE = "fourwave_ring_size_descriptors", Gauge, "shard, ring", "As many descriptors fit into an AF_XDP ring";
    BUFFERS = "fourwave_frame_buffers", Gauge, "shard, state", "Buffers of the UMEM that are free, or held by the loop";
    TX_FULL = "fourwave_device_tx_ring_full_total", Counter, "shard", "Frames that found no room in the TX ring, and waited";
    TX_EMPTY = "fourwave_device_tx_ring_empty_total", Counter, "shard", "Times the kernel looked for a frame to send and found none";
    NO_BUFFER = "fourwave_device_no_buffer_total", Counter, "shard", "Times no buffer was free for sending";
    DEEPENED = "fourwave_device_fill_deepened_total", Counter, "shard", "Bursts that used up half of what the fill ring was kept at";
    KICKS = "fourwave_device_kicks_total", Counter, "shard", "System calls to wake the kernel up";
    KICKS_DEFERRED = "fourwave_device_kicks_deferred_total", Counter, "shard", "System calls to wake the kernel up that it put off";
    GATHERED = "fourwave_device_gathered_packets_total", Counter, "shard", "Packets received in several buffers";
    SCATTERED = "fourwave_device_scattered_packets_total", Counter, "shard", "Packets sent in several buffers";
    COPIED = "fourwave_device_copied_bytes_total", Counter, "shard", "Bytes copied between large frames and buffers";
    OFFLOADED = "fourwave_device_checksums_offloaded_total", Counter, "shard", "Segments whose checksum was left to the device";
    FRAMES_IN = "fourwave_stack_received_frames_total", Counter, "shard", "Frames given to the shard, less those that were another's";
    FRAMES_OUT = "fourwave_stack_sent_frames_total", Counter, "shard", "Frames taken from the shard";
    MESSAGES_IN = "fourwave_stack_control_packets_total", Counter, "shard, protocol", "Packets that were no segments, and taken: arp, ndp, echo, icmp_error";
    OVERHEARD = "fourwave_overheard_announcements_total", Counter, "shard", "Announcements of other stations that were overheard";
    CONFLICTS = "fourwave_address_conflicts_total", Counter, "shard", "Claims of another station to an owned address";
    BAD_OPTIONS = "fourwave_tcp_malformed_options_total", Counter, "shard", "Segments with a malformed option, processed all the same";
    STRAYS = "fourwave_strays_total", Counter, "shard, way", "Frames that arrived at one shard and may be another's: out, in, unclaimed";
    LANDED = "fourwave_active_opens_landed_total", Counter, "shard, place", "Active opens by where the first reply arrived: home, elsewhere";
    HANDOFFS = "fourwave_handoff_frames_total", Counter, "shard", "Frames handed to another shard on arrival";
    STRAIGHT = "fourwave_handoff_direct_frames_total", Counter, "shard", "Frames handed straight to the shard that was remembered for their flow";
    PASSED = "fourwave_handoff_passed_frames_total", Counter, "shard", "Frames of other shards that were passed on";
    COPIES_OUT = "fourwave_handoff_copies_sent_total", Counter, "shard", "Copies given to all other shards (ARP, NDP)";
    COPIES_IN = "fourwave_handoff_copies_received_total", Counter, "shard", "Copies taken from other shards";
    LEARNT = "fourwave_handoff_flows", Gauge, "shard", "Flows of other shards that are remembered";
    TIMERS_FIRED = "fourwave_app_timers_fired_total", Counter, "shard", "Timers of the application that were told";
    MESSAGES = "fourwave_app_messages_total", Counter, "shard, way", "Messages between applications and threads: sent, received";
    KERNEL_CONNECTIONS = "fourwave_kernel_connections", Gauge, "shard", "Connections over the kernel's sockets";
    KERNEL_ACCEPTED = "fourwave_kernel_connections_accepted_total", Counter, "shard", "Connections accepted over the kernel's sockets";
    KERNEL_OPENED = "fourwave_kernel_connections_opened_total", Counter, "shard", "Active opens begun over the kernel's sockets";
    KERNEL_CLOSED = "fourwave_kernel_connections_closed_total", Counter, "shard", "Connections over the kernel's sockets that ended, however";
    KERNEL_FAILED = "fourwave_kernel_connections_failed_total", Counter, "shard", "Connections over the kernel's sockets that ended by an error";
    KERNEL_ACCEPT_FAILED = "fourwave_kernel_accept_failed_total", Counter, "shard", "Times there was no descriptor or memory to accept a connection with";
    KERNEL_REFUSED = "fourwave_kernel_opens_refused_total", Counter, "shard", "Active opens for which there was no descriptor, memory or room";
    CONTROL = "fourwave_control_clients_total", Counter, "outcome", "Clients of the control socket, by what became of them";
    VERDICTS = "fourwave_xdp_verdicts_total", Counter, "verdict", "Packets by what the XDP program decided";
    STARTED = "process_start_time_seconds", Gauge, "", "When the process started, in seconds since 1970";
    CPU = "process_cpu_seconds_total", Counter, "", "User and system time of the process";
    RESIDENT = "process_resident_memory_bytes", Gauge, "", "Resident memory of the process";
    VIRTUAL = "process_virtual_memory_bytes", Gauge, "", "Virtual memory of the process";
    DESCRIPTORS = "process_open_fds", Gauge, "", "Open file descriptors of the process";
}

/// Where a counter of `fourwave ss --counters` goes.
enum To {
    /// To a family, with one more label.
    Family(&'static Family, Option<(&'static str, &'static str)>),
    /// It is told by other names: a sum, or a gauge that is more.
    Elsewhere,
}

impl To {
    const fn plain(family: &'static Family) -> Self {
        Self::Family(family, None)
    }

    const fn labelled(family: &'static Family, label: &'static str, value: &'static str) -> Self {
        Self::Family(family, Some((label, value)))
    }
}

/// Counters of the stack's own work, which there is none of without an interface. `None`: it is not one of them.
fn of_stack(name: &str) -> Option<To> {
    Some(match name {
        "frames_in" => To::plain(&FRAMES_IN),
        "frames_out" => To::plain(&FRAMES_OUT),
        "segments_in" => To::plain(&SEGMENTS_IN),
        "segments_out" => To::plain(&SEGMENTS_OUT),
        "opened" => To::plain(&HALF_OPENED),
        "cookies_sent" => To::plain(&COOKIES),
        "cookies_accepted" => To::plain(&COOKIES_BACK),
        "syn_acks_again" => To::plain(&SYN_ACKS_AGAIN),
        "half_open_expired" => To::plain(&HALF_EXPIRED),
        "time_wait_in" => To::plain(&TIME_WAIT_IN),
        "time_wait_reused" => To::plain(&TIME_WAIT_REUSED),
        "arp_in" => To::labelled(&MESSAGES_IN, "protocol", "arp"),
        "ndp_in" => To::labelled(&MESSAGES_IN, "protocol", "ndp"),
        "echo_in" => To::labelled(&MESSAGES_IN, "protocol", "echo"),
        "icmp_in" => To::labelled(&MESSAGES_IN, "protocol", "icmp_error"),
        "overheard" => To::plain(&OVERHEARD),
        "accepted" => To::plain(&ACCEPTED),
        "connected" => To::plain(&OPENED),
        "closed" => To::plain(&CLOSED),
        "strays_out" => To::labelled(&STRAYS, "way", "out"),
        "strays_in" => To::labelled(&STRAYS, "way", "in"),
        "strays_unclaimed" => To::labelled(&STRAYS, "way", "unclaimed"),
        "copies_in" => To::plain(&COPIES_IN),
        "landed_home" => To::labelled(&LANDED, "place", "home"),
        "landed_elsewhere" => To::labelled(&LANDED, "place", "elsewhere"),
        "retransmitted" => To::plain(&AGAIN),
        "retransmit_timeouts" => To::plain(&TIMEOUTS),
        "loss_probes" => To::plain(&PROBES),
        "handoff_out" => To::plain(&HANDOFFS),
        "handoff_straight" => To::plain(&STRAIGHT),
        "handoff_passed" => To::plain(&PASSED),
        "handoff_copies" => To::plain(&COPIES_OUT),
        "handoff_learnt" => To::plain(&LEARNT),
        "handoff_full" => To::labelled(&DROPS, "reason", "handoff_full"),
        "handoff_contested" => To::labelled(&DROPS, "reason", "handoff_contested"),
        "tcp_option" => To::plain(&BAD_OPTIONS),
        "address_conflict" => To::plain(&CONFLICTS),
        "time_wait_full" => To::labelled(&LIMITS, "limit", "time_wait"),
        "replies_full" => To::labelled(&LIMITS, "limit", "replies"),
        "neighbours_full" => To::labelled(&LIMITS, "limit", "neighbours"),
        "frame_too_small" => To::labelled(&LIMITS, "limit", "frame_bytes"),
        _ => return of_device(name),
    })
}

/// Those of the port.
fn of_device(name: &str) -> Option<To> {
    Some(match name.strip_prefix("port_")? {
        "rx_frames" => To::plain(&RECEIVED_PACKETS),
        "rx_bytes" => To::plain(&RECEIVED_BYTES),
        "tx_frames" => To::plain(&SENT_PACKETS),
        "tx_bytes" => To::plain(&SENT_BYTES),
        "tx_completed" => To::plain(&COMPLETED),
        "tx_ring_full" => To::plain(&TX_FULL),
        "allocate_failed" => To::plain(&NO_BUFFER),
        "fill_deepened" => To::plain(&DEEPENED),
        "kicks" => To::plain(&KICKS),
        "kicks_deferred" => To::plain(&KICKS_DEFERRED),
        "rx_gathered" => To::plain(&GATHERED),
        "tx_scattered" => To::plain(&SCATTERED),
        "copied_bytes" => To::plain(&COPIED),
        "tx_checksums_left" => To::plain(&OFFLOADED),
        "frames_out" => To::labelled(&BUFFERS, "state", "held"),
        "frames_free" => To::labelled(&BUFFERS, "state", "free"),
        "large_frames_free" => To::labelled(&BUFFERS, "state", "large_free"),
        "kernel_tx_ring_empty" => To::plain(&TX_EMPTY),
        "tx_bad_length" => To::labelled(&DROPS, "reason", "device_tx_bad_length"),
        "foreign_frames" => To::labelled(&DROPS, "reason", "device_foreign_frame"),
        "rx_bad_descriptors" => To::labelled(&DROPS, "reason", "device_rx_bad_descriptor"),
        "rx_gather_failed" => To::labelled(&DROPS, "reason", "device_rx_gather_failed"),
        "kernel_rx_dropped" => To::labelled(&DROPS, "reason", "device_rx_dropped"),
        "kernel_rx_invalid_descs" => To::labelled(&DROPS, "reason", "device_rx_invalid_descriptor"),
        "kernel_rx_ring_full" => To::labelled(&DROPS, "reason", "device_rx_ring_full"),
        "kernel_fill_ring_empty" => To::labelled(&DROPS, "reason", "device_fill_ring_empty"),
        "kernel_tx_invalid_descs" => To::labelled(&DROPS, "reason", "device_tx_invalid_descriptor"),
        _ => return None,
    })
}

/// Those that there are with and without an interface.
fn of_all(name: &str) -> Option<To> {
    Some(match name {
        "timers_fired" => To::plain(&TIMERS_FIRED),
        "timers_full" => To::labelled(&LIMITS, "limit", "timers"),
        "messages_full" => To::labelled(&LIMITS, "limit", "messages"),
        "messages_out" => To::labelled(&MESSAGES, "way", "sent"),
        "messages_in" => To::labelled(&MESSAGES, "way", "received"),
        // By cause; by `write_states`.
        "resets_out" | "failed" => To::Elsewhere,
        _ if name.starts_with("state_") && name != "state_kernel" => To::Elsewhere,
        _ => return None,
    })
}

/// Those of the kernel's sockets.
fn of_kernel(name: &str) -> Option<To> {
    Some(match name {
        "state_kernel" => To::plain(&KERNEL_CONNECTIONS),
        "kernel_accepted" => To::plain(&KERNEL_ACCEPTED),
        "kernel_connected" => To::plain(&KERNEL_OPENED),
        "kernel_closed" => To::plain(&KERNEL_CLOSED),
        "kernel_failed" => To::plain(&KERNEL_FAILED),
        "kernel_accept_failed" => To::plain(&KERNEL_ACCEPT_FAILED),
        "kernel_connect_refused" => To::plain(&KERNEL_REFUSED),
        _ => return None,
    })
}

/// Where a counter goes whose name says why: the family, and the label with that.
fn by_reason(name: &str) -> (&'static Family, &'static str, &str) {
    if let Some(cause) = name.strip_prefix("reset_") {
        return (&RESETS, "cause", cause);
    }
    if let Some(cause) = name.strip_prefix("failed_") {
        return (&FAILED, "cause", cause);
    }
    match name.strip_prefix("memory_") {
        Some(effect) => (&MEMORY, "effect", effect),
        None => (&DROPS, "reason", name),
    }
}

/// Writes all of a stack.
pub(super) fn write(metrics: &Metrics, text: &mut Text) {
    text.sample(&BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    if let Some(report) = &metrics.report {
        let mode = report.xdp_mode.to_string();
        let copy = if report.zero_copy { "zero-copy" } else { "copied" };
        let labels =
            [("interface", &*report.interface), ("driver", &*report.driver), ("xdp_mode", &*mode), ("copy", copy)];
        text.sample(&INTERFACE, &labels, 1);
    }
    for (index, shard) in metrics.shards.iter().enumerate() {
        let index = index.to_string();
        text.sample(&UP, &[("shard", &index)], u8::from(shard.is_some()));
        if let Some(shard) = shard {
            write_shard(&index, shard, metrics.report.is_some(), metrics.kernel_sockets, text);
        }
    }
    for (outcome, clients) in &metrics.control_clients {
        text.sample(&CONTROL, &[("outcome", outcome)], clients);
    }
    for (verdict, packets) in &metrics.verdicts {
        text.sample(&VERDICTS, &[("verdict", verdict)], packets);
    }
}

/// `stack`: it has an interface; `kernel`: it has the kernel's sockets.
fn write_shard(index: &str, shard: &ShardMetrics, stack: bool, kernel: bool, text: &mut Text) {
    let of_shard = ("shard", index);
    for (name, value) in by_name(&shard.counters, &shard.port, &shard.handoff) {
        let to = match (of_all(&name), of_kernel(&name), of_stack(&name)) {
            (Some(to), ..) => to,
            (_, Some(to), _) if kernel => to,
            (_, Some(_), _) => continue,
            _ if !stack => continue,
            (.., Some(to)) => to,
            (None, None, None) => {
                let (family, label, reason) = by_reason(&name);
                text.sample(family, &[of_shard, (label, reason)], value);
                continue;
            }
        };
        match to {
            To::Family(family, Some(label)) => text.sample(family, &[of_shard, label], value),
            To::Family(family, None) => text.sample(family, &[of_shard], value),
            To::Elsewhere => {}
        }
    }
    write_loop(of_shard, shard, text);
    write_tables(of_shard, shard, stack, text);
    if stack {
        write_states(of_shard, shard, text);
        write_rings(of_shard, shard, text);
    }
}

fn write_states(of_shard: (&str, &str), shard: &ShardMetrics, text: &mut Text) {
    for state in State::ALL {
        let more = match state {
            State::Closed | State::Listen => continue,
            State::TimeWait => shard.usage.time_wait,
            _ => 0,
        };
        let labels = [of_shard, ("state", state.name())];
        text.sample(&CONNECTIONS, &labels, shard.counters.in_state(state) + more);
    }
}

fn write_rings(of_shard: (&str, &str), shard: &ShardMetrics, text: &mut Text) {
    let Some(rings) = shard.rings else { return };
    for (name, ring) in [("rx", rings.rx), ("tx", rings.tx), ("fill", rings.fill), ("completion", rings.completion)] {
        text.sample(&RING, &[of_shard, ("ring", name)], ring.used);
        text.sample(&RING_SIZE, &[of_shard, ("ring", name)], ring.size);
    }
}

fn write_tables(of_shard: (&str, &str), shard: &ShardMetrics, stack: bool, text: &mut Text) {
    let usage = &shard.usage;
    let all =
        [("timers", usage.timers, usage.timers_limit), ("messages", shard.messages_waiting, shard.messages_limit)];
    let own = [
        ("connections", usage.connections, usage.connections_limit),
        ("half_open", usage.half_open, usage.half_open_limit),
        ("time_wait", usage.time_wait, usage.time_wait_limit),
    ];
    let handoff = shard.handoff_queue.map(|(parcels, most)| ("handoff", parcels, most));
    let own = own.into_iter().chain(handoff).filter(|_| stack);
    for (table, entries, limit) in all.into_iter().chain(own) {
        text.sample(&TABLE, &[of_shard, ("table", table)], entries);
        text.sample(&TABLE_LIMIT, &[of_shard, ("table", table)], limit);
    }
    if stack {
        text.sample(&LISTENERS, &[of_shard], usage.listeners);
        text.sample(&ACCEPT_QUEUE, &[of_shard], usage.accept_queued);
        text.sample(&POOL, &[of_shard], usage.pool_bytes);
        text.sample(&POOL_LIMIT, &[of_shard], usage.pool_limit_bytes);
        text.sample(&REFERENCES, &[of_shard], usage.references);
    }
}

/// The bounds that are told of how long turns take: 2^8 ns, a quarter of a microsecond, to 2^30 ns, a second.
const BOUNDS: std::ops::RangeInclusive<usize> = 8..=30;

fn write_loop(of_shard: (&str, &str), shard: &ShardMetrics, text: &mut Text) {
    let turns = &shard.turns;
    let times = [("busy", turns.busy()), ("idle", turns.idle()), ("asleep", turns.asleep())];
    for (state, time) in times {
        text.sample(&LOOP_TIME, &[of_shard, ("state", state)], time.as_secs_f64());
    }
    for (state, time) in &times[..2] {
        let all: Vec<u64> = turns.at_most(*state == "busy").collect();
        let bound = |n: usize| (1u64 << n) as f64 / 1e9;
        let at_most = BOUNDS.filter_map(|n| Some((bound(n), *all.get(n)?)));
        let count = all.last().copied().unwrap_or(0);
        text.histogram(&LOOP_TURN, &[of_shard, ("state", state)], at_most, count, time.as_secs_f64());
    }
    text.sample(&LOOP_STALLS, &[of_shard], turns.stalls());
}

#[cfg(test)]
mod tests;
