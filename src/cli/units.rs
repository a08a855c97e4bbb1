//! Sizes and times with units: `64KiB`, `1MB`, `250ms`, `1.5s`. An error text shows the correct form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, at least 1. `512`, `512B`, `64KiB`, `1MiB`, `2GiB`, and `64KB`, `1MB`, `2GB` in powers of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

/// A duration, longer than zero and at most a year. `250ms`, `10s`, `1.5s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

/// The units of sizes. `Display` uses the first unit that divides the size, so the larger unit comes first.
const SIZES: [(&str, usize); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// The units of times in milliseconds, largest first.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest time. It is limited because the sum of a deadline and the current time must not overflow.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text);
        let factor = match SIZES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        {
            Some((_, factor)) => *factor,
            None if unit.is_empty() && !number.is_empty() => 1,
            // `64K` may mean 65,536 or 64,000, so the user has to decide.
            None => match unit.to_ascii_uppercase().as_str() {
                unit @ ("K" | "M" | "G") if number.parse::<u32>().is_ok() => {
                    return Err(format!(
                        "is it {number}{unit}iB (powers of 1024) or {number}{unit}B (powers of 1000)?"
                    ));
                }
                _ => return Err(SIZE_FORM.into()),
            },
        };
        if number.is_empty() || number.contains('.') {
            return Err(SIZE_FORM.into());
        }
        // The number has only digits, so parsing fails only if it is too large.
        match number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
        {
            Some(0) => Err("must be at least one byte".into()),
            Some(bytes) => Ok(Size(bytes)),
            None => Err("is too large for this machine".into()),
        }
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Time::or_zero(text)? {
            Time(Duration::ZERO) => Err("must be longer than zero".into()),
            time => Ok(time),
        }
    }
}

impl Time {
    /// Parses a time that may be zero.
    pub(crate) fn or_zero(text: &str) -> Result<Time, String> {
        let (number, unit) = number_and_unit(text);
        if unit.is_empty() && !number.is_empty() {
            return Err(format!(
                "a time needs a unit: {number}s, {number}ms, {number}m or {number}h"
            ));
        }
        let factor = TIMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| *factor);
        let (Some(factor), Ok(number)) = (factor, number.parse::<f64>()) else {
            return Err(TIME_FORM.into());
        };
        match Duration::try_from_secs_f64(number * factor as f64 / 1000.0) {
            Ok(time) if time <= MAX_TIME => Ok(Time(time)),
            _ => Err(format!("must be at most {}, a year", Time(MAX_TIME))),
        }
    }
}

const SIZE_FORM: &str =
    "a size is a whole number with a unit: 512, 512B, 64KiB, 1MiB, 1GiB, or 64KB, 1MB, 1GB";
const TIME_FORM: &str = "a time is a number with a unit: 250ms, 10s, 1.5s, 2m or 1h";

/// Splits `text` into the number, which may have a decimal point, and the unit. A space between them is allowed.
fn number_and_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZES
            .iter()
            .find(|(_, factor)| self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_secs_f64() * 1000.0;
        match TIMES
            .iter()
            .find(|(_, factor)| millis % *factor as f64 == 0.0)
        {
            Some((unit, factor)) => write!(f, "{}{unit}", millis / *factor as f64),
            None => write!(f, "{millis}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<usize, String> {
        text.parse::<Size>().map(|size| size.0)
    }

    fn millis(text: &str) -> Result<u128, String> {
        text.parse::<Time>().map(|time| time.0.as_millis())
    }

    #[test]
    fn sizes_have_binary_or_decimal_units() {
        for (text, bytes) in [
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("64kib", 65_536),
            ("64kB", 64_000),
            ("17MiB", 17 << 20),
            ("1MB", 1_000_000),
            ("2GiB", 2 << 30),
            ("2gb", 2_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn wrong_size_is_answered_with_the_correct_form() {
        for text in [
            "",
            "KiB",
            "-1",
            "+1",
            "1.5MiB",
            "12 parsecs",
            "1e6",
            "0x10",
            "1 2",
            "1KiB2",
            "é",
            ".",
        ] {
            assert_eq!(size(text), Err(SIZE_FORM.into()), "{text:?}");
        }
        assert_eq!(
            size("64k"),
            Err("is it 64KiB (powers of 1024) or 64KB (powers of 1000)?".into())
        );
        assert_eq!(size("0KiB"), Err("must be at least one byte".into()));
        assert_eq!(
            size("99999999999GiB"),
            Err("is too large for this machine".into())
        );
        assert_eq!(
            size("99999999999999999999999"),
            Err("is too large for this machine".into())
        );
    }

    #[test]
    fn times_are_numbers_with_units() {
        for (text, expected) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("10 s", 10_000),
            ("1.5s", 1_500),
            ("0.1s", 100),
            ("2m", 120_000),
            ("1H", 3_600_000),
            ("8760h", 31_536_000_000),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_time_is_answered_with_the_correct_form() {
        assert_eq!(
            millis("10"),
            Err("a time needs a unit: 10s, 10ms, 10m or 10h".into())
        );
        for text in [
            "",
            "s",
            "-1s",
            "1,5s",
            "10 minutes",
            "1.2.3s",
            "inf",
            "NaNs",
            "1e3s",
            ".s",
            "10s5",
        ] {
            assert_eq!(millis(text), Err(TIME_FORM.into()), "{text:?}");
        }
        for text in ["0s", "0ms", "0.0h", "0.0000000001s"] {
            assert_eq!(
                millis(text),
                Err("must be longer than zero".into()),
                "{text}"
            );
        }
        for text in ["8761h", "99999999999999999999999999h"] {
            assert_eq!(
                millis(text),
                Err("must be at most 8760h, a year".into()),
                "{text}"
            );
        }
    }

    #[test]
    fn displayed_value_can_be_parsed() {
        for (bytes, text) in [
            (65_536, "64KiB"),
            (1 << 20, "1MiB"),
            (64_000, "64KB"),
            (1_001, "1001B"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
            assert_eq!(size(text), Ok(bytes));
        }
        for (time, text) in [
            (30_000, "30s"),
            (250, "250ms"),
            (120_000, "2m"),
            (1_500, "1500ms"),
        ] {
            assert_eq!(Time(Duration::from_millis(time)).to_string(), text);
            assert_eq!(millis(text), Ok(u128::from(time)));
        }
    }
}
