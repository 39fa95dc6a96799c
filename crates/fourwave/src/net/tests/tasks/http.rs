//! hyper's server and hyper's client, as they are.

use super::{Ends, everywhere, pattern};
use crate::net::tokio::TcpListener;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::task::JoinSet;

/// Sends back what it got, and how much that was.
async fn echo(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let mut response = Response::new(Full::new(body.clone()));
    response.headers_mut().insert("x-length", body.len().into());
    Ok(response)
}

async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(echo)));
    }
}

/// One connection, one request after the other.
async fn ask(ends: Ends, address: SocketAddr, seed: u8) {
    let stream = ends.connect(address).await;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for size in [0, 1, 1000, 65_536, 400_000, 7] {
        let body = pattern(size, seed);
        let request = Request::post("/").header("host", "test").body(Full::new(Bytes::from(body.clone()))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.headers()["x-length"], size.to_string());
        assert!(response.into_body().collect().await.unwrap().to_bytes() == body, "{size} bytes");
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}

#[test]
fn hyper_serves_hyper() {
    everywhere(|ends| async move {
        let (listener, address) = ends.listen().await;
        let server = tokio::spawn(serve(listener));
        let mut clients = JoinSet::new();
        for seed in 0..8 {
            clients.spawn(ask(ends.clone(), address, seed));
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        server.abort();
    });
}
