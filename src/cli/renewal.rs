//! [`Renewal`]: how a client of JSON mode goes on with a newer token.

use standpipe::Connection;

use super::answers::Refusal;
use super::client_log::Forbidden;
use super::command::TokenText;
use super::raw::FORBIDDEN;
use super::tokens::{Expiry, Identity, Tokens};

/// The connection is closed at the third token that is not valid. Otherwise a client could make the server verify and
/// log without a limit.
const MAX_REFUSED: u32 = 3;

/// The state that the renewal of a token needs.
pub(crate) struct Renewal<'a> {
    tokens: &'a Tokens,
    /// `None` if the client has no signed token.
    expiry: Option<Expiry<'a>>,
    refused: u32,
}

impl<'a> Renewal<'a> {
    pub(crate) fn new(tokens: &'a Tokens, expiry: Option<Expiry<'a>>) -> Renewal<'a> {
        Renewal {
            tokens,
            expiry,
            refused: 0,
        }
    }

    /// Checks the token and moves the end of the connection to the end of the token. Returns what the token says.
    ///
    /// # Errors
    /// The client learns only that the token is not valid. The log has the reason.
    pub(crate) fn renew(
        &mut self,
        current: &Identity,
        TokenText(token): &TokenText,
        conn: &Connection,
    ) -> Result<Identity, Refusal> {
        match self.tokens.renew(current, token) {
            Ok(identity) => {
                if let Some(expiry) = &mut self.expiry {
                    expiry.renew(&identity);
                }
                Ok(identity)
            }
            Err(invalid) => {
                Forbidden::Token.log(conn, &invalid);
                self.refused += 1;
                let close = (self.refused >= MAX_REFUSED).then_some(FORBIDDEN);
                let error = "forbidden: the token is not valid".into();
                Err(Refusal { error, close })
            }
        }
    }
}
