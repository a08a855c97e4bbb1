//! [`Identity`]: who a client is, as far as its token shows. It stays in the extensions of the request.

use std::sync::Arc;

use standpipe::Request;

use super::claims::Claims;

/// The result of checking the token of a request.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Tokens are not required. A token that was sent was not checked.
    NoToken,
    /// A token of the token file, which has all rights of a token and no user.
    StaticToken,
    Signed(Arc<Claims>),
}

impl Identity {
    /// Returns what was found out about the request before.
    pub(crate) fn of(request: &Request) -> Identity {
        let found = request.extensions().get::<Identity>();
        found.cloned().unwrap_or(Identity::NoToken)
    }

    pub(crate) fn has_token(&self) -> bool {
        !matches!(self, Identity::NoToken)
    }

    pub(crate) fn claims(&self) -> Option<&Claims> {
        match self {
            Identity::Signed(claims) => Some(claims),
            Identity::NoToken | Identity::StaticToken => None,
        }
    }

    /// Returns the user that a signed token names.
    pub(crate) fn user(&self) -> Option<&Arc<str>> {
        self.claims()?.user.as_ref()
    }

    /// Returns the client's name in presence lists: the user of its token, or the name that it has chosen.
    pub(crate) fn name<'a>(&'a self, request: &'a Request) -> Option<&'a str> {
        self.user()
            .map(|user| &**user)
            .or_else(|| request.query("name"))
    }
}
