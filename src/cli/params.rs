//! The parameters of a request's path and query, checked before anything is done.

use standpipe::{Reply, Request};

use super::replies::bad_request;
use super::values::yes_or_no;
use super::{ids, names};

/// Checks a topic from the path.
pub(crate) fn check_topic(topic: &str) -> Result<(), Reply> {
    // `/ws/` is easily written for `/ws`.
    if topic.is_empty() {
        return Err(bad_request("the topic in the path is empty"));
    }
    names::check("a topic", topic).map_err(bad_request)
}

/// Checks the client's name, `?name=`.
pub(crate) fn check_name(request: &Request) -> Result<(), Reply> {
    let name = request.query("name");
    name.map_or(Ok(()), |name| names::check("a name", name))
        .map_err(bad_request)
}

/// Returns the key of a published message, `?key=`.
pub(crate) fn key(request: &Request) -> Result<Option<String>, Reply> {
    let Some(key) = request.query("key") else {
        return Ok(None);
    };
    names::check("a key", key).map_err(bad_request)?;
    Ok(Some(key.to_owned()))
}

/// Returns the id after which the client wants the messages that it missed, `?since=`.
pub(crate) fn since(request: &Request) -> Result<Option<u64>, Reply> {
    let id = |digits| ids::from_digits(digits).ok_or_else(|| bad_request(ids::NOT_AN_ID));
    request.query("since").map(id).transpose()
}

/// Returns the maximum number of messages in an answer, `?limit=`.
pub(crate) fn limit(request: &Request) -> Result<Option<usize>, Reply> {
    let limit = |digits: &str| match ids::from_digits(digits) {
        Some(limit @ 1..) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        _ => Err(bad_request("limit must be a whole number above 0")),
    };
    request.query("limit").map(limit).transpose()
}

/// Returns whether the client wants its own messages too, `?echo=`.
pub(crate) fn echo(request: &Request) -> Result<bool, Reply> {
    let echo = request.query("echo").map(yes_or_no).transpose();
    echo.map(|echo| echo.unwrap_or(true))
        .map_err(|error| bad_request(format!("echo {error}")))
}
