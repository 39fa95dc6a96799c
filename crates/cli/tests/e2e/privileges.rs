//! Without root: a user whose program has exactly the capabilities that docs/OPERATIONS.md lists; and what is left of them,
//! and of root's, once it runs. `ip netns exec` needs root, so the tests do; the user is `nobody`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::{self, ForNobody, json, ok};
use crate::proxy::{Folder, LISTENER, Proxy, pool};
use crate::support::{
    Server, assert_no_program, bulk, eventually, good, kernel_echo, lab, need, refused, sentence, text, within,
};

const NOBODY: &str = "65534";
/// What OPERATIONS.md says it takes on a port that needs none of its own.
const NEEDED: [&str; 5] = ["cap_net_admin", "cap_net_raw", "cap_bpf", "cap_perfmon", "cap_ipc_lock"];
/// CAP_NET_ADMIN of linux/capability.h as a bit of a set.
const NET_ADMIN: u64 = 1 << 12;

/// The program with these capabilities, for everybody to run.
fn program(capabilities: &[&str]) -> ForNobody {
    need("setcap", "libcap2-bin");
    let copy = common::for_nobody();
    let set = Command::new("setcap").arg(format!("{}=ep", capabilities.join(","))).arg(copy.path()).output().unwrap();
    assert!(set.status.success(), "{}", common::stderr(&set));
    copy
}

/// The program as the user nobody in fw-a, with the limit on locked memory that users usually have.
fn as_nobody(program: &ForNobody, args: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "fw-a", "prlimit", "--memlock=8388608", "--", "setpriv"]);
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    command.arg(program.path()).args(args.split(' ')).env_remove("XDG_RUNTIME_DIR");
    command
}

/// As [`as_nobody`], of a program without capabilities that is given them by who starts it, as by systemd's
/// `AmbientCapabilities=`.
fn as_nobody_by_ambient(program: &ForNobody, args: &str) -> Command {
    let names = NEEDED.map(|name| format!("+{}", name.trim_start_matches("cap_"))).join(",");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "fw-a", "setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    command.args(["--inh-caps", &names, "--ambient-caps", &names]);
    command.arg(program.path()).args(args.split(' ')).env_remove("XDG_RUNTIME_DIR");
    command
}

/// Of each thread, by its number and name: permitted, effective, inheritable and ambient capabilities in one, and whether
/// it may ever gain some.
fn capabilities(pid: u32) -> BTreeMap<String, (u64, bool)> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let path = task.unwrap().path();
        let Ok(status) = std::fs::read_to_string(path.join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        let sets = ["CapPrm", "CapEff", "CapInh", "CapAmb"].map(|set| u64::from_str_radix(&field(set), 16).unwrap());
        let name = format!("{} {}", path.file_name().unwrap().to_str().unwrap(), field("Name"));
        all.insert(name, (sets.iter().fold(0, |one, set| one | set), field("NoNewPrivs") == "0"));
    }
    all
}

/// No thread has a capability, but the mirror's CAP_NET_ADMIN if there is one; and none can gain any.
fn assert_given_up(server: &Server, mirrors: usize) {
    let threads = || capabilities(server.pid());
    // A thread gives up its own when it begins, which may be after the server has said that it listens.
    eventually("privileges are given up", || {
        let threads = threads();
        let keepers = threads.values().filter(|(held, _)| *held == NET_ADMIN).count();
        let clean = threads.values().all(|(held, gains)| [0, NET_ADMIN].contains(held) && !gains);
        let named = |end: &str| threads.keys().any(|name| name.ends_with(end));
        clean && keepers == mirrors && named("fw-shard-0") && named("fw-control")
    });
    // The one that keeps it is the mirror.
    let threads = threads();
    let keepers: Vec<_> = threads.iter().filter(|(_, (held, _))| *held != 0).map(|(name, _)| name).collect();
    assert!(keepers.iter().all(|name| name.ends_with("fw-neighbours")), "{threads:?}");
}

fn listed(mut ss: Command) -> bool {
    let output = ss.output().unwrap();
    output.status.success() && json(&text(&output.stdout)).is_array()
}

fn assert_ended(mut server: Server, socket: &str) {
    server.signal(Signal::INT);
    let (code, said) = server.end();
    assert_eq!((code, said.len()), (Some(0), 0), "{said:?}");
    assert!(!Path::new(socket).exists());
    assert_no_program();
}

#[test]
fn a_user_serves_an_address_that_the_kernel_has() {
    let _lab = lab();
    let program = program(&NEEDED);
    let server = Server::spawn(as_nobody(&program, "serve echo --listen 10.77.0.1:7777"));
    assert_given_up(&server, 1);
    bulk("10.77.0.1", "7777", "10");
    // A peer that was never met: the kernel has to be asked for its address, on behalf of the user.
    good(within("fw-b", 5, &["ip", "address", "add", "10.77.0.77/24", "dev", "fw-b0"]));
    let met = "import socket\nc = socket.create_connection(('10.77.0.1', 7777), timeout=60, source_address=('10.77.0.77', 0))\n\
        c.sendall(b'hello')\nassert c.recv(5) == b'hello'";
    good(within("fw-b", 20, &["python3", "-c", met]));

    let (pid, socket) = (server.pid(), format!("/tmp/fourwave-{NOBODY}/{}.sock", server.pid()));
    assert!(Path::new(&socket).exists());
    server.assert_empty();
    for what in ["", " --steering", " --counters"] {
        let args = format!("ss --json --pid {pid}{what}");
        assert!(listed(as_nobody(&program, &args)), "{args} as the user");
        ok(&args.split(' ').collect::<Vec<_>>());
    }
    assert_ended(server, &socket);
}

/// Nothing is kept, since nothing is asked from the kernel; a port below 1024 is not the kernel's to give.
#[test]
fn a_user_serves_an_address_of_its_own() {
    let _lab = lab();
    let program = program(&NEEDED);
    let runtime = program.path().with_file_name("run");
    std::fs::create_dir(&runtime).unwrap();
    std::os::unix::fs::chown(&runtime, Some(65_534), Some(65_534)).unwrap();
    for (address, bits) in [("10.77.0.50", "24"), ("fd77::50", "64")] {
        let listen = if bits == "64" { format!("[{address}]:7") } else { format!("{address}:7") };
        let mut command = as_nobody(&program, &format!("serve echo --address {address}/{bits} --listen {listen}"));
        command.env("XDG_RUNTIME_DIR", &runtime);
        let server = Server::spawn(command);
        assert_given_up(&server, 0);
        bulk(address, "7", "1");
        let mut ss = as_nobody(&program, &format!("ss --json --pid {}", server.pid()));
        ss.env("XDG_RUNTIME_DIR", &runtime);
        assert!(listed(ss));
        let socket = runtime.join(format!("fourwave/{}.sock", server.pid()));
        assert!(socket.exists());
        assert_ended(server, socket.to_str().unwrap());
    }
}

#[test]
fn a_user_connects_to_others() {
    let _lab = lab();
    let program = program(&NEEDED);
    let _kernel = kernel_echo("fw-b", "10.77.0.2", "8000");
    good(within("fw-a", 5, &["ip", "neigh", "flush", "dev", "fw-a0"]));
    let ping = "ping 10.77.0.2:8000 --connections 2 --count 200 --json";
    assert_eq!(json(&good(as_nobody(&program, ping)))["errors"], 0);
    let own = "ping 10.77.0.2:8000 --address 10.77.0.60/24 --count 200 --json";
    assert_eq!(json(&good(as_nobody(&program, own)))["errors"], 0);
    assert_no_program();
}

#[test]
fn one_that_is_missing_is_named() {
    let _lab = lab();
    for missing in NEEDED {
        let rest: Vec<_> = NEEDED.into_iter().filter(|name| *name != missing).collect();
        let program = program(&rest);
        let said = refused(as_nobody(&program, "serve echo --listen 10.77.0.1:7777"));
        let path = program.path();
        let cure = format!("sudo setcap {}=ep {}", NEEDED.join(","), path.display());
        assert!(said.contains(&missing.to_uppercase()) && said.contains(&cure), "{missing}: {said}");
        for held in rest {
            assert!(!said.contains(&held.to_uppercase()), "{held} is not missing: {said}");
        }
        assert_no_program();
    }
    // A port that the kernel must not give away takes one more, if it is below 1024.
    let serve = "serve echo --listen 10.77.0.1:7";
    let without = program(&NEEDED);
    let said = refused(as_nobody(&without, serve));
    assert!(said.contains("CAP_NET_BIND_SERVICE") && said.contains(",cap_net_bind_service=ep"), "{said}");
    let mut all = NEEDED.to_vec();
    all.push("cap_net_bind_service");
    let with = program(&all);
    let server = Server::spawn(as_nobody(&with, serve));
    assert_given_up(&server, 1);
    bulk("10.77.0.1", "7", "1");
    server.stop();
}

/// Another user's stacks are nobody's business but root's.
#[test]
fn users_see_their_own() {
    let _lab = lab();
    let roots = Server::echo();
    let program = program(&NEEDED);
    let ss = |args: &str| as_nobody(&program, args).output().unwrap();
    assert!(sentence(&ss("ss")).contains("sudo"));
    roots.stop();
}

#[test]
fn a_user_is_given_them_by_who_starts_it() {
    let _lab = lab();
    let program = common::for_nobody();
    let server = Server::spawn(as_nobody_by_ambient(&program, "serve echo --listen 10.77.0.1:7777"));
    assert_given_up(&server, 1);
    bulk("10.77.0.1", "7777", "1");
    server.stop();
    let server = Server::spawn(as_nobody_by_ambient(&program, "serve echo --listen 10.77.0.1:7777 --keep-privileges"));
    let device = 1 << 12 | 1 << 13 | 1 << 39 | 1 << 38 | 1 << 14;
    let shards = || {
        let threads = capabilities(server.pid()).into_iter();
        threads.filter(|(name, _)| name.contains("fw-shard")).map(|(_, thread)| thread).collect::<Vec<_>>()
    };
    // A thread has its name a moment after it has begun.
    eventually("the shard's thread is there", || !shards().is_empty());
    assert_eq!(shards(), [(device, true)]);
    bulk("10.77.0.1", "7777", "1");
    server.stop();
}

#[test]
fn root_keeps_no_more() {
    let _lab = lab();
    let server = Server::echo();
    assert_given_up(&server, 1);
    bulk("10.77.0.1", "7", "1");
    good(within("fw-a", 5, &["ip", "neigh", "flush", "dev", "fw-a0"]));
    bulk("10.77.0.1", "7", "1");
    let socket = server.socket();
    assert_ended(server, &socket);
    let server = Server::start("echo --address 10.77.0.50/24 --listen 10.77.0.50:7");
    assert_given_up(&server, 0);
    bulk("10.77.0.50", "7", "1");
    server.stop();
    let server = Server::start("echo --listen 10.77.0.1:7 --stack raw");
    eventually("privileges are given up", || capabilities(server.pid()).values().all(|thread| *thread == (0, false)));
    server.stop();
}

/// The thread that writes the access log is there before the stack is.
#[test]
fn a_proxy_keeps_no_more() {
    let _lab = lab();
    let folder = Folder::new("privileges-proxy");
    let log = folder.path("access.log");
    let proxy = Proxy::start(&folder, &format!("access-log = \"{log}\"\n{LISTENER}{}", pool("", &[7])));
    assert_given_up(&proxy.server, 1);
    let threads = capabilities(proxy.server.pid());
    assert!(threads.keys().any(|name| name.ends_with("fw-access-log")), "{threads:?}");
    proxy.stop();
}
