//! What a process tells of itself, as Prometheus reads it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use impairment::within;

use crate::world::METRICS;

/// The text of `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct Told(String);

impl Told {
    /// Asks the process in a namespace.
    pub(crate) fn by(namespace: &str) -> Result<Self, String> {
        let get = || {
            let mut stream = TcpStream::connect(METRICS)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        let text = within(namespace, get).map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        match text.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200") => {
                Ok(Self(body.to_owned()))
            }
            _ => Err(format!("it answers {:?}", text.lines().next().unwrap_or_default())),
        }
    }

    /// The sum of a metric's samples with this label, of all shards.
    pub(crate) fn sum(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let label = label.map(|(name, value)| format!("{name}=\"{value}\""));
        let wanted = |labels: &str| label.as_ref().is_none_or(|label| labels.contains(label));
        self.samples(name).filter(|(labels, _)| wanted(labels)).map(|(_, value)| value).sum()
    }

    pub(crate) fn count(&self, name: &str) -> f64 {
        self.sum(name, None)
    }

    /// A metric by the values of one of its labels; those that are zero are left out.
    pub(crate) fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (labels, value) in self.samples(name) {
            let start = format!("{label}=\"");
            let of = labels.split_once(&start).and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
            *sums.entry(of.to_owned()).or_default() += value;
        }
        sums.retain(|_, value| *value != 0.0);
        sums
    }

    fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, value.parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_added_up_and_told_apart() {
        let text = "# TYPE a gauge\na{shard=\"0\",state=\"X\"} 2\na{shard=\"1\",state=\"X\"} 3\na{shard=\"0\",state=\"Y\"} 0\n\
                    a_total 7\nab 9\n";
        let told = Told(text.into());
        assert_eq!((told.count("a"), told.count("a_total"), told.count("b")), (5.0, 7.0, 0.0));
        assert_eq!(told.sum("a", Some(("state", "Y"))), 0.0);
        assert_eq!(told.sum("a", Some(("shard", "1"))), 3.0);
        assert_eq!(told.by_label("a", "state"), BTreeMap::from([("X".to_owned(), 5.0)]));
    }
}
