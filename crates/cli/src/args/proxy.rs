//! `fourwave proxy`.

use std::path::{Path, PathBuf};

use clap::Args;
use proxy::Config;

use super::stack::with_connections;
use super::{ListenArgs, Stack, StackArgs, UsageError};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave proxy -c proxy.toml --check                           is it all right?\n  \
    fourwave proxy -c proxy.toml --interface eth0\n  \
    fourwave proxy -c proxy.toml --interface eth0 --queues 0-3 --cores 2-5 --idle busy\n  \
    fourwave proxy -c proxy.toml --interface eth0 --address 10.0.0.9/24 --gateway 10.0.0.1\n  \
    fourwave proxy -c proxy.toml --stack kernel                    over the kernel's sockets, without privileges\n  \
    kill -HUP PID        reads the file again; connections that are open go on as they are\n  \
    kill -USR1 PID       listeners, backends and counters, as one line of JSON on stderr\n  \
    kill -TERM PID       no new connections; ends when the last one has, or after `drain-time`; twice: now\n\n\
    The smallest file:\n\n    \
    [[listener]]\n    name = \"web\"\n    address = \"10.0.0.1:80\"\n    pool = \"web\"\n\n    \
    [[pool]]\n    name = \"web\"\n    [[pool.backend]]\n    address = \"10.0.0.2:8080\"\n\n\
    deploy/proxy.toml explains every key, docs/PROXY.md what becomes of a connection. The flags of the stack can stand in a table\n\
    [stack] of the file, such as `interface = \"eth0\"`.\n\
    Says `listening on ADDR:PORT …` on stderr when it is ready.")]
#[command(mut_arg("stack", with_connections))]
pub(crate) struct ProxyArgs {
    /// Listeners, pools, backends, limits and timeouts (TOML)
    #[arg(short = 'c', long = "file", value_name = "FILE")]
    file: PathBuf,

    /// Only say whether the file is good
    #[arg(long)]
    check: bool,

    /// At the end, what was counted as one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: StackArgs,

    #[command(flatten)]
    connections: ListenArgs,
}

impl ProxyArgs {
    pub(crate) fn resolve(self) -> Result<crate::proxy::Config, UsageError> {
        let proxy = read(&self.file)?;
        let named = |error: UsageError| UsageError(format!("{}: {error}", self.file.display()));
        let mut at = self.at.resolve_over(Some(self.connections), &proxy.stack, named)?;
        if at.stack == Stack::Raw {
            return Err(UsageError("--stack raw has no connections: a proxy needs fourwave or kernel".into()));
        }
        // What a connection holds back is the proxy's business, unless somebody wants to know better.
        at.tcp.send_buffer = at.tcp.send_buffer.or(Some(proxy.buffer_bytes));
        at.tcp.receive_buffer = at.tcp.receive_buffer.or(Some(proxy.buffer_bytes));
        Ok(crate::proxy::Config { proxy, at, file: self.file, check: self.check, json: self.json })
    }
}

/// Reads and checks a file; a mistake names the file as well.
pub(crate) fn read(path: &Path) -> Result<Config, UsageError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| UsageError(format!("cannot read {}: {error}", path.display())))?;
    Config::parse(&text).map_err(|error| UsageError(format!("{}: {error}", path.display())))
}
