//! [`Once`]: carries out a request with an `Idempotency-Key` at most once.

use std::time::Instant;

use sha2::{Digest, Sha256};
use standpipe::{Reply, Request};

use super::answer_table::{AnswerTable, Claim, Name};
use crate::cli::names;
use crate::cli::replies::{bad_request, busy, busy_for};

/// The header with the key.
const HEADER: &str = "idempotency-key";

/// The answer to a request that has published a message, or may have. A repetition of the request gets it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Final {
    pub(crate) status: u16,
    /// JSON, or a line of text after status 504.
    pub(crate) body: String,
}

impl Final {
    /// Returns the answer, which has no `Retry-After`, because a repetition could publish the message twice.
    fn reply(self) -> Reply {
        if self.body.starts_with(['{', '[']) {
            Reply::json(self.status, self.body)
        } else {
            Reply::text(self.status, self.body)
        }
    }
}

/// What identifies a request, if it has a key.
pub(crate) struct Identity(Option<(Name, u64)>);

/// Recognizes repeated requests.
pub(crate) struct Once {
    table: AnswerTable,
}

impl Once {
    pub(crate) fn new() -> Once {
        Once {
            table: AnswerTable::new(),
        }
    }

    /// Publishes with `publish`, or returns the answer to the first request with the same key. `bytes` is the size of the
    /// largest answer. If `publish` returns an error, nothing is published, and the request can be repeated.
    pub(crate) fn run(
        &self,
        identity: &Identity,
        bytes: usize,
        publish: impl FnOnce() -> Result<Final, Reply>,
    ) -> Result<Reply, Reply> {
        let Identity(Some((name, content))) = identity else {
            return publish().map(Final::reply);
        };
        let reservation = match self.table.claim(*name, *content, bytes, Instant::now()) {
            Claim::New(reservation) => reservation,
            Claim::Answered(answer) => return Ok(answer.reply()),
            Claim::Running => return Err(running()),
            Claim::OtherRequest => return Err(other_request()),
            Claim::Full(left) => {
                return Err(busy_for(left, "too many requests have an Idempotency-Key"));
            }
        };
        let answer = publish()?;
        reservation.finish(&answer);
        Ok(answer.reply())
    }
}

impl Identity {
    /// Returns what identifies an authorized request with this body.
    ///
    /// # Errors
    /// The answer to a request with a wrong key.
    pub(crate) fn of(request: &Request, body: &[u8]) -> Result<Identity, Reply> {
        let mut keys = request.headers().get_all(HEADER).into_iter();
        let Some(key) = keys.next() else {
            return Ok(Identity(None));
        };
        let key = key.to_str().ok().filter(|_| keys.next().is_none());
        let key = key.ok_or_else(|| bad_request("Idempotency-Key is one line of visible ASCII"))?;
        names::check("an Idempotency-Key", key).map_err(bad_request)?;
        let credential = request.bearer_token().unwrap_or("");
        let name = hash(&[credential, request.path(), key].map(str::as_bytes));
        let kind = request.header("content-type").unwrap_or("");
        let conflation = request.query("key").unwrap_or("");
        let content = hash(&[kind.as_bytes(), conflation.as_bytes(), body]);
        let content = content
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first));
        Ok(Identity(Some((name, content))))
    }
}

/// Returns a hash of all parts. The hash tells nothing about the credential, which is one of them.
fn hash(parts: &[&[u8]]) -> Name {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn running() -> Reply {
    busy("the first request with this Idempotency-Key is not finished")
}

fn other_request() -> Reply {
    bad_request("this Idempotency-Key was sent with another request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_name_are_kept_apart() {
        let names = [
            ["ab", "c", "d"],
            ["a", "bc", "d"],
            ["ab", "", "cd"],
            ["", "abc", "d"],
        ];
        let mut hashes = Vec::from(names.map(|parts| hash(&parts.map(str::as_bytes))));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), names.len());
    }
}
