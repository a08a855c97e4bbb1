//! Who may use what, decided once at the start: the keys, the combinations that are refused, and the warnings.

use super::Failure;
use super::access::{Access, Keys};
use super::args::ServeArgs;
use super::endpoint::Endpoint;
use super::exit::BadConfiguration;
use super::made_key::MadeKey;
use super::rules::CurrentRules;
use super::secret_file::SecretFile;
use super::secrets::Secrets;
use super::tokens::{Expiries, Tokens};

/// Reads the secrets. Makes a key if the admin paths need one and none is configured, and returns it too, because its end
/// removes its files.
///
/// # Errors
/// [`BadConfiguration`] for flags that would open the admin paths to other machines. Also when a file of secrets cannot
/// be used: the text begins with its flag.
pub(crate) fn access(
    args: &ServeArgs,
    endpoints: &[Endpoint],
) -> Result<(Access, Option<MadeKey>), Failure> {
    let has_admin_listener = endpoints.iter().any(|endpoint| endpoint.is_admin);
    check(args, endpoints)?;
    let tokens = args.token_file.as_deref();
    let tokens = tokens.map(|path| {
        SecretFile::read("tokens", path).map_err(|error| format!("--token-file: {error}"))
    });
    let own = MadeKey::make().map_err(|error| format!("no random token: {error}"))?;
    let tokens = Tokens::new(
        tokens.transpose()?,
        args.jwt.signed_tokens()?,
        own.key().to_owned(),
    );
    let mut made = None;
    let keys = match &args.publish_key_file {
        Some(path) => {
            let file = SecretFile::read("keys", path);
            Keys::File(file.map_err(|error| format!("--publish-key-file: {error}"))?)
        }
        None if has_admin_listener || args.admin_open => Keys::None,
        None => {
            let key = MadeKey::make().map_err(|error| format!("no random key: {error}"))?;
            let secrets = Secrets::one(key.key().to_owned());
            made = Some(key);
            Keys::Made(secrets)
        }
    };
    let access = Access {
        tokens,
        expiries: Expiries::default(),
        keys,
        has_admin_listener,
        is_admin_open: args.admin_open,
        rules: CurrentRules::new(args.rules()),
    };
    warn(&access, endpoints);
    Ok((access, made))
}

fn check(args: &ServeArgs, endpoints: &[Endpoint]) -> Result<(), BadConfiguration> {
    for endpoint in endpoints {
        if endpoint.is_admin && endpoint.is_remote() && args.publish_key_file.is_none() {
            return Err(BadConfiguration(format!(
                "--admin-listen {endpoint}: other machines can reach this address, so --publish-key-file is required"
            )));
        }
        if args.admin_open && !endpoint.is_loopback_tcp() {
            return Err(BadConfiguration(format!(
                "--admin-open: every listener must be a TCP listener on loopback, but {endpoint} is not"
            )));
        }
    }
    Ok(())
}

fn warn(access: &Access, endpoints: &[Endpoint]) {
    let open: Vec<String> = endpoints
        .iter()
        .filter(|endpoint| endpoint.is_remote() && !endpoint.is_admin)
        .map(Endpoint::to_string)
        .collect();
    if !access.tokens.are_required() && !open.is_empty() {
        log::warn!(
            "clients from other machines may connect or publish without a token on {}: see --token-file, --jwt-hmac-file and --topic",
            open.join(", ")
        );
    }
    if !access.tokens.are_required() && access.rules.get().mention_token() {
        log::warn!(
            "--topic: a rule requires a token, but without --token-file or a file of keys for signed tokens no client has one"
        );
    }
    if access.is_admin_open {
        log::warn!(
            "--admin-open: the admin paths need no key; clients of a proxy on this machine may use them too"
        );
    }
}
