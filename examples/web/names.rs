//! What several of the uses ask of a person's name.

/// A name that shows as what it is: no blanks around it, nothing invisible, nothing that turns the line around. `most` is in
/// characters.
pub(crate) fn is_name(name: &str, most: usize) -> bool {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    (1..=most).contains(&name.chars().count()) && name.trim() == name && !name.contains(hides)
}
