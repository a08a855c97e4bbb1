//! [`Form`]: the fields of a form that a page has sent.

use std::fmt;

use http::header;

use super::target::pairs;
use super::{Reply, Request};

/// The fields of an HTML form, decoded. [`Request::read_form`] returns it.
///
/// `{:?}` shows only the number of the fields, because they may contain passwords.
///
/// ```
/// use standpipe::{Form, Reply, Request};
///
/// fn order(request: &mut Request) -> Result<Reply, Reply> {
///     let form: Form = request.read_form(4096)?;
///     let count: u32 = form.get("count").unwrap_or("1").parse().map_err(Reply::bad_request)?;
///     Ok(Reply::text(200, format!("{count} ordered\n")))
/// }
/// ```
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Returns the first value of the field `name`. A field that the page did not fill in is the empty string.
    ///
    /// ```
    /// # use standpipe::Form;
    /// fn can_log_in(form: &Form) -> bool {
    ///     form.get("name") == Some("ann") && form.get("password") == Some("sesame")
    /// }
    /// ```
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.pairs();
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Returns all names and values, in the order of the page. Several boxes with one name give one pair each.
    ///
    /// ```
    /// # use standpipe::Form;
    /// fn topics(form: &Form) -> Vec<&str> {
    ///     form.pairs().filter_map(|(name, value)| (name == "topic").then_some(value)).collect()
    /// }
    /// ```
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Form({} fields)", self.0.len())
    }
}

impl Request {
    /// Reads the body as the fields of a form, as a page sends them with `method=post`. The body may have `limit` bytes.
    /// Uploaded files are not supported: they need another content type, `multipart/form-data`.
    ///
    /// A page of another site can send a form too, and its browser adds the cookies of this server. The server has
    /// refused such a request, unless the site is allowed: see [`has_allowed_origin`](Self::has_allowed_origin).
    ///
    /// ```
    /// use standpipe::{Cookie, Reply, Request};
    ///
    /// fn log_in(request: &mut Request) -> Result<Reply, Reply> {
    ///     let form = request.read_form(4096)?;
    ///     match (form.get("name"), form.get("password")) {
    ///         (Some("ann"), Some("sesame")) => Ok(Reply::redirect(303, "/").set_cookie(Cookie::new("session", "8c1f"))),
    ///         _ => Err(Reply::text(403, "wrong name or password\n")),
    ///     }
    /// }
    /// ```
    ///
    /// # Blocking
    /// As [`read_body`](Self::read_body).
    ///
    /// # Errors
    /// Returns the answer for the client: those of [`read_body`](Self::read_body), 415 if the content type is not
    /// `application/x-www-form-urlencoded`, and 400 if the body is not valid in this format.
    pub fn read_form(&mut self, limit: usize) -> Result<Form, Reply> {
        let content_type = self.headers.get(header::CONTENT_TYPE);
        let essence = content_type.and_then(|value| value.to_str().ok()?.split(';').next());
        if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(FORM)) {
            return Err(Reply::text(
                415,
                format!("the content type must be {FORM}\n"),
            ));
        }
        let body = String::from_utf8(self.read_body(limit)?);
        let fields = body.ok().and_then(|body| pairs(&body).ok());
        let fields = fields.ok_or_else(|| Reply::text(400, "the form is not valid\n"))?;
        Ok(Form(fields))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";
