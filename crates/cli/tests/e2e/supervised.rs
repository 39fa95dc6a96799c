//! What systemd does with the program, without systemd: the socket it listens on, and what its units allow.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::common::{self, ForNobody, json};
use crate::support::{Server, assert_no_program, bulk, fourwave, good, kernel_echo, lab, need, text};

/// Where the units, and what else is for operators, are.
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

/// Debian's own, which has the package python3-seccomp.
const PYTHON: &str = "/usr/bin/python3";

fn unit(name: &str) -> String {
    format!("{DEPLOY}/systemd/{name}")
}

/// The values of a key of a unit.
fn values(name: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(unit(name)).unwrap();
    let of_key = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    of_key.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The socket of `$NOTIFY_SOCKET`, as open as systemd's.
struct Notified(UnixDatagram, PathBuf);

impl Notified {
    fn new() -> Self {
        let path = common::temporary("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(common::SOON)).unwrap();
        Self(socket, path)
    }

    /// Tells a command of it, and within how many microseconds a sign of life is wanted.
    fn tell(&self, command: &mut Command, watchdog_us: u32) {
        command.env("NOTIFY_SOCKET", &self.1).env("WATCHDOG_USEC", watchdog_us.to_string());
    }

    /// The next thing that is said, but signs of life.
    fn next(&self) -> String {
        loop {
            let said = self.any();
            if said != "WATCHDOG=1" {
                return said;
            }
        }
    }

    fn lives(&self) {
        for _ in 0..3 {
            assert_eq!(self.any(), "WATCHDOG=1");
        }
    }

    fn any(&self) -> String {
        let mut bytes = [0; 1024];
        loop {
            match self.0.recv(&mut bytes) {
                // Who was stopped and goes on finds its wait with a timeout broken off (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                said => {
                    let said = text(&bytes[..said.expect("something is said")]);
                    // Of a shard that the machine has kept from its core for half the time.
                    if !["STATUS=shard ", "STATUS=all shards "].iter().any(|words| said.starts_with(words)) {
                        break said;
                    }
                }
            }
        }
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.1);
    }
}

/// A command in fw-a under what a unit allows.
fn as_unit(name: &str, program: &ForNobody, args: &str) -> Command {
    need("systemd-analyze", "systemd");
    let script = format!("{}/tests/e2e/peers/as_unit.py", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "fw-a", PYTHON, &script, &unit(name)]).arg(program.path());
    command.args(args.split(' ')).env_remove("XDG_RUNTIME_DIR");
    command
}

/// Under the unit: it is up, lives, reads its file again, and goes.
#[test]
fn the_proxy_says_how_it_is_and_has_all_it_needs() {
    let _lab = lab();
    let (program, notified) = (common::for_nobody(), Notified::new());
    let file = program.path().with_file_name("proxy.toml");
    let config = "drain-time = \"1s\"\n[stack]\ninterface = \"fw-a0\"\ncores = \"0\"\n[[listener]]\nname = \"web\"\n\
        address = \"10.77.0.1:80\"\npool = \"web\"\n[[pool]]\nname = \"web\"\nhealth = { check = \"connect\" }\n\
        [[pool.backend]]\naddress = \"10.77.0.2:7\"\n";
    std::fs::write(&file, config).unwrap();
    let _backend = kernel_echo("fw-b", "10.77.0.2", "7");
    let mut command = as_unit("fourwave-proxy.service", &program, &format!("proxy -c {}", file.display()));
    notified.tell(&mut command, 400_000);
    let mut server = Server::spawn(command);
    let ready = notified.next();
    assert!(ready.starts_with("READY=1\nSTATUS=fourwave on fw-a0, 1 shard"), "{ready}");
    notified.lives();
    bulk("10.77.0.1", "80", "4");
    for (text, outcome) in [(config, "reloaded "), ("nonsense", "not reloaded, ")] {
        std::fs::write(&file, text).unwrap();
        server.signal(Signal::HUP);
        let reloading = notified.next();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
        assert!(micros.parse::<u64>().unwrap() > 0);
        let again = notified.next();
        assert!(again.starts_with(&format!("READY=1\nSTATUS={outcome}")), "{again}");
    }
    notified.lives();
    bulk("10.77.0.1", "80", "1");
    server.signal(Signal::TERM);
    assert_eq!(notified.next(), "STOPPING=1\nSTATUS=closing connections");
    let (code, said) = server.end();
    assert_eq!(code, Some(0));
    assert!(!said.iter().any(|line| line.contains("pinned")), "{said:?}");
    assert_no_program();
}

/// A server that drains asks for more time than the unit gives it.
#[test]
fn a_server_says_how_it_is_and_has_all_it_needs() {
    let _lab = lab();
    let (program, notified) = (common::for_nobody(), Notified::new());
    let args = "serve echo --address 10.77.0.50/24 --listen 10.77.0.50:7 --cores 0 --drain-time 600";
    let mut command = as_unit("fourwave@.service", &program, args);
    notified.tell(&mut command, 400_000);
    let mut server = Server::spawn(command);
    assert!(notified.next().starts_with("READY=1\n"));
    notified.lives();
    let ping = good(fourwave("fw-b", &["ping", "10.77.0.50:7", "--stack", "kernel", "--count", "50", "--json"]));
    assert_eq!(json(&ping)["errors"], 0);
    let mut open = crate::support::long_transfer_to("10.77.0.50");
    server.signal(Signal::TERM);
    assert_eq!(notified.next(), "STOPPING=1\nSTATUS=closing connections");
    for _ in 0..2 {
        assert_eq!(notified.next(), "EXTEND_TIMEOUT_USEC=20000000");
    }
    open.end_of_input();
    assert_eq!(open.end(common::SOON).0, Some(0));
    assert_eq!(server.end().0, Some(0));
}

/// Nobody who was not asked for is told anything.
#[test]
fn without_a_socket_nothing_is_said() {
    let _lab = lab();
    let notified = Notified::new();
    let mut command = common::in_namespace("fw-a", &["serve", "echo", "--listen", "10.77.0.1:7"]);
    command.env("WATCHDOG_USEC", "100000");
    Server::spawn(command).stop();
    notified.0.set_nonblocking(true).unwrap();
    assert!(notified.0.recv(&mut [0; 16]).is_err());
    // One that is not there is no reason not to serve.
    let mut command = common::in_namespace("fw-a", &["serve", "echo", "--listen", "10.77.0.1:7"]);
    command.env("NOTIFY_SOCKET", "/nobody/listens/here");
    Server::spawn(command).stop();
}

/// docs/OPERATIONS.md, "Privileges": what `privileges.rs` finds to be needed, without what `LimitMEMLOCK=` does away with; both
/// servers are closed in alike.
#[test]
fn units_give_what_is_needed_and_no_more() {
    let services = ["fourwave-proxy.service", "fourwave@.service"];
    for name in services {
        let needed = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "CAP_PERFMON", "CAP_NET_BIND_SERVICE"];
        assert_eq!(values(name, "AmbientCapabilities"), needed);
        assert_eq!(values(name, "CapabilityBoundingSet"), needed);
    }
    assert_eq!(values("fourwave-tune@.service", "CapabilityBoundingSet"), ["CAP_NET_ADMIN"]);
    let sandbox = |name| {
        let text = std::fs::read_to_string(unit(name)).unwrap();
        text.split_once("\nUser=").unwrap().1.to_owned()
    };
    assert_eq!(sandbox(services[0]), sandbox(services[1]));
}

/// `systemd-analyze verify` and `security`, of units put where the package puts them.
#[test]
fn units_are_good() {
    need("systemd-analyze", "systemd");
    let root = common::temporary("root");
    let script = format!(
        "set -e; cd {root}; mkdir -p usr/bin usr/sbin bin usr/lib/systemd/system; cp {DEPLOY}/systemd/*.service usr/lib/systemd/system\n\
         for target in sysinit basic shutdown network-online network network-pre multi-user; do\n\
         echo '[Unit]' > usr/lib/systemd/system/$target.target; done\n\
         for file in usr/bin/fourwave usr/sbin/fourwave-tune bin/kill; do cp /bin/true $file; done\n\
         said=$(systemd-analyze verify --root={root} fourwave-proxy.service fourwave@web.service fourwave-tune@eth0.service 2>&1)\n\
         [ -z \"$said\" ] || {{ echo \"$said\"; exit 1; }}\n\
         for unit in fourwave-proxy.service fourwave@.service; do\n\
         systemd-analyze security --offline=yes --threshold=25 --root={root} $unit >/dev/null; done\n\
         systemd-analyze security --offline=yes --threshold=35 --root={root} fourwave-tune@.service > /dev/null",
        root = root.display()
    );
    std::fs::create_dir_all(&root).unwrap();
    let checked = common::sh(&script);
    std::fs::remove_dir_all(&root).unwrap();
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), common::stderr(&checked));
}

/// The configuration that the package puts into /etc, and the one in the DaemonSet.
#[test]
fn configurations_of_the_proxy_are_good() {
    let manifest = std::fs::read_to_string(format!("{DEPLOY}/kubernetes/proxy-daemonset.yaml")).unwrap();
    let block = manifest.split_once("  proxy.toml: |\n").unwrap().1.split_once("---\n").unwrap().0;
    let file = common::temporary("proxy.toml");
    std::fs::write(&file, block).unwrap();
    for file in [file.to_str().unwrap(), &format!("{DEPLOY}/proxy.toml")] {
        assert!(common::ok(&["proxy", "-c", file, "--check"]).contains(" is good: "));
    }
    std::fs::remove_file(file).unwrap();
}
