//! Sleeping, where a loop has no port: on the kernel's sockets themselves.

use super::*;

impl<P: Port, A: App> Worker<P, A> {
    /// A loop without a port sleeps in the same call that tells what has happened on its sockets. Beside a port the sleep only
    /// learns that something has, and it takes a second call, and a second wakeup within the kernel, to learn what.
    pub(super) fn sleep_on_sockets(&mut self) -> io::Result<()> {
        let Some(sockets) = self.shard.sockets_descriptor().filter(|_| self.port.fd().is_none()) else {
            return Ok(());
        };
        self.sleeper.leave(sockets)?;
        self.bare = self.shard.watch_beside_sockets(self.sleeper.as_raw_fd());
        if !self.bare {
            return Err(io::Error::other("the loop's own descriptor can't be slept on beside the sockets"));
        }
        Ok(())
    }

    /// Whether the next look is the sleep, even behind a turn that has found something.
    pub(super) fn sleeps_at_once(&self) -> bool {
        self.bare && self.idle == Idle::Sleep && self.until.is_none()
    }

    /// Sleeps until there is something to do, or until `deadline`.
    pub(super) fn sleep(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        if !self.bare {
            return self.sleeper.sleep(now, deadline);
        }
        if self.shard.wait_for_sockets(deadline.map(|at| at - now)) {
            // Who called is heard by that.
            self.sleeper.sleep(now, Some(now))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::{Config, KernelSockets, NoPort};
    use crossbeam::channel::{bounded, unbounded};
    use stack::{ConnId, Io, Message, ShardConfig, Via};
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::time;

    const SOON: time::Duration = time::Duration::from_secs(60);

    /// Sends back what comes, and tells of messages.
    struct Echo(Sender<Message>);

    impl App for Echo {
        fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
            io.send(conn, data).unwrap()
        }

        fn on_message(&mut self, _: &mut Io<'_>, message: Message) {
            self.0.send(message).unwrap();
        }
    }

    /// Whatever comes ends the sleep: nothing else does, for there is no deadline.
    #[test]
    fn a_loop_without_a_port_is_woken_by_messages_sockets_and_the_end() {
        for idle in [Idle::Sleep, Idle::Adaptive, Idle::Busy] {
            let clock = Clock::new();
            let config = ShardConfig::new(MacAddr::default(), 1500, Vec::new(), [[1; 16]; 4]);
            let mut shard = Shard::new(config, clock.now()).unwrap();
            let config = Config { several: false, queue_bytes: 1 << 16, most: 10 };
            shard.set_sockets(Box::new(KernelSockets::new(config).unwrap()), Via::Kernel);
            let listener = shard.listen_via(Via::Kernel, (Ipv4Addr::LOCALHOST, 0).into(), 16).unwrap();
            let address = shard.listener_address(listener).unwrap();
            let (tell, told) = unbounded();
            let ((_commands, commands), (resolve, _resolved)) = (bounded(1), bounded(1));
            let mut worker = Worker::new(NoPort, shard, Echo(tell), clock, idle, commands, resolve).unwrap();
            let waker = worker.waker();
            let (mut posts, poster) = Post::offices(vec![Arc::clone(&waker)], 16);
            worker.set_post(posts.pop().unwrap());
            let ending = Ending::new();
            std::thread::scope(|scope| {
                let running = scope.spawn(|| worker.run(&ending).map(drop));
                let mut peer = TcpStream::connect(address).unwrap();
                peer.set_read_timeout(Some(SOON)).unwrap();
                for round in 0..200u32 {
                    poster.post(0, Box::new(round)).unwrap();
                    let message = told.recv_timeout(SOON).expect("the message ends a sleep");
                    assert_eq!(message.downcast_ref(), Some(&round));
                    peer.write_all(&round.to_be_bytes()).unwrap();
                    let mut answer = [0; 4];
                    peer.read_exact(&mut answer).expect("the data ends a sleep");
                    assert_eq!(answer, round.to_be_bytes());
                }
                ending.begin();
                waker.wake().unwrap();
                running.join().unwrap().unwrap();
            });
        }
    }
}
