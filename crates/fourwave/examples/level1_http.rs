//! A server of HTTP/1.1 on the stack's own threads (level 1): each request is answered with its path.
//!
//! `level1_http kernel 127.0.0.1:8080`, `level1_http eth0 10.0.0.1:8080`: on the kernel's sockets, or on fourwave's.
use fourwave::{App, ConnId, ConnMap, ConnectionError, Half, Io, Stack};

/// The longest head of a request, and what may wait to be sent before the next is looked at.
const LIMIT: usize = 16 << 10;

/// A connection's own state.
#[derive(Clone, Default)]
struct Client {
    request: Vec<u8>,
    answers: Vec<u8>,
    /// Closed once everything is answered.
    ends: bool,
    /// The last request is in: what comes behind it is thrown away.
    last: bool,
}

#[derive(Clone, Default)]
struct Server(ConnMap<Client>);

impl App for Server {
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let client = self.0.get_or_insert_with(conn, Client::default);
        if client.last {
            return data.len();
        }
        // Who doesn't read the answers is not asked for more: what is not taken here closes the window.
        if client.answers.len() > LIMIT {
            return 0;
        }
        client.request.extend(data);
        while let Some(end) = client.request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = client.request.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head);
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap_or("?"), words.next().unwrap_or("?"));
            let body = format!("you asked for {path}\n");
            // A body may follow, of which nobody knows the end here.
            client.last = !matches!(method, "GET" | "HEAD");
            let close = if client.last { "Connection: close\r\n" } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{close}\r\n", body.len());
            client.answers.extend(answer.bytes());
            if method != "HEAD" {
                client.answers.extend(body.bytes());
            }
            if client.last {
                client.request.clear();
            }
        }
        if client.request.len() > LIMIT {
            let _ = io.abort(conn);
            self.0.remove(conn);
        }
        self.send(io, conn);
        data.len()
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.send(io, conn);
        self.on_readable(io, conn);
        self.send(io, conn);
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.0.get_or_insert_with(conn, Client::default).ends = true;
        self.send(io, conn);
    }

    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, _: Option<ConnectionError>) {
        self.0.remove(conn);
    }
}

impl Server {
    fn send(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.0.get_mut(conn) else { return };
        let sent = io.send(conn, &client.answers).unwrap_or(0);
        client.answers.drain(..sent);
        if client.last && client.answers.is_empty() {
            let _ = io.shutdown(conn, Half::Write);
        }
        if client.ends && client.answers.is_empty() && io.unread(conn) == Ok(0) && io.close(conn).is_ok() {
            self.0.remove(conn);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(on), Some(addr)) = (args.next(), args.next()) else { return Err("usage: level1_http ON ADDRESS".into()) };
    let stack = if on == "kernel" { Stack::kernel() } else { Stack::on(on) };
    let running = stack.listen(addr.parse()?).start(Server::default())?;
    println!("listening on {}", running.listening()[0]);
    running.join()?;
    Ok(())
}
