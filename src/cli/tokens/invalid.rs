//! [`Invalid`]: why a token is refused. The text never has a part of the token.

use std::fmt;

/// Why a token is refused, for the log and for `standpipe token --check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    TooLong,
    /// Not a line of the token file, and there are no keys for signed tokens.
    NotKnown,
    /// Not three parts that are separated by dots.
    NotSigned,
    HeaderNotRead,
    /// The header has `crit`, and this program knows no extension (RFC 7515 §4.1.11).
    Critical,
    /// `alg` is `none`, in any case.
    NoAlgorithm,
    /// No key accepts this `alg`. The algorithm is bound to the key (RFC 8725 §3.1).
    Algorithm,
    /// No key has this `kid`.
    UnknownKey,
    Signature,
    ClaimsNotRead,
    Missing(&'static str),
    /// A claim, and what it must be.
    Type(&'static str, &'static str),
    Topics,
    Expired,
    NotYet,
    Issuer,
    Audience,
    /// Not the user of the token that it renews.
    OtherUser,
    /// The connection did not begin with a signed token.
    NothingToRenew,
}

/// The most bytes of a token. The limit bounds what a client can make the server decode and verify.
pub(crate) const MAX_TOKEN: usize = 8 << 10;

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::TooLong => write!(f, "the token has more than {MAX_TOKEN} bytes"),
            Invalid::NotKnown => f.write_str("the token is not in the token file"),
            Invalid::NotSigned => f.write_str("the token is neither known nor signed"),
            Invalid::HeaderNotRead => f.write_str("the token's header is not valid"),
            Invalid::Critical => f.write_str("the token's header has crit, which is not supported"),
            Invalid::NoAlgorithm => f.write_str("the token is not signed (alg is none)"),
            Invalid::Algorithm => f.write_str("no key accepts the token's algorithm"),
            Invalid::UnknownKey => f.write_str("no key has the token's kid"),
            Invalid::Signature => f.write_str("the token's signature is wrong"),
            Invalid::ClaimsNotRead => f.write_str("the token's claims are not valid"),
            Invalid::Missing(name) => write!(f, "the token has no {name}"),
            Invalid::Type(name, form) => write!(f, "the token's {name} must be {form}"),
            Invalid::Topics => f.write_str(
                "the token's topics must be an object with the lists subscribe and publish",
            ),
            Invalid::Expired => f.write_str("the token has expired"),
            Invalid::NotYet => f.write_str("the token is not valid yet (nbf)"),
            Invalid::Issuer => f.write_str("the token has another issuer"),
            Invalid::Audience => f.write_str("the token is for another audience"),
            Invalid::OtherUser => f.write_str("the token is for another user"),
            Invalid::NothingToRenew => {
                f.write_str("the connection did not begin with a signed token")
            }
        }
    }
}
