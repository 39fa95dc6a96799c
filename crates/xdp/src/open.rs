//! One call from a configuration to ports that receive.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::abi::MAX_QUEUES;
use crate::config::XskConfig;
use crate::error::Error;
use crate::facts::{InterfaceFacts, Offloads};
use crate::report::{AttachMode, Report};
use crate::steering::Steering;
use crate::tx_checksum::XskPort;

/// A local address of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// Whether everything for it is the stack's; otherwise it is shared with the kernel.
    pub owned: bool,
    /// On a shared address: the local TCP ports of the stack's active opens.
    pub ports: Option<RangeInclusive<u16>>,
}

impl LocalAddress {
    /// An address that is the stack's alone.
    #[must_use]
    pub fn owned(address: IpAddr) -> Self {
        Self { address, owned: true, ports: None }
    }

    /// An address shared with the kernel; `ports` are those of the stack's active opens.
    #[must_use]
    pub fn shared(address: IpAddr, ports: Option<RangeInclusive<u16>>) -> Self {
        Self { address, owned: false, ports }
    }
}

/// Loads the steering program, makes the addresses known, attaches it to `config.interface`, and opens and registers a port
/// on each of `queues`, which must be all that the interface has (`config.queue` isn't looked at). To be called in the network namespace of the interface; ports may
/// then move to other threads. Drop `Steering` after the ports, or before: either order leaves nothing behind.
///
/// # Errors
/// [`Error::QueuesUnserved`], [`Error::TooManyQueues`], those of [`Steering::attach`] and [`XskPort::open`]; nothing is left attached.
pub fn open(
    config: &XskConfig,
    queues: &[u32],
    addresses: &[LocalAddress],
) -> Result<(Steering, Vec<XskPort>, Report), Error> {
    config.validate()?;
    let facts = InterfaceFacts::read(&config.interface)?;
    if queues.is_empty() {
        return Err(Error::Config { field: "queues", value: String::new(), allowed: "at least one queue" });
    }
    check_queues(&facts, queues)?;
    let mut steering = load(config, &facts)?;
    for local in addresses {
        steering.add_address(local.address, local.owned, local.ports.clone())?;
        if let (IpAddr::V6(address), true) = (local.address, local.owned) {
            steering.join_group_of(facts.ifindex, address)?;
        }
    }
    let (xdp_mode, xdp_mode_reason) = steering.attach(&config.interface, config.xdp_mode)?;
    let mut ports = Vec::with_capacity(queues.len());
    for &queue in queues {
        let port = XskPort::open(&XskConfig { queue, ..config.clone() }, xdp_mode)?;
        steering.register(&port)?;
        ports.push(port);
    }
    let made = ports[0].made();
    let report = Report {
        interface: config.interface.clone(),
        ifindex: facts.ifindex,
        driver: facts.driver.clone(),
        queues_available: facts.rx_queues,
        queues: queues.to_vec(),
        xdp_mode,
        xdp_mode_reason,
        zero_copy: ports.iter().all(|port| port.made().zero_copy),
        copy_mode_reason: made.zero_copy_reason.clone(),
        hugepages: ports.iter().all(|port| port.made().hugepages),
        hugepages_reason: made.hugepages_reason.clone(),
        multi_buffer: made.multi_buffer,
        multi_buffer_reason: multi_buffer_reason(config, &facts, made.multi_buffer),
        tx_checksum: ports.iter().all(|port| port.made().tx_checksum),
        tx_checksum_reason: made.tx_checksum_reason.clone(),
        need_wakeup: true,
        tx_budget: made.tx_budget,
        frame_count: config.frame_count,
        frame_size: config.frame_size,
        mtu: facts.mtu,
        mac: facts.mac,
        program_id: steering.program_id()?,
        warnings: warnings(&facts, xdp_mode),
    };
    tracing::info!(%report, "interface opened");
    Ok((steering, ports, report))
}

fn warnings(facts: &InterfaceFacts, mode: AttachMode) -> Vec<String> {
    let offloads = Offloads::read(&facts.name).unwrap_or_default();
    [facts.offload_warning(&offloads), facts.unfinished_warning(mode, &offloads)].into_iter().flatten().collect()
}

/// The program that the interface's MTU needs.
fn load(config: &XskConfig, facts: &InterfaceFacts) -> Result<Steering, Error> {
    if !config.needs_multi_buffer(facts.mtu) {
        return Steering::load(config.syn_limit.as_ref());
    }
    Steering::load_multi_buffer(config.syn_limit.as_ref()).map_err(|error| match error {
        // Before Linux 5.18.
        Error::Program { message } => Error::MtuTooLarge {
            interface: facts.name.clone(),
            mtu: facts.mtu,
            most: config.single_buffer_mtu(),
            reason: format!("this kernel takes no XDP program for several frames per packet ({message})"),
        },
        error => error,
    })
}

fn multi_buffer_reason(config: &XskConfig, facts: &InterfaceFacts, used: bool) -> String {
    let most = config.single_buffer_mtu();
    if used {
        format!("an MTU of {} is more than the {most} that one frame holds", facts.mtu)
    } else {
        format!("one frame holds an MTU of {most}")
    }
}

/// Every queue must be one of the interface's, and none left out: the program can only send a packet to a socket of the queue
/// it came in on, and the kernel knows nothing of the stack's connections.
fn check_queues(facts: &InterfaceFacts, queues: &[u32]) -> Result<(), Error> {
    let (interface, available) = (facts.name.clone(), facts.rx_queues);
    if (1..queues.len()).any(|at| queues[..at].contains(&queues[at])) {
        return Err(Error::Config { field: "queues", value: format!("{queues:?}"), allowed: "each queue once" });
    }
    if let Some(&queue) = queues.iter().find(|queue| **queue >= available) {
        return Err(Error::QueueOutOfRange { interface, queue, queues: available });
    }
    let channels = if facts.driver == "veth" { "rx" } else { "combined" };
    if (0..available).any(|queue| !queues.contains(&queue)) {
        return Err(Error::QueuesUnserved { interface, available, served: queues.len(), channels });
    }
    // Each has pinned its memory before the last ones are refused.
    if available > MAX_QUEUES {
        return Err(Error::TooManyQueues { interface, available, most: MAX_QUEUES, channels });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_are_named_twice_are_refused_by_their_name() {
        let facts = InterfaceFacts::read("lo").unwrap();
        let all: Vec<u32> = (0..facts.rx_queues).collect();
        assert!(check_queues(&facts, &all).is_ok());
        let twice = [all, vec![0]].concat();
        let text = check_queues(&facts, &twice).unwrap_err().to_string();
        assert!(text.starts_with("queues = \"[0") && text.ends_with("each queue once"), "{text}");
    }
}
