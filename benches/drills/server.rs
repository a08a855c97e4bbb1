//! [`Standpipe`]: the release binary as a child process, and what the kernel reports about it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Failure;
use crate::client::Client;
use crate::report::Report;
use crate::target::Target;

/// How long the server may take to release what a drill used.
pub(crate) const SETTLES: Duration = Duration::from_secs(30);

/// A server on a free port. Dropping the value kills it.
pub(crate) struct Standpipe {
    child: Child,
    pub(crate) address: Target,
    log: Arc<Mutex<Vec<String>>>,
    /// While it is set, the log is not read.
    log_paused: Arc<AtomicBool>,
    /// The output of the server after the line with its address.
    printed: Arc<Mutex<String>>,
}

/// The threads and descriptors of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

impl Usage {
    /// Returns the usage with this many more clients, of two threads and one descriptor each.
    pub(crate) fn with_clients(self, clients: usize) -> Usage {
        Usage {
            threads: self.threads + 2 * clients,
            descriptors: self.descriptors + clients,
        }
    }
}

impl Drop for Standpipe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Standpipe {
    pub(crate) fn start(flags: &[&str]) -> Result<Standpipe, Failure> {
        Standpipe::with_limits("true", flags)
    }

    /// Starts the server from a shell that has run the command `limits`.
    pub(crate) fn with_limits(limits: &str, flags: &[&str]) -> Result<Standpipe, Failure> {
        // A drill in the background of a script ignores SIGINT, and so would the server.
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=HUP,INT,QUIT,TERM", "/bin/sh"]);
        command
            .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_standpipe"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-open"]);
        command.args(flags);
        // The caller's own settings must not change a drill.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STANDPIPE_") {
                command.env_remove(name);
            }
        }
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut standpipe = Standpipe {
            child,
            address: Target::NONE,
            log: Arc::clone(&log),
            log_paused: Arc::default(),
            printed: Arc::default(),
        };
        let paused = Arc::clone(&standpipe.log_paused);
        thread::spawn(move || {
            let lines = BufReader::new(err.expect("the stream is piped")).lines();
            for line in lines.map_while(Result::ok) {
                while paused.load(Relaxed) {
                    // The pause has no event for its end, so it is polled.
                    thread::sleep(Duration::from_millis(5));
                }
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let mut lines = BufReader::new(out.expect("the stream is piped")).lines();
        let first = lines.next().ok_or("the server printed nothing")??;
        // Standard output is read to its end. Otherwise the server could not print its report.
        let printed = Arc::clone(&standpipe.printed);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
                printed.push_str(&line);
                printed.push('\n');
            }
        });
        let url = first.split_whitespace().find(|word| word.contains("://"));
        standpipe.address = url.ok_or("the server printed no address")?.parse()?;
        // One request creates what the server creates only once, so that it is part of the start.
        standpipe.healthz()?;
        until("the server to be idle", || {
            Ok(standpipe.client_threads()? == 0)
        })?;
        Ok(standpipe)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines of the log so far, beginning with this line.
    pub(crate) fn log_from(&self, line: usize) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.get(line..).unwrap_or_default().to_vec()
    }

    /// Stops reading the log, or reads it again.
    pub(crate) fn pause_log(&self, paused: bool) {
        self.log_paused.store(paused, Relaxed);
    }

    /// Returns the output of the server after the line with its address.
    pub(crate) fn printed(&self) -> String {
        let printed = self.printed.lock();
        printed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the exit status if the server has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        Ok(self.child.try_wait()?)
    }

    /// Returns the connection limit from the log, and what sets it: `connection limit: N (set by …)`.
    pub(crate) fn connection_limit(&self) -> Result<(usize, String), Failure> {
        let mut limit = None;
        until("the server to log its connection limit", || {
            limit = self.log_from(0).iter().find_map(|line| {
                let (clients, set_by) = line
                    .split_once("connection limit: ")?
                    .1
                    .split_once(" (set by ")?;
                Some((
                    clients.parse().ok()?,
                    set_by.trim_end_matches(')').to_owned(),
                ))
            });
            Ok(limit.is_some())
        })?;
        limit.ok_or_else(|| "the log has no connection limit".into())
    }

    /// Requests a path with GET. Returns the status line and the body.
    pub(crate) fn get(&self, path: &str) -> Result<(String, String), Failure> {
        let mut client = Client::open(self.address)?;
        let host = self.address.at;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        client.bytes(request.as_bytes())?;
        let head = client.answer()?;
        let status = head.lines().next().unwrap_or_default().to_owned();
        Ok((status, client.rest()?))
    }

    /// Fails unless `/healthz` answers 200.
    pub(crate) fn healthz(&self) -> Result<(), Failure> {
        let (status, _) = self.get("/healthz")?;
        if status.starts_with("HTTP/1.1 200") {
            Ok(())
        } else {
            Err(format!("/healthz answered {status}"))?
        }
    }

    /// Returns every client as `/debug/clients` shows it.
    pub(crate) fn clients(&self) -> Result<Vec<Value>, Failure> {
        let (status, body) = self.get("/debug/clients")?;
        if !status.starts_with("HTTP/1.1 200") {
            Err(format!("/debug/clients answered {status}"))?;
        }
        Ok(serde_json::from_str(&body)?)
    }

    /// Returns the number of members of all topics, including any that have outlived their clients.
    pub(crate) fn members(&self) -> Result<u64, Failure> {
        let (status, body) = self.get("/topics")?;
        if !status.starts_with("HTTP/1.1 200") {
            Err(format!("/topics answered {status}"))?;
        }
        let topics: Vec<Value> = serde_json::from_str(&body)?;
        let members = topics.iter().map(|topic| topic["members"].as_u64());
        Ok(members
            .sum::<Option<u64>>()
            .ok_or("a topic without members")?)
    }

    /// Returns the threads and descriptors of the server.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        Ok(Usage {
            threads: self.status("Threads:")?,
            descriptors: fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count(),
        })
    }

    /// Counts the threads that belong to clients: `sp-N-open`, `sp-N-read` and `sp-N-write`.
    fn client_threads(&self) -> Result<usize, Failure> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()))?;
        // A thread may end after its entry was listed and before its name is read.
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let is_client = |name: &String| {
            let number = name.trim_start_matches("sp-");
            number.starts_with(|first: char| first.is_ascii_digit())
        };
        Ok(names.filter(is_client).count())
    }

    /// Returns the resident memory in KiB.
    pub(crate) fn rss(&self) -> Result<usize, Failure> {
        self.status("VmRSS:")
    }

    /// Returns a number from `/proc/PID/status`.
    fn status(&self, key: &str) -> Result<usize, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        let value = value.ok_or("the server has ended")?;
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    }

    /// Checks that threads and descriptors return to exactly the number at the start.
    pub(crate) fn check_released(&self, start: Usage, report: &mut Report) -> Result<(), Failure> {
        let began = Instant::now();
        let released = until("threads and descriptors to be released", || {
            Ok(self.usage()? == start)
        });
        let now = self.usage()?;
        report.check(
            "threads and descriptors are back at the start",
            released.is_ok(),
            format!(
                "threads {} → {}, descriptors {} → {}, after {:.1} s",
                start.threads,
                now.threads,
                start.descriptors,
                now.descriptors,
                began.elapsed().as_secs_f64()
            ),
        );
        Ok(())
    }

    /// Checks that SIGTERM ends the server with exit code 0, and that it never panicked.
    pub(crate) fn check_end(mut self, report: &mut Report) -> Result<(), Failure> {
        let alive = self.child.try_wait()?.is_none();
        signal(self.pid(), "TERM")?;
        let mut ended = None;
        let _ = until("the server to end", || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        });
        let panics = self.log_from(0);
        let panics = panics
            .iter()
            .filter(|line| line.contains("panicked"))
            .count();
        let clean = ended.is_some_and(|status| status.success());
        report.check(
            "the server survived and exits with 0",
            alive && clean && panics == 0,
            format!(
                "{}, {panics} panics",
                ended.map_or("still running".into(), |status| status.to_string())
            ),
        );
        Ok(())
    }
}

/// Sends a signal to a process that this drill started. Every shell has a `kill` of its own.
pub(crate) fn signal(pid: u32, name: &str) -> Result<(), Failure> {
    let script = format!("kill -{name} {pid}");
    if Command::new("sh").args(["-c", &script]).status()?.success() {
        Ok(())
    } else {
        Err(format!("{script} failed"))?
    }
}

/// Waits until `holds` returns true, up to [`SETTLES`].
pub(crate) fn until(
    what: &str,
    mut holds: impl FnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + SETTLES;
    while !holds()? {
        if Instant::now() > deadline {
            Err(format!("waited {SETTLES:?} for {what}"))?;
        }
        // There is no event for changes in /proc and on HTTP pages, so they are polled.
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Returns the memory pages of the kernel's TCP, on the whole machine.
pub(crate) fn tcp_pages() -> Result<usize, Failure> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    let pages = line.and_then(|line| line.rsplit_once("mem "));
    Ok(pages.ok_or("no TCP line in sockstat")?.1.trim().parse()?)
}
