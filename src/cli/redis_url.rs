//! [`Candidates`]: the URLs of one Redis or Valkey server, checked without showing what is in them.

use std::fmt;
use std::str::FromStr;

/// One URL, or the candidates of one server, separated by commas. They may contain a password, so neither an error nor
/// `Debug` shows any part of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Candidates(String);

/// What an error suggests.
const FORM: &str = "write redis://10.0.0.1:6379, redis://:PASSWORD@10.0.0.1/0, rediss://redis.example.com for TLS, or \
                    unix:/run/redis.sock, with a comma between the candidates of one server";

impl FromStr for Candidates {
    type Err = String;

    fn from_str(text: &str) -> Result<Candidates, String> {
        for url in text.split(',') {
            check(url).map_err(|error| format!("{error}: {FORM}"))?;
        }
        Ok(Candidates(text.into()))
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candidates")
    }
}

impl Candidates {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a certificate of one of the servers has to be checked.
    pub(crate) fn have_tls(&self) -> bool {
        self.0.split(',').any(|url| url.starts_with("rediss://"))
    }

    pub(crate) fn have_password(&self) -> bool {
        self.0.split(',').any(|url| match url.split_once("://") {
            Some((_, rest)) => (rest.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':')),
            None => url.contains("?pass=") || url.contains("&pass="),
        })
    }
}

/// Returns candidates with `***` instead of each password. `text` has been parsed.
pub(crate) fn without_passwords(text: &str) -> String {
    let shown: Vec<String> = text.split(',').map(without_password).collect();
    shown.join(",")
}

fn without_password(url: &str) -> String {
    const HIDDEN: &str = "***";
    if let Some((scheme, rest)) = url.split_once("://") {
        return match rest
            .rsplit_once('@')
            .map(|(user, at)| (user.split_once(':'), at))
        {
            Some((Some((user, _)), at)) => format!("{scheme}://{user}:{HIDDEN}@{at}"),
            _ => url.to_owned(),
        };
    }
    let Some((path, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let parts = query
        .split('&')
        .map(|part| match part.strip_prefix("pass=") {
            Some(_) => format!("pass={HIDDEN}"),
            None => part.to_owned(),
        });
    format!("{path}?{}", parts.collect::<Vec<_>>().join("&"))
}

fn check(url: &str) -> Result<(), &'static str> {
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL has no spaces and no control characters");
    }
    if url.contains('#') || (url.contains('?') && !url.starts_with("unix:")) {
        return Err("a URL has no query and no fragment (in a password, ? is %3F and # is %23)");
    }
    if let Some(rest) = url.strip_prefix("unix:") {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_known = |part: &str| {
            let keys = ["user=", "pass=", "db="];
            keys.iter().any(|key| part.starts_with(key))
        };
        if !query.is_empty() && !query.split('&').all(is_known) {
            return Err("after ? there may be user=, pass= and db=, separated by &");
        }
        let is_absolute = path.starts_with('/') && !path.ends_with('/');
        return if is_absolute {
            Ok(())
        } else {
            Err("the path of a unix socket begins with /")
        };
    }
    match url.split_once("://") {
        Some(("rediss", _)) if cfg!(not(feature = "tls")) => {
            Err("rediss:// needs the feature `tls`, which this build does not have")
        }
        Some(("redis" | "rediss", rest)) => check_tcp(rest),
        _ => Err("a URL begins with redis://, rediss:// or unix:"),
    }
}

/// Checks `[[USER]:PASSWORD@]HOST[:PORT][/DB]`.
fn check_tcp(rest: &str) -> Result<(), &'static str> {
    let (user, server) = rest.rsplit_once('@').unwrap_or(("", rest));
    if user.contains(['/', '@']) {
        return Err("a user and a password are percent-encoded (/ is %2F, @ is %40)");
    }
    let (address, database) = server.split_once('/').unwrap_or((server, ""));
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err("the database is a number");
    }
    let (host, port) = match address.strip_prefix('[').map(|v6| v6.split_once(']')) {
        Some(Some((host, port))) => (
            host,
            port.strip_prefix(':').or(port.is_empty().then_some("6379")),
        ),
        Some(None) => return Err("a bracket is not closed"),
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, Some("6379")),
        },
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    match port.map(str::parse::<u16>) {
        Some(Ok(1..)) => Ok(()),
        _ => Err("the port is a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_have_one_of_two_forms() {
        for (text, has_password) in [
            ("redis://127.0.0.1", false),
            ("redis://10.0.0.1:6379/2", false),
            ("redis://redis.internal/", false),
            ("redis://[::1]", false),
            ("redis://[::1]:6380/0", false),
            ("redis://hub@a", false),
            ("redis://:s3cret@a,redis://b", true),
            ("redis://a,redis://hub:s3cret@b:1/1", true),
            #[cfg(feature = "tls")]
            ("rediss://redis.example.com", false),
            #[cfg(feature = "tls")]
            ("redis://a,rediss://hub:s3cret@b:6380/1", true),
            ("unix:/run/redis.sock", false),
            ("unix:/run/redis.sock?db=1", false),
            ("unix:/run/redis.sock?user=hub&pass=s3cret&db=1", true),
        ] {
            let candidates: Candidates = text.parse().expect(text);
            assert_eq!(candidates.as_str(), text);
            assert_eq!(candidates.have_password(), has_password, "{text}");
            assert_eq!(candidates.have_tls(), text.contains("rediss:"), "{text}");
        }
    }

    #[test]
    fn password_is_hidden_and_the_rest_is_shown() {
        for (text, expected) in [
            ("redis://a", "redis://a"),
            ("redis://hub@a:1/2", "redis://hub@a:1/2"),
            (
                "redis://:s3cret@a,redis://hub:s3:cret@b/1",
                "redis://:***@a,redis://hub:***@b/1",
            ),
            #[cfg(feature = "tls")]
            ("rediss://:s3cret@a", "rediss://:***@a"),
            ("unix:/r.sock", "unix:/r.sock"),
            (
                "unix:/r.sock?user=hub&pass=s3cret&db=1",
                "unix:/r.sock?user=hub&pass=***&db=1",
            ),
        ] {
            assert_eq!(without_passwords(text), expected);
            assert!(expected.parse::<Candidates>().is_ok(), "{expected}");
        }
    }

    #[test]
    fn error_explains_without_showing_the_url() {
        for (text, reason) in [
            ("", "begins with redis://, rediss:// or unix:"),
            ("10.0.0.1:6379", "begins with redis://, rediss:// or unix:"),
            ("http://s3cret", "begins with redis://, rediss:// or unix:"),
            ("redis:s3cret@a", "begins with redis://, rediss:// or unix:"),
            ("redis://a,", "begins with redis://, rediss:// or unix:"),
            ("redis://:s3c,ret@a", "the host is missing"),
            #[cfg(not(feature = "tls"))]
            (
                "rediss://:s3cret@a",
                "needs the feature `tls`, which this build does not have",
            ),
            #[cfg(feature = "tls")]
            ("rediss://:s3cret@", "the host is missing"),
            ("valkeys://:s3cret@a", "begins with redis://"),
            ("redis://:s3cret@", "the host is missing"),
            ("redis://:s3cret", "the host is missing"),
            ("redis://a:s3cret", "the port is a number from 1 to 65535"),
            ("redis://a:0", "the port is a number from 1 to 65535"),
            ("redis://a:65536", "the port is a number from 1 to 65535"),
            (
                "redis://[::1]s3cret",
                "the port is a number from 1 to 65535",
            ),
            ("redis://[::1", "a bracket is not closed"),
            ("redis://a/s3cret", "the database is a number"),
            ("redis://:s3/cret@a", "/ is %2F"),
            ("redis://:s3@cret@a", "@ is %40"),
            ("redis://:s3 cret@a", "no spaces"),
            ("redis://:s3?cret@a", "? is %3F"),
            ("redis://a?pass=s3cret", "no query"),
            ("unix:", "begins with /"),
            ("unix:s3cret", "begins with /"),
            ("unix:/run/", "begins with /"),
            ("unix:/run/redis.sock?s3cret", "user=, pass= and db="),
        ] {
            let error = text.parse::<Candidates>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
            for part in ["s3", "cret"] {
                assert!(!error.contains(part), "{text}: {error}");
            }
        }
        let candidates: Candidates = "redis://:s3cret@a".parse().expect("it is valid");
        assert!(!format!("{candidates:?}").contains("s3cret"));
    }
}
