//! A limit on how deeply the JSON that clients publish may be nested. The program and the feature `redis` use it.

/// The maximum depth of nested lists and objects. Deeper JSON is rejected to protect its receivers, because many parsers
/// have this limit or run out of stack. The server itself does not parse nested values.
const MAX_DEPTH: usize = 127;

/// Checks the nesting of a text that is known to be JSON.
pub(crate) fn check(json: &str) -> Result<(), String> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("data is nested deeper than {MAX_DEPTH} levels"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_except_in_strings() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(check(&nested(MAX_DEPTH)).is_ok() && check(&nested(MAX_DEPTH + 1)).is_err());
        assert!(check(&format!("[{}1]", "[],".repeat(1000))).is_ok());
        assert!(check(&format!(r#"["\"{}"]"#, "[".repeat(1000))).is_ok());
        assert!(check(&format!(r#"["\\",{}]"#, nested(MAX_DEPTH))).is_err());
    }
}
