//! A client of hyper's: fetches what an address names, on the kernel's sockets or on fourwave's, and writes it out.
//!
//! `hyper_client kernel http://127.0.0.1:8080/file`, `hyper_client eth0 http://10.0.0.1:8080/file`
use fourwave::Stack;
use fourwave::net::{Net, tokio::TcpStream};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use std::io::Write;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(on), Some(uri)) = (args.next(), args.next()) else { return Err("usage: hyper_client ON URI".into()) };
    let net = if on == "kernel" { Net::kernel() } else { Stack::on(on).sockets()? };
    net.install();

    let fetched = fetch(uri.parse()?).await;
    // Connections are closed in order before the program ends.
    net.finish()?;
    fetched
}

async fn fetch(uri: Uri) -> Result<(), Box<dyn std::error::Error>> {
    let authority = uri.authority().ok_or("the URI names no host")?;
    // An address of IPv6 is in brackets there.
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", uri.path());
    let request = Request::get(target).header(header::HOST, authority.as_str()).body(Empty::<Bytes>::new())?;
    let mut response = sender.send_request(request).await?;
    eprintln!("{}", response.status());
    while let Some(frame) = response.frame().await {
        if let Some(data) = frame?.data_ref() {
            std::io::stdout().write_all(data)?;
        }
    }
    Ok(())
}
