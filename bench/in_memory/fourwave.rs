//! A whole shard, driven as the runtime does it, with a batch of as many frames as there are.

use super::{
    Host, Server, Setup,
    client::{LARGE, OURS, PEER, PORT, PREFIX_LEN, SERVER, addresses},
};
use core::net::{IpAddr, SocketAddr};
use stack::{
    App, ConnId, Duration, Frames, Instant, Io, ListenOptions, ListenerId, LocalAddress, Settings, Shard, ShardConfig,
    SynCookies, TcpConfig,
};

#[derive(Debug)]
pub struct Fourwave {
    pub shard: Shard,
    app: Application,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Application(Server, Vec<u8>);

impl Application {
    #[inline(never)]
    fn answer(&self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        let _ = io.send(conn, if self.0 == Server::Serves { &self.1 } else { data });
    }
}

impl App for Application {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        match self.0 {
            Server::Swallows => {}
            Server::Echoes | Server::Serves => drop(io.set_nodelay(conn, true)),
            Server::Closes => drop(io.close(conn)),
        }
    }

    #[inline(always)] // as what smoltcp's data is taken with
    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        if matches!(self.0, Server::Echoes | Server::Serves) {
            self.answer(io, conn, data);
        }
        data.len()
    }
}

/// What is sent is shown at once.
struct Shown<'a, F> {
    buffer: &'a mut [u8],
    sent: F,
}

impl<F: FnMut(&[u8])> Frames for Shown<'_, F> {
    #[inline]
    fn buffer(&mut self) -> Option<&mut [u8]> {
        Some(self.buffer)
    }

    #[inline]
    fn push(&mut self, len: usize, _: Option<(u16, u16)>) {
        (self.sent)(&self.buffer[..len]);
    }
}

impl Host for Fourwave {
    type Time = Instant;
    const QUICK: usize = 16;

    #[inline]
    fn time(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn new(setup: Setup) -> Self {
        let address = LocalAddress { ip: IpAddr::V4(SERVER), prefix_len: PREFIX_LEN, owned: false };
        let mut config = ShardConfig::new(OURS, 1500, vec![address], [[7; 16]; 4]);
        // And one that comes, or goes, while the others stay.
        let most = setup.connections as u32 + 2;
        config.max_connections = config.max_connections.max(most);
        config.max_time_wait = config.max_time_wait.max(most);
        config.max_half_open = config.max_half_open.max(most.min(1 << 24));
        // Every second full segment is acknowledged, however many there are in a round trip: so a turn is as another.
        let settings = Settings { ack_gather: Duration::ZERO, ..Settings::default() };
        config.tcp = TcpConfig::new(settings).expect("valid settings");
        let mut shard = Shard::new(config, Instant::ZERO).expect("a valid configuration");
        let listener = ListenOptions { syn_cookies: SynCookies::Never, ..most.min(1 << 24).into() };
        shard.listen(SocketAddr::new(IpAddr::V4(SERVER), PORT), listener).expect("free");
        for ip in addresses(setup.connections + 1) {
            shard.on_neighbour(IpAddr::V4(ip), Some(PEER));
        }
        let buffer = vec![0; shard.frame_bytes()];
        Self { shard, app: Application(setup.server, vec![7; LARGE]), buffer }
    }

    #[inline]
    fn take(&mut self, now: Instant, frame: &mut Vec<u8>, _: usize) {
        self.shard.on_frame(now, frame, &mut self.app);
    }

    #[inline]
    fn look_ahead<'a>(&mut self, frames: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.shard.look_ahead(frames);
    }

    #[inline(always)] // as the loop it stands for
    fn turn(&mut self, now: Instant, sent: impl FnMut(&[u8])) {
        self.shard.advance(now, &mut self.app);
        let app = &mut self.app;
        self.shard.call(now, |io| app.on_turn(io));
        let buffer = &mut self.buffer;
        self.shard.transmit(now, &mut Shown { buffer, sent });
    }
}
