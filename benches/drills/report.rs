//! [`Report`]: the checks of a run with their results, and the scoreboard of all drills.

use std::process::ExitCode;
use std::time::Duration;

/// Prints each check when it is made, and a table of all checks at the end.
#[derive(Default)]
pub(crate) struct Report {
    drill: &'static str,
    checks: Vec<(&'static str, bool, String, String)>,
    faults: Vec<Fault>,
    /// The largest number of clients that were connected at the same time.
    held: usize,
    /// Frames, request heads and pings that no client should send, by drill.
    bad_inputs: Vec<(&'static str, u64)>,
    /// Messages that a healthy client should have received and did not.
    lost: u64,
}

/// One kind of fault, and how many checks were made of it.
struct Fault {
    drill: &'static str,
    name: &'static str,
    checks: usize,
    failed: usize,
    skipped: Option<String>,
}

impl Report {
    pub(crate) fn begin(&mut self, drill: &'static str, small: bool) {
        self.drill = drill;
        println!("\n== {drill}{} ==", if small { ", small" } else { "" });
    }

    /// Prints information that is not a check.
    pub(crate) fn info(&self, text: impl AsRef<str>) {
        println!("  {}", text.as_ref());
    }

    /// Assigns the checks that follow to this fault. The fault is survived if there are checks and none of them fails.
    pub(crate) fn fault(&mut self, name: &'static str) {
        self.faults.push(Fault {
            drill: self.drill,
            name,
            checks: 0,
            failed: 0,
            skipped: None,
        });
    }

    /// Skips the current fault because this machine cannot cause it. It counts neither as survived nor as tried.
    pub(crate) fn skip(&mut self, why: impl Into<String>) {
        let why = why.into();
        println!("  skipped: {why}");
        if let Some(fault) = self.faults.last_mut() {
            fault.skipped = Some(why);
        }
    }

    pub(crate) fn check(&mut self, what: &str, holds: bool, figures: impl Into<String>) {
        let figures = figures.into();
        println!("  {} {what}: {figures}", verdict(holds));
        self.checks
            .push((self.drill, holds, what.to_owned(), figures));
        let fault = self.faults.last_mut();
        if let Some(fault) = fault.filter(|fault| fault.drill == self.drill) {
            fault.checks += 1;
            fault.failed += usize::from(!holds);
        }
    }

    pub(crate) fn held(&mut self, clients: usize) {
        self.held = self.held.max(clients);
    }

    pub(crate) fn bad_inputs(&mut self, count: u64) {
        self.bad_inputs.push((self.drill, count));
    }

    pub(crate) fn lost(&mut self, messages: u64) {
        self.lost += messages;
    }

    /// Returns the messages lost so far, for a report that another process continues.
    pub(crate) fn lost_so_far(&self) -> u64 {
        self.lost
    }

    /// Prints the tables and the result. Returns the exit code.
    pub(crate) fn end(self) -> ExitCode {
        let width = |text: fn(&(&str, bool, String, String)) -> usize| {
            self.checks.iter().map(text).max().unwrap_or(0)
        };
        let what_width = width(|check| check.2.chars().count());
        println!(
            "\n{:<9} {:<6} {:<what_width$} figures",
            "drill", "", "check"
        );
        for (drill, holds, what, figures) in &self.checks {
            println!(
                "{drill:<9} {:<6} {what:<what_width$} {figures}",
                verdict(*holds)
            );
        }
        self.scoreboard();
        let failed = self.checks.iter().filter(|check| !check.1).count();
        println!("\n{} passed, {failed} failed", self.checks.len() - failed);
        ExitCode::from(u8::from(failed > 0))
    }

    /// Prints the scoreboard, which contains only what this run has counted.
    fn scoreboard(&self) {
        println!("\n{:<9} {:<9} {:<8} fault", "drill", "", "checks");
        for fault in &self.faults {
            let Fault { drill, name, .. } = fault;
            let (result, why) = match &fault.skipped {
                Some(why) => ("skipped", format!(": {why}")),
                None if fault.survived() => ("survived", String::new()),
                None => ("FAILED", String::new()),
            };
            let checks = format!("{}/{}", fault.checks - fault.failed, fault.checks);
            println!("{drill:<9} {result:<9} {checks:<8} {name}{why}");
        }
        for (drill, count) in &self.bad_inputs {
            println!("{drill:<9} {count} bad inputs");
        }
        let skipped = self.faults.iter().filter(|fault| fault.skipped.is_some());
        let skipped = skipped.count();
        let survived = self.faults.iter().filter(|fault| fault.survived()).count();
        let bad: u64 = self.bad_inputs.iter().map(|(_, count)| count).sum();
        println!(
            "\nheld {}, survived {survived}/{} faults{}, {bad} bad inputs tried, {} lost",
            self.held,
            self.faults.len() - skipped,
            match skipped {
                0 => String::new(),
                some => format!(" ({some} skipped)"),
            },
            self.lost
        );
    }
}

impl Fault {
    fn survived(&self) -> bool {
        self.skipped.is_none() && self.checks > 0 && self.failed == 0
    }
}

fn verdict(holds: bool) -> &'static str {
    if holds { "ok" } else { "FAILED" }
}

/// Returns after how many seconds something happened, or `never`.
pub(crate) fn after(happened: Option<Duration>) -> String {
    happened.map_or("never".into(), |after| {
        format!("after {:.1} s", after.as_secs_f64())
    })
}
