//! [`Cookie`]: a value that a client keeps and sends back (RFC 6265).

use std::fmt::{self, Write};
use std::time::Duration;

use http::header::HeaderValue;

/// A cookie for [`Reply::set_cookie`](crate::Reply::set_cookie).
///
/// The defaults are the strict ones. The cookie is sent back only over TLS (`Secure`), only to the host that set it (no
/// `Domain`), for every path (`Path=/`), and not by requests that pages of other sites cause, except when a user follows
/// a link (`SameSite=Lax`). Scripts cannot read it (`HttpOnly`), and it ends with the browser's session. Browsers
/// accept a `Secure` cookie from `http://localhost` too; for other addresses without TLS see [`secure`](Self::secure).
///
/// `{:?}` does not show the value, because it is often a secret.
///
/// ```
/// use std::time::Duration;
/// use standpipe::{Cookie, Reply, Request};
///
/// fn log_in(session: String) -> Reply {
///     let week = Duration::from_secs(7 * 24 * 60 * 60);
///     Reply::redirect(303, "/").set_cookie(Cookie::new("session", session).max_age(week))
/// }
///
/// fn is_logged_in(request: &Request) -> bool {
///     request.cookie("session").is_some_and(|session| session == "8c1f")
/// }
/// # assert!(format!("{:?}", Cookie::new("session", "8c1f")).find("8c1f").is_none());
/// ```
#[must_use = "a cookie is sent with `Reply::set_cookie`"]
#[derive(Clone)]
pub struct Cookie {
    name: String,
    value: String,
    max_age: Option<Duration>,
    path: String,
    same_site: SameSite,
    secure: bool,
    http_only: bool,
}

/// Which requests to the server have a [`Cookie`], if a page of another site caused them.
///
/// ```
/// use standpipe::{Cookie, SameSite};
///
/// let cookie = Cookie::new("theme", "dark").same_site(SameSite::Strict);
/// assert_eq!(SameSite::Strict.to_string(), "Strict");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// None of them, also when a user follows a link from another site.
    Strict,
    /// Only requests that open a page, such as a link.
    #[default]
    Lax,
    /// All of them. Browsers require [`secure`](Cookie::secure) for this.
    None,
}

impl fmt::Display for SameSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        })
    }
}

/// The length of a name and its value together, in bytes. Browsers discard longer cookies.
const MAX_PAIR: usize = 4096;

impl Cookie {
    /// Returns a cookie. [`Reply::set_cookie`](crate::Reply::set_cookie) checks it.
    ///
    /// A name has the characters of an HTTP token: letters, digits and ``!#$%&'*+-.^_`|~``. A value has visible ASCII
    /// characters except comma, semicolon, backslash and double quote. It may stand in double quotes, which are then a
    /// part of the value (RFC 6265 §4.1.1). Encode other text first, for example as hexadecimal digits.
    ///
    /// ```
    /// use standpipe::{Cookie, Reply};
    ///
    /// let reply = Reply::text(200, "hello\n").set_cookie(Cookie::new("seen", "1"));
    /// ```
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Cookie {
        Cookie {
            name: name.into(),
            value: value.into(),
            max_age: None,
            path: "/".to_owned(),
            same_site: SameSite::default(),
            secure: true,
            http_only: true,
        }
    }

    /// Sets how long the client keeps the cookie, in whole seconds, rounded up. Zero removes a cookie that was set with
    /// the same name and path. Default: until the browser ends its session.
    ///
    /// ```
    /// use std::time::Duration;
    /// use standpipe::{Cookie, Reply};
    ///
    /// let removed = Cookie::new("session", "").max_age(Duration::ZERO);
    /// let logged_out = Reply::redirect(303, "/").set_cookie(removed);
    /// ```
    pub fn max_age(mut self, max_age: Duration) -> Cookie {
        self.max_age = Some(max_age);
        self
    }

    /// Sets the path, which must begin with `/`. The client sends the cookie only to this path and the paths below it.
    /// This separates nothing that must be protected: pages of other paths can still reach the cookie. Default `/`.
    ///
    /// ```
    /// let cookie = standpipe::Cookie::new("draft", "7").path("/editor");
    /// ```
    pub fn path(mut self, path: impl Into<String>) -> Cookie {
        self.path = path.into();
        self
    }

    /// Sets which requests of other sites have the cookie. Default [`SameSite::Lax`].
    ///
    /// ```
    /// use standpipe::{Cookie, SameSite};
    ///
    /// let cookie = Cookie::new("session", "8c1f").same_site(SameSite::Strict);
    /// ```
    pub fn same_site(mut self, same_site: SameSite) -> Cookie {
        self.same_site = same_site;
        self
    }

    /// Sets whether the client sends the cookie over TLS only. Default true.
    ///
    /// Browsers ignore a `Secure` cookie of a server that they reach without TLS, except on `localhost`. With false,
    /// everybody on the way can read and replace the cookie.
    ///
    /// ```
    /// let behind_tls = !cfg!(debug_assertions);
    /// let cookie = standpipe::Cookie::new("session", "8c1f").secure(behind_tls);
    /// ```
    pub fn secure(mut self, secure: bool) -> Cookie {
        self.secure = secure;
        self
    }

    /// Sets whether scripts of a page cannot read the cookie. Default true.
    ///
    /// ```
    /// let cookie = standpipe::Cookie::new("theme", "dark").http_only(false);
    /// ```
    pub fn http_only(mut self, http_only: bool) -> Cookie {
        self.http_only = http_only;
        self
    }

    /// Returns the value of `Set-Cookie`.
    ///
    /// # Errors
    /// Says what is not valid. The text does not contain the value.
    pub(super) fn to_header(&self) -> Result<HeaderValue, &'static str> {
        self.check()?;
        let mut text = format!("{}={}; Path={}", self.name, self.value, self.path);
        let written = match self.max_age {
            None => Ok(()),
            // The grammar of `Max-Age` has no zero (RFC 6265 §4.1.1).
            Some(Duration::ZERO) => text.write_str("; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
            Some(age) => {
                let seconds = age
                    .as_secs()
                    .saturating_add(u64::from(age.subsec_nanos() > 0));
                write!(text, "; Max-Age={seconds}")
            }
        };
        written.expect("writing to a String cannot fail");
        text.push_str(if self.secure { "; Secure" } else { "" });
        text.push_str(if self.http_only { "; HttpOnly" } else { "" });
        write!(text, "; SameSite={}", self.same_site).expect("writing to a String cannot fail");
        let mut value =
            HeaderValue::try_from(text).map_err(|_| "the cookie has an invalid character")?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return Err("the name of the cookie is not a token");
        }
        let quoted = || self.value.strip_prefix('"')?.strip_suffix('"');
        if !quoted().unwrap_or(&self.value).bytes().all(is_octet) {
            return Err("the value of the cookie has an invalid character");
        }
        if self.name.len() + self.value.len() > MAX_PAIR {
            return Err("the cookie is longer than browsers accept");
        }
        let in_path = |byte: u8| matches!(byte, b' '..=b'~') && byte != b';';
        if !self.path.starts_with('/') || !self.path.bytes().all(in_path) {
            return Err(
                "the path of the cookie does not begin with /, or has an invalid character",
            );
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err("a cookie with SameSite=None must be Secure");
        }
        // Browsers ignore a cookie that does not keep the promise of its name (RFC 6265bis §4.1.3).
        let begins = |prefix: &str| {
            let start = self.name.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let is_host = begins("__Host-");
        if (is_host || begins("__Secure-")) && !self.secure || is_host && self.path != "/" {
            return Err("the prefix of the cookie's name promises Secure, and __Host- also Path=/");
        }
        Ok(())
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookie")
            .field("name", &self.name)
            .field("max_age", &self.max_age)
            .field("path", &self.path)
            .field("same_site", &self.same_site)
            .field("secure", &self.secure)
            .field("http_only", &self.http_only)
            .finish_non_exhaustive()
    }
}

/// Returns whether `byte` may be part of a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns whether `byte` may be part of a cookie's value: `cookie-octet` of RFC 6265 §4.1.1.
fn is_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

#[cfg(test)]
#[path = "tests/cookie.rs"]
mod tests;
