//! A web server of hyper's that serves the files of a folder, read at the start, on the kernel's sockets or on fourwave's. Nothing here but the
//! two lines with `net` knows the difference.
//!
//! `hyper_server kernel 127.0.0.1:8080 /var/www`, `hyper_server eth0 10.0.0.1:8080 /var/www`
use fourwave::Stack;
use fourwave::net::{Net, tokio::TcpListener};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// Until the next attempt, when nobody could be accepted.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(on), Some(address), Some(folder)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: hyper_server ON ADDRESS FOLDER".into());
    };
    let net = if on == "kernel" { Net::kernel() } else { Stack::on(on).sockets()? };
    net.install();

    let mut files = HashMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().is_file() {
            files.insert(format!("/{}", entry.file_name().display()), Bytes::from(std::fs::read(entry.path())?));
        }
    }
    let files = Arc::new(files);
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The stack has ended.
            Err(error) if error.kind() == ErrorKind::NetworkDown => return Err(error.into()),
            // One connection has failed, or descriptors are wanting for a while: the others are served.
            Err(error) => {
                eprintln!("{error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("{error}");
            continue;
        }
        let files = Arc::clone(&files);
        tokio::spawn(async move {
            let service = service_fn(|request| serve(&files, request));
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn serve(files: &HashMap<String, Bytes>, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let mut response = Response::new(Full::default());
    if request.method() == Method::POST {
        // What comes is sent back.
        *response.body_mut() = request.into_body().collect().await?.to_bytes().into();
    } else if let Some(file) = files.get(request.uri().path()) {
        *response.body_mut() = file.clone().into();
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}
