//! The flags for signed tokens.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::tokens::claims::Required;
use crate::cli::tokens::key_file::{KeyFile, Kind};
use crate::cli::tokens::signed::SignedTokens;
use crate::cli::units::Time;

/// How far the clock of the issuer may differ from that of the server.
pub(super) const LEEWAY: Time = Time(Duration::from_secs(30));

/// The keys for signed tokens (JWT), and what the tokens must say.
#[derive(Args, Clone, Debug)]
pub(crate) struct JwtArgs {
    /// A file with the secret of signed tokens (HS256, HS384, HS512): its raw bytes, without one newline at its end. May be
    /// given more than once
    #[arg(
        long,
        env = "STANDPIPE_JWT_HMAC_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    jwt_hmac_file: Vec<PathBuf>,

    /// A file with public keys for signed tokens, as PEM: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA). May be given more
    /// than once
    #[arg(
        long,
        env = "STANDPIPE_JWT_PUBLIC_KEY_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    jwt_public_key_file: Vec<PathBuf>,

    /// A file with keys for signed tokens, as a JSON Web Key or a set of them (RFC 7517). May be given more than once
    #[arg(
        long,
        env = "STANDPIPE_JWKS_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    jwks_file: Vec<PathBuf>,

    /// The issuer that each signed token must have (iss) [default: any or none]
    #[arg(long, env = "STANDPIPE_JWT_ISSUER", value_name = "ISSUER")]
    jwt_issuer: Option<String>,

    /// The audience that each signed token must have (aud) [default: any or none]
    #[arg(long, env = "STANDPIPE_JWT_AUDIENCE", value_name = "AUDIENCE")]
    jwt_audience: Option<String>,

    /// How long a signed token is accepted after its end (exp) and before its beginning (nbf), because clocks differ
    #[arg(long, env = "STANDPIPE_JWT_LEEWAY", value_name = "TIME", value_parser = Time::or_zero, default_value_t = LEEWAY)]
    jwt_leeway: Time,
}

impl JwtArgs {
    /// Reads the files of keys.
    ///
    /// # Errors
    /// As [`KeyFile::read`].
    pub(crate) fn signed_tokens(&self) -> Result<SignedTokens, String> {
        let (public, jwks) = (&self.jwt_public_key_file, &self.jwks_file);
        let files = JwtFiles([
            ("--jwt-hmac-file", Kind::Hmac, &self.jwt_hmac_file),
            ("--jwt-public-key-file", Kind::Public, public),
            ("--jwks-file", Kind::Jwks, jwks),
        ]);
        Ok(SignedTokens {
            files: files.read()?,
            required: Required {
                issuer: self.jwt_issuer.clone(),
                audience: self.jwt_audience.clone(),
                leeway: self.jwt_leeway.0,
            },
        })
    }
}

/// The paths of the files of each kind, with their flag.
pub(super) struct JwtFiles<'a>(pub(super) [(&'static str, Kind, &'a Vec<PathBuf>); 3]);

impl JwtFiles<'_> {
    /// Reads all files.
    ///
    /// # Errors
    /// As [`KeyFile::read`]. The text begins with the flag.
    pub(super) fn read(&self) -> Result<Vec<KeyFile>, String> {
        let mut files = Vec::new();
        for (flag, kind, paths) in self.0 {
            for path in paths {
                let file = KeyFile::read(kind, path);
                files.push(file.map_err(|error| format!("{flag}: {error}"))?);
            }
        }
        Ok(files)
    }
}
