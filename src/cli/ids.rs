//! Ids of messages, as clients write them.

/// Why a `since` is refused.
pub(crate) const NOT_AN_ID: &str = "since must be an id, which is a whole number from 0";

/// Returns the id that consists of these decimal digits. `None` if there is another character, or if the id is larger
/// than a `u64`.
pub(crate) fn from_digits(digits: &str) -> Option<u64> {
    // `parse` would accept a sign.
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_decimal)
}

/// Returns the value of a JSON number, if it is a whole number from 0 and fits into a `u64`. The notation does not matter,
/// because some languages write 1000 as `1000.0` or `1e+3`. The result is exact: no floating-point number is involved.
pub(crate) fn from_number(number: &str) -> Option<u64> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return from_digits(&digits);
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    // The number is `significant` followed by this many zeros.
    let zeros = zeros as i64 - fraction.len() as i64;
    let zeros = zeros.checked_add(exponent.parse().ok()?)?;
    let zeros = usize::try_from(zeros).ok().filter(|zeros| *zeros <= 20)?;
    from_digits(&(significant.to_owned() + &"0".repeat(zeros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_number_is_an_id_in_every_notation() {
        let largest = u64::MAX.to_string();
        for (number, id) in [
            ("0", 0),
            ("0.000", 0),
            ("0e99999999999999999999", 0),
            ("1795445276594477", 1_795_445_276_594_477),
            ("1795445276594477.0", 1_795_445_276_594_477),
            ("1.795445276594477e+15", 1_795_445_276_594_477),
            ("9007199254740993", 9_007_199_254_740_993),
            ("100E-2", 1),
            ("0.07e2", 7),
            (&largest, u64::MAX),
        ] {
            assert_eq!(from_number(number), Some(id), "{number}");
        }
        for number in [
            "-1",
            "-0",
            "1.5",
            "100e-3",
            "1e400",
            "1e-400",
            "18446744073709551616",
            "1e99999999999999999999",
        ] {
            assert_eq!(from_number(number), None, "{number}");
        }
    }

    #[test]
    fn digits_have_no_sign_and_no_space() {
        assert_eq!(from_digits("007"), Some(7));
        for wrong in ["", "+7", "-7", " 7", "7.0", "1e3", "18446744073709551616"] {
            assert_eq!(from_digits(wrong), None, "{wrong}");
        }
    }
}
