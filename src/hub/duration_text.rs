//! A duration as text: `50ms`, `1.5s`, `2m`.

use std::time::Duration;

/// The units, each with its length in nanoseconds. `Debug` of [`Duration`] writes `s`, `ms`, `µs` and `ns`.
const UNITS: [(&str, u128); 7] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("µs", 1_000),
    ("us", 1_000),
    ("ns", 1),
];

const FORM: &str = "a time is a number with a unit: 250ms, 10s, 1.5s, 2m or 1h";

/// Parses a number with a unit. Everything that `Debug` of [`Duration`] writes is parsed exactly. Smaller parts than a
/// nanosecond are cut off.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    if unit.is_empty() && nanoseconds(number, 1).is_some() {
        return Err(format!(
            "a time needs a unit: {number}s, {number}ms, {number}m or {number}h"
        ));
    }
    let unit = unit.trim_start();
    let factor = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let nanos = factor.and_then(|(_, factor)| nanoseconds(number, *factor));
    let nanos = nanos.ok_or(FORM)?;
    let secs = u64::try_from(nanos / 1_000_000_000).map_err(|_| "a time must be shorter")?;
    Ok(Duration::new(secs, (nanos % 1_000_000_000) as u32))
}

/// Returns a decimal number, such as `1.5`, times `factor`. `None` if it is no number, or has too many digits.
fn nanoseconds(number: &str, factor: u128) -> Option<u128> {
    /// With this many digits before and after the point, no product overflows.
    const MOST_DIGITS: usize = 21;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if [whole, fraction]
        .iter()
        .any(|digits| digits.len() > MOST_DIGITS)
    {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let digits = u32::try_from(fraction.len()).ok()?;
    let fraction: u128 = fraction.parse().ok()?;
    Some(whole * factor + fraction * factor / 10_u128.pow(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, expected) in [
            ("250ms", Duration::from_millis(250)),
            ("10 s", Duration::from_secs(10)),
            ("0.1s", Duration::from_millis(100)),
            ("2m", Duration::from_secs(120)),
            ("1.5H", Duration::from_secs(5400)),
            ("7us", Duration::from_micros(7)),
            ("0s", Duration::ZERO),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for duration in [Duration::MAX, Duration::from_nanos(1), Duration::ZERO] {
            assert_eq!(parse_duration(&format!("{duration:?}")), Ok(duration));
        }
    }

    #[test]
    fn wrong_duration_is_answered_with_the_correct_form() {
        for text in [
            "",
            "s",
            ".",
            ".s",
            "1.s",
            "-1s",
            "1,5s",
            "1.2.3s",
            "inf",
            "1e3s",
            "10s5",
            "10 minutes",
            "1234567890123456789012s",
        ] {
            assert_eq!(parse_duration(text), Err(FORM.into()), "{text:?}");
        }
        assert!(parse_duration("10").is_err_and(|error| error.contains("10s")));
        let too_long = parse_duration("18446744073709551616s");
        assert_eq!(too_long, Err("a time must be shorter".into()));
    }
}
