//! Capabilities: those that the device asks for, what a refusal says, and giving them up.
//!
//! They are a thread's own (capabilities(7)): a thread that is made has those of its maker, and gives up its own alone.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities, set_no_new_privs,
};

use crate::error::Error;

/// A capability that something in fourwave asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// The type of the program and of its map of sockets, a send buffer above the limit, and asking the kernel to resolve a
    /// neighbour.
    NetAdmin,
    /// AF_XDP sockets, and packet sockets.
    NetRaw,
    /// Maps and programs (Linux 5.8).
    Bpf,
    /// A program that adds a header's length, which it has read, to a pointer into the packet: the verifier allows that
    /// only to those who may look into the kernel anyway.
    Perfmon,
    /// Frames beyond the limit on locked memory.
    IpcLock,
    /// Reserving a port below 1024 of a shared address.
    NetBindService,
}

use Capability::{Bpf, IpcLock, NetAdmin, NetBindService, NetRaw, Perfmon};

/// What it takes to open an interface; and [`Capability::IpcLock`], unless the limit on locked memory allows the frames.
pub const DEVICE: [Capability; 4] = [NetAdmin, NetRaw, Bpf, Perfmon];
const ALL: [Capability; 6] = [NetAdmin, NetRaw, Bpf, Perfmon, IpcLock, NetBindService];

impl Capability {
    /// Its name, as capabilities(7) has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NetAdmin => "CAP_NET_ADMIN",
            NetRaw => "CAP_NET_RAW",
            Bpf => "CAP_BPF",
            Perfmon => "CAP_PERFMON",
            IpcLock => "CAP_IPC_LOCK",
            NetBindService => "CAP_NET_BIND_SERVICE",
        }
    }

    const fn bit(self) -> CapabilitySet {
        match self {
            NetAdmin => CapabilitySet::NET_ADMIN,
            NetRaw => CapabilitySet::NET_RAW,
            Bpf => CapabilitySet::BPF,
            Perfmon => CapabilitySet::PERFMON,
            IpcLock => CapabilitySet::IPC_LOCK,
            NetBindService => CapabilitySet::NET_BIND_SERVICE,
        }
    }

    /// What else the kernel takes for it.
    const fn or(self) -> CapabilitySet {
        match self {
            Bpf | Perfmon => CapabilitySet::SYS_ADMIN,
            _ => CapabilitySet::empty(),
        }
    }

    fn is_in(self, set: CapabilitySet) -> bool {
        set.intersects(self.bit().union(self.or()))
    }

    /// Whether the calling thread has it, or what the kernel takes for it.
    #[must_use]
    pub fn held(self) -> bool {
        self.is_in(effective())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What threads of this process had and gave up, for what a refusal says: a reload may ask for it later.
static GIVEN_UP: AtomicU64 = AtomicU64::new(0);

/// Gives up every capability of the calling thread but `kept`, for good: what it executes gains none either
/// (`PR_SET_NO_NEW_PRIVS`), root or not. Threads that it makes later are like it; those that are there already are not
/// touched.
///
/// # Errors
/// A system call filter forbids it.
pub fn keep_only(kept: &[Capability]) -> Result<(), Error> {
    let give_up = || -> io::Result<()> {
        set_no_new_privs(true)?;
        clear_ambient_capability_set()?;
        let kept = kept.iter().fold(CapabilitySet::empty(), |set, capability| set | capability.bit());
        let before = capabilities(None)?;
        let kept = kept & before.permitted;
        set_capabilities(
            None,
            CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
        )?;
        GIVEN_UP.fetch_or(before.effective.difference(kept).bits(), Ordering::Relaxed);
        Ok(())
    };
    give_up().map_err(|source| Error::System { action: "giving up privileges", source })
}

fn effective() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Why `needed` were not enough for what was refused, and what to do: the rest of a sentence.
pub(crate) fn refusal(needed: &[Capability]) -> String {
    refusal_to(needed, effective(), given_up(), geteuid().is_root(), &program())
}

fn given_up() -> CapabilitySet {
    CapabilitySet::from_bits_retain(GIVEN_UP.load(Ordering::Relaxed))
}

fn refusal_to(
    needed: &[Capability],
    held: CapabilitySet,
    given_up: CapabilitySet,
    root: bool,
    program: &str,
) -> String {
    let missing: Vec<_> = needed.iter().filter(|capability| !capability.is_in(held)).collect();
    let own_doing = missing.iter().all(|capability| capability.is_in(given_up));
    let missing: Vec<_> = missing.into_iter().map(|capability| capability.name()).collect();
    let list = |names: &[&'static str]| match names {
        [but_last @ .., last] if !but_last.is_empty() => format!("{} and {last}", but_last.join(", ")),
        names => names.concat(),
    };
    if missing.is_empty() {
        let held: Vec<_> = needed.iter().map(|capability| capability.name()).collect();
        return format!(
            "was refused in spite of {}: in a user namespace they don't count, and a security module may forbid it",
            list(&held)
        );
    }
    let missing = list(&missing);
    if own_doing {
        return format!(
            "needs {missing}, which this process gave up itself when it had started: restart it, or start it with \
             --keep-privileges"
        );
    }
    if root {
        return format!("needs {missing}, which this root lacks: give it to the container (`--cap-add`)");
    }
    format!("needs root, or {missing}: run it with sudo, or once `{}`", setcap(needed, held, program))
}

/// The command that gives this program `needed` and what it takes anyhow.
pub(crate) fn setcap_line(needed: &[Capability]) -> String {
    setcap(needed, effective(), &program())
}

/// It sets all there are anew, so those that the program has are in it.
fn setcap(needed: &[Capability], held: CapabilitySet, program: &str) -> String {
    let wanted = |c: &Capability| DEVICE.contains(c) || *c == IpcLock || needed.contains(c) || held.contains(c.bit());
    let names: Vec<_> = ALL.iter().filter(|c| wanted(c)).map(|c| c.name().to_lowercase()).collect();
    format!("sudo setcap {}=ep {program}", names.join(","))
}

fn program() -> String {
    std::env::current_exe().map_or_else(|_| "PROGRAM".into(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[Capability]) -> CapabilitySet {
        of.iter().fold(CapabilitySet::empty(), |set, c| set | c.bit())
    }

    #[test]
    fn a_refusal_names_what_is_missing_and_what_gives_it() {
        let none = CapabilitySet::empty();
        let said = refusal_to(&DEVICE, set(&[NetAdmin, NetRaw, NetBindService]), none, false, "/opt/x");
        assert_eq!(
            said,
            "needs root, or CAP_BPF and CAP_PERFMON: run it with sudo, or once `sudo setcap cap_net_admin,cap_net_raw,\
             cap_bpf,cap_perfmon,cap_ipc_lock,cap_net_bind_service=ep /opt/x`"
        );
        let said = refusal_to(&DEVICE, none, none, false, "/opt/x");
        assert!(said.contains("CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON:"), "{said}");
        assert!(said.contains("cap_ipc_lock=ep /opt/x"), "{said}");
        let said = refusal_to(&[NetBindService], set(&DEVICE), none, false, "/opt/x");
        assert!(
            said.contains("or CAP_NET_BIND_SERVICE:") && said.contains("cap_ipc_lock,cap_net_bind_service="),
            "{said}"
        );
        // A root without it is a container's: a file's capabilities would not help.
        let said = refusal_to(&DEVICE, set(&[NetAdmin, NetRaw, Perfmon]), none, true, "/opt/x");
        assert!(said.contains("CAP_BPF, which") && said.contains("--cap-add") && !said.contains("setcap"), "{said}");
        assert!(refusal_to(&DEVICE, set(&DEVICE), none, true, "").contains("in spite of CAP_NET_ADMIN"));
    }

    /// A reload that adds a port below 1024: neither a container nor sudo is to blame. What the process never had it did
    /// not give up.
    #[test]
    fn what_the_process_gave_up_itself_is_not_blamed_on_others() {
        let (none, all) = (CapabilitySet::empty(), set(&ALL));
        for root in [true, false] {
            let said = refusal_to(&[NetBindService], none, all, root, "/opt/x");
            let gave_up = "needs CAP_NET_BIND_SERVICE, which this process gave up itself when it had started: restart it, \
                           or start it with --keep-privileges";
            assert_eq!(said, gave_up);
        }
        let said = refusal_to(&[NetBindService], none, set(&DEVICE), true, "/opt/x");
        assert!(said.contains("--cap-add"), "{said}");
        let said = refusal_to(&DEVICE, none, set(&[NetAdmin]), true, "/opt/x");
        assert!(said.contains("--cap-add"), "some of it was not there before: {said}");
        assert!(refusal_to(&[NetRaw], set(&DEVICE), all, true, "").contains("in spite of"));
    }

    /// capabilities(7): CAP_SYS_ADMIN covers CAP_BPF and CAP_PERFMON, and nothing else here.
    #[test]
    fn sys_admin_is_enough_for_bpf() {
        let held = CapabilitySet::SYS_ADMIN;
        let enough: Vec<_> = ALL.into_iter().filter(|c| c.is_in(held)).collect();
        assert_eq!(enough, [Bpf, Perfmon]);
    }

    /// On a thread of its own, since that is what they belong to. Without privileges there is nothing to give up, and that
    /// works too.
    #[test]
    fn a_thread_gives_up_its_own() {
        let before = capabilities(None).unwrap();
        let gone = || {
            let had = effective();
            let kept = set(&[NetAdmin]) & capabilities(None).unwrap().permitted;
            keep_only(&[NetAdmin]).unwrap();
            assert_eq!((capabilities(None).unwrap().permitted, effective()), (kept, kept));
            keep_only(&[]).unwrap();
            let child = std::thread::spawn(|| (effective(), rustix::thread::no_new_privs().unwrap()));
            assert_eq!(child.join().unwrap(), (CapabilitySet::empty(), true));
            assert_eq!(given_up(), had, "it is known what was given up, and nothing else is");
            // There is no way back.
            keep_only(&[NetAdmin]).unwrap();
            assert_eq!(capabilities(None).unwrap().permitted, CapabilitySet::empty());
        };
        std::thread::spawn(gone).join().unwrap();
        assert_eq!(capabilities(None).unwrap(), before);
    }
}
