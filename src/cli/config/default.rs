//! `standpipe default-config`: a file with every key, its default and the reason.

/// Every setting is commented out, so that a later version may have better defaults. The parts are separate files because
/// a table must be the end of a file, and because a feature may be missing.
const PARTS: &[&str] = &[
    include_str!("default.toml"),
    #[cfg(feature = "redis")]
    include_str!("default_redis.toml"),
    include_str!("default_topics.toml"),
];

/// Returns the file.
pub(crate) fn default_file() -> String {
    PARTS.concat()
}
