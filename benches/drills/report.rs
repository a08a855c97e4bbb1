//! [`Report`]: what was checked, with what result.

use std::process::ExitCode;
use std::time::Duration;

/// Prints each check as it is made, and all of them as a table at the end.
#[derive(Default)]
pub(crate) struct Report {
    drill: &'static str,
    checks: Vec<(&'static str, bool, String, String)>,
}

impl Report {
    pub(crate) fn begin(&mut self, drill: &'static str, small: bool) {
        self.drill = drill;
        println!("\n== {drill}{} ==", if small { ", small" } else { "" });
    }

    /// What is worth knowing and cannot fail.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        println!("  {}", text.as_ref());
    }

    pub(crate) fn check(&mut self, what: &str, holds: bool, figures: impl Into<String>) {
        let figures = figures.into();
        println!("  {} {what}: {figures}", verdict(holds));
        self.checks
            .push((self.drill, holds, what.to_owned(), figures));
    }

    /// Prints the table and the last line.
    pub(crate) fn end(self) -> ExitCode {
        let width = |text: fn(&(&str, bool, String, String)) -> usize| {
            self.checks.iter().map(text).max().unwrap_or(0)
        };
        let what_width = width(|check| check.2.chars().count());
        println!("\n{:<6} {:<6} {:<what_width$} figures", "drill", "", "what");
        for (drill, holds, what, figures) in &self.checks {
            println!(
                "{drill:<6} {:<6} {what:<what_width$} {figures}",
                verdict(*holds)
            );
        }
        let failed = self.checks.iter().filter(|check| !check.1).count();
        println!("\n{} passed, {failed} failed", self.checks.len() - failed);
        ExitCode::from(u8::from(failed > 0))
    }
}

fn verdict(holds: bool) -> &'static str {
    if holds { "ok" } else { "FAILED" }
}

/// Seconds after which something happened, if it did.
pub(crate) fn after(happened: Option<Duration>) -> String {
    happened.map_or("never".into(), |after| {
        format!("after {:.1} s", after.as_secs_f64())
    })
}
