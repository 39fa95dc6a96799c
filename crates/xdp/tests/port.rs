//! [`xdp::XskPort`] over a real veth pair.

mod support;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{A, A_IP, B, B_IP, Lab, udp_frame};
use xdp::facts::{InterfaceFacts, MacAddr};
use xdp::raw::{RawPing, echo_frames};
use xdp::{
    AttachMode, CopyMode, Error, Fault, LocalAddress, Port, Report, Steering, TxChecksum, XdpMode, XskConfig, XskPort,
};

fn config(interface: &str) -> XskConfig {
    XskConfig { interface: interface.into(), ..XskConfig::default() }
}

fn open(config: &XskConfig, address: impl Into<IpAddr>) -> (Steering, XskPort, Report) {
    let (steering, mut ports, report) = xdp::open(config, &[0], &[LocalAddress::owned(address.into())]).unwrap();
    (steering, ports.remove(0), report)
}

/// Sends `count` frames of 200 bytes from `from` to `to`, receives and checks all that arrive, until nothing more comes.
fn burst(from: &mut XskPort, to: &mut XskPort, macs: (MacAddr, MacAddr), count: u32) -> Vec<u32> {
    let (mut sent, mut tags, mut frames) = (0, Vec::new(), Vec::new());
    let mut quiet_since = Instant::now();
    loop {
        while sent < count
            && let Some(mut frame) = from.allocate()
        {
            let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), 200, sent);
            from.buffer(&mut frame)[..200].copy_from_slice(&bytes);
            match from.transmit(frame, 200) {
                Ok(()) => sent += 1,
                Err(frame) => {
                    from.recycle(frame);
                    break;
                }
            }
        }
        from.flush().unwrap();
        // Before it is looked once more: who was not on a core for so long has not looked.
        let quiet = quiet_since.elapsed();
        if to.receive(&mut frames, 64) > 0 || sent < count {
            quiet_since = Instant::now();
        } else if quiet >= Duration::from_millis(100) {
            return tags;
        }
        for frame in frames.drain(..) {
            let bytes = to.bytes(&frame);
            let tag = u32::from_be_bytes(bytes[bytes.len() - 4..].try_into().unwrap());
            assert_eq!(bytes, udp_frame((macs.0, A_IP), (macs.1, B_IP), 200, tag), "frame {tag}");
            tags.push(tag);
            to.recycle(frame);
        }
        to.flush().unwrap();
    }
}

#[test]
fn frames_cross_a_veth_unchanged_and_in_order_in_both_modes() {
    for xdp_mode in [XdpMode::Generic, XdpMode::Native] {
        let lab = Lab::new();
        let macs = (lab.mac_a(), lab.mac_b());
        let (_steer_a, mut a, _) = lab.in_a(|| open(&XskConfig { xdp_mode, ..config(A) }, A_IP));
        let (_steer_b, mut b, report) = lab.in_b(|| open(&XskConfig { xdp_mode, ..config(B) }, B_IP));
        assert_eq!(report.xdp_mode.to_string(), if xdp_mode == XdpMode::Native { "native" } else { "generic" });
        assert_eq!(burst(&mut a, &mut b, macs, 1000), (0..1000).collect::<Vec<_>>(), "{report}");
        let (sent, received) = (a.stats(), b.stats());
        assert_eq!((sent.tx_frames, sent.tx_bytes), (1000, 200_000));
        assert_eq!((received.rx_frames, received.rx_bytes), (1000, 200_000));
        assert_eq!((sent.frames_out, received.frames_out), (0, 0));
    }
}

/// A program that is started from here must not have the socket: it would hold the queue when this process is long gone.
#[test]
fn the_socket_is_closed_on_exec() {
    for tx_checksum in [TxChecksum::Compute, TxChecksum::Software] {
        let lab = Lab::new();
        let (_steering, port, report) = lab.in_a(|| open(&XskConfig { tx_checksum, ..config(A) }, A_IP));
        let flags = rustix::io::fcntl_getfd(port.fd().unwrap()).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{report}");
    }
}

#[test]
fn back_pressure_loses_nothing_uncounted_and_leaves_nothing_unkicked() {
    let lab = Lab::new();
    let macs = (lab.mac_a(), lab.mac_b());
    let small = |interface| XskConfig {
        frame_count: 256,
        tx_ring: 64,
        completion_ring: 64,
        rx_ring: 64,
        fill_ring: 64,
        xdp_mode: XdpMode::Generic,
        ..config(interface)
    };
    let (_steer_a, mut a, _) = lab.in_a(|| open(&small(A), A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&small(B), B_IP));
    let tags = burst(&mut a, &mut b, macs, 1000);
    let (sent, received) = (a.stats(), b.stats());
    assert!(!a.needs_flush(), "a kick is still owed: {sent:?}");
    assert!(sent.tx_ring_full > 0, "the ring of 64 never filled up: {sent:?}");
    let dropped = received.kernel_rx_ring_full + received.kernel_rx_dropped + received.kernel_fill_ring_empty;
    assert_eq!(tags.len() as u64 + dropped, 1000, "{received:?}");
    assert_eq!((sent.tx_frames, sent.tx_completed), (1000, 1000), "{sent:?}");
    // Sent without a receiver that drains: what doesn't fit is dropped by the kernel and counted, not lost.
    let mut frames = Vec::new();
    for tag in 0..128 {
        let mut frame = a.allocate().unwrap();
        let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), 200, tag);
        a.buffer(&mut frame)[..200].copy_from_slice(&bytes);
        a.transmit(frame, 200).unwrap();
        if tag % 64 == 63 {
            a.flush().unwrap();
        }
    }
    b.receive(&mut frames, 1000);
    let stats = b.stats();
    let lost = stats.kernel_rx_ring_full + stats.kernel_rx_dropped + stats.kernel_fill_ring_empty - dropped;
    assert_eq!(frames.len() as u64 + lost, 128, "{stats:?}");
    frames.drain(..).for_each(|frame| b.recycle(frame));
}

/// The frames of a burst are received, or dropped for one reason.
#[test]
fn a_frame_that_finds_no_buffer_is_counted_once() {
    let lab = Lab::new();
    let macs = (lab.mac_a(), lab.mac_b());
    let few = XskConfig { fill_ring: 64, ..config(B) };
    let (_steer_a, mut a, _) = lab.in_a(|| open(&config(A), A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&few, B_IP));
    for tag in 0..500 {
        let mut frame = a.allocate().unwrap();
        a.buffer(&mut frame)[..200].copy_from_slice(&udp_frame((macs.0, A_IP), (macs.1, B_IP), 200, tag));
        a.transmit(frame, 200).unwrap();
    }
    a.flush().unwrap();
    support::eventually("64 arrived, and the others did not", || b.stats().kernel_fill_ring_empty == 500 - 64);
    let mut frames = Vec::new();
    assert_eq!(b.receive(&mut frames, 500), 64);
    let stats = b.stats();
    assert_eq!((stats.kernel_rx_ring_full, stats.kernel_rx_dropped), (0, 0), "{stats:?}");
}

/// Sends `count` frames at once and then takes them in: as many arrive.
fn at_once(from: &mut XskPort, to: &mut XskPort, macs: (MacAddr, MacAddr), count: u32) {
    let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), 100, 0);
    for _ in 0..count {
        let mut frame = from.allocate().unwrap();
        from.buffer(&mut frame)[..100].copy_from_slice(&bytes);
        from.transmit(frame, 100).unwrap();
    }
    from.flush().unwrap();
    let mut frames = Vec::new();
    support::eventually("all of them arrived", || {
        to.receive(&mut frames, count as usize);
        frames.len() == count as usize
    });
    frames.drain(..).for_each(|frame| to.recycle(frame));
    to.flush().unwrap();
}

/// What is not free is with the kernel: 2048 frames of 8192 at first, and whenever a sleep may be long; 256 when batches are
/// short. (Eight times each depth must come to halve it: 28,672 frames.)
#[test]
fn the_fill_ring_is_as_deep_as_bursts_are_long() {
    let lab = Lab::new();
    let macs = (lab.mac_a(), lab.mac_b());
    let (_steer_a, mut a, _) = lab.in_a(|| open(&config(A), A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&config(B), B_IP));
    let with_kernel = |port: &XskPort| 8192 - port.stats().frames_free;
    assert_eq!(with_kernel(&b), 2048);
    (0..1000).for_each(|_| at_once(&mut a, &mut b, macs, 32));
    assert_eq!((with_kernel(&b), b.stats().fill_deepened), (256, 0));
    at_once(&mut a, &mut b, macs, 128);
    assert_eq!((with_kernel(&b), b.stats().fill_deepened), (256, 0), "half of them are left");
    at_once(&mut a, &mut b, macs, 129);
    assert_eq!((with_kernel(&b), b.stats().fill_deepened), (2048, 1));
    at_once(&mut a, &mut b, macs, 1500);
    (0..1000).for_each(|_| at_once(&mut a, &mut b, macs, 32));
    assert_eq!(with_kernel(&b), 256);
    b.look_away();
    assert_eq!(with_kernel(&b), 2048);
    at_once(&mut a, &mut b, macs, 1500);
    assert_eq!(b.stats().kernel_fill_ring_empty, 0);
}

#[test]
fn a_batch_larger_than_the_kernels_is_sent_by_one_flush() {
    let lab = Lab::new();
    let macs = (lab.mac_a(), lab.mac_b());
    let (_steer_a, mut a, report) = lab.in_a(|| open(&config(A), A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&config(B), B_IP));
    for tag in 0..1000 {
        let mut frame = a.allocate().unwrap();
        let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), 100, tag);
        a.buffer(&mut frame)[..100].copy_from_slice(&bytes);
        a.transmit(frame, 100).unwrap();
    }
    assert!(a.needs_flush());
    a.flush().unwrap();
    assert!(!a.needs_flush());
    let kicks = a.stats().kicks;
    assert_eq!(kicks, u64::from(1000_u32.div_ceil(report.tx_budget)), "budget {}", report.tx_budget);
    let mut frames = Vec::new();
    support::eventually("1000 frames arrived", || {
        b.receive(&mut frames, 64);
        frames.len() == 1000
    });
    frames.drain(..).for_each(|frame| b.recycle(frame));
}

#[test]
fn an_older_kernels_budget_of_32_leaves_no_frame_behind() {
    use std::os::fd::AsRawFd;
    const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
    let lab = Lab::new();
    let macs = (lab.mac_a(), lab.mac_b());
    let (_steer_a, mut a, report) = lab.in_a(|| open(&config(A), A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&config(B), B_IP));
    if report.tx_budget != 32 {
        let (fd, budget) = (a.fd().unwrap().as_raw_fd(), 32_u32);
        // SAFETY: the value outlives the call, and its size is given.
        let set = unsafe { libc::setsockopt(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, (&raw const budget).cast(), 4) };
        assert_eq!(set, 0);
    }
    for tag in 0..1000 {
        let mut frame = a.allocate().unwrap();
        let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), 100, tag);
        a.buffer(&mut frame)[..100].copy_from_slice(&bytes);
        a.transmit(frame, 100).unwrap();
    }
    a.flush().unwrap();
    assert!(!a.needs_flush());
    assert_eq!((a.stats().kicks, a.stats().kicks_deferred), (32, 0));
    let mut frames = Vec::new();
    assert_eq!(b.receive(&mut frames, 2000), 1000);
    frames.drain(..).for_each(|frame| b.recycle(frame));
}

#[test]
fn the_descriptor_wakes_up_a_sleeper() {
    let lab = Lab::new();
    let macs = (lab.mac_a(), lab.mac_b());
    let (_steer_a, mut a, _) = lab.in_a(|| open(&config(A), A_IP));
    let (_steer_b, b, _) = lab.in_b(|| open(&config(B), B_IP));
    assert!(!readable(&b, 0));
    let mut frame = a.allocate().unwrap();
    let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), 100, 1);
    a.buffer(&mut frame)[..100].copy_from_slice(&bytes);
    a.transmit(frame, 100).unwrap();
    a.flush().unwrap();
    assert!(readable(&b, 5000));
}

fn readable(port: &XskPort, timeout_ms: i32) -> bool {
    use std::os::fd::AsRawFd;
    let mut poll = libc::pollfd { fd: port.fd().unwrap().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one element, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) > 0 }
}

#[test]
fn a_foreign_frame_is_refused() {
    let lab = Lab::new();
    let (_steer_a, mut a, _) = lab.in_a(|| open(&config(A), A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&config(B), B_IP));
    let mut frame = a.allocate().unwrap();
    frame.set_len(100);
    assert_eq!(a.bytes(&frame).len(), 100);
    assert!(b.bytes(&frame).is_empty() && b.buffer(&mut frame).is_empty());
    let frame = b.transmit(frame, 100).unwrap_err();
    b.recycle(frame);
    assert_eq!((a.stats().frames_out, b.stats().foreign_frames), (1, 3));
    let frame = a.allocate().unwrap();
    let frame = a.transmit(frame, 4096).unwrap_err();
    let frame = a.transmit(frame, 0).unwrap_err();
    assert_eq!(a.stats().tx_bad_length, 2);
    a.recycle(frame);
}

#[test]
fn a_port_moves_to_another_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<XskPort>();
    assert_send::<Steering>();
}

#[test]
fn the_pool_runs_dry_and_says_so() {
    let lab = Lab::new();
    let small = XskConfig { frame_count: 128, tx_ring: 64, fill_ring: 64, completion_ring: 64, ..config(A) };
    let (_steering, mut port, _) = lab.in_a(|| open(&small, A_IP));
    let mut frames: Vec<_> = std::iter::from_fn(|| port.allocate()).collect();
    // 128 less a fill ring of 64.
    assert_eq!((frames.len(), port.stats().frames_out, port.stats().allocate_failed), (64, 64, 1));
    frames.drain(..).for_each(|frame| port.recycle(frame));
    assert_eq!((port.stats().frames_out, port.stats().frames_free), (0, 64));
}

#[test]
fn an_interface_that_goes_down_is_a_clear_error_and_comes_back() {
    let lab = Lab::new();
    let macs = (lab.mac_a(), lab.mac_b());
    let (_steering, mut port, _) = lab.in_a(|| open(&config(A), A_IP));
    support::ip(&["-n", lab.a(), "link", "set", A, "down"]);
    let mut frame = port.allocate().unwrap();
    let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), 100, 1);
    port.buffer(&mut frame)[..100].copy_from_slice(&bytes);
    port.transmit(frame, 100).unwrap();
    assert_eq!(port.flush().unwrap_err().kind(), std::io::ErrorKind::NetworkDown);
    assert!(port.needs_flush());
    support::ip(&["-n", lab.a(), "link", "set", A, "up"]);
    support::eventually("the interface sends again", || port.flush().is_ok() && !port.needs_flush());
}

/// The kernel gives a queue back some time behind the end of who had it.
#[test]
fn a_queue_that_is_being_given_back_is_waited_for() {
    let lab = Lab::new();
    let socket = || XskPort::open(&config(A), AttachMode::Generic);
    let first = lab.in_a(|| socket().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            drop(first);
        });
        lab.in_a(|| drop(socket().unwrap()));
    });
}

#[test]
fn what_cannot_be_opened_is_told_in_a_sentence() {
    let lab = Lab::new();
    let refused = |config: XskConfig| lab.in_a(move || xdp::open(&config, &[config.queue], &[]).unwrap_err());
    let check = |error: Error, fault: Fault, words: &str| {
        let text = error.to_string();
        assert!(error.fault() == fault && text.contains(words), "{text:?} ({:?})", error.fault());
    };
    check(refused(config("nosuch0")), Fault::Interface, "no interface \"nosuch0\"");
    check(refused(XskConfig { queue: 7, ..config(A) }), Fault::Configuration, "no receive queue 7: it has 1");
    let native = || xdp::open(&XskConfig { xdp_mode: XdpMode::Native, ..config("lo") }, &[0], &[]).unwrap_err();
    check(
        lab.in_a(native),
        Fault::Interface,
        "lo (driver unknown, MTU 65536, 1 receive queue(s)) refuses XDP in native mode (",
    );
    let zero_copy = XskConfig { copy_mode: CopyMode::ZeroCopy, xdp_mode: XdpMode::Native, ..config(A) };
    check(refused(zero_copy), Fault::Interface, "can't do zero-copy");
    let many = ["numrxqueues", "2", "numtxqueues", "2", "type", "veth", "peer", "name", "m1"];
    support::ip(&[&["-n", lab.a(), "link", "add", "m0"], many.as_slice()].concat());
    support::ip(&["-n", lab.a(), "link", "set", "m0", "up"]);
    check(refused(config("m0")), Fault::Configuration, "over 2 queues");
    check(refused(config("m0")), Fault::Configuration, "`ethtool -L m0 rx 1`");
    support::run("ip", &["netns", "exec", lab.a(), "ethtool", "-L", "m0", "rx", "1"]);
    drop(lab.in_a(|| open(&config("m0"), A_IP)));
    support::ip(&["-n", lab.a(), "link", "set", A, "mtu", "65535"]);
    check(refused(config(A)), Fault::Configuration, "MTU of a0 is 65535");
    check(refused(config(A)), Fault::Configuration, "`ip link set a0 mtu 65258`");
    support::ip(&["-n", lab.a(), "link", "set", A, "mtu", "1500"]);
    let (_steering, _port, _) = lab.in_a(|| open(&config(A), A_IP));
    check(refused(config(A)), Fault::Conflict, "already runs XDP program");
    check(refused(config(A)), Fault::Conflict, ", which `bpftool link show id ");
    let second = lab.in_a(|| XskPort::open(&config(A), AttachMode::Generic).unwrap_err());
    check(second, Fault::Conflict, "already has an AF_XDP socket");
    support::ip(&["-n", lab.b(), "link", "set", B, "down"]);
    let down = lab.in_b(|| xdp::open(&config(B), &[0], &[]).unwrap_err());
    check(down, Fault::Interface, "b0 is down");
    // Nothing is left of those that failed.
    assert!(!support::ip(&["-n", lab.b(), "link", "show", B]).contains("xdp"));
}

/// `xdp off` leaves a generic program where it is if the driver could have one of its own.
#[test]
fn the_advice_takes_a_program_off_that_no_link_holds() {
    let lab = Lab::new();
    let object = concat!(env!("OUT_DIR"), "/steer.bpf.o");
    for mode in ["xdpgeneric", "xdpdrv"] {
        support::ip(&["-n", lab.a(), "link", "set", "dev", A, mode, "obj", object, "sec", "xdp"]);
        let error = lab.in_a(|| xdp::open(&config(A), &[0], &[]).unwrap_err().to_string());
        let advice = error.split('`').find(|words| words.ends_with(" off")).unwrap_or_else(|| panic!("{error}"));
        let words: Vec<_> = advice.split(' ').skip(1).collect();
        support::ip(&[&["-n", lab.a()], words.as_slice()].concat());
        assert_eq!(lab.in_a(|| InterfaceFacts::read(A).unwrap().xdp_program), None, "{error}");
    }
}

#[test]
fn without_privilege_a_sentence_says_so() {
    let lab = Lab::new();
    let errors = lab.in_a(|| {
        xdp::privileges::keep_only(&[]).unwrap();
        [
            Steering::load(None).unwrap_err(),
            XskPort::open(&config(A), AttachMode::Generic).unwrap_err(),
            xdp::open(&config(A), &[0], &[]).unwrap_err(),
        ]
    });
    for error in errors {
        assert_eq!(error.fault(), Fault::Privilege, "{error}");
        let missing = "needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON, which this process gave up itself";
        assert!(error.to_string().contains(missing), "{error}");
    }
}

/// Linux 5.19 and later: a descriptor is leave enough for a map.
#[test]
fn what_is_open_needs_no_privilege() {
    let lab = Lab::new();
    let (mut steering, mut port, _) = lab.in_a(|| open(&config(A), A_IP));
    std::thread::scope(|scope| {
        let work = || {
            xdp::privileges::keep_only(&[]).unwrap();
            let address = "10.0.0.77".parse().unwrap();
            steering.add_address(address, false, Some(61_000..=61_999)).unwrap();
            steering.add_endpoint(address, 80).unwrap();
            assert!(steering.remove_endpoint(address, 80).unwrap() && steering.remove_address(address).unwrap());
            steering.register(&port).unwrap();
            assert!(!steering.verdicts().unwrap().is_empty());
            steering.program_id().unwrap();
            port.check().unwrap();
            port.flush().unwrap();
            steering.detach();
        };
        scope.spawn(work).join().unwrap();
    });
    // Who lists the kernel's links holds each for a moment, as another test may.
    support::eventually("detached", || !support::ip(&["-n", lab.a(), "link", "show", A]).contains("xdp"));
}

#[test]
fn the_report_says_what_was_negotiated() {
    let lab = Lab::new();
    let (mut steering, port, report) = lab.in_a(|| open(&config(A), A_IP));
    let text = report.to_string();
    for words in
        ["a0 (driver veth", "XDP generic (veth is faster so", "copied (generic XDP always copies)", "queues [0] of 1"]
    {
        assert!(text.contains(words), "{text}");
    }
    assert!(text.contains("one per packet (one frame holds an MTU of 3818)"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["xdp_mode"], &json["mtu"]), (&"generic".into(), &1500.into()));
    assert_eq!(json["mac"], lab.mac_a().to_string());
    // It is a bpf_link, of this program.
    let id = steering.program_id().unwrap();
    assert_eq!(report.program_id, id);
    let links: Vec<_> = aya::programs::loaded_links().filter_map(Result::ok).collect();
    assert_eq!(links.iter().filter(|link| link.program_id() == id).count(), 1, "not a bpf_link");
    steering.detach();
    drop(port);
    support::eventually("detached", || !support::ip(&["-n", lab.a(), "link", "show", A]).contains("xdp"));
}

#[test]
fn raw_frames_are_echoed() {
    for xdp_mode in [XdpMode::Generic, XdpMode::Native] {
        let mut times = raw_round_trips(xdp_mode, 20_000);
        times.sort_unstable();
        println!("raw {xdp_mode:?}: min {} p50 {} p99 {} ns", times[0], times[10_000], times[19_800]);
        assert!(times[10_000] > 0);
    }
}

fn raw_round_trips(xdp_mode: XdpMode, count: usize) -> Vec<u64> {
    let lab = Lab::new();
    let (local, remote) = ((lab.mac_a(), A_IP), (lab.mac_b(), B_IP));
    let (_steer_a, mut a, _) = lab.in_a(|| open(&XskConfig { xdp_mode, ..config(A) }, A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&XskConfig { xdp_mode, ..config(B) }, B_IP));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            support::pin(1);
            echo_frames(&mut b, &stop).unwrap()
        });
        support::pin(0);
        let mut ping = RawPing::new(local, remote, 100);
        let times: std::io::Result<Vec<_>> =
            (0..count).map(|_| ping.round_trip(&mut a, Duration::from_secs(5))).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(echo.join().unwrap() >= count as u64);
        times.unwrap()
    })
}

/// RFC 4861 section 7.2.1: a node is in the solicited-node group of each of its addresses.
#[test]
fn the_group_of_an_owned_ipv6_address_is_taken_in() {
    let lab = Lab::new();
    let joined = || support::ip(&["-n", lab.a(), "maddr", "show", "dev", A]).contains("33:33:ff:ab:cd:ef");
    let address = "fd78::12ab:cdef".parse::<IpAddr>().unwrap();
    let opened = lab.in_a(|| open(&config(A), address));
    assert!(joined());
    drop(opened);
    // The socket is closed by then, but a program another test is just starting holds a copy of it until its exec.
    support::eventually("the group is left", || !joined());
    // For a shared one the kernel sees to it.
    let shared = LocalAddress::shared(address, None);
    let _opened = lab.in_a(|| xdp::open(&config(A), &[0], &[shared]).unwrap());
    assert!(!joined());
}

/// Both interfaces of a lab can carry `mtu`.
fn set_mtu(lab: &Lab, mtu: &str) {
    support::ip(&["-n", lab.a(), "link", "set", A, "mtu", mtu]);
    support::ip(&["-n", lab.b(), "link", "set", B, "mtu", mtu]);
}

/// A frame of 4096 bytes holds 3840: one, two and three of them, a byte less and a byte more; then the MTU and a VLAN tag.
const JUMBO_LENGTHS: [usize; 9] = [60, 3839, 3840, 3841, 7680, 7681, 9000, 9014, 9018];

#[test]
fn jumbo_frames_cross_a_veth_unchanged_and_in_order_in_both_modes() {
    for xdp_mode in [XdpMode::Generic, XdpMode::Native] {
        let lab = Lab::new();
        set_mtu(&lab, "9000");
        let macs = (lab.mac_a(), lab.mac_b());
        let (_steer_a, mut a, _) = lab.in_a(|| open(&XskConfig { xdp_mode, ..config(A) }, A_IP));
        let (_steer_b, mut b, report) = lab.in_b(|| open(&XskConfig { xdp_mode, ..config(B) }, B_IP));
        assert!(
            report.multi_buffer && report.to_string().contains("multi-buffer (an MTU of 9000 is more than the 3818"),
            "{report}"
        );
        assert_eq!((a.frame_bytes(), b.frame_bytes()), (9022, 9022));
        let lengths = || JUMBO_LENGTHS.into_iter().cycle().zip(0_u32..).take(900);
        let (mut waiting, mut frames, mut seen) = (lengths().peekable(), Vec::new(), Vec::new());
        support::eventually("900 jumbo frames arrived", || {
            while let Some(&(len, tag)) = waiting.peek()
                && seen.len() + 100 > tag as usize
            {
                let mut frame = a.allocate().unwrap();
                let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), len, tag);
                a.buffer(&mut frame)[..len].copy_from_slice(&bytes);
                a.transmit(frame, len).unwrap();
                waiting.next();
            }
            a.flush().unwrap();
            b.receive(&mut frames, 7);
            for frame in frames.drain(..) {
                seen.push(b.bytes(&frame).to_vec());
                b.recycle(frame);
            }
            b.flush().unwrap();
            seen.len() == 900
        });
        for ((len, tag), bytes) in lengths().zip(&seen) {
            assert_eq!(*bytes, udp_frame((macs.0, A_IP), (macs.1, B_IP), len, tag), "{len} {tag}");
        }
        let total = seen.iter().map(Vec::len).sum::<usize>() as u64;
        let (sent, received) = (a.stats(), b.stats());
        // Of nine lengths six are more than a frame holds.
        assert_eq!((sent.tx_frames, sent.tx_bytes, sent.tx_scattered, sent.copied_bytes), (900, total, 600, total));
        assert_eq!((received.rx_frames, received.rx_bytes, received.rx_gathered), (900, total, 600));
        assert_eq!((received.rx_gather_failed, received.rx_bad_descriptors), (0, 0));
        assert_eq!((sent.frames_out, received.frames_out), (0, 0));
        assert_eq!((sent.large_frames_free, received.large_frames_free), (256, 256));
    }
}

#[test]
fn jumbo_frames_are_echoed_in_place() {
    let lab = Lab::new();
    set_mtu(&lab, "9000");
    let (local, remote) = ((lab.mac_a(), A_IP), (lab.mac_b(), B_IP));
    let (_steer_a, mut a, _) = lab.in_a(|| open(&config(A), A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&config(B), B_IP));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo_frames(&mut b, &stop).unwrap());
        let mut pings = JUMBO_LENGTHS.map(|len| RawPing::new(local, remote, len));
        let times: std::io::Result<Vec<_>> =
            (0..450).map(|turn| pings[turn % 9].round_trip(&mut a, Duration::from_secs(5))).collect();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(echo.join().unwrap(), 450);
        times.unwrap();
    });
    assert_eq!((a.stats().frames_out, b.stats().frames_out), (0, 0));
}

#[test]
fn jumbo_frames_that_find_no_room_are_given_back_and_nothing_leaks() {
    let lab = Lab::new();
    set_mtu(&lab, "9000");
    let small =
        XskConfig { frame_count: 128, tx_ring: 64, completion_ring: 64, fill_ring: 64, rx_ring: 64, ..config(A) };
    let macs = (lab.mac_a(), lab.mac_b());
    let (_steer_a, mut a, _) = lab.in_a(|| open(&small, A_IP));
    let (_steer_b, mut b, _) = lab.in_b(|| open(&config(B), B_IP));
    let free = a.stats().frames_free;
    assert_eq!(free, 64);
    let (mut sent, mut refused, mut frames) = (0, 0, Vec::new());
    while sent < 500 {
        let mut frame = a.allocate().unwrap();
        let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), 9014, sent);
        a.buffer(&mut frame)[..9014].copy_from_slice(&bytes);
        match a.transmit(frame, 9014) {
            Ok(()) => sent += 1,
            Err(frame) => {
                refused += 1;
                a.recycle(frame);
                a.flush().unwrap();
            }
        }
        b.receive(&mut frames, 64);
        frames.drain(..).for_each(|frame| b.recycle(frame));
        b.flush().unwrap();
    }
    support::eventually("all are sent", || {
        a.flush().unwrap();
        a.stats().frames_free == free
    });
    // Three parts each, in a ring of 64.
    let stats = a.stats();
    assert!(refused >= 500 / 22, "{refused}");
    assert_eq!((stats.tx_ring_full, stats.tx_frames, stats.tx_completed), (refused, 500, 1500));
    assert_eq!((stats.frames_out, stats.large_frames_free), (0, 256));
    let mut frame = a.allocate().unwrap();
    assert_eq!(a.buffer(&mut frame).len(), 9022);
    let frame = a.transmit(frame, 9023).unwrap_err();
    a.recycle(frame);
    assert_eq!(a.stats().tx_bad_length, 1);
}

/// An MTU that is raised while a port is open: what is longer than the port's frames is dropped and counted, whole.
#[test]
fn packets_longer_than_the_ports_frames_are_counted_and_cost_nothing() {
    for xdp_mode in [XdpMode::Generic, XdpMode::Native] {
        let lab = Lab::new();
        set_mtu(&lab, "5000");
        let macs = (lab.mac_a(), lab.mac_b());
        let (_steer_b, mut b, _) = lab.in_b(|| open(&XskConfig { xdp_mode, ..config(B) }, B_IP));
        set_mtu(&lab, "9000");
        let (_steer_a, mut a, _) = lab.in_a(|| open(&XskConfig { xdp_mode, ..config(A) }, A_IP));
        let (mut frames, mut seen) = (Vec::new(), Vec::new());
        // More buffers than there are in the memory of the port.
        for (len, tag) in [9014, 200, 9014, 5014, 5023].into_iter().cycle().zip(0..5000) {
            let mut frame = a.allocate().unwrap();
            let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), len, tag);
            a.buffer(&mut frame)[..len].copy_from_slice(&bytes);
            a.transmit(frame, len).unwrap();
            if tag % 50 == 49 {
                a.flush().unwrap();
                support::eventually("a batch arrived", || {
                    b.receive(&mut frames, 64);
                    for frame in frames.drain(..) {
                        let bytes = b.bytes(&frame);
                        let tag = u32::from_be_bytes(bytes[bytes.len() - 4..].try_into().unwrap());
                        assert_eq!(bytes, udp_frame((macs.0, A_IP), (macs.1, B_IP), bytes.len(), tag), "{tag}");
                        seen.push(bytes.len());
                        b.recycle(frame);
                    }
                    b.flush().unwrap();
                    seen.len() as u64 + b.stats().rx_gather_failed == u64::from(tag) + 1
                });
            }
        }
        assert_eq!(seen, [200, 5014].into_iter().cycle().take(2000).collect::<Vec<_>>());
        let stats = b.stats();
        assert_eq!((stats.rx_frames, stats.rx_gathered, stats.rx_gather_failed), (2000, 1000, 3000));
        assert_eq!((stats.frames_out, stats.large_frames_free), (0, 256));
    }
}

/// The Internet checksum of a datagram from its UDP header on (RFC 1071), the sum of the pseudo-header in its field.
fn checksum(covered: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = covered.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

/// Frames of every length, each second one with its checksum left, over memory that is registered for it and over memory
/// that is not: what arrives is the same. In several buffers too, where the send path of the interface sums up.
#[test]
fn checksums_that_are_left_are_written_on_the_way() {
    let cases = [("1500", TxChecksum::Software), ("9000", TxChecksum::Software), ("9000", TxChecksum::Compute)];
    for (mtu, tx_checksum) in cases {
        let lab = Lab::new();
        set_mtu(&lab, mtu);
        assert!(
            lab.in_a(|| std::process::Command::new("ethtool").args(["-K", A, "tx", "off"]).output().unwrap())
                .status
                .success()
        );
        let macs = (lab.mac_a(), lab.mac_b());
        let (_steer_a, mut a, report) = lab.in_a(|| open(&XskConfig { tx_checksum, ..config(A) }, A_IP));
        let (_steer_b, mut b, _) = lab.in_b(|| open(&config(B), B_IP));
        let software = tx_checksum == TxChecksum::Software;
        assert_eq!((report.tx_checksum, a.writes_checksums()), (software, software), "{report}");
        let most = mtu.parse::<usize>().unwrap() + 14;
        let lengths: Vec<usize> = (60..400).chain((400..=most).step_by(61)).chain([most]).collect();
        let (mut frames, mut seen) = (Vec::new(), Vec::new());
        let mut waiting = lengths.iter().copied().zip(0_u32..).peekable();
        support::eventually("all of them arrived", || {
            while let Some(&(len, tag)) = waiting.peek()
                && seen.len() + 100 > tag as usize
            {
                let mut frame = a.allocate().unwrap();
                let bytes = udp_frame((macs.0, A_IP), (macs.1, B_IP), len, tag);
                a.buffer(&mut frame)[..len].copy_from_slice(&bytes);
                if tag % 2 == 0 {
                    frame.leave_checksum(34, 6);
                }
                a.transmit(frame, len).unwrap();
                waiting.next();
            }
            a.flush().unwrap();
            b.receive(&mut frames, 7);
            for frame in frames.drain(..) {
                seen.push(b.bytes(&frame).to_vec());
                b.recycle(frame);
            }
            b.flush().unwrap();
            seen.len() == lengths.len()
        });
        for ((len, tag), bytes) in lengths.iter().copied().zip(0_u32..).zip(&seen) {
            let mut expected = udp_frame((macs.0, A_IP), (macs.1, B_IP), len, tag);
            if tag % 2 == 0 {
                let sum = checksum(&expected[34..]);
                expected[40..42].copy_from_slice(&sum);
            }
            assert_eq!(*bytes, expected, "{mtu} {tx_checksum:?} {len} {tag}");
        }
        let left = if software { lengths.len().div_ceil(2) as u64 } else { 0 };
        let (sent, received) = (a.stats(), b.stats());
        assert_eq!((sent.tx_checksums_left, sent.kernel_tx_invalid_descs, sent.frames_out), (left, 0, 0));
        assert_eq!(received.frames_out, 0);
    }
}

/// Native multi-buffer is had beyond 3818, and below that where the driver says that its own buffers hold less.
#[test]
fn every_mtu_up_to_9000_is_had_in_native_mode() {
    let lab = Lab::new();
    let macs = (lab.mac_a(), lab.mac_b());
    for mtu in [1500, 3500, 3600, 3818, 3819, 9000] {
        set_mtu(&lab, &mtu.to_string());
        let native = |interface| XskConfig { xdp_mode: XdpMode::Native, ..config(interface) };
        let (_steer_a, mut a, _) = lab.in_a(|| open(&native(A), A_IP));
        let (_steer_b, mut b, report) = lab.in_b(|| open(&native(B), B_IP));
        assert_eq!((report.xdp_mode, report.multi_buffer), (AttachMode::Native, mtu > 3818), "{mtu}: {report}");
        let longest = udp_frame((macs.0, A_IP), (macs.1, B_IP), mtu + 14, 1);
        let mut frame = a.allocate().unwrap();
        a.buffer(&mut frame)[..longest.len()].copy_from_slice(&longest);
        a.transmit(frame, longest.len()).unwrap();
        a.flush().unwrap();
        let mut frames = Vec::new();
        support::eventually("it arrives", || b.receive(&mut frames, 1) == 1);
        assert_eq!(b.bytes(&frames[0]), longest, "{mtu}");
        b.recycle(frames.remove(0));
    }
}

/// The program's table of sockets has 64 places: that is known before anything is attached, and 32 MiB pinned for each.
#[test]
fn more_queues_than_the_program_has_places_for_are_refused_with_a_remedy() {
    let lab = Lab::new();
    support::ip(&["-n", lab.a(), "link", "add", "many", "numrxqueues", "65", "type", "veth", "peer", "name", "other"]);
    support::ip(&["-n", lab.a(), "link", "set", "many", "up"]);
    support::ip(&["-n", lab.a(), "link", "set", "other", "up"]);
    let all: Vec<u32> = (0..65).collect();
    let error =
        lab.in_a(|| xdp::open(&config("many"), &all, &[LocalAddress::owned(A_IP.into())]).unwrap_err().to_string());
    assert!(error.contains("65") && error.contains("`ethtool -L many rx 64`"), "{error}");
}
