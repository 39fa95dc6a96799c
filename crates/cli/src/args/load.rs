//! `fourwave load`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::UsageError;
use super::load_tcp::LoadTcpArgs;
use super::pacing::PacingArgs;
use super::stack::with_connections;
use super::urls::{self, Entry, parse_sha256};
use crate::load::http::{Http, Request};
use crate::load::{CloseBy, Config, Kind};

/// What [`PacingArgs`] says of these has the other modes of `load tcp` in it.
const CONNECTIONS: &str = "Connections, all the time; with --close at the most, 1 to 10000000 [default: 16]";
const WARMUP: &str = "Seconds before measuring starts, 0 to 3600 [default: 0.5]";
/// Fields that say how long a request is.
const FRAMING: [&str; 2] = ["Content-Length", "Transfer-Encoding"];

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
    fourwave load http --urls list.txt --interface fw-b0 --connections 64 --expect-status 200\n  \
    fourwave load http http://10.77.0.1/ --interface fw-b0 --rate 20000 --seconds 10 --hlog out.hlog\n  \
    fourwave load http http://10.77.0.1/ --interface fw-b0 --rate 1000..50000 --arrivals poisson --close client\n  \
    fourwave load http http://127.0.0.1:8080/ --stack kernel --requests 100000 --expect-bytes 64\n\n\
    In a closed loop, the default, each connection waits for the response to a request before it sends the next: while the\n\
    server stalls nothing is sent, and a stall is one sample of each connection, however long. With --rate requests are sent\n\
    when they are due (open loop), each on the connection that has been free for longest, or on one of its own with --close;\n\
    each one's time counts from when it was due, so that a stall is in the time of every request that was due within it.\n\
    docs/LOAD.md has all of it. Ctrl-C ends it with the report so far, the files included.")]
#[command(
    mut_arg("stack", with_connections),
    mut_arg("connections", |arg| arg.help(CONNECTIONS)),
    mut_arg("warmup", |arg| arg.help(WARMUP))
)]
struct HttpArgs {
    /// What to ask for, such as http://10.77.0.1:8080/index.html; several, of one host, are taken in turn
    #[arg(value_name = "URL", required_unless_present = "urls")]
    url: Vec<String>,

    /// More of them, one a line: URL or METHOD URL, and then the SHA-256 that the body is to have, if it is known; behind # are
    /// comments
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,

    /// Requests under way over each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pipeline: u32,

    /// A connection for each request, and who closes it: the server is asked to by Connection: close [default: connections are
    /// kept]
    #[arg(long, value_enum, value_name = "WHO")]
    close: Option<CloseBy>,

    /// The request's method, where the list has none
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

    /// The SHA-256 a response's body is to have, where the list has none: 64 hexadecimal digits; others are counted
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    expect_sha256: Option<[u8; 32]>,

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
        let (entries, target) = urls::read(&self.url, self.urls.as_deref())?;
        let requests = entries.iter().map(|entry| self.request(entry)).collect::<Result<_, _>>()?;
        let http = Http::new(requests, self.expect_status, self.expect_bytes);
        let config = self.pacing.resolve(target, self.close, self.pipeline as usize)?;
        Ok((config, Kind::Http(http)))
    }

    /// What is sent for a URL, and expected.
    fn request(&self, entry: &Entry) -> Result<Request, UsageError> {
        let (host, path) = (entry.host.as_str(), entry.path.as_str());
        let method = entry.method.as_ref().unwrap_or(&self.method);
        let token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if !token(method) {
            return Err(UsageError(format!("--method {method:?} is no method: one word, such as GET")));
        }
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
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
            // The body that is sent says it, and its end is where another request begins.
            if let Some(framing) = name.filter(|name| FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name)))
            {
                return Err(UsageError(format!(
                    "--header {framing} can't be given: it is made of --body, so that a request ends where it says it does"
                )));
            }
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
        if !self.body.is_empty() || matches!(&method[..], "POST" | "PUT" | "PATCH") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        Ok(Request {
            bytes: format!("{head}\r\n{}", self.body).into_bytes(),
            head_only: method == "HEAD",
            sha256: entry.sha256.or(self.expect_sha256),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::load::Pace;
    use crate::measure::{Gaps, Rate};

    fn load(flags: &str) -> Result<Config, String> {
        let line = format!("fourwave load http http://10.77.0.1/ {flags}");
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Load(args) => args.resolve().map(|(config, _)| config).map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_closed_loop_runs_five_seconds_unless_counted() {
        let config = load("").unwrap();
        assert_eq!((config.pace, config.pipeline), (Pace::Closed { think: None }, 1));
        assert_eq!((config.duration, config.requests), (Some(Duration::from_secs(5)), None));
        let config = load("--requests 7 --think-ms 20").unwrap();
        assert_eq!((config.duration, config.requests), (None, Some(7)));
        assert_eq!(config.pace, Pace::Closed { think: Some(Duration::from_millis(20)) });
    }

    #[test]
    fn rates_are_constant_or_ramps_and_gaps_even_or_by_chance() {
        let pace = |flags: &str| load(flags).unwrap().pace;
        let constant = Rate::Constant(2000);
        assert_eq!(pace("--rate 2000"), Pace::Open { rate: constant, gaps: Gaps::Constant });
        assert_eq!(pace("--rate 2000 --arrivals constant"), Pace::Open { rate: constant, gaps: Gaps::Constant });
        assert_eq!(
            pace("--rate 1..9 --arrivals poisson"),
            Pace::Open { rate: Rate::Ramp { from: 1, to: 9 }, gaps: Gaps::Poisson { seed: 1 } }
        );
        let chance = Pace::Open { rate: constant, gaps: Gaps::Poisson { seed: 5 } };
        assert_eq!(pace("--rate 2000 --arrivals poisson --seed 5"), chance);
    }

    #[test]
    fn wrong_values_are_refused_by_what_is_allowed() {
        for (flags, says) in [
            ("--rate 0", "1 to 10000000"),
            ("--rate 10000001", "1 to 10000000"),
            ("--rate 5..", "1 to 10000000"),
            ("--rate 5..0", "1 to 10000000"),
            ("--rate many", "1 to 10000000"),
            ("--rate 1..9 --requests 5", "give --seconds"),
            ("--arrivals poisson", "--rate"),
            ("--rate 5 --arrivals even", "poisson"),
            ("--seed 5", "--arrivals"),
            ("--rate 5 --arrivals constant --seed 5", "--seed is for --arrivals poisson"),
            ("--rate 5 --think-ms 5", "--think-ms"),
            ("--think-ms 0", "1..=3600000"),
            ("--think-ms 5 --pipeline 2", "leave --pipeline at 1"),
            ("--close client --pipeline 2", "--pipeline is for connections that are kept"),
            ("--ramp-up 3601", "0 to 3600"),
            ("--ramp-down -1", "-1"),
            ("--connections 10000001", "1..=10000000"),
            ("--connections 0", "1..=10000000"),
            ("--pipeline 1001", "1..=1000"),
            ("--timeout-s 0", "0.001 to 86400"),
            ("--warmup 3601", "0 to 3600"),
            ("--requests 0", "1"),
            ("--close server,client", "reset"),
            ("--expect-status 199", "200..=599"),
            ("--expect-sha256 abc", "64 hexadecimal digits"),
            ("--hgrm /tmp/x --hlog /tmp/x", "--hgrm and --hlog can't both write to /tmp/x"),
            ("--stack raw", "--stack raw has no connections"),
            ("--method G:T", "--method"),
            ("--header Content-Length:5", "--header Content-Length can't be given"),
            ("--header transfer-encoding:chunked --body x", "--header transfer-encoding can't be given"),
            ("http://10.77.0.2/", "10.77.0.2 is another host than 10.77.0.1"),
            ("--source 10.77.0.8,x", "`x` is no IP address"),
            ("--source 10.77.0.9-10.77.0.8", "backwards"),
            ("--source fd77::8", "two IP versions"),
            ("--ports 0-5", "1 to 65535"),
            ("--ports 5-70000", "1 to 65535"),
            ("--stack kernel --ports 5-6", "ip_local_port_range"),
            ("--urls /nope", "--urls /nope: can't be read"),
        ] {
            let said = load(flags).unwrap_err();
            assert!(said.contains(says), "{flags}: {said}");
        }
        let none = Cli::try_parse_from(["fourwave", "load", "http"]).unwrap_err();
        assert_eq!(none.exit_code(), 2);
    }
}
