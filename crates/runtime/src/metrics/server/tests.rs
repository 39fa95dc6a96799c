use super::*;
use std::net::TcpStream;

const SOON: Duration = Duration::from_secs(60);

/// A server of a stack without shards, which adds a word of its own.
fn server() -> Server {
    const OWN: super::super::Family =
        super::super::Family { name: "own", kind: super::super::Kind::Gauge, labels: "", help: "A word of its own" };
    let monitor = Monitor::new(Vec::new(), None, true);
    let endpoint = Endpoint::new(([127, 0, 0, 1], 0).into()).with(|text| text.sample(&OWN, &[], 1));
    let options = crate::Options { keep_privileges: true, ..crate::Options::kernel() };
    Listening::open(&endpoint).unwrap().serve(monitor, Privileges::of(&options)).unwrap()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn ask(server: &Server, request: &str) -> String {
    let (mut stream, mut answer) = (connect(server), String::new());
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_asked_is_answered() {
    let server = server();
    let metrics = ask(&server, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = metrics.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("\nfourwave_build_info{version=\"") && body.ends_with("\nown 1\n"), "{body}");
    let head = ask(&server, "HEAD /metrics?x=1 HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\n\r\n", "404 "),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "405 "),
        ("nonsense\r\n\r\n", "400 "),
        ("\0\0\0\0", "400 "),
    ] {
        let answer = ask(&server, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * REQUEST_BYTES));
    assert!(ask(&server, &long).starts_with("HTTP/1.1 431 "));
}

/// Those that ask by and by, and those that ask nothing or take nothing, as many as there may be and more.
#[test]
fn a_slow_client_holds_up_nobody() {
    let server = server();
    let silent: Vec<_> = (0..3 * MOST).map(|_| connect(&server)).collect();
    let began = Instant::now();
    for slow in &silent[2 * MOST..] {
        let mut slow: &TcpStream = slow;
        slow.write_all(b"GET /met").unwrap();
        assert!(ask(&server, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    }
    // None of them had its time.
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // All are let go in the end.
    for mut stream in silent {
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// It has its answer, and goes on sending: others come in between, and its time is over when it is over.
#[test]
fn a_client_that_does_not_stop_sending_is_read_from_in_pieces() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sends = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    // More than is read in one go.
    sends.write_all(&[b'x'; 64 << 10]).unwrap();
    let monitor = Monitor::new(Vec::new(), None, true);
    let mut teller = Teller { monitor, endpoint: Endpoint::new(([127, 0, 0, 1], 0).into()), last: None };
    let mut client =
        Client { stream: mio::net::TcpStream::from_std(stream), stage: Stage::Ends, until: Instant::now() + SOON };
    assert!(client.go_on(&mut teller).unwrap(), "there is more to read");
    client.until = Instant::now();
    assert!(!client.go_on(&mut teller).unwrap(), "its time is over");
}

#[test]
fn it_ends_with_its_stack_whoever_is_there() {
    let server = server();
    let address = server.address();
    let (_silent, mut asks) = (connect(&server), connect(&server));
    asks.write_all(b"GET ").unwrap();
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn an_address_that_is_not_to_be_had_is_told_in_a_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let said = Listening::open(&Endpoint::new(address)).unwrap_err().to_string();
    assert!(said.contains(&address.to_string()) && said.contains("in use"), "{said}");
    let said = Listening::open(&Endpoint::new(([203, 0, 113, 1], 9464).into())).unwrap_err().to_string();
    assert!(said.contains("203.0.113.1:9464") && said.contains("no address"), "{said}");
}
