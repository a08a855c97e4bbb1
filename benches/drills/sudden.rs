//! *sudden*: faults without warning. Clients are killed, the log is no longer read, and Ctrl-C comes under load.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::doomed::Doomed;
use crate::frame::{BINARY, Got, TEXT, close, frame};
use crate::healthy;
use crate::report::Report;
use crate::server::{Standpipe, signal, until};

/// Refused requests, each of which logs a line: more lines than the pipe and the log queue of 4,096 lines hold.
const LINES: usize = 6000;

/// The shutdown timeout.
const GRACE: Duration = Duration::from_secs(2);

/// How much later than its deadline an end may be seen on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let clients = if small { 200 } else { 1000 };
    let server = Standpipe::start(&["-vv"])?;

    report.fault("clients killed in the middle of a message");
    healthy::alongside(&server, report, |report| {
        kill_clients(&server, clients, report)
    })?;

    report.fault("a log that is not read");
    healthy::alongside(&server, report, |report| pause_log(&server, report))?;

    report.fault("a log that is not read, and clients killed");
    healthy::alongside(&server, report, |report| {
        kill_clients(&server, clients, report)?;
        resume_log(&server, report)
    })?;
    server.check_end(report)?;

    report.fault("Ctrl-C under load, with clients that never read");
    ctrl_c(small, report)
}

/// Connects clients in a process of their own, and kills the process.
fn kill_clients(server: &Standpipe, clients: usize, report: &mut Report) -> Result<(), Failure> {
    let before = server.clients()?.len();
    let doomed = Doomed::start(server.address, clients, false)?;
    let connected = server.clients()?.len() - before;
    report.held(server.clients()?.len());
    let began = Instant::now();
    drop(doomed);
    let gone = until("the killed clients to be disconnected", || {
        Ok(server.clients()?.len() == before)
    });
    report.bad_inputs(connected as u64);
    report.check(
        "clients of a killed process are disconnected",
        connected == clients && gone.is_ok(),
        format!(
            "{connected} of {clients} connected, {} left after {:.1} s",
            server.clients()?.len() - before,
            began.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// Stops reading the log while the server logs more lines than pipe and queue hold.
fn pause_log(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    server.pause_log(true);
    let mut client = Client::connect(server.address, "/echo")?;
    let mut echoes = 0;
    for n in 0..LINES {
        // An unknown page and an invalid path.
        server.get(["/nothing", "/%zz"][n % 2])?;
        client.echo(&n.to_string())?;
        echoes += 1;
    }
    client.close()?;
    report.bad_inputs(LINES as u64);
    report.check(
        "the server works while the log is not read",
        echoes == LINES,
        format!("{echoes} of {LINES} echoes"),
    );
    Ok(())
}

/// Reads the log again, which must report the dropped lines.
fn resume_log(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    let line = server.log_from(0).len();
    server.pause_log(false);
    let mut dropped = 0;
    let reported = until("the log to report dropped lines", || {
        let lines = server.log_from(line);
        let notices = lines
            .iter()
            .filter(|line| line.contains("log lines were dropped here"));
        dropped = notices.count();
        Ok(dropped > 0)
    });
    report.check(
        "when it is read again, the log reports dropped lines",
        reported.is_ok(),
        format!("{dropped} such lines"),
    );
    Ok(())
}

fn ctrl_c(small: bool, report: &mut Report) -> Result<(), Failure> {
    let (healthy_count, blocked_count) = if small { (200, 20) } else { (1000, 100) };
    let grace = format!("{}s", GRACE.as_secs());
    let flags = ["--shutdown-timeout", &grace, "--sndbuf", "16KiB"];
    let mut server = Standpipe::start(&flags)?;
    let never_read = never_readers(&server, blocked_count)?;
    let mut healthy = Vec::new();
    for n in 0..healthy_count {
        let path = ["/echo", "/ws/room"][n % 2];
        let mut client = Client::connect(server.address, path)?;
        client.unblock()?;
        client.try_bytes(&frame(TEXT, b"load"))?;
        healthy.push((client, None));
    }
    signal(server.pid(), "INT")?;
    let began = Instant::now();
    let (mut ended, mut open) = (None, healthy_count);
    while (ended.is_none() || open > 0) && began.elapsed() < GRACE + SLACK * 2 {
        open = 0;
        for (client, code) in &mut healthy {
            let before = *code;
            let end = client.read_available(usize::MAX, |got| {
                if let Got::Close(with) = got {
                    *code = Some(with);
                }
            });
            if before.is_none() && *code == Some(1001) {
                client.try_bytes(&close(1001))?;
            }
            // The client sends one message after another until it sees the Close.
            if code.is_none() && end.is_none() {
                open += 1;
                let _ = client.try_bytes(&frame(TEXT, b"load"));
            }
        }
        if ended.is_none() {
            ended = server.ended()?.map(|status| (status, began.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let saw_1001 = healthy.iter().filter(|(_, code)| *code == Some(1001));
    let saw_1001 = saw_1001.count();
    report.lost((healthy_count - saw_1001) as u64);
    report.check(
        "every healthy client sees 1001",
        saw_1001 == healthy_count,
        format!("{saw_1001} of {healthy_count}"),
    );
    let in_time = ended.filter(|(status, took)| status.success() && *took <= GRACE + SLACK);
    report.check(
        "the server exits with 0 within shutdown_timeout",
        in_time.is_some(),
        ended.map_or("the server did not end".into(), |(status, took)| {
            format!("{status} after {:.1} s of {GRACE:?}", took.as_secs_f64())
        }),
    );
    let expected = format!("drained {healthy_count}, lost {blocked_count}");
    let reported = until("the report", || Ok(server.printed().contains(&expected)));
    report.check(
        "the shutdown report counts both kinds of clients",
        reported.is_ok(),
        server
            .printed()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned(),
    );
    drop(never_read);
    Ok(())
}

/// Connects clients that send to `/echo` and never read. Returns when all their writers are blocked.
fn never_readers(server: &Standpipe, count: usize) -> Result<Vec<Client>, Failure> {
    let bytes = frame(BINARY, &[0; 60 << 10]);
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::open_narrow(16 << 10, server.address)?;
        client.upgrade(server.address, "/echo")?;
        client.unblock()?;
        clients.push((client, 0));
    }
    until("every writer to be blocked", || {
        for (client, sent) in &mut clients {
            while let accepted @ 1.. = client.try_bytes(&bytes[*sent..])? {
                *sent = (*sent + accepted) % bytes.len();
            }
        }
        let states = server.clients()?;
        let blocked = |client: &&serde_json::Value| client["writer"]["state"] == "blocked in write";
        Ok(states.iter().filter(blocked).count() == count)
    })?;
    Ok(clients.into_iter().map(|(client, _)| client).collect())
}
