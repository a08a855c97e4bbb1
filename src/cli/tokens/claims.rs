//! [`Claims`]: what a signed token says about its client (RFC 7519 §4.1), checked strictly.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use standpipe::HubConfig;

use super::invalid::Invalid;
use crate::cli::names;

/// The claims of a valid token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// The user, from `sub`.
    pub(crate) user: Option<Arc<str>>,
    /// `exp`, in whole seconds since 1970, for the client.
    pub(crate) exp: u64,
    /// `exp` plus the leeway on the monotonic clock. A system clock that is set back does not extend a connection.
    pub(crate) ends: Instant,
    /// The topics that the token allows. `None` if it does not narrow what the rules allow.
    topics: Option<Topics>,
}

/// The topics that `topics` allows. An absent list allows no topic.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Topics {
    subscribe: Vec<String>,
    publish: Vec<String>,
}

/// The requirements of `--jwt-issuer`, `--jwt-audience` and `--jwt-leeway`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Required {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) leeway: Duration,
}

/// The same moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// The time since 1970.
    pub(crate) unix: Duration,
    pub(crate) monotonic: Instant,
}

impl Now {
    pub(crate) fn get() -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            // Before 1970, every token is valid in the future only.
            unix: unix.unwrap_or_default(),
            monotonic: Instant::now(),
        }
    }
}

/// The first second of the year 10000. A larger `exp` is a number of milliseconds, which would make a token valid for
/// thousands of years.
const MAX_DATE: f64 = 253_402_300_800.0;

/// The claims that are read, before their types are checked. A repeated claim is an error, because two readers could
/// choose different values (RFC 8725 §2.7).
#[derive(Deserialize)]
struct Read {
    exp: Option<Value>,
    nbf: Option<Value>,
    sub: Option<Value>,
    iss: Option<Value>,
    aud: Option<Value>,
    topics: Option<Value>,
}

/// Reads a JSON object. serde would also accept a list, as the fields in their order.
pub(super) fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().first() == Some(&b'{');
    is_object
        .then(|| serde_json::from_slice(json).ok())
        .flatten()
}

impl Claims {
    /// Checks the payload of a token whose signature is valid.
    pub(super) fn read(payload: &[u8], required: &Required, now: Now) -> Result<Claims, Invalid> {
        let read: Read = object(payload).ok_or(Invalid::ClaimsNotRead)?;
        let exp = date("exp", read.exp)?.ok_or(Invalid::Missing("exp"))?;
        let nbf = date("nbf", read.nbf)?;
        let end = exp.saturating_add(required.leeway);
        let left = end.checked_sub(now.unix).filter(|left| !left.is_zero());
        let left = left.ok_or(Invalid::Expired)?;
        if nbf.is_some_and(|nbf| nbf > now.unix.saturating_add(required.leeway)) {
            return Err(Invalid::NotYet);
        }
        check_issuer(read.iss, required.issuer.as_deref())?;
        check_audience(read.aud, required.audience.as_deref())?;
        let user = match read.sub {
            None => None,
            Some(Value::String(user)) if names::check("a user", &user).is_ok() => Some(user.into()),
            Some(_) => {
                return Err(Invalid::Type(
                    "sub",
                    "a name of 1 to 200 bytes without control characters",
                ));
            }
        };
        let topics = match read.topics {
            None => None,
            // serde would accept a list as the fields in their order.
            Some(topics @ Value::Object(_)) => {
                Some(serde_json::from_value(topics).map_err(|_| Invalid::Topics)?)
            }
            Some(_) => return Err(Invalid::Topics),
        };
        Ok(Claims {
            user,
            exp: exp.as_secs(),
            // `exp` is before the year 10000, so the sum fits.
            ends: now.monotonic.checked_add(left).unwrap_or(now.monotonic),
            topics,
        })
    }

    /// Whether the token lets its client subscribe to `topic`, if the rules do.
    pub(crate) fn may_subscribe(&self, topic: &str) -> bool {
        self.topics
            .as_ref()
            .is_none_or(|topics| matches(&topics.subscribe, topic))
    }

    /// Whether the token lets its client publish to `topic`, if the rules do.
    pub(crate) fn may_publish(&self, topic: &str) -> bool {
        self.topics
            .as_ref()
            .is_none_or(|topics| matches(&topics.publish, topic))
    }
}

fn matches(patterns: &[String], topic: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| HubConfig::matches(pattern, topic))
}

/// Returns a date, which is a number of seconds since 1970 (RFC 7519 §2, NumericDate).
fn date(name: &'static str, value: Option<Value>) -> Result<Option<Duration>, Invalid> {
    let Some(value) = value else {
        return Ok(None);
    };
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..MAX_DATE).contains(seconds));
    match seconds {
        Some(seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        None => Err(Invalid::Type(name, "a number of seconds since 1970")),
    }
}

fn check_issuer(iss: Option<Value>, required: Option<&str>) -> Result<(), Invalid> {
    match (required, iss) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Invalid::Missing("iss")),
        (Some(required), Some(Value::String(iss))) if iss == required => Ok(()),
        (Some(_), Some(Value::String(_))) => Err(Invalid::Issuer),
        (Some(_), Some(_)) => Err(Invalid::Type("iss", "a string")),
    }
}

fn check_audience(aud: Option<Value>, required: Option<&str>) -> Result<(), Invalid> {
    let Some(required) = required else {
        return Ok(());
    };
    let is_ours = |value: &Value| value.as_str() == Some(required);
    match aud {
        None => Err(Invalid::Missing("aud")),
        Some(aud @ Value::String(_)) if is_ours(&aud) => Ok(()),
        Some(Value::Array(all)) if !all.iter().all(Value::is_string) => {
            Err(Invalid::Type("aud", "a string or a list of strings"))
        }
        Some(Value::Array(all)) if all.iter().any(is_ours) => Ok(()),
        Some(Value::String(_) | Value::Array(_)) => Err(Invalid::Audience),
        Some(_) => Err(Invalid::Type("aud", "a string or a list of strings")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn now() -> Now {
        Now {
            unix: Duration::from_secs(NOW),
            monotonic: Instant::now(),
        }
    }

    fn required() -> Required {
        Required {
            leeway: Duration::from_secs(30),
            ..Required::default()
        }
    }

    fn read(payload: &str) -> Result<Claims, Invalid> {
        Claims::read(payload.as_bytes(), &required(), now())
    }

    #[test]
    fn leeway_applies_to_both_dates() {
        for (claims, expected) in [
            (format!(r#"{{"exp":{}}}"#, NOW - 29), None),
            (format!(r#"{{"exp":{}}}"#, NOW - 30), Some(Invalid::Expired)),
            (format!(r#"{{"exp":{}}}"#, NOW - 31), Some(Invalid::Expired)),
            (format!(r#"{{"exp":{}.5}}"#, NOW - 30), None),
            (format!(r#"{{"exp":{0},"nbf":{0}}}"#, NOW + 30), None),
            (
                format!(r#"{{"exp":{0},"nbf":{0}}}"#, NOW + 31),
                Some(Invalid::NotYet),
            ),
        ] {
            assert_eq!(read(&claims).err(), expected, "{claims}");
        }
    }

    #[test]
    fn remaining_life_is_measured_on_the_monotonic_clock() {
        let now = now();
        let claims = format!(r#"{{"exp":{}}}"#, NOW + 60);
        let claims = Claims::read(claims.as_bytes(), &required(), now).expect("it is valid");
        assert_eq!(claims.ends - now.monotonic, Duration::from_secs(90));
        let last = br#"{"exp":253402300799}"#;
        let claims = Claims::read(last, &required(), now).expect("it is valid");
        assert!(
            claims.ends > now.monotonic,
            "the last date ends in the future"
        );
    }

    #[test]
    fn claims_of_a_wrong_type_are_refused() {
        for (name, values) in [
            (
                "exp",
                vec![
                    "null",
                    r#""1900000000""#,
                    "-1",
                    "true",
                    "[]",
                    "1e300",
                    "1900000000000",
                ],
            ),
            ("nbf", vec![r#""1""#, "-1", "{}", "1e12"]),
            ("sub", vec!["7", r#""""#, r#""a\nb""#, "[]"]),
            (
                "topics",
                vec![
                    "[]",
                    r#"[["*"],["*"]]"#,
                    r#""*""#,
                    r#"{"subscribe":"*"}"#,
                    r#"{"publish":[1]}"#,
                    r#"{"publish":null}"#,
                    r#"{"subscribe":["a"],"other":[]}"#,
                    "7",
                ],
            ),
        ] {
            for value in values {
                let exp = if name == "exp" {
                    String::new()
                } else {
                    r#""exp":1900000000,"#.into()
                };
                let claims = format!(r#"{{{exp}"{name}":{value}}}"#);
                assert!(read(&claims).is_err(), "{claims}");
            }
        }
        for claims in [
            "",
            "[]",
            "7",
            "{",
            r#"{"exp":1900000000,"exp":1900000001}"#,
            "{}",
        ] {
            assert!(read(claims).is_err(), "{claims}");
        }
        assert_eq!(read("{}"), Err(Invalid::Missing("exp")));
        let other = r#"{"exp":1900000000,"iat":"x","scope":[1,2],"iss":7,"aud":7}"#;
        read(other).expect("claims that are not used may have any type");
    }

    #[test]
    fn issuer_and_audience_are_checked_where_given() {
        let required = Required {
            issuer: Some("us".into()),
            audience: Some("hub".into()),
            leeway: Duration::ZERO,
        };
        for (claims, is_valid) in [
            (r#""iss":"us","aud":"hub""#, true),
            (r#""iss":"us","aud":["other","hub"]"#, true),
            (r#""iss":"us","aud":["other"]"#, false),
            (r#""iss":"us","aud":["hub",7]"#, false),
            (r#""iss":"us","aud":[]"#, false),
            (r#""iss":"us","aud":"hub2""#, false),
            (r#""iss":"us""#, false),
            (r#""aud":"hub""#, false),
            (r#""iss":["us"],"aud":"hub""#, false),
            (r#""iss":"them","aud":"hub""#, false),
        ] {
            let claims = format!(r#"{{"exp":1900000000,{claims}}}"#);
            let read = Claims::read(claims.as_bytes(), &required, now());
            assert_eq!(read.is_ok(), is_valid, "{claims}: {read:?}");
        }
    }

    #[test]
    fn absent_list_of_topics_allows_none() {
        let all = read(r#"{"exp":1900000000}"#).expect("it is valid");
        assert!(all.may_publish("any") && all.may_subscribe("any"));
        let one = read(r#"{"exp":1900000000,"topics":{"subscribe":["chat-*","a"]}}"#);
        let one = one.expect("it is valid");
        assert!(one.may_subscribe("chat-7") && one.may_subscribe("a"));
        assert!(!one.may_subscribe("b") && !one.may_publish("chat-7"));
        let none = read(r#"{"exp":1900000000,"topics":{}}"#).expect("it is valid");
        assert!(!none.may_subscribe("a") && !none.may_publish("a"));
    }
}
