//! Which core a thread runs on.

use core_affinity::CoreId;

/// Pins the calling thread to `core`.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    if core_affinity::set_for_current(CoreId { id: core }) {
        return Ok(());
    }
    let usable: Vec<String> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id.to_string()).collect();
    anyhow::bail!("this process can't run on core {core}: choose --cores from {}", usable.join(","))
}

/// The cores this process may use, in order.
pub(crate) fn cores() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.iter().map(|core| core.id).collect()
}
