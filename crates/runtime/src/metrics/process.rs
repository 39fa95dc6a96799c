//! The process, by the names that Prometheus' own client libraries use.

use super::families::{CPU, DESCRIPTORS, RESIDENT, STARTED, VIRTUAL};
use super::text::Text;
use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel counts time in hundredths of a second where it tells user space (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// What `/proc/self` has; what can't be read is left out.
pub(super) fn write(text: &mut Text) {
    let read = |name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    // Behind the name, which may have spaces and brackets: the fields from the third on.
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.trim().parse::<f64>().ok());
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        text.sample(&CPU, &[], (user + system) / TICKS_PER_SECOND);
    }
    if let (Some(ticks), Some(booted)) = (field(22), booted()) {
        text.sample(&STARTED, &[], format_args!("{:.2}", booted + ticks / TICKS_PER_SECOND));
    }
    let status = read("status");
    let bytes = |name: &str| {
        let kib =
            status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
    };
    for (family, name) in [(&VIRTUAL, "VmSize:"), (&RESIDENT, "VmRSS:")] {
        if let Some(bytes) = bytes(name) {
            text.sample(family, &[], bytes);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The folder itself is open meanwhile.
        text.sample(&DESCRIPTORS, &[], open.count().saturating_sub(1));
    }
}

/// When the machine started, in seconds since 1970: by the clocks of now, since the kernel's own word is whole seconds. Asked
/// once: the clock is set now and then, and a process does not start anew by that.
fn booted() -> Option<f64> {
    static BOOTED: OnceLock<Option<f64>> = OnceLock::new();
    *BOOTED.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let up = Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).ok()?;
        Some(since.saturating_sub(up).as_secs_f64())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_told_of() {
        let mut text = Text::new();
        write(&mut text);
        let text = text.to_string();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
            line.unwrap_or_else(|| panic!("{name} in {text}")).rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let started = value("process_start_time_seconds");
        assert!(started <= now + 0.1 && started > now - 86_400.0, "{started} of {now}");
        assert!(value("process_resident_memory_bytes") < value("process_virtual_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_cpu_seconds_total") >= 0.0);
    }
}
