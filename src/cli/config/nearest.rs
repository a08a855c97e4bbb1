//! The correct name that a wrong one is nearest to.

/// Returns the name among `names` that needs the fewest changes of one character to become `wrong`. A name that begins with
/// `wrong` counts as near, because its end is often forgotten.
pub(crate) fn nearest<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Much longer names do not occur, and the distance takes time in proportion to the product of both lengths.
    const MAX: usize = 200;
    let characters: Vec<char> = wrong.chars().take(MAX).collect();
    names.into_iter().min_by_key(|name| {
        let distance = distance(&characters, name);
        if name.starts_with(wrong) {
            distance.min(2)
        } else {
            distance
        }
    })
}

/// Returns the distance of Levenshtein. Only one row of its table is kept.
fn distance(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (index, to) in to.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 1..row.len() {
            let replaced = diagonal + usize::from(from[column - 1] != to);
            diagonal = row[column];
            row[column] = replaced.min(diagonal + 1).min(row[column - 1] + 1);
        }
    }
    row[from.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changes_of_one_character() {
        for (from, to, expected) in [
            ("", "", 0),
            ("queue", "queue", 0),
            ("queu", "queue", 1),
            ("quue", "queue", 1),
            ("max_message", "max-message", 1),
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
        ] {
            let from: Vec<char> = from.chars().collect();
            assert_eq!(distance(&from, to), expected, "{from:?} {to}");
        }
    }

    #[test]
    fn nearest_name_is_suggested() {
        let names = ["queue", "queue-bytes", "max-message"];
        assert_eq!(nearest("queu", names), Some("queue"));
        assert_eq!(nearest("queue_bytes", names), Some("queue-bytes"));
        assert_eq!(nearest("max_mesage", names), Some("max-message"));
        assert_eq!(nearest("queue", []), None);
        let names = ["topic", "token-file", "node"];
        assert_eq!(nearest("token", names), Some("token-file"));
        assert_eq!(nearest("tpoic", names), Some("topic"));
    }
}
