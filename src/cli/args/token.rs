//! The flags of `token`.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::Args;

use super::jwt::{JwtFiles, LEEWAY};
use crate::cli::command::TokenText;
use crate::cli::names;
use crate::cli::tokens::claims::Required;
use crate::cli::tokens::key_file::Kind;
use crate::cli::tokens::signed::SignedTokens;
use crate::cli::units::Time;

const TOKEN_HELP: &str = "\
Without --check, the command prints a token that is signed with the secret of --hmac-file or with --private-key-file. \
Anybody who has the token can use it until it expires, so do not print it where others can read it.

With --check, the command explains a token: its header, its claims, and whether it is valid for a server with the same keys. \
Give - to read the token from standard input, because every user of the machine can see arguments.

Exit codes: 0 printed, or the token is valid. 1 the token is not valid, or a file cannot be used. 2 wrong flag or value.";

/// The flags of `token`.
#[derive(Args, Clone, Debug)]
#[command(after_help = TOKEN_HELP)]
pub(crate) struct TokenArgs {
    /// The file with the secret (HS256), as for --jwt-hmac-file of the server. With --check, it may be given more than once
    #[arg(
        long,
        env = "STANDPIPE_JWT_HMAC_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) hmac_file: Vec<PathBuf>,

    /// Signs with this private key, as PEM (PKCS #8): RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hmac_file", "check"])]
    pub(crate) private_key_file: Option<PathBuf>,

    /// The id of the key (kid), if the server has a set of keys
    #[arg(long, value_name = "ID", conflicts_with = "check")]
    pub(crate) kid: Option<String>,

    /// The user; it becomes the name in presence lists
    #[arg(long, value_name = "USER", value_parser = user, conflicts_with = "check")]
    pub(crate) sub: Option<String>,

    /// Allows to subscribe to the topics that match. May be given more than once. With --subscribe or --publish, all other
    /// topics are forbidden
    #[arg(long, value_name = "PATTERN", conflicts_with = "check")]
    pub(crate) subscribe: Vec<String>,

    /// Allows to publish to the topics that match. May be given more than once
    #[arg(long, value_name = "PATTERN", conflicts_with = "check")]
    pub(crate) publish: Vec<String>,

    /// How long the token is valid
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) expires: Time,

    /// Explains this token (-: from standard input) instead of making one
    #[arg(long, value_name = "TOKEN|-", value_parser = token)]
    pub(crate) check: Option<TokenText>,

    /// With --check: a file with public keys, as for --jwt-public-key-file of the server
    #[arg(
        long,
        env = "STANDPIPE_JWT_PUBLIC_KEY_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    public_key_file: Vec<PathBuf>,

    /// With --check: a file with JSON Web Keys, as for --jwks-file of the server
    #[arg(
        long,
        env = "STANDPIPE_JWKS_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    jwks_file: Vec<PathBuf>,

    /// The issuer (iss); with --check, the one that is required
    #[arg(long, env = "STANDPIPE_JWT_ISSUER", value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,

    /// The audience (aud); with --check, the one that is required
    #[arg(long, env = "STANDPIPE_JWT_AUDIENCE", value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,

    /// With --check: how long the token is accepted after its end and before its beginning
    #[arg(long, env = "STANDPIPE_JWT_LEEWAY", value_name = "TIME", value_parser = Time::or_zero, default_value_t = LEEWAY)]
    leeway: Time,
}

impl TokenArgs {
    /// Returns the keys for `--check`.
    ///
    /// # Errors
    /// As [`KeyFile::read`](crate::cli::tokens::key_file::KeyFile::read). The text begins with the flag.
    pub(crate) fn signed_tokens(&self) -> Result<SignedTokens, String> {
        let files = JwtFiles([
            ("--hmac-file", Kind::Hmac, &self.hmac_file),
            ("--public-key-file", Kind::Public, &self.public_key_file),
            ("--jwks-file", Kind::Jwks, &self.jwks_file),
        ]);
        Ok(SignedTokens {
            files: files.read()?,
            required: Required {
                issuer: self.issuer.clone(),
                audience: self.audience.clone(),
                leeway: self.leeway.0,
            },
        })
    }
}

/// Takes any text: a token that is not valid is explained.
fn token(text: &str) -> Result<TokenText, Infallible> {
    Ok(TokenText(text.to_owned()))
}

/// Parses a user, which the server accepts as a name.
fn user(text: &str) -> Result<String, String> {
    names::check("a user", text).map(|()| text.to_owned())
}
