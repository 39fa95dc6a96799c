//! What is measured.

use super::{
    Client, Fourwave, Host, Line, Says, Server, Setup, bytes,
    client::{LARGE, SMALL, TRAIN},
    shuffle,
    smoltcp::Smoltcp,
    table, wheels,
};

/// From so many on of whatever it is, what costs most comes in waves, as timers do: it is measured for long, and its mean counts.
pub const MANY: usize = 100_000;

/// Does it so many times.
pub type Run = Box<dyn FnMut(u64)>;

/// Makes all that a case of this size needs.
pub type Make = fn(usize) -> Run;

/// Something that is measured, with as much of everything in place as its name says.
pub struct Case {
    /// What it is, and of how many connections, timers or bytes.
    pub name: &'static str,
    pub size: usize,
    pub ours: Make,
    /// smoltcp's equal, where it has one, and up to what size it is measured: it looks at each socket for each segment.
    pub theirs: Option<(Make, usize)>,
}

impl Case {
    pub fn id(&self) -> String {
        format!("{}/{}", self.name, self.size)
    }
}

/// A row of [`TABLE`]: a name, sizes, how ours and theirs are made, and the largest size for theirs.
type Row = (&'static str, &'static [usize], Make, Option<(Make, usize)>);

const TABLE: &[Row] = &[
    ("segment", &[1, 1000, 10_000, 1_000_000, 10_000_000], segment::<Fourwave>, Some((segment::<Smoltcp>, 10_000))),
    ("batch_segment", &[1, 1000, 10_000], batch_segment::<Fourwave>, Some((batch_segment::<Smoltcp>, 10_000))),
    (
        "batch_random",
        &[1000, 10_000, 1_000_000, 10_000_000],
        batch_random::<Fourwave>,
        Some((batch_random::<Smoltcp>, 10_000)),
    ),
    ("receive", &[1], receive::<Fourwave>, Some((receive::<Smoltcp>, 1))),
    ("bulk", &[1], bulk::<Fourwave>, Some((bulk::<Smoltcp>, 1))),
    ("request", &[1], request::<Fourwave>, Some((request::<Smoltcp>, 1))),
    ("exchange", &[1, 1000, 10_000, 1_000_000, 10_000_000], exchange::<Fourwave>, Some((exchange::<Smoltcp>, 10_000))),
    ("open_close", &[0, 1000, 1_000_000], open_close::<Fourwave>, Some((open_close::<Smoltcp>, 1000))),
    ("open_close_first", &[0], open_close_first, None),
    ("look_up", &[1, 1000, 1_000_000, 10_000_000], table::look_up, None),
    ("wheel_start_stop", &[1, 1000, 1_000_000, 10_000_000], wheels::start_stop, None),
    ("wheel_move", &[1, 1000, 1_000_000, 10_000_000], wheels::restart, None),
    ("wheel_expire", &[1, 1000, 1_000_000, 10_000_000], wheels::expire, None),
    ("checksum", &[64, 1460, 9000], bytes::checksum, Some((bytes::smoltcp_checksum, 9000))),
    ("parse_options", &[12, 20, 40], bytes::parse, Some((bytes::smoltcp_parse, 40))),
    ("emit_options", &[12, 20, 40], bytes::emit, Some((bytes::smoltcp_emit, 40))),
];

/// All cases.
pub fn cases() -> Vec<Case> {
    let case = |&(name, sizes, ours, theirs): &Row| {
        let of_size = move |&size: &usize| Case { name, size, ours, theirs: theirs.filter(|(_, most)| size <= *most) };
        sizes.iter().map(of_size).collect::<Vec<_>>()
    };
    TABLE.iter().flat_map(case).collect()
}

/// So many open connections.
fn fleet<H: Host>(setup: Setup, connections: usize) -> (Line<H>, Vec<Client>) {
    let mut line = Line::new(setup);
    let mut clients: Vec<_> = (0..connections).map(Client::new).collect();
    clients.iter_mut().for_each(|client| line.open(client));
    (line, clients)
}

/// Within so many nanoseconds each connection has its turn: before a delayed ACK is due, with smoltcp after 10 ms.
const ROUND_NS: u64 = 8_000_000;

/// Turns of the loop, each about one of so many connections, in a random order that touches each equally often. What the
/// client remembers lies in that order: its cache misses are not the stack's.
fn turns<H: Host + 'static>(setup: Setup, turn: impl Fn(&mut Line<H>, &mut Client) + 'static) -> Run {
    let connections = setup.connections;
    let (mut line, mut clients) = fleet(setup, connections);
    line.step = line.step.min(ROUND_NS / connections as u64).max(1);
    for client in &mut clients {
        (0..H::QUICK).for_each(|_| turn(&mut line, client));
    }
    shuffle(&mut clients);
    let mut at = 0;
    settled(connections, move |times| {
        for _ in 0..times {
            turn(&mut line, &mut clients[at]);
            at = if at + 1 == clients.len() { 0 } else { at + 1 };
        }
    })
}

/// Five rounds more: who was at rest is at work then, timers expire in as many turns as they will from now on, and the shard is
/// done with looking after who has just come.
fn settled(connections: usize, mut run: impl FnMut(u64) + 'static) -> Run {
    run(5 * connections as u64);
    Box::new(run)
}

/// A data segment of 536 bytes in; out goes the ACK of every second one.
fn segment<H: Host + 'static>(connections: usize) -> Run {
    turns::<H>(Setup { server: Server::Swallows, connections }, |line, client| {
        line.say(client, Says::Middle);
        assert!(line.hear(client).frames <= 1);
    })
}

/// Frames of a batch: as many as arrive while the runtime's loop does a turn under load, or half of what it takes at most.
const BATCH: usize = 32;
/// What it takes at most: where each is of another connection, it is behind sooner.
const FULL_BATCH: usize = 64;

/// One by one of a batch of the segments of [`segment`], which are one connection's: its ACK is one for all. Of many connections
/// another one has the next batch, in a random order. The last batch is as small as it comes out.
fn batch_segment<H: Host + 'static>(connections: usize) -> Run {
    let (mut line, mut clients) = fleet::<H>(Setup { server: Server::Swallows, connections }, connections);
    line.step = line.step.min(ROUND_NS / connections as u64).max(1);
    shuffle(&mut clients);
    let mut at = 0;
    settled(connections, move |times| {
        let mut left = usize::try_from(times).unwrap_or(usize::MAX);
        while left > 0 {
            let (len, client) = (BATCH.min(left), &mut clients[at]);
            line.say_train(client, Says::Middle, len);
            assert!(line.hear(client).frames > 0 || len == 1);
            at = if at + 1 == connections { 0 } else { at + 1 };
            left -= len;
        }
    })
}

/// The same, of a full batch of as many connections, in an order that is random and stays.
fn batch_random<H: Host + 'static>(connections: usize) -> Run {
    let (mut line, mut clients) = fleet::<H>(Setup { server: Server::Swallows, connections }, connections);
    line.step = line.step.min(ROUND_NS * FULL_BATCH as u64 / connections as u64).max(1);
    for clients in clients.chunks_mut(FULL_BATCH) {
        (0..H::QUICK).for_each(|_| batch(&mut line, clients));
    }
    shuffle(&mut clients);
    let mut at = 0;
    settled(connections, move |times| {
        let mut left = usize::try_from(times).unwrap_or(usize::MAX);
        while left > 0 {
            let len = FULL_BATCH.min(left).min(clients.len() - at);
            batch(&mut line, &mut clients[at..at + len]);
            at = if at + len == connections { 0 } else { at + len };
            left -= len;
        }
    })
}

fn batch<H: Host>(line: &mut Line<H>, clients: &mut [Client]) {
    line.say_each(clients, Says::Middle);
    assert!(line.hear_each(clients).frames <= clients.len() as u32);
}

/// A segment of a large response: a request in, which acknowledges the one before, and [`TRAIN`] full segments out.
fn bulk<H: Host + 'static>(connections: usize) -> Run {
    let (mut line, mut clients) = fleet::<H>(Setup { server: Server::Serves, connections }, connections);
    // Until the congestion window takes all of it at once.
    for _ in 0..100 {
        line.say(&mut clients[0], Says::Small);
        let mut bytes = line.hear(&mut clients[0]).bytes;
        while bytes < LARGE as u32 {
            line.say(&mut clients[0], Says::Ack);
            bytes += line.hear(&mut clients[0]).bytes;
        }
    }
    Box::new(move |times| {
        for _ in 0..times.div_ceil(TRAIN as u64) {
            line.say(&mut clients[0], Says::Small);
            assert_eq!(line.hear(&mut clients[0]).bytes, LARGE as u32);
        }
    })
}

/// Two full segments in, their ACK out.
fn receive<H: Host + 'static>(connections: usize) -> Run {
    turns::<H>(Setup { server: Server::Swallows, connections }, |line, client| {
        line.say(client, Says::Full);
        line.say(client, Says::Full);
        assert_eq!(line.hear(client).frames, 1);
    })
}

/// A request of 64 bytes in, which acknowledges the response before; its response of 64 bytes out.
fn request<H: Host + 'static>(connections: usize) -> Run {
    turns::<H>(Setup { server: Server::Echoes, connections }, |line, client| {
        line.say(client, Says::Small);
        assert_eq!(line.hear(client).bytes, SMALL as u32);
    })
}

/// A request in, its response out, and the ACK of that in: for many connections, on which nothing is under way meanwhile.
fn exchange<H: Host + 'static>(connections: usize) -> Run {
    turns::<H>(Setup { server: Server::Echoes, connections }, |line, client| {
        line.say(client, Says::Small);
        assert_eq!(line.hear(client).bytes, SMALL as u32);
        line.say(client, Says::Ack);
        assert_eq!(line.hear(client).frames, 0);
    })
}

/// A connection comes and goes, beside so many others; its client closes first. Four segments in, two out.
fn open_close<H: Host + 'static>(others: usize) -> Run {
    come_and_go::<H>(Server::Swallows, others, 10_000, Line::close)
}

/// The same, and the server closes first: TIME-WAIT is on its side, with 1500 records.
fn open_close_first(others: usize) -> Run {
    let mut run = come_and_go::<Fourwave>(Server::Closes, others, 60_000_000_000 / 1500 / 3, Line::close_after);
    run(1500);
    run
}

fn come_and_go<H: Host + 'static>(
    server: Server,
    others: usize,
    step: u64,
    close: impl Fn(&mut Line<H>, &mut Client) + 'static,
) -> Run {
    let setup = Setup { server, connections: others + 1 };
    let (mut line, _) = fleet::<H>(setup, others);
    line.step = step;
    let mut id = others;
    Box::new(move |times| {
        for _ in 0..times {
            // From another port each time.
            id = if id == others + 50_000 { others } else { id + 1 };
            let mut client = Client::new(others);
            client.id = id as u32;
            line.open(&mut client);
            close(&mut line, &mut client);
        }
    })
}
