//! A web server of hyper's that serves the files of a folder, on the kernel's sockets or on fourwave's. Nothing here but the
//! two lines with `Net` knows the difference.
//!
//! `hyper_server kernel 127.0.0.1:8080 /var/www`, `hyper_server eth0 10.0.0.1:8080 /var/www`
use fourwave::Stack;
use fourwave::net::{Net, tokio::TcpListener};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(on), Some(address), Some(folder)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: hyper_server ON ADDRESS FOLDER".into());
    };
    let net = if on == "kernel" { Net::kernel() } else { Stack::on(on).sockets()? };
    net.install();

    let folder: Arc<Path> = PathBuf::from(folder).into();
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let folder = Arc::clone(&folder);
        tokio::spawn(async move {
            let service = service_fn(|request| serve(Arc::clone(&folder), request));
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn serve(folder: Arc<Path>, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let mut response = Response::new(Full::default());
    let name = Path::new(request.uri().path().trim_start_matches('/'));
    if request.method() == Method::POST {
        // What comes is sent back.
        let body = http_body_util::BodyExt::collect(request.into_body()).await?;
        *response.body_mut() = body.to_bytes().into();
    } else if name.components().all(|part| matches!(part, Component::Normal(_)))
        && let Ok(file) = std::fs::read(folder.join(name))
    {
        *response.body_mut() = file.into();
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}
