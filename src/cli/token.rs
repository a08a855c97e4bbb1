//! `standpipe token`: makes a signed token, or explains one.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::Value;

use super::Failure;
use super::args::TokenArgs;
use super::command::TokenText;
use super::secrets::read_file;
use super::stdout;
use super::terminal::printable;
use super::tokens::claims::Now;
use super::tokens::invalid::MAX_TOKEN;
use super::tokens::signed::parts;

/// Prints a token, or explains the one of `--check`.
///
/// # Errors
/// When a file cannot be used, or the token is not valid.
pub(crate) fn run(args: &TokenArgs) -> Result<(), Failure> {
    match args.check.as_ref().map(|TokenText(token)| &**token) {
        None => stdout::write(format!("{}\n", make(args, Now::get())?).as_bytes()),
        Some("-") => {
            let mut token = String::new();
            let limit = MAX_TOKEN as u64 + 2;
            std::io::stdin().take(limit).read_to_string(&mut token)?;
            check(args, token.trim())
        }
        Some(token) => check(args, token),
    }
}

/// The claims of a token that this program makes.
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topics: Option<Topics<'a>>,
}

#[derive(Serialize)]
struct Topics<'a> {
    subscribe: &'a [String],
    publish: &'a [String],
}

fn make(args: &TokenArgs, now: Now) -> Result<String, Failure> {
    let (key, algorithm) = signing_key(args)?;
    let is_narrowed = !args.subscribe.is_empty() || !args.publish.is_empty();
    let claims = Claims {
        sub: args.sub.as_deref(),
        iat: now.unix.as_secs(),
        // Rounded up, so that a token for half a second is not expired already.
        exp: (now.unix + args.expires.0).as_secs_f64().ceil() as u64,
        iss: args.issuer.as_deref(),
        aud: args.audience.as_deref(),
        topics: is_narrowed.then_some(Topics {
            subscribe: &args.subscribe,
            publish: &args.publish,
        }),
    };
    let mut header = Header::new(algorithm);
    header.kid.clone_from(&args.kid);
    let token = encode(&header, &claims, &key).map_err(|error| format!("cannot sign: {error}"))?;
    if token.len() > MAX_TOKEN {
        return Err(format!("the token would have more than {MAX_TOKEN} bytes").into());
    }
    Ok(token)
}

fn signing_key(args: &TokenArgs) -> Result<(EncodingKey, Algorithm), String> {
    if let Some(path) = &args.private_key_file {
        return private_key(path).map_err(|error| format!("{}: {error}", path.display()));
    }
    let path = args.hmac_file.first();
    let path = path.ok_or("give the key that signs: --hmac-file or --private-key-file")?;
    let named = |error: String| format!("{}: {error}", path.display());
    let file = read_file(path).map_err(named)?;
    let secret = file.strip_suffix(b"\n").unwrap_or(&file);
    let key = EncodingKey::from_secret(secret).map_err(|_| named("the secret is empty".into()))?;
    Ok((key, Algorithm::HS256))
}

fn private_key(path: &Path) -> Result<(EncodingKey, Algorithm), String> {
    let pem = read_file(path)?;
    if let Ok(key) = EncodingKey::from_ed_pem(&pem) {
        return Ok((key, Algorithm::EdDSA));
    }
    if let Ok(key) = EncodingKey::from_ec_pem(&pem) {
        return Ok((key, Algorithm::ES256));
    }
    let key = EncodingKey::from_rsa_pem(&pem).map_err(|_| {
        "it has no private key of RSA, P-256 or Ed25519 as PEM (PKCS #8), as `openssl genpkey` writes it"
    })?;
    Ok((key, Algorithm::RS256))
}

fn check(args: &TokenArgs, token: &str) -> Result<(), Failure> {
    let signed = args.signed_tokens()?;
    let now = Now::get();
    let verified = signed.verify(token, now);
    let mut text = String::new();
    if let Some((header, claims)) = parts(token) {
        text += &format!("header: {}\n", shown(&header));
        text += &format!("claims: {}\n", shown(&claims));
        for name in ["iat", "nbf", "exp"] {
            if let Some(date) = claims.get(name).and_then(Value::as_f64) {
                text += &format!("{name}: {}\n", date_text(date, now));
            }
        }
    }
    if !signed.is_configured() {
        stdout::write(text.as_bytes())?;
        return Err("not verified: give the keys of the server, such as --hmac-file FILE".into());
    }
    match verified {
        Ok(claims) => {
            let user = claims.user.as_deref().unwrap_or("none");
            let end = claims.ends.saturating_duration_since(now.monotonic);
            text += &format!(
                "valid: user {}, a connection ends in {} s\n",
                printable(user),
                end.as_secs()
            );
            stdout::write(text.as_bytes())
        }
        Err(invalid) => {
            stdout::write(text.as_bytes())?;
            Err(format!("not valid: {invalid}").into())
        }
    }
}

fn shown(part: &Value) -> String {
    printable(&part.to_string()).into_owned()
}

/// Returns a date with its distance from now.
fn date_text(seconds: f64, now: Now) -> String {
    let date = Duration::try_from_secs_f64(seconds).ok();
    // The year 9999 is the last one that can be shown.
    let date = date.filter(|date| date.as_secs() < 253_402_300_800);
    let Some(date) = date else {
        return "not a number of seconds since 1970".into();
    };
    let moment = httpdate::fmt_http_date(UNIX_EPOCH + date);
    match date.checked_sub(now.unix) {
        Some(left) => format!("{moment}, in {} s", left.as_secs()),
        None => format!("{moment}, {} s ago", (now.unix - date).as_secs()),
    }
}
