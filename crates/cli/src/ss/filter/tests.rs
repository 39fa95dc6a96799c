use std::net::SocketAddr;

use super::*;

struct Known;

impl Names for Known {
    fn service(&self, name: &str) -> Option<u16> {
        service_in("https\t443/tcp\nhttp 80/tcp www # the web\ndomain 53/udp\ndomain 53/tcp\n#ssh 22/tcp\n", name)
    }
    fn host(&self, name: &str) -> Vec<IpAddr> {
        if name == "two.example" { vec![[192, 0, 2, 1].into(), "fd77::2".parse().unwrap()] } else { Vec::new() }
    }
}

fn filter(words: &str) -> Result<Filter, String> {
    parse(&words.split_whitespace().map(Into::into).collect::<Vec<_>>(), false, true, &Known)
}

/// Whether a connection of ours at port 80 of 10.0.0.1 to `remote` is let through.
fn passes(words: &str, remote: &str) -> bool {
    let filter = filter(words).unwrap_or_else(|error| panic!("{words}: {error}"));
    let local: SocketAddr = if remote.starts_with('[') { "[fd77::1]:80" } else { "10.0.0.1:80" }.parse().unwrap();
    filter.check().expect(words).wants(local, remote.parse().unwrap(), fourwave::State::Established)
}

fn states(words: &str) -> Vec<String> {
    let mut states = filter(words).unwrap().states;
    states.sort_unstable();
    states
}

const EIGHT: [&str; 8] =
    ["CLOSE-WAIT", "CLOSING", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "LAST-ACK", "SYN-SENT", "TIME-WAIT"];

#[test]
fn states_are_sss() {
    assert_eq!(states("state close-wait"), ["CLOSE-WAIT"]);
    assert_eq!(states("state CLOSE-WAIT state Established"), ["CLOSE-WAIT", "ESTABLISHED"]);
    assert_eq!(states("state syn-recv"), states("state syn-rcv"));
    assert_eq!(states("state closed"), ["CLOSED"]);
    assert_eq!([states("state close"), states("state unconnected")], [states("state closed"), states("state closed")]);
    assert_eq!(states("state bucket"), ["SYN-RECEIVED", "TIME-WAIT"]);
    assert_eq!(states("state all").len(), 11);
    let nine: Vec<_> = EIGHT.into_iter().chain(["SYN-RECEIVED"]).collect();
    let sorted = |mut list: Vec<&'static str>| {
        list.sort_unstable();
        list
    };
    assert_eq!(states("state connected"), sorted(nine.clone()));
    let without = |left_out: &str| sorted(nine.iter().copied().filter(|state| *state != left_out).collect());
    assert_eq!(states("state synchronized"), without("SYN-SENT"));
    assert_eq!(states("state connected exclude time-wait"), without("TIME-WAIT"));
    // Without another word it is all states that something is taken away from.
    assert_eq!(states("exclude bucket"), states("state big"));
    assert!(states("excl established").contains(&"LISTEN".into()));
    assert_eq!(states("").len(), 10, "all but listeners");
    let only = parse(&[], true, false, &Known).unwrap();
    assert_eq!(only.states, ["LISTEN"]);
}

#[test]
fn ports() {
    for (how, expected) in [
        ("=", [false, true, false]),
        ("", [false, true, false]),
        ("eq", [false, true, false]),
        ("==", [false, true, false]),
        ("!=", [true, false, true]),
        ("ne", [true, false, true]),
        ("neq", [true, false, true]),
        (">", [false, false, true]),
        ("gt", [false, false, true]),
        (">=", [false, true, true]),
        ("ge", [false, true, true]),
        ("geq", [false, true, true]),
        ("<", [true, false, false]),
        ("lt", [true, false, false]),
        ("<=", [true, true, false]),
        ("le", [true, true, false]),
        ("leq", [true, true, false]),
    ] {
        for port in [":443", "443", ":https", "https", "0x1bb", "0673"] {
            let words = format!("dport {how} {port}");
            let found = ["10.0.0.2:442", "10.0.0.2:443", "10.0.0.2:444"].map(|remote| passes(&words, remote));
            assert_eq!(found, expected, "{words}");
        }
    }
    assert!(passes("sport = :80", "10.0.0.2:1") && !passes("sport != :80", "10.0.0.2:1"));
    assert!(passes("sport :www", "10.0.0.2:1") && passes("dport = :*", "10.0.0.2:1"));
    assert!(passes("dport > *", "10.0.0.2:1") && !passes("dport < *", "10.0.0.2:1"));
    assert!(passes("dport = inet6:9", "[fd77::2]:9") && !passes("dport = inet6:9", "10.0.0.2:9"));
    // The lowest and the highest.
    assert!(!passes("dport > 65535", "10.0.0.2:65535") && !passes("dport < 0", "10.0.0.2:0"));
}

#[test]
fn addresses() {
    let to = |words: &str| passes(words, "10.1.2.3:443");
    for words in [
        "dst 10.1.2.3",
        "dst = 10.1.2.3",
        "dst eq 10.1.2.3",
        "dst == 10.1.2.3",
        "dst 10.1.2.3:443",
        "dst 10.1.2.3:https",
        "dst 10.1.2.3:*",
        "dst 10.1.0.0/16",
        "dst 10.1/16",
        "dst 10/8",
        "dst 10.0.0.0/255.0.0.0",
        "dst 10.1.0.0/16:443",
        "dst :443",
        "dst *:443",
        "dst *",
        "dst any",
        "dst all:443",
        "dst inet:10.1.2.3",
        "src 10.0.0.1:80",
        "dst 0.0.0.0/0",
    ] {
        assert!(to(words), "{words}");
        assert!(!to(&format!("not {words}")), "{words}");
    }
    for words in ["dst 10.1.2.4", "dst 10.1.2.3:444", "dst 10.2.0.0/16", "dst 10", "src 10.1.2.3", "dst inet6:*"] {
        assert!(!to(words), "{words}");
    }
    let six = |words: &str| passes(words, "[fd77::2]:443");
    for words in
        ["dst [fd77::2]", "dst [fd77::2]:443", "dst fd77::/16", "dst [fd77::/16]:443", "dst fd77::2", "dst fd77::2:443"]
    {
        assert!(six(words), "{words}");
    }
    assert!(!six("dst [fd77::3]") && !six("dst fd78::/16") && !six("dst 0.0.0.0/0"));
    assert!(six("dst two.example:443") && passes("dst two.example", "192.0.2.1:1") && !to("dst two.example"));
}

/// What iproute2 makes of them: grammar and order are those of its ssfilter.y, which has no precedence.
#[test]
fn conditions_are_joined_as_ss_joins_them() {
    let table = |words: &str| ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.3:1", "10.0.0.3:2"].map(|peer| passes(words, peer));
    assert_eq!(table("dport = 1 dst 10.0.0.2"), [true, false, false, false]);
    assert_eq!(table("dport = 1 and dst 10.0.0.2"), [true, false, false, false]);
    assert_eq!(table("dport = 1 && dst 10.0.0.2"), [true, false, false, false]);
    assert_eq!(table("dport = 1 & dst 10.0.0.2"), [true, false, false, false]);
    assert_eq!(table("dport = 1 or dst 10.0.0.2"), [true, true, true, false]);
    assert_eq!(table("dport = 1 || dst 10.0.0.2"), [true, true, true, false]);
    assert_eq!(table("dport = 1 | dst 10.0.0.2"), [true, true, true, false]);
    assert_eq!(table("not dport = 1"), [false, true, false, true]);
    assert_eq!(table("! dport = 1 dst 10.0.0.2"), [false, true, false, false]);
    assert_eq!(table("! ! dport = 1"), [true, false, true, false]);
    assert_eq!(table("not ( dport = 1 dst 10.0.0.2 )"), [false, true, true, true]);
    // From the left: (1 or .2) and 2, not 1 or (.2 and 2).
    assert_eq!(table("dport = 1 or dst 10.0.0.2 and dport = 2"), [false, true, false, false]);
    assert_eq!(table("dport = 1 or ( dst 10.0.0.2 and dport = 2 )"), [true, true, true, false]);
    assert_eq!(table("( ( dport = 2 ) )"), [false, true, false, true]);
    let one = parse(&["( dport = :1 )".into()], false, true, &Known).unwrap();
    assert_eq!(Ok(one), filter("( dport = :1 )"), "in one argument, as shells make it");
}

#[test]
fn a_typo_is_one_sentence_that_says_where() {
    for (words, said) in [
        ("state clsoe-wait", "`clsoe-wait` (after `state`, word 2 of the filter) is no state: there are established"),
        ("state", "`state` (first, word 1 of the filter) is the last word"),
        ("dport = :443 state established", "`state` (after `:443`, word 4 of the filter) comes too late"),
        ("dport = :htps", "`:htps` (after `=`, word 3 of the filter): `htps` is neither a port"),
        ("dport = 65536", "`65536` is neither a port (0 to 65535)"),
        ("dport =", "ends behind `=` (after `dport`, word 2 of the filter): a port is missing"),
        ("dport", "ends behind `dport` (first, word 1 of the filter): a port is missing"),
        ("dst", "an address is missing"),
        ("dport=:443", "`dport=:443` (first, word 1 of the filter) is several words in one"),
        ("(dport = :443 )", "`(dport` (first, word 1 of the filter) is several words in one"),
        ("( dport = :443", "`(` (first, word 1 of the filter) is not closed"),
        ("dport = :443 )", "`)` (after `:443`, word 4 of the filter) closes what was not opened"),
        ("( )", "`)` (after `(`, word 2 of the filter) closes what was not opened, or holds nothing"),
        ("dport = :1 and", "ends behind `and` (after `:1`, word 4 of the filter): a condition is missing"),
        ("and dport = :1", "`and` (first, word 1 of the filter) stands where a condition begins"),
        ("dport = :1 or and dport = :2", "`and` (after `or`, word 5 of the filter) stands where a condition begins"),
        ("dst != 10.0.0.1", "`!=` (after `dst`, word 2 of the filter) compares no addresses: write `not dst …`"),
        ("dst 10.0.0.300", "`10.0.0.300` is neither an address nor a host"),
        ("dst 10.0.0.1/33", "a prefix of it has 0 to 32 bits"),
        ("dst 10.0.0.1/255.0.255.0", "a prefix of it has 0 to 32 bits"),
        ("dst [fd77::1", "`]` is missing"),
        ("dst [fd77::1]443", "behind `]` comes `:` and a port"),
        ("dst unix:/run/x", "all that is listed is TCP"),
        ("src nobody.example:80", "`nobody.example` is neither an address nor a host"),
        ("dev = eth0", "`dev` (first, word 1 of the filter) is of no use here"),
        ("sprot = :80", "`sprot` (first, word 1 of the filter) is no condition: there are `dst`"),
    ] {
        let error = filter(words).expect_err(words);
        assert!(error.contains(said), "{words}: {error}");
        assert!(!error.contains('\n'), "{words}: {error}");
    }
    let many = format!("dport = 1 {}", "dport = 1 ".repeat(40));
    assert!(filter(&many).unwrap_err().contains("64 are the most"));
    assert!(filter(&"( ".repeat(500)).unwrap_err().contains("parentheses within each other"));
}

/// What is taken for a filter is one, and nothing makes it panic.
#[test]
fn words_in_any_order() {
    let words = ["(", ")", "!", "not", "and", "or", "dport", "src", "=", "<", ":443", "10.0.0.1", "state", "all", "*"];
    let mut seed = 7u64;
    for _ in 0..20_000 {
        let mut line = String::new();
        for _ in 0..6 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            line.push_str(words[(seed >> 33) as usize % words.len()]);
            line.push(' ');
        }
        if let Ok(filter) = filter(&line) {
            assert!(filter.check().is_some(), "{line}");
        }
    }
}
