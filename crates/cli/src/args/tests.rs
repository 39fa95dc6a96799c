//! What is typed, and what becomes of it.

use super::*;
use crate::{ping, serve};
use clap::CommandFactory;
use std::time::Duration;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

fn ping(line: &str) -> Result<ping::Config, UsageError> {
    match parse(line).unwrap().command {
        Command::Ping(args) => args.resolve(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_public_command_explains_itself_with_examples() {
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let help = command.clone().render_help().to_string();
        assert!(help.contains("Examples:"), "{}", command.get_name());
    }
}

/// Nothing is offered that is refused.
#[test]
fn bare_frames_are_offered_where_they_work() {
    let mut all = Cli::command();
    all.build();
    let load = all.find_subcommand("load").unwrap();
    let offers_raw =
        |command: Option<&clap::Command>| command.unwrap().clone().render_long_help().to_string().contains("- raw:");
    assert!(["ping", "serve"].iter().all(|name| offers_raw(all.find_subcommand(name))));
    assert!(["http", "tcp"].iter().all(|name| !offers_raw(load.find_subcommand(name))));
    assert!(!offers_raw(all.find_subcommand("proxy")));
}

/// A text that two commands share says nothing of what only one of them has.
#[test]
fn help_of_a_command_is_of_its_own_flags() {
    let mut all = Cli::command();
    all.build();
    let http = all.find_subcommand("load").unwrap().find_subcommand("http").unwrap();
    let help = http.clone().render_long_help().to_string();
    for other in ["--bytes", "--mode", "--count"] {
        assert!(!help.contains(other), "{other}");
    }
}

#[test]
fn what_is_no_address_and_port_is_said_with_one_that_is() {
    for line in ["ping 10.77.0.1", "load tcp localhost:7", "serve echo --listen 7"] {
        let said = parse(&format!("fourwave {line}")).unwrap_err().to_string();
        let given = line.rsplit(' ').next().unwrap();
        assert!(said.contains(&format!("'{given}'")) && said.contains("such as 10.77.0.1:7"), "{line}: {said}");
    }
}

#[test]
fn ping_runs_five_seconds_unless_counted() {
    let config = ping("fourwave ping 10.77.0.1:7").unwrap();
    assert_eq!(config.at.stack, Stack::Fourwave);
    assert_eq!(config.duration, Some(Duration::from_secs(5)));
    let config = ping("fourwave ping 10.77.0.1:7 --count 10 --stack kernel").unwrap();
    assert_eq!((config.count, config.duration), (Some(10), None));
}

/// An open loop has many messages under way, and its warm-up takes no longer than a second.
#[test]
fn ping_defaults_follow_the_loop() {
    let defaults = |flags: &str| {
        let config = ping(&format!("fourwave ping 10.77.0.1:7{flags}")).unwrap();
        (config.pipeline, config.warmup, config.steps[0].rate())
    };
    assert_eq!(defaults(""), (1, 100, None));
    assert_eq!(defaults(" --rate 20000"), (65_536, 100, Some(20_000)));
    assert_eq!(defaults(" --rate 7"), (65_536, 7, Some(7)));
    assert_eq!(defaults(" --sweep rate=90,50 --pipeline 3"), (3, 50, Some(90)));
    assert_eq!(defaults(" --rate 7 --warmup 9000"), (65_536, 9000, Some(7)));
    let steps = |flags: &str| ping(&format!("fourwave ping 10.77.0.1:7 {flags}")).unwrap().steps;
    let sizes = |flags: &str| steps(flags).iter().map(|step| step.sizes.to_string()).collect::<Vec<_>>();
    assert_eq!(sizes("--sweep size=64..192:64 --rate 10"), ["64", "128", "192"]);
    assert_eq!(sizes("--sweep rate=1,2 --bytes 9-20"), ["9-20", "9-20"]);
    assert!(steps("--sweep size=64,65 --rate 10").iter().all(|step| step.rate() == Some(10)));
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    assert!(ping("fourwave ping 10.77.0.1:7 --stack raw --connections 2").is_err());
    assert!(ping("fourwave ping 10.77.0.1:0").is_err());
    assert!(ping("fourwave ping 10.77.0.1:7 --gateway 10.77.0.9").is_err());
    assert!(ping("fourwave ping 10.77.0.1:7 --vlan 5").is_err());
    assert!(parse("fourwave ping 10.77.0.1:7 --address 10.77.0.8/24 --vlan 4095").is_err());
    assert!(ping("fourwave ping 10.77.0.1:7 --address 10.77.0.8/24 --vlan 5").is_ok());
    assert!(ping("fourwave ping 10.77.0.1:7 --dad-probes 1").is_err());
    assert!(parse("fourwave ping 10.77.0.1:7 --address 10.77.0.8/24 --dad-probes 17").is_err());
    assert!(ping("fourwave ping 10.77.0.1:7 --address 10.77.0.8/24 --dad-probes 0").is_ok());
    assert!(ping("fourwave ping 10.77.0.1:7 --address 10.77.0.8/24 --gateway fd77::9").is_err());
}

/// RFC 1122 section 3.2.1.3: neither a network's number nor its broadcast address is a station's; RFC 3021: but of two alone.
#[test]
fn an_address_of_the_stacks_own_is_a_stations_and_so_is_its_gateway() {
    let with = |own: &str| ping(&format!("fourwave ping 10.77.0.1:7 --address {own}"));
    for wrong in ["224.0.0.1/24", "127.0.0.1/8", "0.0.0.0/0", "10.77.0.255/24", "10.77.0.0/24", "ff02::1/64", "::1/64"]
    {
        assert!(with(wrong).is_err(), "{wrong}");
    }
    for right in ["10.77.0.8/24", "10.77.0.0/31", "10.77.0.1/31", "10.77.0.255/32", "10.77.1.255/16", "fd77::/64"] {
        assert!(with(right).is_ok(), "{right}");
    }
    for wrong in ["10.99.0.2", "10.77.0.255", "10.77.0.8", "10.77.1.1"] {
        assert!(with(&format!("10.77.0.8/24 --gateway {wrong}")).is_err(), "{wrong}");
    }
    assert!(with("10.77.0.8/24 --gateway 10.77.0.1").is_ok());
    assert!(with("fd77::8/64 --gateway fd77::1").is_ok() && with("fd77::8/64 --gateway fe80::1").is_ok());
    assert!(with("fd77::8/64 --gateway fd78::1").is_err());
}

#[test]
fn typos_are_usage_errors() {
    let error = parse("fourwave ping 10.77.0.1:7 --cuont 5").unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let path = std::env::temp_dir().join(format!("fourwave-args-{}.toml", std::process::id()));
    std::fs::write(&path, "idle = \"sleep\"\ninterface = \"eth7\"\ncores = \"3\"\n").unwrap();
    let line = format!("fourwave ping 10.77.0.1:7 --idle busy --config {}", path.display());
    let at = ping(&line).unwrap().at;
    assert_eq!((at.idle, at.interface.as_deref()), (Idle::Busy, Some("eth7")));
    assert_eq!((at.cores, at.queues, at.copy), (vec![3], Queues::All, CopyMode::Auto));
    std::fs::remove_file(&path).unwrap();
    let missing = ping(&line).unwrap_err().to_string();
    assert!(missing.contains("--config") && missing.contains("No such file"), "{missing}");
}

pub(super) fn serve(line: &str) -> Result<serve::Config, UsageError> {
    match parse(line).unwrap().command {
        Command::Serve(args) => args.resolve(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn connections_are_as_the_flags_say_then_the_file_then_the_defaults() {
    let plain = "fourwave serve echo --listen 10.77.0.1:7";
    let tcp = serve(plain).unwrap().at.tcp;
    assert_eq!((tcp.time_wait, tcp.backlog, tcp.keepalive, tcp.user_timeout), (None, None, None, None));
    assert_eq!((tcp.min_rto, tcp.receive_buffer, tcp.send_buffer, tcp.profile), (None, None, None, None));
    assert_eq!((tcp.ecn, tcp.congestion, tcp.syn_cookies), (Ecn::Answer, Congestion::Cubic, SynCookies::WhenFull));

    let path = std::env::temp_dir().join(format!("fourwave-tcp-{}.toml", std::process::id()));
    std::fs::write(&path, "backlog = 9\nsyn-cookies = \"never\"\nkeepalive = 7\nsend-buffer = 9999\n").unwrap();
    let flags = "--time-wait 1 --ecn ask --congestion newreno --syn-cookies 5 --user-timeout 2.5 \
                 --min-rto 0.001 --receive-buffer 1073741824 --profile latency";
    let tcp = serve(&format!("{plain} {flags} --config {}", path.display())).unwrap().at.tcp;
    std::fs::remove_file(&path).unwrap();
    assert_eq!((tcp.ecn, tcp.congestion, tcp.syn_cookies), (Ecn::Ask, Congestion::Newreno, SynCookies::From(5)));
    let seconds = |s| Some(Duration::from_millis(s));
    assert_eq!((tcp.time_wait, tcp.user_timeout), (seconds(1000), seconds(2500)));
    assert_eq!((tcp.backlog, tcp.keepalive), (Some(9), seconds(7000)));
    assert_eq!((tcp.min_rto, tcp.receive_buffer, tcp.send_buffer), (seconds(1), Some(1 << 30), Some(9999)));
    assert_eq!(tcp.profile, Some(Profile::Latency));
}

#[test]
fn connections_out_of_range_are_usage_errors_that_say_what_is_allowed() {
    let cases = [
        ("--time-wait 0", "1 to 240"),
        ("--time-wait 241", "1 to 240"),
        ("--time-wait soon", "1 to 240"),
        ("--backlog 16777217", "0 to 16777216"),
        ("--syn-cookies sometimes", "when-full"),
        ("--syn-cookies 16777217", "0 to 16777216"),
        ("--keepalive 0.5", "1 to 86400"),
        ("--user-timeout 86401", "1 to 86400"),
        ("--ecn on", "answer"),
        ("--congestion bbr", "newreno"),
        ("--profile fast", "[possible values: latency, throughput]"),
        ("--min-rto 0.0005", "0.001 to 1"),
        ("--min-rto 1.5", "0.001 to 1"),
        ("--receive-buffer 4095", "4096 to 1073741824"),
        ("--send-buffer 1073741825", "4096 to 1073741824"),
    ];
    for (flags, allowed) in cases {
        let error = parse(&format!("fourwave serve echo --listen 10.77.0.1:7 {flags}")).unwrap_err();
        let said = error.to_string();
        assert_eq!(error.exit_code(), 2, "{flags}");
        assert!(said.contains(allowed), "{flags}: {said}");
    }
    assert!(parse("fourwave ping 10.77.0.1:7 --backlog 5").is_err(), "ping does not listen");
    assert!(parse("fourwave ping 10.77.0.1:7 --ecn ask --time-wait 1").is_ok());
}
