//! What to ask for: URLs as they are typed, and files of them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::UsageError;

/// Lines of a file with a URL each.
const MOST_URLS: usize = 1_000_000;

/// One request of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// None: the one of `--method`.
    pub(super) method: Option<String>,
    /// With its port, if that is given.
    pub(super) host: String,
    /// With its query.
    pub(super) path: String,
    /// Of the response's body.
    pub(super) sha256: Option<[u8; 32]>,
}

/// All that are asked for, at least one, and of whom: they are of one host.
pub(super) fn read(urls: &[String], file: Option<&Path>) -> Result<(Vec<Entry>, SocketAddr), UsageError> {
    let text = match file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| UsageError(format!("--urls {}: can't be read: {error}", path.display())))?,
    };
    let name = file.map(|path| path.display().to_string()).unwrap_or_default();
    let mut entries = urls.iter().map(|url| of(None, url, None)).collect::<Result<Vec<_>, _>>()?;
    for (index, line) in text.lines().enumerate() {
        let there = |error: UsageError| UsageError(format!("--urls {name}, line {}: {error}", index + 1));
        let Some(entry) = parse_line(line).map_err(there)? else { continue };
        let first = entries.first().unwrap_or(&entry);
        if !same_host(&first.host, &entry.host) {
            let (host, other) = (&first.host, &entry.host);
            return Err(there(UsageError(format!("{other} is another host than {host}: all URLs are of one"))));
        }
        if entries.len() >= MOST_URLS {
            return Err(there(UsageError(format!("{MOST_URLS} URLs are the most"))));
        }
        entries.push(entry);
    }
    let Some(first) = entries.first() else {
        return Err(UsageError("there is no URL: give one, such as http://10.77.0.1:8080/, or --urls FILE".into()));
    };
    if let Some(other) = entries.iter().find(|entry| !same_host(&first.host, &entry.host)) {
        let (host, other) = (&first.host, &other.host);
        return Err(UsageError(format!("{other} is another host than {host}: all URLs are of one")));
    }
    let target = address(&first.host)?;
    Ok((entries, target))
}

/// `URL`, `METHOD URL`, and either with the body's SHA-256 behind it; nothing for an empty line or a comment.
fn parse_line(line: &str) -> Result<Option<Entry>, UsageError> {
    let words: Vec<_> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
    let url = |word: &str| word.contains("://");
    match words[..] {
        [] => Ok(None),
        [only] => of(None, only, None).map(Some),
        [it, hash] if url(it) => of(None, it, Some(hash)).map(Some),
        [method, it] => of(Some(method), it, None).map(Some),
        [method, it, hash] => of(Some(method), it, Some(hash)).map(Some),
        _ => Err(UsageError("more than METHOD URL SHA256 is there".into())),
    }
}

fn of(method: Option<&str>, url: &str, sha256: Option<&str>) -> Result<Entry, UsageError> {
    let (host, path) = split(url)?;
    Ok(Entry {
        method: method.map(str::to_owned),
        host: host.to_owned(),
        path: path.to_owned(),
        sha256: sha256.map(parse_sha256).transpose().map_err(UsageError)?,
    })
}

/// 64 hexadecimal digits, as `sha256sum` prints them.
pub(super) fn parse_sha256(text: &str) -> Result<[u8; 32], String> {
    let wrong = || format!("`{text}` is no SHA-256: it has 64 hexadecimal digits, as `sha256sum` prints them");
    let mut sum = [0; 32];
    if text.len() != 2 * sum.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    for (byte, at) in sum.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(sum)
}

/// Also if only one of them says that its port is 80.
fn same_host(one: &str, other: &str) -> bool {
    let bare = |host: &str| host.strip_suffix(":80").unwrap_or(host).to_ascii_lowercase();
    one == other || bare(one) == bare(other)
}

/// Host with its port, and path with its query, of a URL.
fn split(url: &str) -> Result<(&str, &str), UsageError> {
    let wrong = |why: &str| UsageError(format!("{url:?}: {why}, such as http://10.77.0.1:8080/index.html"));
    // In whatever case, RFC 3986 section 3.1.
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(wrong("there is no TLS here: a URL of HTTP is needed"));
        }
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
fn address(host: &str) -> Result<SocketAddr, UsageError> {
    let colon = host.rfind(':').filter(|at| host[*at..].find(']').is_none());
    let with_port = if colon.is_some() { host.to_owned() } else { format!("{host}:80") };
    let found = with_port.to_socket_addrs().map_err(|error| UsageError(format!("{host}: {error}")))?;
    let found = found.into_iter().next().filter(|address| address.port() != 0);
    found.ok_or_else(|| UsageError(format!("{host} is no address that can be connected to")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_host_and_path() {
        assert_eq!(split("http://10.0.0.1").unwrap(), ("10.0.0.1", "/"));
        assert_eq!(split("http://a:81/b?c=d#e").unwrap(), ("a:81", "/b?c=d"));
        assert_eq!(split("HTTP://a/B").unwrap(), ("a", "/B"));
        assert!(split("HTTPS://a/").unwrap_err().to_string().contains("no TLS"));
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
            assert_eq!(address(host).unwrap().to_string(), expected);
        }
        for wrong in ["10.0.0.1:0", "10.0.0.1:x", "10.0.0.1:70000"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    /// What `printf abc | sha256sum` prints: FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_line_has_a_url_and_may_have_a_method_and_a_sum() {
        let entry = |line: &str| parse_line(line).map(|entry| entry.map(|e| (e.method, e.path, e.sha256.is_some())));
        let some = |method: Option<&str>, path: &str, sum| Some((method.map(str::to_owned), path.to_owned(), sum));
        assert_eq!(entry("http://a/b").unwrap(), some(None, "/b", false));
        assert_eq!(entry(" HEAD\thttp://a/b  # why").unwrap(), some(Some("HEAD"), "/b", false));
        assert_eq!(entry(&format!("http://a/b {ABC}")).unwrap(), some(None, "/b", true));
        assert_eq!(entry(&format!("PUT http://a/b {ABC}")).unwrap(), some(Some("PUT"), "/b", true));
        assert_eq!((entry("").unwrap(), entry(" # http://a/").unwrap()), (None, None));
        for wrong in ["GET", "GET a/b", "http://a/ abc", "GET http://a/ x y", &format!("GET http://a/ {ABC} more")] {
            assert!(entry(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_sha256(ABC).unwrap()[..4], [0xba, 0x78, 0x16, 0xbf]);
        for wrong in ["", &ABC[1..], &ABC.replace('b', "g"), &ABC.replacen('b', "+", 1), &"ä".repeat(32)] {
            assert!(parse_sha256(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_urls_are_of_one_host() {
        let list = |urls: &[&str]| read(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>(), None);
        let (entries, target) = list(&["http://10.0.0.1/a", "http://10.0.0.1:80/b"]).unwrap();
        assert_eq!((entries.len(), target.to_string().as_str()), (2, "10.0.0.1:80"));
        let said = list(&["http://10.0.0.1/", "http://10.0.0.1:81/"]).unwrap_err().to_string();
        assert!(said.contains("10.0.0.1:81 is another host than 10.0.0.1"), "{said}");
        assert!(list(&[]).unwrap_err().to_string().contains("--urls FILE"));
        let path = std::env::temp_dir().join(format!("fourwave-urls-{}", std::process::id()));
        std::fs::write(&path, "# two\nhttp://10.0.0.1/a\n\nHEAD http://10.0.0.2/\n").unwrap();
        let said = read(&[], Some(&path)).unwrap_err().to_string();
        assert!(said.contains("line 4: 10.0.0.2 is another host than 10.0.0.1"), "{said}");
        std::fs::write(&path, "http://10.0.0.1/a\nHEAD nonsense\n").unwrap();
        assert!(read(&[], Some(&path)).unwrap_err().to_string().contains("line 2: \"nonsense\""));
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(read(&[], Some(&path)).unwrap_err().to_string().contains("there is no URL"));
        std::fs::remove_file(&path).unwrap();
        assert!(read(&[], Some(&path)).unwrap_err().to_string().contains("can't be read"));
    }
}
