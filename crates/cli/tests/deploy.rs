//! What is in `deploy/` for Prometheus and Grafana: promtool finds nothing wrong with it, and it names nothing that is not there. And
//! that containers have the memory that their programs may take.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Its good end, and what it said.
fn promtool(args: &[&str]) -> String {
    let mut command = Command::new("promtool");
    let output = command.args(args).current_dir(path("deploy/prometheus")).output();
    let output = output.unwrap_or_else(|error| panic!("promtool: {error}: apt-get install prometheus"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {said}");
    said
}

/// Metrics of docs/METRICS.md, with the names of a histogram's parts.
fn documented() -> BTreeSet<String> {
    let manual = read("docs/METRICS.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.flat_map(|(name, rest)| {
        let parts: &[&str] = if rest.starts_with("histogram") { &["_bucket", "_sum", "_count"] } else { &[""] };
        parts.iter().map(move |part| format!("{name}{part}"))
    })
    .collect()
}

/// The metrics that an expression names.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| (word.starts_with("fourwave_") || word.starts_with("process_")) && word.len() > 9)
}

fn alerts() -> Vec<String> {
    let rules = read("deploy/prometheus/alerts.yml");
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn promtool_finds_the_rules_right_and_they_fire_when_they_should() {
    promtool(&["check", "rules", "--lint-fatal", "alerts.yml"]);
    assert!(promtool(&["test", "rules", "alerts_test.yml"]).contains("SUCCESS"));
}

#[test]
fn rules_name_metrics_that_there_are_and_the_manual_names_the_rules() {
    let (rules, documented) = (read("deploy/prometheus/alerts.yml"), documented());
    for name in names(&rules) {
        assert!(documented.contains(name), "alerts.yml names {name}");
    }
    let (tests, manual) = (read("deploy/prometheus/alerts_test.yml"), read("docs/OPERATIONS.md"));
    let alerts = alerts();
    assert!(alerts.len() > 15);
    for alert in &alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} has no test");
        assert!(manual.contains(&format!("| `{alert}` |")), "{alert} is not in docs/OPERATIONS.md");
    }
    assert_eq!(rules.matches("runbook: docs/OPERATIONS.md#alerts\n").count(), alerts.len());
    assert!(manual.contains("\n## Alerts\n"));
    let listed = manual.lines().filter(|line| line.starts_with("| `Fourwave")).count();
    assert_eq!(listed, alerts.len(), "docs/OPERATIONS.md has alerts that there are not");
}

/// Each panel's expressions, parsed by promtool with the variables filled in.
#[test]
fn the_dashboard_names_metrics_that_there_are_and_its_expressions_parse() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/fourwave.json")).unwrap();
    let documented = documented();
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    let (mut ids, mut expressions) = (BTreeSet::new(), 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
            let expression = target["expr"].as_str().unwrap();
            for name in names(expression) {
                assert!(documented.contains(name), "the dashboard names {name}");
            }
            assert!(names(expression).count() > 0, "{expression}");
            expressions += 1;
            let filled = expression.replace("$__rate_interval", "1m").replace('$', "");
            let filled = serde_json::to_string(&filled).unwrap();
            rules += &format!("  - record: dashboard:expression:{expressions}\n    expr: {filled}\n");
        }
    }
    assert!(expressions > 50);
    let file = std::env::temp_dir().join(format!("fourwave-dashboard-{}.yml", std::process::id()));
    std::fs::write(&file, rules).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let has = |name: &str| variables.iter().any(|variable| variable["name"] == name);
    assert!(["datasource", "job", "instance", "shard"].iter().all(|name| has(name)));
    // What an operator looks for is there.
    let text = dashboard.to_string();
    for name in [
        "fourwave_drops_total",
        "fourwave_connections",
        "fourwave_ring_descriptors",
        "fourwave_loop_turn_seconds_bucket",
    ] {
        assert!(text.contains(name), "{name}");
    }
}

/// Prometheus' operator calls the job as this label of the pods is.
#[test]
fn on_kubernetes_the_job_is_one_that_the_rules_ask_for() {
    assert!(read("deploy/kubernetes/pod-monitor.yaml").contains("\n  jobLabel: app.kubernetes.io/name\n"));
    assert!(
        read("deploy/kubernetes/proxy-daemonset.yaml").contains("\n        app.kubernetes.io/name: fourwave-proxy\n")
    );
    let rules = read("deploy/prometheus/alerts.yml");
    assert_eq!(rules.matches("job=~").count(), rules.matches(r#"job=~"(.*/)?fourwave.*""#).count());
}

/// The number behind a word in a text.
fn number(text: &str, word: &str) -> Option<u64> {
    let rest = text.split_once(word)?.1.trim_start_matches([' ', '"']);
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// The kernel would kill it otherwise, and nothing have counted why. A shard has a queue, and a cpu.
#[test]
fn a_container_has_more_memory_than_its_program_may_take() {
    let row = read("docs/OPERATIONS.md");
    let sum = "per shard it needs `--frames` x 4096 bytes + `--pool-bytes` + `--max-connections` x 1,250 bytes";
    assert!(row.contains(sum), "docs/OPERATIONS.md has another sum");
    let queues = number(&read("deploy/kubernetes/network.yaml"), "-L -device- combined");
    for name in ["load-job.yaml", "proxy-daemonset.yaml"] {
        let manifest = read(&format!("deploy/kubernetes/{name}"));
        let value = |word, default| number(&manifest, word).unwrap_or(default);
        let shards = number(&manifest, "cpu:").unwrap();
        assert_eq!(Some(shards), queues, "{name}");
        let (frames, pool) = (value("--frames", 8192), value("--pool-bytes", 256 << 20));
        let needs = shards * (frames * 4096 + pool + value("--max-connections", 1 << 20) * 1250);
        let limit = manifest.split_once("memory: ").and_then(|(_, rest)| rest.split_once("Gi")?.0.parse::<u64>().ok());
        let limit = limit.unwrap() << 30;
        // A quarter is for what the application keeps, and for records.
        assert!(needs <= limit / 4 * 3, "{name}: {needs} of {limit} bytes");
    }
}
