//! A percentile distribution as HdrHistogram's `outputPercentileDistribution` writes it: what its plotters read.

use std::io::{self, Write};

use hdrhistogram::Histogram;

/// Steps within each half of what is left to 100 %: HdrHistogram's default.
const TICKS_PER_HALF_DISTANCE: f64 = 5.0;
const NS_PER_US: f64 = 1e3;

/// Of nanoseconds, in microseconds, to three decimals: the histogram has three figures.
#[expect(clippy::cast_precision_loss, reason = "the format is of floating point")]
pub(crate) fn write(out: &mut impl Write, histogram: &Histogram<u64>) -> io::Result<()> {
    let us = |ns: u64| ns as f64 / NS_PER_US;
    write!(out, "{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let (mut count, mut level) = (0, 0.0);
    for recorded in histogram.iter_recorded() {
        count += recorded.count_at_value();
        let (value, reached) = (us(recorded.value_iterated_to()), 100.0 * count as f64 / histogram.len() as f64);
        let last = count == histogram.len();
        while reached >= level {
            let part = level / 100.0;
            writeln!(out, "{value:12.3} {part:.12} {count:10} {:14.2}", 1.0 / (1.0 - part))?;
            level += step(level);
            if last {
                writeln!(out, "{value:12.3} {:.12} {count:10}", 1.0)?;
                break;
            }
        }
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_US, histogram.stdev() / NS_PER_US);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(out, "#[Max     = {:12.3}, Total count    = {:12}]", us(histogram.max()), histogram.len())?;
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), sub_buckets(histogram.sigfig()))
}

/// From a level to the next, in per cent as HdrHistogram has it, so that both round alike: what is left to 100 % is halved again
/// and again, and each half has as many steps.
fn step(level: f64) -> f64 {
    let halvings = (100.0 / (100.0 - level)).log2().floor();
    100.0 / (TICKS_PER_HALF_DISTANCE * (halvings + 1.0).exp2())
}

/// The smallest power of two that tells values of so many figures apart.
fn sub_buckets(figures: u8) -> u64 {
    (2 * 10u64.pow(figures.into())).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[u64]) -> String {
        let mut histogram = Histogram::new_with_bounds(1, 1 << 20, 3).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        let mut out = Vec::new();
        write(&mut out, &histogram).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// 1, 2, 3 and 4 µs: values below 2048 ns are exact, from there to 4096 in steps of 2. Levels go in
    /// fifths of each half: 0, 10 % … 50 %, then 55 % … 75 %, and at the last value straight to 100 %. The mean is of the middles:
    /// 1000, 2000, 3001 and 4001. 2^20 is the first value that ten buckets don't hold.
    #[test]
    fn the_format_is_that_of_hdr_histogram() {
        let expected = "       Value     Percentile TotalCount 1/(1-Percentile)

       1.000 0.000000000000          1           1.00
       1.000 0.100000000000          1           1.11
       1.000 0.200000000000          1           1.25
       2.000 0.300000000000          2           1.43
       2.000 0.400000000000          2           1.67
       2.000 0.500000000000          2           2.00
       3.001 0.550000000000          3           2.22
       3.001 0.600000000000          3           2.50
       3.001 0.650000000000          3           2.86
       3.001 0.700000000000          3           3.33
       3.001 0.750000000000          3           4.00
       4.001 0.775000000000          4           4.44
       4.001 1.000000000000          4
#[Mean    =        2.501, StdDeviation   =        1.118]
#[Max     =        4.001, Total count    =            4]
#[Buckets =           11, SubBuckets     =         2048]
";
        assert_eq!(written(&[1000, 2000, 3000, 4000]), expected);
    }

    #[test]
    fn nothing_measured_is_a_distribution_of_nothing() {
        let text = written(&[]);
        assert!(text.contains("Total count    =            0]"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }
}
