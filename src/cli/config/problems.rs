//! [`Problem`]: what is wrong with a configuration file, with its line and key.

use std::fmt;

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The line, from 1 on.
    pub(crate) line: usize,
    /// The key, or nothing where the file is not TOML.
    pub(crate) key: Option<String>,
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// The problems of a file that are shown at most. More would hide the first ones.
const SHOWN: usize = 20;

/// Returns the text for all problems of the file `name`, by line: `FILE:LINE: KEY: REASON`, a problem a line.
pub(crate) fn describe(name: &str, mut problems: Vec<Problem>) -> String {
    problems.sort();
    let shown = problems.iter().take(SHOWN);
    let mut lines: Vec<String> = shown.map(|problem| format!("{name}:{problem}")).collect();
    if problems.len() > SHOWN {
        lines.push(format!("{name}: {} more", problems.len() - SHOWN));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_by_line_and_bounded() {
        let problem = |line| Problem {
            line,
            key: (line != 1).then(|| "queue".into()),
            text: "is wrong".into(),
        };
        let text = describe("a.toml", vec![problem(3), problem(1)]);
        assert_eq!(text, "a.toml:1: is wrong\na.toml:3: queue: is wrong");
        let text = describe("a.toml", (1..=100).map(problem).collect());
        assert_eq!(text.lines().count(), SHOWN + 1);
        assert!(text.ends_with("a.toml: 80 more"), "{text}");
    }
}
