//! An address of the stack's own, and the kernel beside it.

use crate::common::{self, json};
use crate::support::{Server, assert_no_program, assert_refused, bulk, fourwave, good, kernel_echo, lab, need, within};

fn kernel_ping(address: &str, size: &str) {
    good(within("fw-b", 20, &["ping", "-n", "-c", "3", "-i", "0.1", "-W", "3", "-s", size, address]));
}

#[test]
fn an_owned_address_answers_beside_the_kernels() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let server = Server::start("echo --address 10.77.0.50/24 --listen 10.77.0.50:7");
    let _kernel = kernel_echo("fw-a", "10.77.0.1", "8000");
    for size in ["0", "56", "1472"] {
        kernel_ping("10.77.0.50", size);
    }
    let neighbours = good(within("fw-b", 5, &["ip", "neigh", "show", "10.77.0.50"]));
    assert!(neighbours.contains("lladdr"), "{neighbours}");
    bulk("10.77.0.50", "7", "10");
    // A port that is not listened on is the stack's to refuse; the kernel never hears of it.
    assert_refused("10.77.0.50", "8000");

    kernel_ping("10.77.0.1", "56");
    bulk("10.77.0.1", "8000", "10");
    assert_refused("10.77.0.1", "7");
    server.assert_empty();
    server.stop();
    assert_no_program();
    bulk("10.77.0.1", "8000", "1");
}

#[test]
fn two_owned_addresses_speak_to_each_other() {
    let _lab = lab();
    let server = Server::start("echo --address 10.77.0.50/24 --listen 10.77.0.50:7");
    let args = ["ping", "10.77.0.50:7", "--address", "10.77.0.60/24", "--count", "1000", "--json"];
    assert_eq!(json(&good(fourwave("fw-b", &args)))["errors"], 0);
    server.stop();
}

#[test]
fn a_shared_address_takes_only_our_port() {
    need("ping", "iputils-ping");
    let _lab = lab();
    let server = Server::echo();
    let _kernel = kernel_echo("fw-a", "10.77.0.1", "8000");
    kernel_ping("10.77.0.1", "56");
    kernel_ping("fd77::1", "56");
    bulk("10.77.0.1", "8000", "10");
    bulk("10.77.0.1", "7", "10");
    assert_refused("10.77.0.1", "9");
    // Active opens of the kernel from our side, beside fourwave.
    let _far = kernel_echo("fw-b", "10.77.0.2", "8000");
    let args = ["ping", "10.77.0.2:8000", "--stack", "kernel", "--connections", "20", "--count", "1000", "--json"];
    assert_eq!(json(&good(fourwave("fw-a", &args)))["errors"], 0);
    server.assert_empty();
    server.stop();
}

#[test]
fn every_address_of_the_interface_with_the_unspecified_one() {
    let _lab = lab();
    let server = Server::start("echo --listen 0.0.0.0:7 --interface fw-a0");
    bulk("10.77.0.1", "7", "1");
    server.stop();
    let server = Server::start("echo --listen [::]:7 --interface fw-a0");
    bulk("fd77::1", "7", "1");
    server.stop();
    common::ok(&["lab", "down"]);
}
