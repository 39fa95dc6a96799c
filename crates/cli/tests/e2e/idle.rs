//! What an idle server costs, and each way of idling at work.

use std::io::{Read, Write};
use std::time::Duration;

use crate::ss::holding;
use crate::support::{Server, bulk, eventually, fourwave, good, lab};

/// Ticks of processor time, user's and system's, all threads: a hundred a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name may hold spaces, so from behind it: field 3 is the first then, 14 and 15 are the times.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn an_idle_connection_costs_no_processor() {
    let _lab = lab();
    for idle in ["adaptive", "sleep"] {
        let server = Server::start(&format!("echo --listen 10.77.0.1:7 --idle {idle}"));
        let mut client = holding(&["10.77.0.1", "7", "1"]);
        eventually("nothing of its beginning is left to do", || {
            let before = ticks(server.pid());
            std::thread::sleep(Duration::from_millis(500));
            ticks(server.pid()) <= before + 1
        });
        let before = ticks(server.pid());
        std::thread::sleep(Duration::from_secs(5));
        let used = ticks(server.pid()) - before;
        assert!(used < 10, "{idle}: {used} ticks of 500");
        client.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut echoed = [0; 7];
        client.stdout.as_mut().unwrap().read_exact(&mut echoed).unwrap();
        assert_eq!(&echoed, b"echoed\n");
        drop(client.stdin.take());
        client.wait().unwrap();
        server.assert_empty();
        server.stop();
    }
}

#[test]
fn every_way_of_idling_moves_bulk() {
    let _lab = lab();
    for idle in ["sleep", "busy", "adaptive"] {
        let server = Server::start(&format!("echo --listen 10.77.0.1:7 --idle {idle} --cores 0"));
        bulk("10.77.0.1", "7", "32");
        let ping = ["ping", "10.77.0.1:7", "--idle", idle, "--count", "500", "--json"];
        assert_eq!(crate::common::json(&good(fourwave("fw-b", &ping)))["errors"], 0, "{idle}");
        server.assert_empty();
        server.stop();
    }
}
