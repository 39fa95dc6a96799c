//! The table of a run.

use std::fmt::Write;

use crate::end::Tcp;
use crate::point::Outcome;
use crate::sweep::{ENDS, Results};

/// A row per path, a column per pair of ends: medians, and ratios to the kernel at both ends, paired by round.
pub(crate) fn markdown(results: &Results) -> String {
    let args = &results.args;
    let mut text = format!(
        "# Goodput over an impaired path\n\n\
         `goodput {}`: {} Mbit/s, CUBIC at every sender, {} ms a connection, {} rounds, seed {}, loss each way. Machine: {}; \
         load before {}, after {}.\n\n\
         Medians in Mbit/s, sender first; in brackets the ratio to the kernel at both ends: the median of the rounds' ratios, \
         and the lowest and highest of them. \"Kernel's spread\" is the kernel's own, lowest to highest.\n\n\
         | RTT | loss | kernel to kernel | kernel's spread |",
        results.command,
        args.rate_mbit,
        args.milliseconds,
        args.rounds,
        args.seed,
        results.machine,
        results.load_before,
        results.load_after
    );
    for (sender, receiver) in &ENDS[1..] {
        let _ = write!(text, " {} to {} |", sender.name(), receiver.name());
    }
    text += "\n|--:|--:|--:|--:|--:|--:|--:|\n";
    for &rtt_us in &args.rtts_us {
        for &loss in &args.losses {
            let of = |ends: (Tcp, Tcp)| -> Vec<&Outcome> {
                let here = |o: &&Outcome| o.point.rtt_us == rtt_us && o.point.loss_percent == loss;
                results.outcomes.iter().filter(here).filter(|o| (o.point.sender, o.point.receiver) == ends).collect()
            };
            row(&mut text, rtt_us, loss, &ENDS.map(of));
        }
    }
    let late = |o: &Outcome| o.forwarder.lateness.p99_us;
    let drops: u64 = results.outcomes.iter().map(|o| o.forwarder.own_drops).sum();
    let (mut all, worst) = (results.outcomes.iter().map(late).collect::<Vec<_>>(), results.outcomes.iter().map(late));
    let _ = writeln!(
        text,
        "\nThe forwarder itself dropped {drops} frames; frames left it later than they should by (99th percentile of a \
         connection) {:.0} us in the median, {:.0} us at worst.",
        median(&mut all),
        worst.fold(0.0, f64::max)
    );
    text
}

fn row(text: &mut String, rtt_us: u64, loss: f64, columns: &[Vec<&Outcome>; 4]) {
    let rates = |column: &[&Outcome]| column.iter().map(|o| o.mbit_s).collect::<Vec<_>>();
    let kernel = &columns[0];
    let mut base = rates(kernel);
    let (low, high) = bounds(&base);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a path")]
    let rtt = rtt_us as f64 / 1000.0;
    let _ = write!(text, "| {rtt} ms | {loss} % | {:.1} | {low:.1} – {high:.1} |", median(&mut base));
    for column in &columns[1..] {
        let mut ratios: Vec<f64> = column
            .iter()
            .filter_map(|o| kernel.iter().find(|k| k.round == o.round).map(|k| o.mbit_s / k.mbit_s))
            .collect();
        let (low, high) = bounds(&ratios);
        let (rate, ratio) = (median(&mut rates(column)), median(&mut ratios));
        let _ = write!(text, " {rate:.1} ({ratio:.2}, {low:.2} – {high:.2}) |");
    }
    text.push('\n');
}

fn bounds(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// Of an even number the mean of the two in the middle; of none, NaN.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
