//! [`Standpipe`]: the release binary as a child, and what the kernel says of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Failure;
use crate::client::Client;
use crate::report::Report;

/// How long anything may take to be back at its start.
pub(crate) const SETTLES: Duration = Duration::from_secs(30);

/// A server that listens on a port of its own; it does not outlive this value.
pub(crate) struct Standpipe {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    /// While it is set nobody reads the log.
    log_stands: Arc<AtomicBool>,
    /// What it has printed since it said where it listens.
    printed: Arc<Mutex<String>>,
}

/// What one process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Has {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

impl Has {
    /// The same with so many clients: two threads and a descriptor each.
    pub(crate) fn with_clients(self, clients: usize) -> Has {
        Has {
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
        Standpipe::within("true", flags)
    }

    /// From a shell in which `limits` has run.
    pub(crate) fn within(limits: &str, flags: &[&str]) -> Result<Standpipe, Failure> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_standpipe"));
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(flags);
        // The caller's own settings must not decide a drill.
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
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log: Arc::clone(&log),
            log_stands: Arc::default(),
            printed: Arc::default(),
        };
        let stands = Arc::clone(&standpipe.log_stands);
        thread::spawn(move || {
            let lines = BufReader::new(err.expect("it is piped")).lines();
            for line in lines.map_while(Result::ok) {
                while stands.load(Relaxed) {
                    // A reader that has stopped waits for nothing.
                    thread::sleep(Duration::from_millis(5));
                }
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let mut lines = BufReader::new(out.expect("it is piped")).lines();
        let first = lines.next().ok_or("the server said nothing")??;
        // Read to its end, or the server could not say goodbye.
        let printed = Arc::clone(&standpipe.printed);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
                printed.push_str(&line);
                printed.push('\n');
            }
        });
        let address = first.split("http://").nth(1).ok_or("it named no address")?;
        standpipe.address = address.trim_end_matches('/').parse()?;
        // What is made once is made now, and is part of the start.
        standpipe.healthz()?;
        until("the server to be idle", || {
            Ok(standpipe.client_threads()? == 0)
        })?;
        Ok(standpipe)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines of its log so far, from this one on.
    pub(crate) fn log_from(&self, line: usize) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.get(line..).unwrap_or_default().to_vec()
    }

    /// Nobody reads its log from here on, or somebody does again.
    pub(crate) fn log_stands(&self, stands: bool) {
        self.log_stands.store(stands, Relaxed);
    }

    pub(crate) fn printed(&self) -> String {
        let printed = self.printed.lock();
        printed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        Ok(self.child.try_wait()?)
    }

    /// The cap it computed, and what binds: `connection limit: N (set by …)`.
    pub(crate) fn room(&self) -> Result<(usize, String), Failure> {
        let mut room = None;
        until("the server to log its room", || {
            room = self.log_from(0).iter().find_map(|line| {
                let (clients, binds) = line
                    .split_once("connection limit: ")?
                    .1
                    .split_once(" (set by ")?;
                Some((
                    clients.parse().ok()?,
                    binds.trim_end_matches(')').to_owned(),
                ))
            });
            Ok(room.is_some())
        })?;
        room.ok_or_else(|| "no room logged".into())
    }

    /// `GET path`: status line and body.
    pub(crate) fn get(&self, path: &str) -> Result<(String, String), Failure> {
        let mut client = Client::open(self.address)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        client.bytes(request.as_bytes())?;
        let head = client.answer()?;
        let status = head.lines().next().unwrap_or_default().to_owned();
        Ok((status, client.rest()?))
    }

    /// `/healthz` must answer 200.
    pub(crate) fn healthz(&self) -> Result<(), Failure> {
        let (status, _) = self.get("/healthz")?;
        if status.starts_with("HTTP/1.1 200") {
            Ok(())
        } else {
            Err(format!("/healthz answered {status}"))?
        }
    }

    /// `/debug/clients`.
    pub(crate) fn clients(&self) -> Result<Vec<Value>, Failure> {
        let (status, body) = self.get("/debug/clients")?;
        if !status.starts_with("HTTP/1.1 200") {
            Err(format!("/debug/clients answered {status}"))?;
        }
        Ok(serde_json::from_str(&body)?)
    }

    /// How many members all topics have together, those that have outlived their clients too.
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

    pub(crate) fn has(&self) -> Result<Has, Failure> {
        Ok(Has {
            threads: self.status("Threads:")?,
            descriptors: fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count(),
        })
    }

    /// Its threads that belong to clients: `sp-N-door`, `sp-N-read` and `sp-N-write`.
    fn client_threads(&self) -> Result<usize, Failure> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()))?;
        // A thread may end between its entry and its name.
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let is_client = |name: &String| {
            let number = name.trim_start_matches("sp-");
            number.starts_with(|first: char| first.is_ascii_digit())
        };
        Ok(names.filter(is_client).count())
    }

    /// Resident memory in KiB.
    pub(crate) fn rss(&self) -> Result<usize, Failure> {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> Result<usize, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        let value = value.ok_or("the server is gone")?;
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    }

    /// Whether threads and descriptors come back to what they were, exactly.
    pub(crate) fn check_back(&self, start: Has, report: &mut Report) -> Result<(), Failure> {
        let began = Instant::now();
        let back = until("threads and descriptors to be back at the start", || {
            Ok(self.has()? == start)
        });
        let now = self.has()?;
        report.check(
            "threads and descriptors back at the start",
            back.is_ok(),
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

    /// SIGTERM must end it with 0, and it must never have panicked.
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
            "the server lived through it and ended with 0",
            alive && clean && panics == 0,
            format!(
                "{}, {panics} panics",
                ended.map_or("still there".into(), |status| status.to_string())
            ),
        );
        Ok(())
    }
}

/// Sends a signal to a process of ours. The shell's own `kill` is there wherever a shell is.
pub(crate) fn signal(pid: u32, name: &str) -> Result<(), Failure> {
    let script = format!("kill -{name} {pid}");
    if Command::new("sh").args(["-c", &script]).status()?.success() {
        Ok(())
    } else {
        Err(format!("{script} failed"))?
    }
}

/// Waits until `holds`, at most [`SETTLES`].
pub(crate) fn until(
    what: &str,
    mut holds: impl FnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + SETTLES;
    while !holds()? {
        if Instant::now() > deadline {
            Err(format!("waited {SETTLES:?} for {what}"))?;
        }
        // What is looked at, /proc and pages, tells nobody when it changes.
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Pages the kernel has given to TCP, on the whole machine.
pub(crate) fn tcp_pages() -> Result<usize, Failure> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    let pages = line.and_then(|line| line.rsplit_once("mem "));
    Ok(pages.ok_or("no TCP line in sockstat")?.1.trim().parse()?)
}
