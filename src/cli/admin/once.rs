//! [`Once`]: carries out a request with an `Idempotency-Key` at most once.

use std::time::Instant;

use sha2::{Digest, Sha256};
use standpipe::{Reply, Request};

use super::answer_table::{AnswerTable, Claim, Final, Name};
use crate::cli::links::Links;
use crate::cli::names;
use crate::cli::replies::{bad_request, busy, busy_for};

/// The header with the key.
const HEADER: &str = "idempotency-key";

/// The identity of a request, if it has a key.
pub(crate) struct Identity(Option<(Name, u64)>);

/// Recognizes repeated requests: of this hub by the table, and of other hubs by the links.
pub(crate) struct Once {
    table: AnswerTable,
    links: Option<Links>,
}

impl Once {
    pub(crate) fn new(links: Option<Links>) -> Once {
        Once {
            table: AnswerTable::new(),
            links,
        }
    }

    /// Publishes with `publish`, or returns the answer to the first request with the same key. `bytes` is the size of the
    /// largest answer. If `publish` returns an error, nothing is published, and the request can be repeated.
    ///
    /// # Blocking
    /// As `publish`, and with links up to three times `--redis-timeout` more.
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
        let shared = match &self.links {
            Some(links) => Shared::claim(links, name, *content)?,
            None => Shared::No,
        };
        let answer = match &shared {
            Shared::Answered(answer) => answer.clone(),
            Shared::No => publish()?,
            Shared::Claimed(links, name) => match publish() {
                Ok(answer) => {
                    links.set_claim(name, &encode(*content, &answer));
                    answer
                }
                Err(refusal) => {
                    links.release_claim(name);
                    return Err(refusal);
                }
            },
        };
        // Another hub may have remembered a longer answer than this one has room for.
        if answer.body.len() <= bytes {
            reservation.finish(&answer);
        }
        Ok(answer.reply())
    }
}

/// The knowledge of the other hubs about a request that this hub does not know.
enum Shared<'a> {
    /// This hub carries it out, and tells the others, by this name.
    Claimed(&'a Links, String),
    /// Another hub has carried it out.
    Answered(Final),
    /// This hub works alone.
    No,
}

impl Shared<'_> {
    fn claim<'a>(links: &'a Links, name: &Name, content: u64) -> Result<Shared<'a>, Reply> {
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        match links.claim(&name, &encode(content, &UNFINISHED)) {
            Ok(None) => Ok(Shared::Claimed(links, name)),
            Ok(Some(found)) => match decode(&found) {
                Some((other, _)) if other != content => Err(other_request()),
                Some((_, answer)) if answer != UNFINISHED => Ok(Shared::Answered(answer)),
                _ => Err(running()),
            },
            Err(error) if links.works_alone(&error) => Ok(Shared::No),
            Err(error) => Err(busy(format!("not published: {error}"))),
        }
    }
}

/// Stands for the answer of a request that is being carried out.
const UNFINISHED: Final = Final {
    status: 0,
    body: String::new(),
};

/// The most bytes of an answer that another hub has stored.
const MAX_STORED: usize = 1 << 20;

/// Returns a request and its answer as hubs share them.
fn encode(content: u64, answer: &Final) -> Vec<u8> {
    format!("{content:016x} {} {}", answer.status, answer.body).into_bytes()
}

/// Reads what [`encode`] has written, or anybody else who can reach the server.
fn decode(stored: &[u8]) -> Option<(u64, Final)> {
    let stored = std::str::from_utf8(stored).ok()?;
    let mut parts = stored.splitn(3, ' ');
    let content = u64::from_str_radix(parts.next()?, 16).ok()?;
    let status = parts.next()?.parse().ok()?;
    let body = parts.next()?.to_owned();
    let is_possible = matches!(status, 0 | 202 | 503 | 504) && body.len() <= MAX_STORED;
    is_possible.then_some((content, Final { status, body }))
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
    fn shared_answer_is_read_as_it_was_written() {
        let answer = |status, body: &str| Final {
            status,
            body: body.into(),
        };
        for answer in [
            UNFINISHED,
            answer(202, r#"{"id":1, "receivers":2}"#),
            answer(504, "the outcome is not known\n"),
        ] {
            let stored = encode(u64::MAX, &answer);
            assert_eq!(decode(&stored), Some((u64::MAX, answer)));
        }
        for wrong in ["", "1", "1 202", "x 202 {}", "1 200 {}", "1 70000 {}"] {
            assert_eq!(decode(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(decode(b"1 202 \xff"), None);
    }

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
