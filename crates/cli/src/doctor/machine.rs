//! The machine: kernel, privileges, memory, clock, cores.

use super::files::Files;
use super::item::{Item, list, numbers, yes_no};

/// Bits of linux/capability.h.
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const IPC_LOCK: u32 = 14;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// What the stack asks of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'a> {
    /// Bytes of frames, all queues together.
    pub(crate) frame_bytes: u64,
    /// The cores the workers are to run on; empty: any.
    pub(crate) cores: &'a [usize],
    /// One worker each.
    pub(crate) queues: usize,
}

/// Looks at all of it.
pub(crate) fn items(files: &Files, needs: Needs<'_>) -> Vec<Item> {
    let mut items =
        vec![kernel(files), privileges(files), locked_memory(files, needs), hugepages(files, needs), clock(files)];
    items.extend([isolation(files, needs), siblings(files, needs.cores), governor(files, needs.cores)]);
    items
}

fn kernel(files: &Files) -> Item {
    let release = files.read("proc/sys/kernel/osrelease").unwrap_or_else(|| "of an unknown version".into());
    let version = version(&release);
    let item =
        Item::new("kernel", format!("Linux {release}"), "AF_XDP sockets, and a bpf_link that ends with the process");
    match version {
        Some(version) if version < (5, 9) => {
            item.wrong("Linux 5.9 or later: before, an XDP program outlives its process")
        }
        Some(version) if version < (6, 17) => {
            item.better("Linux 6.17 or later: a system call then sends as much as the ring holds, not 32 frames")
        }
        _ => item,
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The effective capabilities, a bit each.
fn capabilities(files: &Files) -> u64 {
    let status = files.read("proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn privileges(files: &Files) -> Item {
    let mask = capabilities(files);
    let has = |bit: u32| mask & (1 << bit) != 0;
    let needed = [
        ("CAP_NET_ADMIN", has(NET_ADMIN)),
        ("CAP_NET_RAW", has(NET_RAW)),
        ("CAP_BPF", has(BPF) || has(SYS_ADMIN)),
        ("CAP_PERFMON", has(PERFMON) || has(SYS_ADMIN)),
    ];
    let missing: Vec<_> = needed.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
    let others = match files.read("proc/sys/kernel/unprivileged_bpf_disabled").as_deref() {
        Some("0") => "; others may load BPF programs",
        _ => "",
    };
    let uses = "these four, to load and attach the program and to open the sockets";
    if missing.is_empty() {
        let all: Vec<_> = needed.iter().map(|(name, _)| *name).collect();
        return Item::new("privileges", format!("{}{others}", all.join(", ")), uses);
    }
    Item::new("privileges", format!("without {}{others}", missing.join(", ")), uses)
        .wrong("sudo, or `setcap cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon,cap_ipc_lock=ep` on the program")
}

fn locked_memory(files: &Files, needs: Needs<'_>) -> Item {
    let limits = files.read("proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("unlimited");
    let uses = format!("{} MiB of frames", needs.frame_bytes >> 20);
    if capabilities(files) & (1 << IPC_LOCK) != 0 {
        return Item::new("locked-memory", "no limit for CAP_IPC_LOCK", uses);
    }
    match soft.parse::<u64>() {
        Err(_) => Item::new("locked-memory", "no limit", uses),
        Ok(limit) => {
            let item = Item::new("locked-memory", format!("{} KiB", limit >> 10), uses);
            let enough = limit >= needs.frame_bytes;
            if enough {
                item
            } else {
                item.wrong(format!("ulimit -l {}, LimitMEMLOCK=infinity, or CAP_IPC_LOCK", needs.frame_bytes >> 10))
            }
        }
    }
}

fn hugepages(files: &Files, needs: Needs<'_>) -> Item {
    const PAGE: u64 = 2 << 20;
    let meminfo = files.read("proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (free, total) = (field("HugePages_Free").unwrap_or(0), field("HugePages_Total").unwrap_or(0));
    let wanted = needs.frame_bytes.div_ceil(PAGE);
    let found = format!("{free} of {total} free");
    if field("Hugepagesize").is_some_and(|kib| kib << 10 != PAGE) {
        return Item::new("hugepages", format!("{found}, of another size than 2 MiB"), "normal pages");
    }
    if free >= wanted {
        return Item::new("hugepages", found, format!("{wanted} of 2 MiB"));
    }
    Item::new("hugepages", found, "normal pages").better(format!("sysctl -w vm.nr_hugepages={}", total - free + wanted))
}

fn clock(files: &Files) -> Item {
    const FOLDER: &str = "sys/devices/system/clocksource/clocksource0";
    let current = files.read(format!("{FOLDER}/current_clocksource")).unwrap_or_else(|| "unknown".into());
    let available = files.read(format!("{FOLDER}/available_clocksource")).unwrap_or_default();
    let uses = "the kernel's monotonic clock, once per turn of a loop";
    let item = Item::new("clock-source", &current, uses);
    match current.as_str() {
        "tsc" | "arch_sys_counter" | "unknown" => item,
        _ if available.split_whitespace().any(|name| name == "tsc") => {
            item.better(format!("echo tsc > /{FOLDER}/current_clocksource"))
        }
        "kvm-clock" | "hyperv_clocksource_tsc_page" => item,
        _ => item
            .better("boot with `tsc=reliable` if the processor's TSC is: this clock costs a system call per reading"),
    }
}

/// The first of the cores that would do, as many as there are workers.
fn advised_cores(files: &Files, queues: usize) -> String {
    let online = numbers(&files.read("sys/devices/system/cpu/online").unwrap_or_default());
    // Core 0 has most of the system's own work.
    let last: Vec<u64> = online.iter().rev().take(queues.max(1)).filter_map(|core| u64::try_from(*core).ok()).collect();
    list(&last)
}

fn isolation(files: &Files, needs: Needs<'_>) -> Item {
    let read = |name: &str| files.read(format!("sys/devices/system/cpu/{name}")).unwrap_or_default();
    // A kernel without nohz_full writes "(null)".
    let (isolated, tickless) = (numbers(&read("isolated")), numbers(&read("nohz_full")));
    let text = |cores: &[usize]| list(&cores.iter().map(|core| *core as u64).collect::<Vec<_>>());
    let found = format!("isolated: {}; without a tick: {}", text(&isolated), text(&tickless));
    if needs.cores.is_empty() {
        let advice =
            format!("--cores {}, and boot with isolcpus= and nohz_full= for those", advised_cores(files, needs.queues));
        return Item::new("cpu-isolation", found, "workers that the kernel puts where it wants").better(advice);
    }
    let cores = text(needs.cores);
    let alone = needs.cores.iter().all(|core| isolated.contains(core) && tickless.contains(core));
    Item::new("cpu-isolation", found, format!("a worker pinned to each of {cores}"))
        .better_if(!alone, format!("boot with isolcpus={cores} nohz_full={cores} rcu_nocbs={cores}"))
}

fn siblings(files: &Files, cores: &[usize]) -> Item {
    let of = |core: usize| {
        let path = format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let mut all = numbers(&files.read(path).unwrap_or_default());
        all.retain(|other| *other != core);
        all
    };
    let active = files.read("sys/devices/system/cpu/smt/active").is_some_and(|active| active == "1");
    let found = format!("hyper-threading: {}", yes_no(active));
    let shared: Vec<u64> = cores.iter().flat_map(|core| of(*core)).map(|core| core as u64).collect();
    let item = Item::new("smt", found, "a whole core for each worker, if its sibling is idle");
    let first = shared.first().copied().unwrap_or(0);
    item.better_if(
        active && !shared.is_empty(),
        format!("leave {} idle: echo 0 > /sys/devices/system/cpu/cpu{first}/online", list(&shared)),
    )
}

fn governor(files: &Files, cores: &[usize]) -> Item {
    let any = [0];
    let cores = if cores.is_empty() { &any[..] } else { cores };
    let of = |core: &usize| files.read(format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"));
    let mut governors: Vec<String> = cores.iter().filter_map(of).collect();
    governors.sort();
    governors.dedup();
    let uses = "the frequency that the machine gives";
    if governors.is_empty() {
        return Item::new("cpu-frequency", "not under this kernel's control", uses);
    }
    let slow = governors.iter().any(|governor| governor != "performance");
    Item::new("cpu-frequency", format!("governor {}", governors.join(", ")), uses)
        .better_if(slow, "cpupower frequency-set -g performance")
}

#[cfg(test)]
mod tests {
    use super::super::files::made_up::MadeUp;
    use super::super::item::Verdict;
    use super::*;

    const NEEDS: Needs<'_> = Needs { frame_bytes: 32 << 20, cores: &[], queues: 1 };

    #[test]
    fn kernels() {
        let verdict = |release| kernel(&MadeUp::new(&[("proc/sys/kernel/osrelease", release)])).verdict;
        assert_eq!(verdict("5.4.0-42-generic"), Verdict::Wrong);
        assert_eq!(verdict("5.9.0"), Verdict::CouldBeBetter);
        assert_eq!(verdict("6.17.0-rc1+"), Verdict::Ok);
        assert_eq!(verdict("7.0"), Verdict::Ok);
    }

    /// Numbers of linux/capability.h: all of root's, none, the four that are needed, and CAP_SYS_ADMIN in place of two.
    #[test]
    fn capabilities_are_read_from_the_mask() {
        let item =
            |mask: &str| privileges(&MadeUp::new(&[("proc/self/status", &format!("Name:\tx\nCapEff:\t{mask}\n"))]));
        assert_eq!(item("000001ffffffffff").verdict, Verdict::Ok);
        assert_eq!(item("000000c000003000").verdict, Verdict::Ok);
        assert_eq!(item("0000000000203000").verdict, Verdict::Ok);
        let none = item("0000000000000000");
        assert_eq!(
            (none.verdict, none.found.as_str()),
            (Verdict::Wrong, "without CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON")
        );
        assert_eq!(item("000000c000002000").found, "without CAP_NET_ADMIN");
        assert_eq!(item("0000008000003000").found, "without CAP_PERFMON");
    }

    #[test]
    fn locked_memory_is_counted_unless_a_capability_lifts_it() {
        let item = |mask: &str, limit: &str| {
            let limits =
                format!("Limit  Soft Limit  Hard Limit  Units\nMax locked memory         {limit}   {limit}    bytes\n");
            locked_memory(
                &MadeUp::new(&[("proc/self/status", &format!("CapEff:\t{mask}")), ("proc/self/limits", &limits)]),
                NEEDS,
            )
        };
        let small = item("0", "8388608");
        assert_eq!((small.verdict, small.found.as_str()), (Verdict::Wrong, "8192 KiB"));
        assert!(small.improve.unwrap().contains("ulimit -l 32768"));
        assert_eq!(item("0", "33554432").verdict, Verdict::Ok);
        assert_eq!(item("0", "unlimited").verdict, Verdict::Ok);
        assert_eq!(item("4000", "8388608").verdict, Verdict::Ok);
    }

    #[test]
    fn huge_pages_in_use_are_others() {
        let item = |total: u32, free: u32| {
            let text = format!("HugePages_Total: {total}\nHugePages_Free: {free}\nHugepagesize:    2048 kB\n");
            hugepages(&MadeUp::new(&[("proc/meminfo", &text)]), NEEDS)
        };
        // 32 MiB are 16 pages of 2 MiB.
        assert_eq!(item(16, 16).verdict, Verdict::Ok);
        assert_eq!(item(20, 15).improve.unwrap(), "sysctl -w vm.nr_hugepages=21");
    }

    #[test]
    fn clocks() {
        let folder = "sys/devices/system/clocksource/clocksource0";
        let item = |current, available| {
            let (one, all) = (format!("{folder}/current_clocksource"), format!("{folder}/available_clocksource"));
            clock(&MadeUp::new(&[(&one, current), (&all, available)]))
        };
        assert_eq!(item("tsc", "tsc hpet").verdict, Verdict::Ok);
        assert_eq!(item("kvm-clock", "kvm-clock").verdict, Verdict::Ok);
        assert!(item("hpet", "tsc hpet acpi_pm").improve.unwrap().starts_with("echo tsc >"));
        assert!(item("acpi_pm", "acpi_pm").improve.unwrap().contains("tsc=reliable"));
    }

    #[test]
    fn cores_are_isolated_only_if_all_of_them_are() {
        let files = MadeUp::new(&[
            ("sys/devices/system/cpu/isolated", "2-3"),
            ("sys/devices/system/cpu/nohz_full", "2-3"),
            ("sys/devices/system/cpu/online", "0-3"),
            ("sys/devices/system/cpu/smt/active", "1"),
            ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2"),
            ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave"),
        ]);
        let verdict = |cores: &[usize]| isolation(&files, Needs { cores, ..NEEDS }).verdict;
        assert_eq!(
            [verdict(&[2, 3]), verdict(&[1, 2]), verdict(&[])],
            [Verdict::Ok, Verdict::CouldBeBetter, Verdict::CouldBeBetter]
        );
        assert!(isolation(&files, Needs { queues: 2, ..NEEDS }).improve.unwrap().starts_with("--cores 2-3,"));
        assert!(siblings(&files, &[2]).improve.unwrap().contains("cpu0/online"));
        assert_eq!(siblings(&files, &[3]).verdict, Verdict::Ok);
        assert_eq!(governor(&files, &[2]).verdict, Verdict::CouldBeBetter);
        assert_eq!(governor(&files, &[3]).verdict, Verdict::Ok);
    }
}
