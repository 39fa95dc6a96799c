//! An echo server on the stack's own threads (level 1): bytes are sent from where they were received.
//!
//! `level1_echo kernel 127.0.0.1:7000`, `level1_echo eth0 10.0.0.1:7`: on the kernel's sockets, or on fourwave's.
use fourwave::{App, ConnId, Io, Stack};

#[derive(Clone)] // a copy for each shard: there is one per receive queue
struct Echo;

impl App for Echo {
    /// What is not taken, because it could not be sent, waits and comes again when there is room; meanwhile the window closes.
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        io.send(conn, data).unwrap_or(data.len())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(on), Some(addr)) = (args.next(), args.next()) else { return Err("usage: level1_echo ON ADDRESS".into()) };
    let stack = if on == "kernel" { Stack::kernel() } else { Stack::on(on) };
    let running = stack.listen(addr.parse()?).start(Echo)?;
    println!("listening on {}", running.listening()[0]);
    running.join()?;
    Ok(())
}
