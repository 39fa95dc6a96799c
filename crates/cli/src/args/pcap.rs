//! `fourwave pcap`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use fourwave::capture::WHOLE;

use super::UsageError;
use super::parse::parse_seconds;
use crate::pcap::{Config, Ring, Target};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave pcap -w all.pcapng\n  \
    fourwave pcap -w - tcp port 443 | tshark -r -\n  \
    fourwave pcap -w - | wireshark -k -i -\n  \
    fourwave pcap --pid 4242 --tcb --count 1000 -w states.pcapng 'host 10.0.0.7 and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0'\n  \
    fourwave pcap --snaplen 96 --ring-files 10 --ring-bytes 100000000 -w /var/tmp/ring.pcapng\n\n\
    Shows what the stack of a running process receives and sends, both ways, with times in nanoseconds: a frame as it is handed\n\
    to the stack, and as the stack writes it. Frames that the XDP program leaves to the kernel (ssh, ARP of shared addresses,\n\
    other ports) are not among them: tcpdump shows those, and it does not show these.\n\n\
    FILTER is that of tcpdump (pcap-filter(7)), which compiles it and has to be installed. The stack waits for nobody: what finds\n\
    the buffer full is dropped from the capture, and counted in it. Files are pcapng, one interface for each shard.\n\n\
    Ctrl-C ends it, with the statistics in the file and a line on stderr.")]
pub(crate) struct PcapArgs {
    /// Which process [default: the only one]
    #[arg(long)]
    pid: Option<u32>,

    /// Where there are several stacks: the one on this interface
    #[arg(long, value_name = "IF")]
    interface: Option<String>,

    /// The file to write; - is stdout
    #[arg(short = 'w', long, value_name = "FILE", default_value = "-")]
    write: PathBuf,

    /// Bytes to keep of each frame, 1 to 262144 [default: all of it]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(WHOLE)))]
    snaplen: Option<u32>,

    /// End behind so many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after so many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    duration: Option<Duration>,

    /// Keep the last so many files, 2 to 100000, named FILE_00001_20260131120000.pcapng and so on [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    ring_files: Option<u32>,

    /// Begin the next file when one has so many bytes, 1000 at least
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1000..))]
    ring_bytes: Option<u64>,

    /// Begin the next file after so many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    ring_seconds: Option<Duration>,

    /// Each frame with a comment: its connection's state, cwnd, ssthresh, srtt, bytes in flight and queues
    #[arg(long)]
    tcb: bool,

    /// Bytes that may wait for the file, of each shard, 65536 to 268435456
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u32).range(65_536..=268_435_456))]
    buffer_bytes: u32,

    /// What was captured, as one JSON document on stdout
    #[arg(long)]
    json: bool,

    /// Which frames, in tcpdump's words [default: all]
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

impl PcapArgs {
    pub(crate) fn resolve(self) -> Result<Config, UsageError> {
        let wrong = |text: &str| Err(UsageError(text.into()));
        let ring = self.ring_bytes.is_some() || self.ring_seconds.is_some();
        if self.ring_files.is_some() && !ring {
            return wrong("--ring-files needs --ring-bytes or --ring-seconds, which say when the next file begins");
        }
        let stdout = self.write == Path::new("-");
        if ring && stdout {
            return wrong("a ring of files needs a name for them: -w FILE");
        }
        if self.json && stdout {
            return wrong("--json is for stdout, and so is the capture: -w FILE");
        }
        let target = match (stdout, ring) {
            (true, _) => Target::Stdout,
            (false, false) => Target::File(self.write),
            (false, true) => {
                let (files, bytes, time) = (self.ring_files, self.ring_bytes, self.ring_seconds);
                Target::Ring(Ring { name: self.write, files, bytes, time })
            }
        };
        Ok(Config {
            pid: self.pid,
            interface: self.interface,
            target,
            snaplen: self.snaplen.unwrap_or(WHOLE),
            count: self.count,
            duration: self.duration,
            comments: self.tcb,
            buffer_bytes: self.buffer_bytes,
            json: self.json,
            filter: self.filter.join(" "),
        })
    }
}
