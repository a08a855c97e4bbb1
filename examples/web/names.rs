//! Checks the name of a person, for several of the example programs.

/// Returns whether `name` has 1 to `most` characters and cannot look like a different name: it has no surrounding
/// blanks, no invisible characters, and no characters that reverse the direction of the text.
pub(crate) fn is_name(name: &str, most: usize) -> bool {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    (1..=most).contains(&name.chars().count()) && name.trim() == name && !name.contains(hides)
}
