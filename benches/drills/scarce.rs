//! *scarce*: the kernel refuses resources. `accept` fails, no thread can be started, and descriptors run out.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::doomed::Doomed;
use crate::healthy;
use crate::report::Report;
use crate::server::{SETTLES, Standpipe, signal, until};

/// How many calls of `accept` in a row fail by injection. An acceptor that pauses between attempts meets far fewer of
/// them in [`OBSERVED`]; one that spins meets all of them.
const FAILURES: usize = 1000;

/// How long the failing acceptor is observed.
const OBSERVED: Duration = Duration::from_secs(3);

/// The pauses are 50, 100, 200, 400, 800 and then 1000 ms, so there are seven attempts in three seconds. The rest is
/// for a slow start of the tracer.
const MAX_ATTEMPTS: usize = 12;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let server = Standpipe::start(&[])?;
    report.fault("accept fails with EMFILE");
    accept_fails(&server, report)?;
    report.fault("no thread can be started");
    no_thread(&server, report)?;
    server.check_end(report)?;
    report.fault("descriptors run out, and the process that holds them is killed");
    run_out(if small { 1 } else { 5 }, report)
}

/// The server under `strace`, which makes system calls fail.
struct Traced {
    child: Child,
    output: PathBuf,
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.output);
    }
}

impl Traced {
    /// Starts `strace`. Returns `None`, with the reason in the report, if it cannot trace on this machine.
    fn start(
        server: &Standpipe,
        inject: &str,
        report: &mut Report,
    ) -> Result<Option<Traced>, Failure> {
        let calls = inject.split(':').next().unwrap_or_default();
        let name = format!("standpipe-drill-{}.strace", std::process::id());
        let output = std::env::temp_dir().join(name);
        let spawned = Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(&output)
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={inject}")])
            .args(["-p", &server.pid().to_string()])
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = spawned else {
            report.skip("strace is not installed");
            return Ok(None);
        };
        let mut traced = Traced { child, output };
        let mut attached = false;
        until("strace to attach to every thread", || {
            attached = is_traced(server.pid())?;
            Ok(attached || traced.child.try_wait()?.is_some())
        })?;
        if attached {
            return Ok(Some(traced));
        }
        report.skip("strace has no permission to trace");
        Ok(None)
    }

    /// Returns how many system calls have failed so far.
    fn injected(&self) -> Result<usize, Failure> {
        Ok(fs::read_to_string(&self.output)?
            .matches("(INJECTED)")
            .count())
    }

    /// Detaches from the server.
    fn stop(mut self) -> Result<(), Failure> {
        signal(self.child.id(), "TERM")?;
        self.child.wait()?;
        Ok(())
    }
}

/// Returns whether a tracer is attached to every thread of the process.
fn is_traced(pid: u32) -> Result<bool, Failure> {
    let mut tasks = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    Ok(tasks.all(|task| {
        let status = fs::read_to_string(task.path().join("status"));
        status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    }))
}

fn accept_fails(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    healthy::alongside(server, report, |report| {
        let inject = format!("accept4:error=EMFILE:when=1..{FAILURES}");
        let Some(traced) = Traced::start(server, &inject, report)? else {
            return Ok(());
        };
        // The server is already blocked in `accept`, so the next call is the first that fails.
        let mut client = Client::open(server.address)?;
        until("accept to fail", || Ok(traced.injected()? > 0))?;
        // The attempts within this time are counted.
        thread::sleep(OBSERVED);
        let attempts = traced.injected()?;
        report.check(
            "the acceptor pauses between attempts and does not spin",
            (2..=MAX_ATTEMPTS).contains(&attempts),
            format!("{attempts} calls of accept in {OBSERVED:?}; {MAX_ATTEMPTS} are allowed"),
        );
        traced.stop()?;
        let began = Instant::now();
        client.upgrade(server.address, "/echo")?;
        client.echo("from the backlog")?;
        client.close()?;
        report.check(
            "the waiting client is served when accept works again",
            true,
            format!("after {:.1} s", began.elapsed().as_secs_f64()),
        );
        Ok(())
    })
}

fn no_thread(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    healthy::alongside(server, report, |report| {
        let inject = "clone3,clone:error=EAGAIN:when=1";
        let Some(traced) = Traced::start(server, inject, report)? else {
            return Ok(());
        };
        // strace fails the first thread start of each thread: once the acceptor's, and then each handshake thread's.
        let mut refused = 0;
        for _ in 0..20 {
            let mut client = Client::open(server.address)?;
            client.bytes(crate::client::head(server.address, "/echo").as_bytes())?;
            refused += usize::from(client.answer()?.starts_with("HTTP/1.1 503"));
        }
        let injected = traced.injected()?;
        traced.stop()?;
        report.check(
            "each client that needs a thread is answered 503",
            refused == 20 && injected == 20,
            format!("{refused} of 20, {injected} failed thread starts"),
        );
        Client::connect(server.address, "/echo")?.close()
    })
}

/// Repeats: a process of silent clients takes all descriptors, and is killed.
fn run_out(rounds: usize, report: &mut Report) -> Result<(), Failure> {
    let descriptors = healthy::CLIENTS + 64;
    let flags = ["--handshake-timeout", "60s"];
    let server = Standpipe::with_limits(&format!("ulimit -n {descriptors}"), &flags)?;
    healthy::alongside(&server, report, |report| {
        let (mut failed, mut slowest) = (0, Duration::ZERO);
        for _ in 0..rounds {
            let line = server.log_from(0).len();
            let doomed = Doomed::start(server.address, 100, true)?;
            until("accept to fail", || {
                let lines = server.log_from(line);
                Ok(lines.iter().any(|line| line.contains("next try in")))
            })?;
            failed += 1;
            drop(doomed);
            let began = Instant::now();
            let mut late = Client::connect(server.address, "/echo")?;
            late.echo("after the shortage")?;
            late.close()?;
            slowest = slowest.max(began.elapsed());
            report.bad_inputs(100);
        }
        report.check(
            "when they are gone, the next client is served",
            failed == rounds && slowest < SETTLES,
            format!("{failed} of {rounds} times, the slowest after {slowest:.1?}"),
        );
        Ok(())
    })?;
    server.check_end(report)
}
