//! `fourwave report`: results compared in a terminal or on a page, and results of several machines in one.

mod document;
mod encoded;
mod hlog;
mod join;
mod merge;
mod moments;
mod page;
mod series;
mod table;

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::{out, say};

pub(crate) use document::Document;
pub(crate) use hlog::Unit;

use hlog::Reader;
use join::Source;
use table::Table;

/// A document with all seconds of a week is a tenth of it.
const MOST_JSON_BYTES: u64 = 512 << 20;

/// What to read and to write, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// And what it is called.
    pub(crate) files: Vec<(String, PathBuf)>,
    pub(crate) merge: bool,
    pub(crate) html: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) hlog: Option<PathBuf>,
    pub(crate) hlog_unit: Unit,
    pub(crate) json: bool,
}

pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let of_file = |(name, path): &(String, PathBuf)| read(name, path, config.hlog_unit);
    let read: Vec<_> = config.files.iter().map(of_file).collect::<anyhow::Result<_>>()?;
    if let Some(path) = &config.hlog {
        let sources = sources(config, &read)?;
        let file = File::create(path).with_context(|| format!("--hlog {}: can't be written", path.display()))?;
        join::join(sources, file)?;
    }
    let mut documents: Vec<_> = read.into_iter().flatten().collect();
    if config.merge {
        documents = vec![merge::merge(&documents)?];
    }
    if let Some(path) = &config.html {
        write_html(path, &documents)?;
        let (results, path) = (documents.len(), path.display());
        say!("wrote {path}: a page of {results} result{}, for any browser", if results == 1 { "" } else { "s" });
    }
    if let Some(path) = &config.svg {
        let Some(picture) = documents.first().and_then(page::picture) else {
            bail!("--svg is of a result with a time line, as `load tcp --mode idle --json` prints it");
        };
        std::fs::write(path, picture).with_context(|| format!("{}: can't be written", path.display()))?;
    }
    match (config.json, documents.as_slice()) {
        (true, [one]) => out::json(&merge::json(one)?)?,
        (true, several) => out::json(&several.iter().map(merge::json).collect::<anyhow::Result<Vec<_>>>()?)?,
        (false, all) if config.html.is_none() && config.svg.is_none() || config.merge => {
            out::result(&Table(all).to_string())
        }
        (false, _) => {}
    }
    Ok(())
}

/// Writes one page that shows these results beside each other, with all it needs within it.
pub(crate) fn write_html(path: &Path, documents: &[Document]) -> anyhow::Result<()> {
    let page = page::html(documents);
    std::fs::write(path, page).with_context(|| format!("{}: can't be written", path.display()))
}

/// The same page of what a command prints with `--json`, for its `--report`: into a file that was opened before it ran, as
/// privileges are given up by then.
pub(crate) fn write_page<T: Serialize>(mut to: File, name: &str, result: &T) -> anyhow::Result<()> {
    let document = Document::of(name, serde_json::to_value(result)?)?;
    to.write_all(page::html(&[document]).as_bytes()).context("--report: can't be written")
}

/// What a file holds: of an interval log with tags, a result for each.
fn read(name: &str, path: &Path, unit: Unit) -> anyhow::Result<Vec<Document>> {
    let file = File::open(path).with_context(|| format!("{}: can't be read", path.display()))?;
    let mut from = BufReader::new(file);
    if is_log(&mut from).with_context(|| format!("{}: can't be read", path.display()))? {
        return hlog::read(name, Reader::new(name, from, unit));
    }
    let mut text = Vec::new();
    from.take(MOST_JSON_BYTES).read_to_end(&mut text).with_context(|| format!("{}: can't be read", path.display()))?;
    if text.is_empty() {
        bail!("{} is empty", path.display());
    }
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| {
        let path = path.display();
        anyhow::anyhow!("{path} is neither a JSON document of fourwave nor an HdrHistogram interval log: {error}")
    })?;
    if let serde_json::Value::Array(several) = value {
        if several.is_empty() {
            bail!("{} holds no result: it is an empty array", path.display());
        }
        let one = |(index, value)| Document::of(&format!("{name} {}", index + 1), value);
        return several.into_iter().enumerate().map(one).collect();
    }
    Ok(vec![Document::of(name, value)?])
}

/// Its lines begin with a comment, the titles, a tag, or a number. A document begins with a brace.
fn is_log(from: &mut impl std::io::BufRead) -> std::io::Result<bool> {
    let begin = from.fill_buf()?;
    let first = begin.iter().find(|byte| !byte.is_ascii_whitespace());
    let name = begin.starts_with(b"Tag=") || begin.starts_with(b"\"StartTimestamp\"");
    Ok(name || first.is_some_and(|byte| *byte == b'#' || byte.is_ascii_digit()))
}

/// All inputs again, as intervals. `read`: what each file holds.
fn sources(config: &Config, read: &[Vec<Document>]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for ((name, path), documents) in config.files.iter().zip(read) {
        let mut from = BufReader::new(File::open(path).with_context(|| format!("{}: can't be read", path.display()))?);
        if is_log(&mut from)? {
            sources.push(Source::Log(Box::new(Reader::new(name, from, config.hlog_unit))));
        } else {
            sources.extend(documents.iter().map(Source::of));
        }
    }
    Ok(sources)
}
