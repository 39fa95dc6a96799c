//! What `ping` and `load` send, as it is typed: sizes, rates, and the values of a sweep.

use std::ops::RangeInclusive;

use crate::measure::Rate;
use crate::ping::{Sizes, Swept};

/// Messages per second.
pub(super) const RATES: RangeInclusive<u32> = 1..=10_000_000;
const SIZES: RangeInclusive<u32> = 1..=Sizes::MOST;
/// Different sizes, and values of a sweep.
const MOST_VALUES: usize = 100;

/// `--sweep`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sweep {
    pub(super) what: Swept,
    /// At least one, each as `--rate` or `--bytes` takes it.
    pub(super) values: Vec<u32>,
}

/// `64`, `64-1024` or `64:0.9,1400:0.1`.
pub(super) fn parse_sizes(text: &str) -> Result<Sizes, String> {
    if text.contains(':') {
        return weighted(text);
    }
    let Some((least, most)) = text.split_once('-') else {
        return number(text, &SIZES, "bytes").map(Sizes::One);
    };
    let (least, most) = (number(least, &SIZES, "bytes")?, number(most, &SIZES, "bytes")?);
    if least > most {
        return Err(format!("`{text}` goes backwards"));
    }
    Ok(Sizes::Uniform { least, most })
}

fn weighted(text: &str) -> Result<Sizes, String> {
    let pair = |pair: &str| {
        let (size, share) = pair.split_once(':').ok_or(format!("`{pair}` has no share: give SIZE:SHARE,SIZE:SHARE"))?;
        let number = share.parse().ok().filter(|share: &f64| share.is_finite() && *share > 0.0);
        let share = number.ok_or(format!("`{share}` is no share: it is a number above 0"))?;
        Ok((number_of_bytes(size)?, share))
    };
    let shares = text.split(',').map(pair).collect::<Result<Vec<_>, String>>()?;
    match shares.len() {
        ..=MOST_VALUES => Ok(Sizes::Weighted(shares)),
        len => Err(format!("these are {len} sizes; {MOST_VALUES} are allowed")),
    }
}

/// `20000`, or `1000..50000`.
pub(super) fn parse_rate(text: &str) -> Result<Rate, String> {
    let rate = |text| number(text, &RATES, "requests per second");
    match text.split_once("..") {
        None => rate(text).map(Rate::Constant),
        Some((from, to)) => Ok(Rate::Ramp { from: rate(from)?, to: rate(to)? }),
    }
}

fn number_of_bytes(text: &str) -> Result<u32, String> {
    number(text, &SIZES, "bytes")
}

/// `rate=10000,20000`, `rate=FROM..TO:STEP`, and the same with `size`.
pub(super) fn parse_sweep(text: &str) -> Result<Sweep, String> {
    let (what, values) = text.split_once('=').ok_or("give rate=… or size=…")?;
    let (what, allowed, unit) = match what {
        "rate" => (Swept::Rate, &RATES, "messages per second"),
        "size" => (Swept::Size, &SIZES, "bytes"),
        other => return Err(format!("`{other}` can't be swept: give rate=… or size=…")),
    };
    let values = match values.split_once("..") {
        Some((from, rest)) => {
            let (to, step) = rest.split_once(':').ok_or("a range is FROM..TO:STEP")?;
            let (from, to) = (number(from, allowed, unit)?, number(to, allowed, unit)?);
            let step = step.parse::<u32>().ok().filter(|step| *step > 0);
            let step = step.ok_or("the step of a range is a whole number above 0")?;
            (from..=to).step_by(step as usize).take(MOST_VALUES + 1).collect()
        }
        None => values.split(',').map(|value| number(value, allowed, unit)).collect::<Result<Vec<_>, _>>()?,
    };
    match values.len() {
        0 => Err(format!("`{text}` goes backwards")),
        1..=MOST_VALUES => Ok(Sweep { what, values }),
        _ => Err(format!("these are more than {MOST_VALUES} values")),
    }
}

fn number(text: &str, allowed: &RangeInclusive<u32>, unit: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| allowed.contains(number));
    let (least, most) = (allowed.start(), allowed.end());
    number.ok_or(format!("`{text}` is no number of {unit} from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_sizes("64"), Ok(Sizes::One(64)));
        assert_eq!(parse_sizes("64-1024"), Ok(Sizes::Uniform { least: 64, most: 1024 }));
        assert_eq!(parse_sizes("64:0.9,1400:0.1"), Ok(Sizes::Weighted(vec![(64, 0.9), (1400, 0.1)])));
        for (wrong, says) in [
            ("0", "from 1 to 1048576"),
            ("1048577", "from 1 to 1048576"),
            ("x", "from 1 to 1048576"),
            ("", "from 1 to 1048576"),
            ("9-5", "backwards"),
            ("5-", "from 1 to 1048576"),
            ("64:0.5,128", "`128` has no share"),
            ("64:-1", "`-1` is no share"),
            ("64:0", "above 0"),
            ("64:NaN", "above 0"),
            ("0:1", "from 1 to 1048576"),
        ] {
            let said = parse_sizes(wrong).unwrap_err();
            assert!(said.contains(says), "{wrong}: {said}");
        }
        assert!(parse_sizes(&vec!["5:1"; 101].join(",")).unwrap_err().contains("101 sizes"));
    }

    #[test]
    fn sweeps() {
        let of = |text| parse_sweep(text).map(|sweep| (sweep.what, sweep.values));
        assert_eq!(of("rate=10000,20000,40000"), Ok((Swept::Rate, vec![10_000, 20_000, 40_000])));
        assert_eq!(of("size=64..256:64"), Ok((Swept::Size, vec![64, 128, 192, 256])));
        assert_eq!(of("rate=5..14:5"), Ok((Swept::Rate, vec![5, 10])));
        for (wrong, says) in [
            ("10000", "rate=… or size=…"),
            ("speed=1", "`speed` can't be swept"),
            ("rate=0", "from 1 to 10000000"),
            ("rate=1,", "from 1 to 10000000"),
            ("size=1..9", "FROM..TO:STEP"),
            ("size=1..9:0", "above 0"),
            ("size=9..1:1", "backwards"),
            ("rate=1..10000000:1", "more than 100"),
        ] {
            let said = of(wrong).unwrap_err();
            assert!(said.contains(says), "{wrong}: {said}");
        }
    }
}
