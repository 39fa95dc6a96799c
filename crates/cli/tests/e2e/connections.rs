//! Flags of the connections, with clients on the kernel's TCP.

use crate::common::{json, ok, sh};
use crate::support::{Server, bulk, eventually, good, lab, peer};

/// A counter of a server, which has been at work; 0 if it has not.
pub(crate) fn counter(server: &Server, name: &str) -> u64 {
    let all = json(&ok(&["ss", "--counters", "--json", "--pid", &server.pid().to_string()]));
    let rows = all.as_array().unwrap();
    if rows.is_empty() {
        return 0;
    }
    let found = rows.iter().find(|row| row["counter"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {all}"))["value"].as_u64().unwrap()
}

fn in_state(server: &Server, state: &str) -> usize {
    server.connections().iter().filter(|row| row["state"] == state).count()
}

/// A SYN nobody stands behind leaves a record without cookies, and nothing with them; connections are as good, also of
/// clients without timestamps, which lose window scale and SACK by it (RFC 4987 section 3.6).
#[test]
fn cookies_for_no_syn_and_for_every_syn() {
    let _lab = lab();
    for (when, kept, every) in [("never", 1, 0), ("always", 0, 1)] {
        let server = Server::start(&format!("echo --listen 10.77.0.1:7 --syn-cookies {when}"));
        good(peer("fw-b", "stray_syn", &["10.77.0.77", "10.77.0.1", "7"]));
        eventually("the SYN is there", || {
            in_state(&server, "SYN-RECEIVED") as u64 + counter(&server, "cookies_sent") > 0
        });
        assert_eq!((in_state(&server, "SYN-RECEIVED"), counter(&server, "cookies_sent")), (kept, every), "{when}");
        for timestamps in [1, 0] {
            assert!(
                sh(&format!("ip netns exec fw-b sysctl -qw net.ipv4.tcp_timestamps={timestamps}")).status.success()
            );
            let before = counter(&server, "cookies_accepted");
            bulk("10.77.0.1", "7", "8");
            good(peer("fw-b", "many", &["10.77.0.1", "7", "50"]));
            let accepted = counter(&server, "cookies_accepted") - before;
            assert_eq!(accepted, 51 * every, "{when}, timestamps {timestamps}");
        }
        eventually("all are closed", || in_state(&server, "ESTABLISHED") == 0);
        server.stop();
    }
}
