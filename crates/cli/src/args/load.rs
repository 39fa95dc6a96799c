//! `fourwave load`.

use std::net::{SocketAddr, ToSocketAddrs};

use clap::{Args, Subcommand};

use super::UsageError;
use super::load_tcp::LoadTcpArgs;
use super::pacing::PacingArgs;
use crate::load::http::{Http, Request};
use crate::load::{CloseBy, Config, Kind};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave load http http://10.77.0.1/ --interface fw-b0 --connections 64\n  \
    fourwave load tcp 10.77.0.1:9 --mode bulk --interface fw-b0\n  \
    fourwave load http --help                                                more of them, and all flags")]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Requests of HTTP/1.1
    Http(Box<HttpArgs>),
    /// Below any protocol: exchanges, connections per second, bytes in bulk, idle connections
    Tcp(Box<LoadTcpArgs>),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave load http http://10.77.0.1/ --interface fw-b0 --connections 64\n  \
    fourwave load http http://10.77.0.1/ --interface fw-b0 --close server --connections 100 --seconds 10 --json\n  \
    fourwave load http http://10.77.0.1:8080/form --method POST --body 'a=1' --header 'Content-Type: text/plain'\n  \
    fourwave load http http://10.77.0.1/ --interface fw-b0 --rate 20000 --seconds 10 --hlog out.hlog\n  \
    fourwave load http http://10.77.0.1/ --interface fw-b0 --rate 1000..50000 --arrivals poisson --close client\n  \
    fourwave load http http://127.0.0.1:8080/ --stack kernel --requests 100000 --expect-bytes 64\n\n\
    In a closed loop, the default, each connection waits for the response to a request before it sends the next: while the\n\
    server stalls nothing is sent, and a stall is one sample of each connection, however long. With --rate requests are sent\n\
    when they are due (open loop), each on the connection that has been free for longest, or on one of its own with --close;\n\
    each one's time counts from when it was due, so that a stall is in the time of every request that was due within it.\n\
    docs/LOAD.md has all of it. Ctrl-C ends it with the report so far, the files included.")]
struct HttpArgs {
    /// What to ask for, such as http://10.77.0.1:8080/index.html
    #[arg(value_name = "URL")]
    url: String,

    /// Requests under way over each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pipeline: u32,

    /// A connection for each request, and who closes it [default: connections are kept]
    #[arg(long, value_enum, value_name = "WHO")]
    close: Option<CloseBy>,

    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,

    /// A header field more, such as 'Accept: */*'; may be given again
    #[arg(long, value_name = "FIELD")]
    header: Vec<String>,

    /// The request's body
    #[arg(long, value_name = "TEXT", default_value = "")]
    body: String,

    /// The status a response is to have; others are counted [default: any below 400]
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    expect_status: Option<u16>,

    /// The bytes a response's body is to have; others are counted
    #[arg(long, value_name = "N")]
    expect_bytes: Option<u64>,

    #[command(flatten)]
    pacing: PacingArgs,
}

impl LoadArgs {
    pub(crate) fn resolve(self) -> Result<(Config, Kind), UsageError> {
        match self.what {
            What::Http(args) => args.resolve(),
            What::Tcp(args) => args.resolve(),
        }
    }
}

impl HttpArgs {
    fn resolve(self) -> Result<(Config, Kind), UsageError> {
        let (host, path) = split(&self.url)?;
        let target = address(&self.url, host)?;
        let request = self.request(host, path)?;
        let request = Request { bytes: request, head_only: self.method == "HEAD" };
        let http = Http::new(vec![request], self.expect_status, self.expect_bytes);
        let config = self.pacing.resolve(target, self.close, self.pipeline as usize)?;
        Ok((config, Kind::Http(http)))
    }

    /// The bytes to send.
    fn request(&self, host: &str, path: &str) -> Result<Vec<u8>, UsageError> {
        let token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if !token(&self.method) {
            return Err(UsageError(format!("--method {:?} is no method: one word, such as GET", self.method)));
        }
        let mut head = format!("{} {path} HTTP/1.1\r\n", self.method);
        let given = |name: &str| {
            self.header
                .iter()
                .any(|field| field.split(':').next().is_some_and(|given| given.eq_ignore_ascii_case(name)))
        };
        for (name, value) in [("Host", host), ("User-Agent", "fourwave")] {
            if !given(name) {
                head += &format!("{name}: {value}\r\n");
            }
        }
        for field in &self.header {
            let name = field.split_once(':').map(|(name, _)| name).filter(|name| token(name));
            if name.is_none() || field.contains(['\r', '\n', '\0']) {
                return Err(UsageError(format!(
                    "--header {field:?} is no header field: one line, such as 'Accept: */*'"
                )));
            }
            head += &format!("{field}\r\n");
        }
        if self.close == Some(CloseBy::Server) {
            head += "Connection: close\r\n";
        }
        // Of methods that give it a meaning a length is to be sent even if there is none, RFC 9110 section 8.6.
        if !given("Content-Length") && (!self.body.is_empty() || matches!(&self.method[..], "POST" | "PUT" | "PATCH")) {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        Ok(format!("{head}\r\n{}", self.body).into_bytes())
    }
}

/// Host with its port, and path with its query, of a URL.
fn split(url: &str) -> Result<(&str, &str), UsageError> {
    let wrong = |why: &str| UsageError(format!("{url:?}: {why}, such as http://10.77.0.1:8080/index.html"));
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => return Err(wrong("there is no TLS here: a URL of HTTP is needed")),
        _ => return Err(wrong("a URL of HTTP is needed")),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if host.is_empty() || host.contains('@') || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("host and path without spaces are needed"));
    }
    match path {
        "" => Ok((host, "/")),
        path if path.starts_with('?') => Err(wrong("a query needs a path before it")),
        path => Ok((host, path)),
    }
}

/// The address of a host, which may be a name.
fn address(url: &str, host: &str) -> Result<SocketAddr, UsageError> {
    let colon = host.rfind(':').filter(|at| host[*at..].find(']').is_none());
    let with_port = if colon.is_some() { host.to_owned() } else { format!("{host}:80") };
    let found = with_port.to_socket_addrs().map_err(|error| UsageError(format!("{url:?}: {host}: {error}")))?;
    let found = found.into_iter().next().filter(|address| address.port() != 0);
    found.ok_or_else(|| UsageError(format!("{url:?}: {host} is no address that can be connected to")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_host_and_path() {
        assert_eq!(split("http://10.0.0.1").unwrap(), ("10.0.0.1", "/"));
        assert_eq!(split("http://a:81/b?c=d#e").unwrap(), ("a:81", "/b?c=d"));
        assert_eq!(split("http://[fd77::1]:81/").unwrap(), ("[fd77::1]:81", "/"));
        for wrong in
            ["10.0.0.1", "https://a/", "ftp://a/", "http://", "http:///", "http://a b/", "http://a@b/", "http://a?b"]
        {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_80_unless_it_is_said() {
        for (host, expected) in [
            ("10.0.0.1", "10.0.0.1:80"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("[fd77::1]", "[fd77::1]:80"),
            ("[fd77::1]:81", "[fd77::1]:81"),
        ] {
            assert_eq!(address("", host).unwrap().to_string(), expected);
        }
        for wrong in ["10.0.0.1:0", "10.0.0.1:x", "10.0.0.1:70000"] {
            assert!(address("", wrong).is_err(), "{wrong}");
        }
    }
}
