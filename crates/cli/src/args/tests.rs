//! What is typed, and what becomes of it.

use super::*;
use crate::ping;
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

#[test]
fn ping_runs_five_seconds_unless_counted() {
    let config = ping("fourwave ping 10.77.0.1:7").unwrap();
    assert_eq!(config.at.stack, Stack::Fourwave);
    assert_eq!(config.duration, Some(Duration::from_secs(5)));
    let config = ping("fourwave ping 10.77.0.1:7 --count 10 --stack kernel").unwrap();
    assert_eq!((config.count, config.duration), (Some(10), None));
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    assert!(ping("fourwave ping 10.77.0.1:7 --stack raw --connections 2").is_err());
    assert!(ping("fourwave ping 10.77.0.1:0").is_err());
    assert!(ping("fourwave ping 10.77.0.1:7 --gateway 10.77.0.9").is_err());
    assert!(ping("fourwave ping 10.77.0.1:7 --vlan 5").is_err());
    assert!(parse("fourwave ping 10.77.0.1:7 --address 10.77.0.8/24 --vlan 4095").is_err());
    assert!(ping("fourwave ping 10.77.0.1:7 --address 10.77.0.8/24 --vlan 5").is_ok());
    assert!(ping("fourwave ping 10.77.0.1:7 --address 10.77.0.8/24 --gateway fd77::9").is_err());
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
    assert_eq!((at.cores, at.queues.0, at.copy), (vec![3], vec![0], CopyMode::Auto));
    std::fs::remove_file(&path).unwrap();
    let missing = ping(&line).unwrap_err().to_string();
    assert!(missing.contains("--config") && missing.contains("No such file"), "{missing}");
}
