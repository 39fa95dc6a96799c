//! Loads, attaches and feeds the program that decides per packet: the stack's, or the kernel's.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, loaded_links};
use aya::{Ebpf, EbpfError, EbpfLoader};

use crate::abi::{self, AddressKey, AddressValue, EndpointKey, SynLimitValue};
use crate::config::XdpMode;
use crate::error::Error;
use crate::facts::InterfaceFacts;
use crate::privileges::{Capability, DEVICE};
use crate::report::AttachMode;
use crate::syn_limit::SynLimit;
use crate::sys;
use crate::tx_checksum::XskPort;

/// The name of the program in the object, and of the link that `bpftool link` shows.
const PROGRAM: &str = "fourwave_steer";
/// The same program, which also takes packets in several frames (`xdp.frags`, Linux 5.18).
const PROGRAM_FRAGS: &str = "fourwave_frags";

/// The object as the ELF reader needs it: aligned.
#[repr(C, align(8))]
struct Aligned<B: ?Sized>(B);
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/steer.bpf.o")));

/// The steering program, loaded, and attached once [`Steering::attach`] was called.
///
/// It is held by a `bpf_link` of this process: dropped, or when the process dies by whatever signal, the interface is as it
/// was.
pub struct Steering {
    program: Ebpf,
    name: &'static str,
    addresses: HashMap<MapData, AddressKey, AddressValue>,
    endpoints: HashMap<MapData, EndpointKey, u32>,
    xsks: XskMap<MapData>,
    verdicts: PerCpuArray<MapData, u64>,
    /// The groups that are asked for owned addresses: the interface takes their frames in while these are open.
    groups: Vec<OwnedFd>,
    link: Option<FdLink>,
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering").field("link", &self.link).finish_non_exhaustive()
    }
}

/// What the program said to a frame it was shown by [`Steering::test`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestVerdict {
    /// Whether it goes to an AF_XDP socket; if not, to the kernel, or nowhere.
    pub redirected: bool,
    /// Whether it goes nowhere.
    pub dropped: bool,
    /// The verdict that was counted.
    pub name: &'static str,
}

// SAFETY: `repr(C)`, made of bytes alone, without padding.
unsafe impl aya::Pod for AddressKey {}
// SAFETY: `repr(C)`, 4 + 2 + 2 bytes at an alignment of 4: without padding.
unsafe impl aya::Pod for AddressValue {}
// SAFETY: `repr(C)`, 16 + 2 + 2 bytes at an alignment of 2: without padding.
unsafe impl aya::Pod for EndpointKey {}
// SAFETY: `repr(C)`, 8 + 8 + 4 + 16 + 4 bytes at an alignment of 8: without padding.
unsafe impl aya::Pod for SynLimitValue {}

impl Steering {
    /// Loads the program and its maps; nothing is attached yet. With `limit` it drops SYNs beyond it; without, it has nothing that
    /// would.
    ///
    /// # Errors
    /// [`Error::Config`] of the limit, missing privilege, or a kernel that refuses the program (with its reason).
    pub fn load(limit: Option<&SynLimit>) -> Result<Self, Error> {
        Self::load_program(PROGRAM, limit)
    }

    /// As [`Steering::load`], for an interface whose packets may be in several frames: it decides by the first one.
    ///
    /// # Errors
    /// As [`Steering::load`]; a kernel before Linux 5.18 refuses such a program.
    pub fn load_multi_buffer(limit: Option<&SynLimit>) -> Result<Self, Error> {
        Self::load_program(PROGRAM_FRAGS, limit)
    }

    fn load_program(name: &'static str, limit: Option<&SynLimit>) -> Result<Self, Error> {
        limit.map_or(Ok(()), SynLimit::check)?;
        let value = limit.map(SynLimit::value).unwrap_or_default();
        let mut loader = EbpfLoader::new();
        loader.override_global("syn_limit", &value, true);
        // All entries are allocated with the map; one that is never asked has the least there can be.
        loader.map_max_entries("sources", if limit.is_some() { abi::MAX_SOURCES } else { 1 });
        let mut program = loader.load(&OBJECT.0).map_err(load_error)?;
        xdp(&mut program, name)?.load().map_err(|error| program_error(&error))?;
        let addresses = map(&mut program, "addresses", HashMap::try_from)?;
        let endpoints = map(&mut program, "endpoints", HashMap::try_from)?;
        let xsks = map(&mut program, "xsks", XskMap::try_from)?;
        let verdicts = map(&mut program, "verdicts", PerCpuArray::try_from)?;
        Ok(Self { program, name, addresses, endpoints, xsks, verdicts, groups: Vec::new(), link: None })
    }

    /// Attaches the program to an interface of the calling thread's network namespace; where, and why there.
    ///
    /// # Errors
    /// The interface is missing, another XDP program is attached, the mode asked for isn't to be had, missing privilege, or
    /// a kernel older than 5.9.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<(AttachMode, String), Error> {
        let facts = InterfaceFacts::read(interface)?;
        if facts.xdp_program.is_some() {
            return Err(other_program(&facts));
        }
        let (first, reason, fall_back) = match mode {
            XdpMode::Native => (AttachMode::Native, "as configured".to_owned(), false),
            XdpMode::Generic => (AttachMode::Generic, "as configured".to_owned(), false),
            XdpMode::Auto => match faster_in_generic_mode(&facts.driver) {
                Some(why) => (AttachMode::Generic, why.to_owned(), false),
                None => (AttachMode::Native, format!("driver {} supports it", facts.driver), true),
            },
        };
        match self.attach_in(&facts, first) {
            Ok(true) => {
                Ok((first, format!("{reason}; an MTU of {} only in several buffers of the driver's", facts.mtu)))
            }
            Ok(false) => Ok((first, reason)),
            Err(Error::ModeUnsupported { answer, .. }) if fall_back => {
                self.attach_once(&facts, AttachMode::Generic)?;
                let what = if self.name == PROGRAM_FRAGS { " for packets in several frames" } else { "" };
                Ok((AttachMode::Generic, format!("driver {} has no native XDP{what}: {answer}", facts.driver)))
            }
            Err(error) => Err(error),
        }
    }

    /// Attaches the program that was loaded. A driver's buffers may hold less than ours, so that it refuses an MTU in native mode
    /// but for a program that takes packets in several: then that one is attached, and the answer true.
    fn attach_in(&mut self, facts: &InterfaceFacts, mode: AttachMode) -> Result<bool, Error> {
        let refused = match self.attach_once(facts, mode) {
            Err(error @ Error::ModeUnsupported { .. }) if mode == AttachMode::Native && self.name == PROGRAM => error,
            result => return result.map(|()| false),
        };
        self.name = PROGRAM_FRAGS;
        let loaded = xdp(&mut self.program, PROGRAM_FRAGS)?.load().is_ok();
        if loaded && self.attach_once(facts, mode).is_ok() {
            return Ok(true);
        }
        self.name = PROGRAM;
        // Linux before 5.18 has none of those, and not every driver: what the first was refused for is the reason.
        Err(refused)
    }

    fn attach_once(&mut self, facts: &InterfaceFacts, mode: AttachMode) -> Result<(), Error> {
        let aya_mode = match mode {
            AttachMode::Native => aya::programs::XdpMode::Driver,
            AttachMode::Generic => aya::programs::XdpMode::Skb,
        };
        let program = xdp(&mut self.program, self.name)?;
        let id =
            program.attach_to_if_index(facts.ifindex, aya_mode).map_err(|error| attach_error(facts, mode, &error))?;
        let link = program.take_link(id).map_err(|error| program_error(&error))?;
        // Where the kernel has no bpf_link for XDP, aya attaches in the old way, which outlives the process. Dropping such a
        // link detaches the program again.
        self.link = Some(FdLink::try_from(link).map_err(|_| Error::NoBpfLink)?);
        Ok(())
    }

    /// Takes the program off the interface, which leaves the groups of owned addresses; its maps stay as they are.
    pub fn detach(&mut self) {
        self.link = None;
        self.groups.clear();
    }

    /// The kernel's id of the program.
    ///
    /// # Errors
    /// A failed system call.
    pub fn program_id(&mut self) -> Result<u32, Error> {
        Ok(xdp(&mut self.program, self.name)?.info().map_err(|error| program_error(&error))?.id())
    }

    /// Makes an address known: `owned`, everything for it is the stack's; shared, only the endpoints and the TCP ports
    /// of `ports` (those that active opens use) are. Replaces what was said before.
    ///
    /// # Errors
    /// [`Error::TableFull`] after 1024 addresses.
    pub fn add_address(
        &mut self,
        address: IpAddr,
        owned: bool,
        ports: Option<RangeInclusive<u16>>,
    ) -> Result<(), Error> {
        let value = AddressValue::new(owned, ports.as_ref());
        self.addresses
            .insert(AddressKey::new(address), value, 0)
            .map_err(|error| map_error(error, "addresses", abi::MAX_ADDRESSES))
    }

    /// Has the interface take in what asks for an owned IPv6 address: its solicited-node group (RFC 4291 section 2.7.1), which
    /// a NIC's filter lets nothing in for otherwise.
    pub(crate) fn join_group_of(&mut self, ifindex: u32, address: Ipv6Addr) -> Result<(), Error> {
        let [.., a, b, c] = address.octets();
        let socket = sys::join_group(ifindex, [0x33, 0x33, 0xff, a, b, c])
            .map_err(|error| Error::system("joining the group of an owned address", error))?;
        self.groups.push(socket);
        Ok(())
    }

    /// Forgets an address; false if it wasn't known.
    ///
    /// # Errors
    /// A failed system call.
    pub fn remove_address(&mut self, address: IpAddr) -> Result<bool, Error> {
        removed(self.addresses.remove(&AddressKey::new(address)), "addresses", abi::MAX_ADDRESSES)
    }

    /// Redirects TCP to `port` of a shared `address`, which must have been added. A wildcard listener is entered once for
    /// each local address.
    ///
    /// # Errors
    /// [`Error::TableFull`] after 16,384 endpoints.
    pub fn add_endpoint(&mut self, address: IpAddr, port: u16) -> Result<(), Error> {
        self.endpoints
            .insert(EndpointKey::new(address, port), 1, 0)
            .map_err(|error| map_error(error, "endpoints", abi::MAX_ENDPOINTS))
    }

    /// Gives an endpoint back to the kernel; false if it wasn't known.
    ///
    /// # Errors
    /// A failed system call.
    pub fn remove_endpoint(&mut self, address: IpAddr, port: u16) -> Result<bool, Error> {
        removed(self.endpoints.remove(&EndpointKey::new(address, port)), "endpoints", abi::MAX_ENDPOINTS)
    }

    /// From now on the packets of `port`'s queue that are the stack's go to `port`.
    ///
    /// # Errors
    /// A queue number over 63, or a failed system call.
    pub fn register(&mut self, port: &XskPort) -> Result<(), Error> {
        self.xsks
            .set(port.queue(), port.socket().as_raw_fd(), 0)
            .map_err(|error| map_error(error, "queues", abi::MAX_QUEUES))
    }

    /// Packets per verdict since the program was loaded, over all CPUs, in the order of `bpf/steer.h`.
    ///
    /// # Errors
    /// A failed system call.
    pub fn verdicts(&self) -> Result<Vec<(&'static str, u64)>, Error> {
        let sum = |(name, index): (&'static str, u32)| {
            let values = self.verdicts.get(&index, 0).map_err(|error| map_error(error, "verdicts", index))?;
            Ok((name, values.iter().sum()))
        };
        abi::VERDICTS.into_iter().zip(0..).map(sum).collect()
    }

    /// Packets of the stack's that came by a queue without a socket, since the program was loaded.
    ///
    /// # Errors
    /// A failed system call.
    pub fn without_socket(&self) -> Result<u64, Error> {
        let values = self.verdicts.get(&abi::PASS_NO_SOCKET, 0);
        Ok(values.map_err(|error| map_error(error, "verdicts", abi::PASS_NO_SOCKET))?.iter().sum())
    }

    /// Shows the program a frame (14 bytes at least) as if it had come in on queue 0 (`BPF_PROG_TEST_RUN`). Nothing is
    /// received; the verdict is counted. Meant for a program that isn't attached: the verdict is read off the counters.
    ///
    /// # Errors
    /// A failed system call.
    pub fn test(&mut self, frame: &[u8]) -> Result<TestVerdict, Error> {
        let before = self.verdicts()?;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        let result = xdp(&mut self.program, self.name)?.test_run(options).map_err(|error| program_error(&error))?;
        let after = self.verdicts()?;
        let mut counted = after.iter().zip(&before).filter(|(after, before)| after.1 != before.1);
        let (Some((after, before)), None) = (counted.next(), counted.next()) else {
            return Err(Error::Program { message: "a packet didn't count exactly one verdict".into() });
        };
        if after.1 != before.1 + 1 {
            return Err(Error::Program { message: format!("a packet counted {} more than once", after.0) });
        }
        Ok(TestVerdict {
            redirected: result.return_value == XDP_REDIRECT,
            dropped: result.return_value == XDP_DROP,
            name: after.0,
        })
    }
}

/// The name of a program that the kernel has loaded; `None`: it is gone, has none, or may not be seen.
#[must_use]
pub fn program_name(id: u32) -> Option<String> {
    let found = aya::programs::loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    found.name_as_str().map(str::to_owned)
}

/// `XDP_DROP` of linux/bpf.h.
const XDP_DROP: u32 = 1;
/// `XDP_REDIRECT` of linux/bpf.h.
const XDP_REDIRECT: u32 = 4;

/// Why a driver is faster in generic mode, for those known to be.
fn faster_in_generic_mode(driver: &str) -> Option<&'static str> {
    match driver {
        "veth" => Some("veth is faster so: 4.0 against 5.0 us per raw round trip as measured"),
        _ => None,
    }
}

fn xdp<'a>(program: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    let missing = || Error::Program { message: format!("the object has no XDP program {name}") };
    program.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
}

fn map<T>(program: &mut Ebpf, name: &str, make: impl FnOnce(Map) -> Result<T, MapError>) -> Result<T, Error> {
    let missing = || Error::Program { message: format!("the object has no map {name}") };
    make(program.take_map(name).ok_or_else(missing)?).map_err(|error| Error::Program { message: error.to_string() })
}

/// The system's error at the end of a chain of causes.
fn os_code(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error))
}

fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let words: Vec<_> = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    words.join(": ")
}

fn load_error(error: EbpfError) -> Error {
    match os_code(&error) {
        Some(libc::EPERM | libc::EACCES) => Error::privilege("loading the XDP program", &DEVICE),
        _ => Error::Program { message: describe(&error) },
    }
}

fn program_error(error: &ProgramError) -> Error {
    match (error, os_code(error)) {
        // EACCES is the verifier's, also for what it allows to others.
        (ProgramError::LoadError { io_error, .. }, _)
            if io_error.raw_os_error() == Some(libc::EACCES) && !Capability::Perfmon.held() =>
        {
            Error::privilege("loading the XDP program", &[Capability::Perfmon])
        }
        (ProgramError::LoadError { io_error, .. }, _) if io_error.raw_os_error() == Some(libc::EPERM) => {
            Error::privilege("loading the XDP program", &DEVICE)
        }
        (_, Some(libc::EPERM)) => Error::privilege("using the XDP program", &DEVICE),
        _ => Error::Program { message: describe(error) },
    }
}

fn attach_error(facts: &InterfaceFacts, mode: AttachMode, error: &ProgramError) -> Error {
    let interface = facts.name.clone();
    match os_code(error) {
        Some(libc::EPERM | libc::EACCES) => Error::privilege("attaching the XDP program", &DEVICE),
        Some(libc::ENODEV) => Error::NoInterface { interface },
        // Someone was faster than the check.
        Some(libc::EBUSY | libc::EEXIST) => {
            other_program(&InterfaceFacts::read(&interface).unwrap_or_else(|_| facts.clone()))
        }
        code => Error::ModeUnsupported {
            interface,
            driver: facts.driver.clone(),
            mtu: facts.mtu,
            queues: facts.rx_queues,
            mode: if mode == AttachMode::Native { "native" } else { "generic" },
            instead: if mode == AttachMode::Native { "generic" } else { "native" },
            answer: code.map_or_else(|| io::Error::other(describe(error)), io::Error::from_raw_os_error),
        },
    }
}

/// An interface has a program that is not ours.
fn other_program(facts: &InterfaceFacts) -> Error {
    let (interface, program_id) = (facts.name.clone(), facts.xdp_program.unwrap_or(0));
    // Who may not look at links may be told of what a link prevents.
    let link = loaded_links().filter_map(Result::ok).find(|link| link.program_id() == program_id);
    let off = if facts.xdp_mode == Some(AttachMode::Generic) { "xdpgeneric" } else { "xdp" };
    let remedy = match link {
        Some(link) => format!(", which `bpftool link show id {}` names", link.id()),
        None => format!(", or `ip link set dev {interface} {off} off`"),
    };
    Error::OtherProgram { interface, program_id, remedy }
}

fn removed(result: Result<(), MapError>, what: &'static str, limit: u32) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error, MapError::KeyNotFound) || os_code(&error) == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(map_error(error, what, limit)),
    }
}

fn map_error(error: MapError, what: &'static str, limit: u32) -> Error {
    match os_code(&error) {
        _ if matches!(error, MapError::OutOfBounds { .. }) => Error::TableFull { what, limit },
        Some(libc::E2BIG) => Error::TableFull { what, limit },
        Some(code) => Error::system("updating the steering program", io::Error::from_raw_os_error(code)),
        None => Error::Program { message: describe(&error) },
    }
}
