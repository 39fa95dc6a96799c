//! A connection as a task of tokio's has it.

use crate::party::{LOST, Party, Said, said};
use fourwave::Keepalive;
use fourwave::net::{Net, tokio::TcpStream};
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

pub(crate) struct Level3 {
    net: Net,
    runtime: Runtime,
    stream: Option<TcpStream>,
}

/// One that may be given up early, asked for by mio's type; the others by tokio's `connect`.
async fn connect(net: &Net, to: SocketAddr, give_up: Option<Duration>) -> io::Result<TcpStream> {
    let Some(time) = give_up else { return TcpStream::connect_on(net, to).await };
    let stream = net.connect(to)?;
    stream.set_user_timeout(Some(time))?;
    let stream = TcpStream::try_from(stream)?;
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(stream), Err)
}

impl Level3 {
    pub(crate) fn over(net: Net) -> Self {
        Self { net, runtime: Builder::new_current_thread().enable_all().build().unwrap(), stream: None }
    }

    fn run<T>(&mut self, f: impl AsyncFnOnce(&mut TcpStream) -> T) -> T {
        let stream = self.stream.as_mut().unwrap();
        wait(&self.runtime, f(stream))
    }
}

fn wait<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(LOST, future).await.expect("the task is not woken") })
}

impl Party for Level3 {
    fn connect(&mut self, to: SocketAddr, give_up: Option<Duration>) -> Said {
        self.stream = None;
        match wait(&self.runtime, connect(&self.net, to, give_up)) {
            Ok(stream) => {
                self.stream = Some(stream);
                Said::Done
            }
            Err(error) => Said::Failed(error.kind()),
        }
    }

    fn read(&mut self) -> Said {
        let read = self.run(async |stream| stream.read(&mut [0; 1000]).await);
        said(read, |n| if n > 0 { Said::Bytes(n) } else { Said::End })
    }

    fn write(&mut self) -> Said {
        said(self.run(async |stream| stream.write(b"x").await), Said::Bytes)
    }

    fn shutdown(&mut self, _: Shutdown) -> Said {
        said(self.run(async |stream| stream.shutdown().await), |()| Said::Done)
    }

    fn peer_addr(&mut self) -> Said {
        said(self.run(async |stream| stream.peer_addr()), |_| Said::Done)
    }

    fn await_data(&mut self) {
        assert!(self.run(async |stream| stream.peek(&mut [0; 1]).await).unwrap() > 0);
    }

    fn hear_of_the_end(&mut self) {
        self.run(async |stream| {
            while stream.peer_addr().is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }

    fn set_keepalive(&mut self, settings: Keepalive) {
        self.run(async |stream| stream.set_keepalive(Some(settings))).unwrap();
    }

    fn set_user_timeout(&mut self, time: Duration) {
        self.run(async |stream| stream.set_user_timeout(Some(time))).unwrap();
    }

    fn has_handle(&self) -> bool {
        self.stream.is_some()
    }

    fn close(&mut self) -> Said {
        drop(self.stream.take());
        Said::Done
    }

    fn abort(&mut self) -> Said {
        self.run(async |stream| stream.set_zero_linger()).unwrap();
        self.close()
    }
}
