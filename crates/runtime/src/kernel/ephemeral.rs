//! The kernel must not give our ports of active opens to its own connections: where they are ephemeral ports of its as well
//! they are added to `net.ipv4.ip_local_reserved_ports` of the network namespace, and taken out again at the end.
//!
//! Who reserves leaves a record beside the control sockets. It says what to take back of a process that was killed, and what
//! another one still needs.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// The kernel gives a list of ports in one piece only, and this is longer than any.
const LONGEST: usize = 256 << 10;
/// Stacks of one process.
const MOST: u32 = 64;
/// Records that dead processes of other namespaces may leave: of most of these nobody can know whether they are still there.
const MOST_ELSEWHERE: usize = 256;

/// A list such as `8080,9148-9150`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ports(BTreeSet<u16>);

impl Ports {
    pub(super) fn parse(list: &str) -> Self {
        let range = |item: &str| {
            let (low, high) = item.split_once('-').unwrap_or((item, item));
            Some(low.trim().parse::<u16>().ok()?..=high.trim().parse().ok()?)
        };
        Self(list.split(',').filter_map(range).flatten().collect())
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ports = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(low) = ports.next() {
            let mut high = low;
            while let Some(next) = ports.next_if(|port| high.checked_add(1) == Some(*port)) {
                high = next;
            }
            match low == high {
                true => write!(f, "{comma}{low}")?,
                false => write!(f, "{comma}{low}-{high}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

/// The kernel's ephemeral range, and what is reserved of it.
pub(super) fn kernels() -> io::Result<(Option<RangeInclusive<u16>>, Ports)> {
    let range = fs::read_to_string(RANGE)?;
    let range: Vec<u16> = range.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let range = if let [first, last] = range[..] { Some(first..=last) } else { None };
    Ok((range, read(&mut File::open(RESERVED)?)?))
}

fn read(list: &mut File) -> io::Result<Ports> {
    let mut bytes = vec![0; LONGEST];
    list.rewind()?;
    let len = list.read(&mut bytes)?;
    Ok(Ports::parse(&String::from_utf8_lossy(&bytes[..len])))
}

fn write(list: &mut File, ports: &Ports) -> io::Result<()> {
    list.rewind()?;
    list.write_all(format!("{ports}\n").as_bytes())
}

/// What is to be reserved: all of it, and our part of that.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    all: Ports,
    ours: Ports,
}

/// `current` is reserved, of which `live` by others who are still there, and `stale` by those who are not; `needed` are the
/// ports of ours that the kernel would use as well. What nobody of us has reserved is the administrator's, and stays so.
fn plan(current: &Ports, live: &Ports, stale: &Ports, needed: &Ports) -> Plan {
    let by_us: BTreeSet<u16> = live.0.union(&stale.0).copied().collect();
    let administrators: BTreeSet<u16> = current.0.difference(&by_us).copied().collect();
    let ours: BTreeSet<u16> = needed.0.difference(&administrators).copied().collect();
    let left_behind: BTreeSet<u16> = stale.0.difference(&live.0).copied().collect();
    let kept = current.0.difference(&left_behind).copied();
    Plan { all: Ports(kept.chain(ours.iter().copied()).collect()), ours: Ports(ours) }
}

/// `current` without what was ours, but for what others still need.
fn without(current: &Ports, ours: &Ports, others: &Ports) -> Ports {
    let gone: BTreeSet<u16> = ours.0.difference(&others.0).copied().collect();
    Ports(current.0.difference(&gone).copied().collect())
}

/// Ports that are reserved from the kernel's ephemeral ones until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// The list of the namespace this was made in, whatever namespace the thread that drops it is in.
    list: File,
    ours: Ports,
    directory: PathBuf,
    record: PathBuf,
    namespace: Namespace,
}

impl Reservation {
    /// Reserves those of `ours` that the kernel would use for its own connections, and takes back what dead processes have
    /// left; `None` if there is nothing to reserve. Needs root or `CAP_NET_ADMIN`, and to write into `directory`.
    pub(crate) fn make(ours: Option<&RangeInclusive<u16>>, directory: &Path) -> io::Result<Option<Self>> {
        let (range, reserved) = kernels()?;
        let shared = |port: &u16| range.as_ref().is_some_and(|range| range.contains(port));
        let needed = Ports(ours.into_iter().flat_map(|ours| ours.clone().filter(shared)).collect());
        if !directory.exists() && needed.0.iter().all(|port| reserved.contains(*port)) {
            return Ok(None);
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let _lock = lock(directory)?;
        let namespace = Namespace::current()?;
        forget(directory, namespace);
        let records = Record::read_here(directory, namespace);
        let of =
            |alive: bool| Ports(records.iter().filter(|r| r.alive == alive).flat_map(|r| r.ports.0.clone()).collect());
        let mut list = File::options().read(true).write(true).open(RESERVED)?;
        let current = read(&mut list)?;
        let Plan { all, ours } = plan(&current, &of(true), &of(false), &needed);
        let record = if ours.0.is_empty() { None } else { Some(Record::write(directory, namespace, &ours)?) };
        let changed = if all == current { Ok(()) } else { write(&mut list, &all) };
        if let (Err(_), Some(record)) = (&changed, &record) {
            let _ = fs::remove_file(record);
        }
        changed?;
        for stale in records.iter().filter(|record| !record.alive) {
            tracing::info!(ports = %stale.ports, "a reservation that a killed process left is taken back");
            let _ = fs::remove_file(&stale.path);
        }
        Ok(record.map(|record| Self { list, ours, directory: directory.to_owned(), record, namespace }))
    }

    fn take_back(&mut self) -> io::Result<()> {
        let _lock = lock(&self.directory)?;
        let records = Record::read_here(&self.directory, self.namespace);
        let others = records.iter().filter(|record| record.alive && record.path != self.record);
        let others = Ports(others.flat_map(|record| record.ports.0.clone()).collect());
        let current = read(&mut self.list)?;
        write(&mut self.list, &without(&current, &self.ours, &others))?;
        fs::remove_file(&self.record)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Without the privilege, which may have been given up, the next start does it: the record stays.
        if let Err(error) = self.take_back() {
            tracing::debug!(%error, ports = %self.ours, "a reservation stays until the next start");
        }
    }
}

/// Only one changes the list at a time, of those who keep records.
fn lock(directory: &Path) -> io::Result<File> {
    let path = directory.join("ports.lock");
    let lock = File::options().create(true).truncate(false).write(true).open(path)?;
    lock.lock()?;
    Ok(lock)
}

/// Removes what dead processes left of namespaces that are gone, or so many others ago that they must be.
fn forget(directory: &Path, here: Namespace) {
    let mut elsewhere: Vec<_> = Record::read_all(directory);
    elsewhere.retain(|record| !record.alive && !record.of.is(here));
    let written = |record: &Record| fs::metadata(&record.path).and_then(|metadata| metadata.modified()).ok();
    elsewhere.sort_by_cached_key(|record| Reverse(written(record)));
    for (newer, record) in elsewhere.iter().enumerate() {
        if newer >= MOST_ELSEWHERE || record.of.inode == here.inode {
            let _ = fs::remove_file(&record.path);
        }
    }
}

/// A network namespace: its inode, which may be another's once it is gone, and its cookie, which never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Namespace {
    inode: u64,
    /// `None`: of a kernel older than 5.14.
    cookie: Option<u64>,
}

impl Namespace {
    /// That of the calling thread.
    fn current() -> io::Result<Self> {
        let inode = fs::metadata("/proc/thread-self/ns/net")?.ino();
        Ok(Self { inode, cookie: xdp::sockets::namespace_cookie().ok() })
    }

    fn is(self, other: Self) -> bool {
        let differ = |(one, other): (u64, u64)| one != other;
        self.inode == other.inode && !self.cookie.zip(other.cookie).is_some_and(differ)
    }

    fn parse(text: &str) -> Option<Self> {
        let (inode, cookie) = text.split_once('.').map_or((text, None), |(inode, cookie)| (inode, Some(cookie)));
        Some(Self { inode: inode.parse().ok()?, cookie: cookie.map(str::parse).transpose().ok()? })
    }
}

/// As it stands in a record: `INODE.COOKIE`.
impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inode)?;
        self.cookie.map_or(Ok(()), |cookie| write!(f, ".{cookie}"))
    }
}

/// What a process has reserved: `PID.ports`, and `PID-1.ports` and so on for further stacks of it, with two lines: the
/// namespace and when the process began, and the ports.
#[derive(Debug)]
struct Record {
    path: PathBuf,
    of: Namespace,
    ports: Ports,
    alive: bool,
}

impl Record {
    fn read_all(directory: &Path) -> Vec<Self> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::parse(&entry.path())).collect()
    }

    /// Those of a namespace.
    fn read_here(directory: &Path, namespace: Namespace) -> Vec<Self> {
        let mut records = Self::read_all(directory);
        records.retain(|record| record.of.is(namespace));
        records
    }

    fn parse(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".ports")?;
        let pid: u32 = stem.split('-').next()?.parse().ok()?;
        let text = fs::read_to_string(path).ok()?;
        let (of, ports) = text.split_once('\n')?;
        let (namespace, began) = of.split_once(' ')?;
        let alive = began.parse().is_ok_and(|began: u64| self::began(pid) == Some(began));
        Some(Self { path: path.to_owned(), of: Namespace::parse(namespace)?, ports: Ports::parse(ports), alive })
    }

    fn write(directory: &Path, namespace: Namespace, ports: &Ports) -> io::Result<PathBuf> {
        let pid = std::process::id();
        let began = began(pid).unwrap_or_default();
        for number in 0..MOST {
            let name = if number == 0 { format!("{pid}.ports") } else { format!("{pid}-{number}.ports") };
            let path = directory.join(name);
            match File::options().create_new(true).write(true).open(&path) {
                // One is of another stack of ours, or of a dead process of another namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(mut file) => {
                    file.write_all(format!("{namespace} {began}\n{ports}\n").as_bytes())?;
                    return Ok(path);
                }
            }
        }
        Err(io::Error::other("this process has too many stacks"))
    }
}

/// When a process began, in ticks since boot: its number may be another's by now.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the twenty-second field is the twentieth behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(list: &str) -> Ports {
        Ports::parse(list)
    }

    #[test]
    fn lists_are_read_and_written_as_the_kernel_has_them() {
        for list in ["", "8080", "8080,9148-9150", "0-65535", "1,3,5-6,65534-65535"] {
            assert_eq!(ports(&format!("{list}\n")).to_string(), list);
        }
        assert_eq!(ports("7,5-6, 8").to_string(), "5-8");
        assert!(ports("8080,9148-9150").contains(9149) && !ports("8080").contains(8081));
    }

    #[test]
    fn what_the_administrator_reserved_is_never_taken_back() {
        let first = plan(&ports("8080,61000-61009"), &ports(""), &ports(""), &ports("61000-65535"));
        assert_eq!(
            (first.all.to_string().as_str(), first.ours.to_string().as_str()),
            ("8080,61000-65535", "61010-65535")
        );
        assert_eq!(without(&first.all, &first.ours, &ports("")), ports("8080,61000-61009"));
    }

    #[test]
    fn two_stacks_need_the_same_ports_until_both_are_gone() {
        let first = plan(&ports(""), &ports(""), &ports(""), &ports("61000-61999"));
        let second = plan(&first.all, &first.ours, &ports(""), &ports("61500-62499"));
        assert_eq!((second.all.to_string(), second.ours.to_string()), ("61000-62499".into(), "61500-62499".into()));
        let left = without(&second.all, &first.ours, &second.ours);
        assert_eq!(left, ports("61500-62499"));
        assert_eq!(without(&left, &second.ours, &ports("")), ports(""));
    }

    #[test]
    fn what_the_dead_left_is_taken_back_unless_the_living_need_it() {
        let after = plan(&ports("22,61000-61999"), &ports("61100-61199"), &ports("61000-61999"), &ports(""));
        assert_eq!((after.all, after.ours), (ports("22,61100-61199"), ports("")));
        let again = plan(&ports("22,61000-61999"), &ports(""), &ports("61000-61999"), &ports("61500-61999"));
        assert_eq!((again.all, again.ours), (ports("22,61500-61999"), ports("61500-61999")));
    }

    #[test]
    fn a_record_is_alive_as_long_as_its_process() {
        let directory = std::env::temp_dir().join(format!("fourwave-ports-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let here = Namespace::current().unwrap();
        let own = Record::write(&directory, here, &ports("61000-61999")).unwrap();
        let second = Record::write(&directory, here, &ports("62000")).unwrap();
        assert_ne!(own, second);
        // Another process has the number of a dead one; and one of another namespace, of which nothing is known here.
        fs::write(directory.join("1.ports"), format!("{here} 77777777777\n61000\n")).unwrap();
        fs::write(directory.join("2.ports"), "12 1\n61000\n").unwrap();
        fs::write(directory.join("nonsense.ports"), "").unwrap();
        let mut found = Record::read_here(&directory, here);
        found.sort_by_key(|record| (record.alive, record.ports.0.len()));
        let found: Vec<_> = found.iter().map(|record| (record.alive, record.ports.to_string())).collect();
        assert_eq!(found, [(false, "61000".into()), (true, "62000".into()), (true, "61000-61999".into())]);
        fs::remove_dir_all(&directory).unwrap();
    }

    /// The inode of a namespace that is gone is given to the next one.
    #[test]
    fn another_namespace_of_the_same_inode_is_another() {
        let directory = std::env::temp_dir().join(format!("fourwave-inode-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let here = Namespace { inode: 4_026_531_840, cookie: Some(7) };
        let of = |text: &str| Namespace::parse(text).unwrap();
        assert_eq!((here.to_string().as_str(), of(&here.to_string())), ("4026531840.7", here));
        // Without a cookie, from an older kernel or program, the inode is all there is to go by.
        assert!(here.is(here) && here.is(of("4026531840")) && of("4026531840").is(here));
        assert!(!here.is(of("4026531840.8")) && !here.is(of("4026531841.7")));

        let dead = |pid: u32, of: &str| fs::write(directory.join(format!("{pid}.ports")), format!("{of} 0\n61000\n"));
        dead(1, "4026531840.6").unwrap();
        dead(2, "4026531840.7").unwrap();
        dead(3, "4026531841.5").unwrap();
        let own = Record::write(&directory, of("4026531840.6"), &ports("61000")).unwrap();
        assert_eq!(Record::read_here(&directory, here).len(), 1, "what is reserved there is not reserved here");
        forget(&directory, here);
        let left = |pid: u32| directory.join(format!("{pid}.ports")).exists();
        assert_eq!([1, 2, 3].map(left), [false, true, true], "only what is known to be gone is forgotten");
        assert!(own.exists(), "a process that lives may take it back in time");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_the_dead_left_elsewhere_is_no_more_than_so_much() {
        let directory = std::env::temp_dir().join(format!("fourwave-elsewhere-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for number in 0..MOST_ELSEWHERE + 10 {
            let path = directory.join(format!("1-{number}.ports"));
            fs::write(&path, format!("{number}.{number} 0\n61000\n")).unwrap();
            let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        }
        forget(&directory, Namespace { inode: 4_026_531_840, cookie: Some(7) });
        let left = |number: usize| directory.join(format!("1-{number}.ports")).exists();
        assert_eq!((left(9), left(10), left(MOST_ELSEWHERE + 9)), (false, true, true), "the oldest go");
        fs::remove_dir_all(&directory).unwrap();
    }
}
