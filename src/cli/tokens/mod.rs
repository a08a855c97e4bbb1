//! [`Tokens`]: which tokens are valid. A token is a line of the token file, or signed with a key of a key file.

use standpipe::Request;

use super::secret_file::SecretFile;
use super::secrets::{SUBPROTOCOL, Secrets};
use claims::Now;
use signed::SignedTokens;

pub(crate) mod claims;
pub(crate) mod expiry;
pub(crate) mod identity;
pub(crate) mod invalid;
mod jwk;
mod key;
pub(crate) mod key_file;
pub(crate) mod signed;
#[cfg(test)]
mod tests;

pub(crate) use expiry::{Expiries, Expiry};
pub(crate) use identity::Identity;
pub(crate) use invalid::Invalid;

/// The tokens that clients may send.
pub(crate) struct Tokens {
    /// The tokens of `--token-file`.
    pub(crate) file: Option<SecretFile>,
    pub(crate) signed: SignedTokens,
    /// A token that only this process knows, for clients that it starts itself.
    own: Secrets,
}

/// Why a request has no valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NoToken,
    Invalid(Invalid),
}

impl Tokens {
    /// `own` is a random token, which clients cannot guess.
    pub(crate) fn new(file: Option<SecretFile>, signed: SignedTokens, own: String) -> Tokens {
        let own = Secrets::one(own);
        Tokens { file, signed, own }
    }

    /// Whether clients need a token.
    pub(crate) fn are_required(&self) -> bool {
        self.file.is_some() || self.signed.is_configured()
    }

    /// Reads the files again. Returns an error for each file that keeps its old values.
    pub(crate) fn reload(&self) -> Vec<String> {
        let tokens = self.file.iter().map(SecretFile::reload);
        let keys = self.signed.files.iter().map(|file| file.reload());
        tokens.chain(keys).filter_map(Result::err).collect()
    }

    /// Returns a valid token for a client that this process starts itself, if clients need a token.
    pub(crate) fn own(&self) -> Option<&str> {
        self.are_required().then(|| self.own.first()).flatten()
    }

    /// Finds out who sent the request.
    ///
    /// The request may have several tokens. A token of the file is accepted at any place. Only the first one that looks
    /// like a signed token is verified, because verifying costs time.
    pub(crate) fn identify(&self, request: &Request) -> Result<Identity, Refused> {
        if !self.are_required() {
            return Ok(Identity::NoToken);
        }
        let has_known = |secrets: &Secrets| secrets.has_token(request);
        if has_known(&self.own)
            || self
                .file
                .as_ref()
                .is_some_and(|file| has_known(&file.secrets()))
        {
            return Ok(Identity::StaticToken);
        }
        let offered = request
            .subprotocols()
            .filter_map(|name| name.strip_prefix(SUBPROTOCOL));
        let mut all = request
            .bearer_token()
            .into_iter()
            .chain(offered)
            .chain(request.query("token"));
        let Some(first) = all.next() else {
            return Err(Refused::NoToken);
        };
        if !self.signed.is_configured() {
            return Err(Refused::Invalid(Invalid::NotKnown));
        }
        let is_signed = |token: &&str| token.bytes().filter(|byte| *byte == b'.').count() == 2;
        let token = Some(first)
            .into_iter()
            .chain(all)
            .find(is_signed)
            .unwrap_or(first);
        let claims = self.signed.verify(token, Now::get());
        claims.map(Identity::Signed).map_err(Refused::Invalid)
    }

    /// Checks the token with which a connected client wants to go on. It must be signed, and have the same user.
    pub(crate) fn renew(&self, identity: &Identity, token: &str) -> Result<Identity, Invalid> {
        let Identity::Signed(current) = identity else {
            return Err(Invalid::NothingToRenew);
        };
        let claims = self.signed.verify(token, Now::get())?;
        if claims.user != current.user {
            return Err(Invalid::OtherUser);
        }
        Ok(Identity::Signed(claims))
    }
}
