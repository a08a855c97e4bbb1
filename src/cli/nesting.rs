//! How deep the JSON may be that clients publish.

/// Lists and objects inside each other. What is deeper is refused for the sake of those who get it: many parsers stop
/// here, or have a stack that does. Ours looks into none of it.
const MOST: usize = 127;

/// Judges JSON, of which nothing but brackets and strings matters.
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
        if depth > MOST {
            return Err(format!("data is nested deeper than {MOST} levels"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_and_those_in_strings_do_not() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(check(&nested(MOST)).is_ok() && check(&nested(MOST + 1)).is_err());
        assert!(check(&format!("[{}1]", "[],".repeat(1000))).is_ok());
        assert!(check(&format!(r#"["\"{}"]"#, "[".repeat(1000))).is_ok());
        assert!(check(&format!(r#"["\\",{}]"#, nested(MOST))).is_err());
    }
}
