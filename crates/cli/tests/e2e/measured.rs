//! What a result document says of the measurement itself.

use std::time::Duration;

use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{self, Background, SOON, json};
use crate::connections::counter;
use crate::support::{Server, eventually, fourwave, good, lab, need, within};

fn measured(args: &str) -> Value {
    let all: Vec<_> = ["ping"].into_iter().chain(args.split(' ')).collect();
    json(&good(fourwave("fw-b", &all)))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// As the reader of the hdrhistogram crate finds it.
fn histogram(document: &Value) -> Histogram<u64> {
    let text = document["histogram"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
}

/// It can be read, compared and added up later: whose it is, and every message in the histogram and in a second.
fn assert_complete(document: &Value, count: u64) {
    assert_eq!((&document["command"], &document["count"]), (&"ping".into(), &count.into()), "{document}");
    assert!(document["arguments"].as_str().unwrap().starts_with("fourwave ping 10.77.0.1:7 --stack "), "{document}");
    assert!(number(&document["machine"]["cores"]) >= 1 && document["started_unix_s"].as_f64().unwrap() > 1e9);
    let all = histogram(document);
    let latency = &document["latency_ns"];
    assert_eq!(
        (all.len(), all.value_at_quantile(0.5), all.max()),
        (count, number(&latency["p50"]), number(&latency["max"]))
    );
    let seconds = document["seconds"].as_array().unwrap();
    let sum = |key: &str| seconds.iter().map(|second| number(&second[key])).sum::<u64>();
    assert_eq!((sum("count"), sum("errors")), (count, 0), "{document}");
    assert_eq!(seconds.iter().map(|second| number(&second["max"])).max(), Some(all.max()));
    for (index, second) in (0u32..).zip(seconds) {
        assert_eq!(second["at_s"].as_f64(), Some(index.into()), "{document}");
    }
    let source = document["clock"]["source"].as_str().unwrap();
    assert!(["tsc", "clock_monotonic"].contains(&source), "{document}");
    assert_eq!(document["clock"]["tsc_hz"].is_u64(), source == "tsc", "{document}");
    assert!(document["generator"]["largest_gap_ns"].is_u64() && document["drops"].is_object(), "{document}");
    assert!(document["warnings"].is_array(), "{document}");
}

#[test]
fn the_document_holds_what_is_needed_to_read_it_later() {
    let _lab = lab();
    let server = Server::echo();
    for stack in ["fourwave", "kernel"] {
        let document = measured(&format!("10.77.0.1:7 --stack {stack} --rate 1000 --seconds 2.5 --json"));
        assert_complete(&document, 2500);
        let lengths: Vec<_> =
            document["seconds"].as_array().unwrap().iter().map(|s| s["length_s"].as_f64().unwrap()).collect();
        // The last answers may take longer than the third.
        assert!(lengths.len() >= 3 && lengths[..2] == [1.0, 1.0], "{lengths:?}");
        // What is told of the clock is told over the whole run.
        assert!(document["clock"]["drift_ppm"].is_f64(), "{document}");
        let document = measured(&format!("10.77.0.1:7 --stack {stack} --count 500 --connections 3 --json"));
        assert_complete(&document, 500);
        let document = measured(&format!("10.77.0.1:7 --stack {stack} --count 50 --sweep size=64,1000 --json"));
        assert_eq!(document["command"], "ping");
        document["sweep"].as_array().unwrap().iter().for_each(|step| assert_complete(step, 50));
    }
    server.stop();
    let server = Server::start("echo --listen 10.77.0.1:7 --stack raw");
    assert_complete(&measured("10.77.0.1:7 --stack raw --count 200 --json"), 200);
    server.stop();
}

/// While it is measured the generator is stopped for longer than whatever else may hold up a busy machine, and not for as long as
/// the other end waits; `meanwhile` runs then. The report, and what was said on stderr.
fn stopped(server: &Server, command: &str, meanwhile: impl FnOnce()) -> (Value, String) {
    let line = format!("{command} --seconds 600 --timeout-s 20 --json");
    let before = counter(server, "segments_in");
    let mut ping = Background::start(common::in_namespace("fw-b", &line.split(' ').collect::<Vec<_>>()));
    eventually("it measures", || counter(server, "segments_in") > before + 100);
    ping.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(1));
    meanwhile();
    ping.signal(Signal::CONT);
    let now = counter(server, "segments_in");
    eventually("it goes on", || counter(server, "segments_in") > now + 100);
    ping.signal(Signal::INT);
    let (code, stdout, said) = ping.end(SOON);
    assert_eq!(code, Some(0), "{said}");
    (json(&stdout), said)
}

#[test]
fn a_loop_that_stood_still_is_told_from_a_server_that_did() {
    let _lab = lab();
    let ping = ("echo --listen 10.77.0.1:7", "ping 10.77.0.1:7 --warmup 0");
    let load = ("http --listen 10.77.0.1:80", "load http http://10.77.0.1/ --warmup 0 --connections 2");
    for ((serve, command), flags) in [
        (ping, "--idle busy"),
        (ping, "--stack kernel --kernel-wait spin"),
        (load, "--idle busy"),
        (load, "--stack kernel --kernel-wait spin"),
    ] {
        let server = Server::start(serve);
        let (document, said) = stopped(&server, &format!("{command} {flags}"), || ());
        server.stop();
        let generator = &document["generator"];
        // Of the second: it stops at the next interrupt.
        assert!(number(&generator["largest_gap_ns"]) >= 900_000_000, "{flags}: {document}");
        assert!(number(&generator["gaps_over_1ms"]) >= 1, "{flags}: {document}");
        let mut warnings = document["warnings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
        let warning = warnings.find(|one| one.contains("its own loop stood still"));
        let warning = warning.unwrap_or_else(|| panic!("{flags}: {document}"));
        assert!(said.contains(&format!("fourwave: warning: {warning}")), "{flags}: {said}");
    }
}

/// More frames than the rings hold: 2048.
#[test]
fn what_is_dropped_on_this_side_is_said() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let server = Server::echo();
    let flood = || {
        let args = ["ping", "-q", "-c", "6000", "-l", "6000", "-w", "1", "10.77.0.60"];
        within("fw-a", 10, &args).output().unwrap();
    };
    let (document, said) = stopped(&server, "ping 10.77.0.1:7 --warmup 0 --address 10.77.0.60/24", flood);
    let drops = document["drops"].as_object().unwrap();
    assert!(drops.values().map(number).sum::<u64>() >= 6000 - 2 * 2048, "{document}");
    assert!(drops.keys().all(|name| name.starts_with("port_kernel_")), "{document}");
    assert!(said.contains("fourwave: warning: frames were dropped on this side (port_kernel_"), "{said}");
    server.stop();
}
