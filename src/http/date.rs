//! [`now`]: the value of the `Date` header (RFC 9110 §6.6.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::HeaderValue;

/// The last second that the format can express, at the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// Returns the current time as an HTTP date. It is formatted for each answer, which takes less time than a shared cache
/// would save.
pub(super) fn now() -> HeaderValue {
    format(SystemTime::now())
}

/// Formats `time`. A clock before 1970 or after 9999 gives the nearest date that the format can express.
fn format(time: SystemTime) -> HeaderValue {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = UNIX_EPOCH + Duration::from_secs(since.as_secs().min(LAST));
    HeaderValue::try_from(httpdate::fmt_http_date(time)).expect("an HTTP date is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_has_the_form_of_the_rfc() {
        let of = |seconds| format(UNIX_EPOCH + Duration::from_secs(seconds));
        // The example of RFC 9110 §5.6.7.
        assert_eq!(of(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(of(LAST + 1), of(LAST));
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(format(before), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
