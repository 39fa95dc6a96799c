use super::*;

const SMALL: &str = r#"
    [[listener]]
    name = "web"
    address = "10.0.0.1:80"
    pool = "web"

    [[pool]]
    name = "web"
    [[pool.backend]]
    address = "10.0.0.2:8080"
"#;

fn with(change: &str, into: &str) -> String {
    assert!(SMALL.contains(change), "{change}");
    SMALL.replacen(change, into, 1)
}

fn wrong(text: &str) -> String {
    Config::parse(text).expect_err(text).to_string()
}

#[test]
fn the_least_there_can_be_has_defaults() {
    let config = Config::parse(SMALL).unwrap();
    let [listener] = &config.listeners[..] else { panic!() };
    assert_eq!((listener.name.as_str(), listener.pool), ("web", 0));
    assert_eq!(listener.address, "10.0.0.1:80".parse().unwrap());
    assert!(!listener.accepts.any());
    let [pool] = &config.pools[..] else { panic!() };
    assert_eq!((pool.balance, pool.retries, pool.replay_bytes, pool.sends), (Balance::RoundRobin, 3, 0, None));
    assert_eq!(pool.connect_timeout, Duration::from_secs(3));
    assert_eq!(pool.idle_timeout, Some(Duration::from_secs(600)));
    assert_eq!(pool.half_closed_timeout, Some(Duration::from_secs(60)));
    assert_eq!(pool.health, None);
    assert_eq!((pool.backends[0].name.as_str(), pool.backends[0].via), ("10.0.0.2:8080", Upstream::Stack));
    assert_eq!((config.buffer_bytes, config.drain_time), (1 << 20, Duration::from_secs(30)));
    assert_eq!((config.source_ports, config.access_log), (61_000..=65_535, AccessLog::Off));
}

const EVERY_KEY: &str = r#"
        buffer = 65536
        drain-time = "1h"
        source-ports = "20000-29999"
        access-log = "/var/log/proxy.log"

        [stack]
        interface = "eth0"

        [[listener]]
        name = "web"
        address = "[fd00::1]:80"
        pool = "b"
        proxy-protocol = "any"
        header-timeout = "250ms"
        max-connections = 7
        queue = 0
        queue-timeout = 1.5

        [[pool]]
        name = "a"
        [[pool.backend]]
        address = "10.0.0.2:1"

        [[pool]]
        name = "b"
        balance = "maglev"
        retries = 0
        replay = 9000
        connect-timeout = 2
        idle-timeout = "off"
        half-closed-timeout = "10m"
        send-proxy = "v2"
        queue = 5
        queue-timeout = "1m"
        [pool.health]
        check = "http"
        path = "/up?now"
        host = "example.org"
        expect = "204"
        interval = "10s"
        timeout = "10s"
        rise = 1
        fall = 100
        [[pool.backend]]
        name = "one"
        address = "10.0.0.2:8080"
        via = "kernel"
        max-connections = 3
        "#;

#[test]
fn every_key_is_read() {
    let config = Config::parse(EVERY_KEY).unwrap();
    let ms = Duration::from_millis;
    assert_eq!((config.buffer_bytes, config.drain_time, config.source_ports), (65_536, ms(3_600_000), 20_000..=29_999));
    assert_eq!(config.access_log, AccessLog::File("/var/log/proxy.log".into()));
    assert_eq!(config.stack["interface"].as_str(), Some("eth0"));
    let expected = Listener {
        name: "web".into(),
        address: "[fd00::1]:80".parse().unwrap(),
        pool: 1,
        accepts: Headers { v1: true, v2: true },
        header_timeout: ms(250),
        max_connections: 7,
        queue: 0,
        queue_timeout: ms(1500),
    };
    assert_eq!(config.listeners, [expected]);
    let expected = Pool {
        name: "b".into(),
        balance: Balance::Maglev,
        retries: 0,
        replay_bytes: 9000,
        connect_timeout: ms(2000),
        idle_timeout: None,
        half_closed_timeout: Some(ms(600_000)),
        sends: Some(Version::V2),
        queue: 5,
        queue_timeout: ms(60_000),
        health: Some(Health {
            check: Check::Http { path: "/up?now".into(), host: Some("example.org".into()), expect: 204..=204 },
            interval: ms(10_000),
            timeout: ms(10_000),
            rise: 1,
            fall: 100,
        }),
        backends: vec![Backend {
            name: "one".into(),
            address: "10.0.0.2:8080".parse().unwrap(),
            via: Upstream::Kernel,
            max_connections: 3,
        }],
    };
    assert_eq!(config.pools[1], expected);
}

/// The field, the value and what is allowed are in the sentence.
#[test]
fn a_mistake_is_named() {
    let pool_key = |key: &str| with("[[pool.backend]]", &format!("{key}\n[[pool.backend]]"));
    let backend_key = |key: &str| with("address = \"10.0.0.2:8080\"", &format!("address = \"10.0.0.2:8080\"\n{key}"));
    for (text, parts) in [
        (
            with("\"10.0.0.1:80\"", "\"web.example:80\""),
            ["listener \"web\"", "address = \"web.example:80\"", "ADDRESS:PORT"],
        ),
        (with("\"10.0.0.1:80\"", "\"10.0.0.1:0\""), ["listener \"web\"", "address", "1 to 65535"]),
        (
            with("pool = \"web\"", "pool = \"wep\""),
            ["listener \"web\"", "pool = \"wep\"", "the name of a pool: \"web\""],
        ),
        (
            with("pool = \"web\"", "pool = \"web\"\nproxy-protocol = \"v3\""),
            ["proxy-protocol = \"v3\"", "off, v1, v2", "any"],
        ),
        (
            with("pool = \"web\"", "pool = \"web\"\nmax-connections = 0"),
            ["listener \"web\"", "max-connections = 0", "1 to 16777216"],
        ),
        (
            pool_key("balance = \"random\""),
            ["pool \"web\"", "balance = \"random\"", "round-robin, least-connections, or maglev"],
        ),
        (pool_key("connect-timeout = \"3 s\""), ["connect-timeout = \"3 s\"", "1ms to 1h", "(ms, s, m, h)"]),
        (pool_key("idle-timeout = 0"), ["idle-timeout = 0", "off, or 1ms to 24h", "seconds"]),
        (pool_key("retries = -1"), ["pool \"web\"", "retries = -1", "0 to 100"]),
        (pool_key("send-proxy = \"yes\""), ["pool \"web\"", "send-proxy = \"yes\"", "off, v1, or v2"]),
        (pool_key("health = { check = \"ping\" }"), ["pool \"web\", health", "check = \"ping\"", "connect or http"]),
        (
            pool_key("health = { check = \"connect\", path = \"/\" }"),
            ["health", "path = \"/\"", "only with check = \"http\""],
        ),
        (
            pool_key("health = { check = \"http\", expect = \"399-200\" }"),
            ["health", "expect = \"399-200\"", "100 to 599"],
        ),
        (pool_key("health = { check = \"http\", path = \"/a b\" }"), ["health", "path = \"/a b\"", "begins with /"]),
        (
            pool_key("health = { check = \"connect\", interval = \"1s\", timeout = \"2s\" }"),
            ["health", "timeout = \"2s\"", "1ms to 1s"],
        ),
        (backend_key("via = \"xdp\""), ["pool \"web\", backend \"10.0.0.2:8080\"", "via = \"xdp\"", "stack or kernel"]),
        (
            backend_key("[[pool.backend]]\naddress = \"10.0.0.2:8080\""),
            ["backend \"10.0.0.2:8080\"", "name", "no other has"],
        ),
        (format!("buffer = 100\n{SMALL}"), ["`buffer = 100`", "not allowed", "4096 to 1073741824"]),
        (format!("source-ports = \"9-1\"\n{SMALL}"), ["source-ports = \"9-1\"", "61000-65535", "1 to 65535"]),
        (
            format!("{SMALL}\n[[listener]]\nname = \"b\"\naddress = \"10.0.0.1:80\"\npool = \"web\""),
            ["listener \"b\"", "address = \"10.0.0.1:80\"", "listener \"web\" has not"],
        ),
        (String::new(), ["there is no [[listener]]", "at least one", "needed"]),
        (
            SMALL.split("[[pool.backend]]").next().unwrap().to_owned(),
            ["pool \"web\": ", "there is no [[pool.backend]]", "at least one"],
        ),
        (with("[[pool.backend]]", "[[pool.backends]]"), ["line 9", "unknown field", "backends"]),
        (with("pool = \"web\"", "pool = 5"), ["line 5: ", "`pool = 5` is not allowed", "a string is expected"]),
        (with("\"10.0.0.1:80\"", "10.0.0.1:80"), ["line 4: ", "; texts stand", "in quotes"]),
        (format!("access-log = /var/log/access.log\n{SMALL}"), ["line 1: ", "; texts stand", "in quotes"]),
        (format!("buffer = \"big\"\n{SMALL}"), ["line 1: ", "`buffer = \"big\"`", "a whole number is expected"]),
    ] {
        let said = wrong(&text);
        for part in parts {
            assert!(said.contains(part), "{said:?} does not say {part:?}");
        }
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
