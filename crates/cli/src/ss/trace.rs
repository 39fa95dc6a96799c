//! `fourwave ss --trace`: what happened to connections.

use super::{each_that_answers, silent};
use crate::args::Ss;
use crate::out;
use crate::stop::Stop;
use anyhow::Context;
use fourwave::control::Process;

/// As it comes, a shard at a time; of each the connection to which something happened last comes last.
pub(super) fn run(args: &Ss, found: &[Process], stop: &Stop) -> anyhow::Result<()> {
    let mut list = out::JsonList::new(args.json);
    let result = each_that_answers(found, stop, |process| {
        let overwritten = process.trace(&args.filter, |traced| {
            if args.json {
                list.add(&traced);
            } else {
                out::result(&traced.to_string());
            }
            !stop.requested() && !out::nobody_reads()
        });
        let overwritten = overwritten.with_context(|| silent(process))?;
        if overwritten > 0 && !args.json {
            crate::say!("process {}: {overwritten} older records are overwritten (--trace-records)", process.pid);
        }
        Ok(())
    });
    list.end();
    result
}
