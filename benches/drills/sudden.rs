//! *sudden*: what comes without a warning: a crowd that is killed, a log that nobody reads any more, Ctrl-C.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::doomed::Doomed;
use crate::frame::{BINARY, Got, TEXT, close, frame};
use crate::healthy;
use crate::report::Report;
use crate::server::{Standpipe, signal, until};

/// Requests that are refused, each a line of the log: more than a pipe and the log's queue of 4096 lines hold.
const LINES: usize = 6000;

const GRACE: Duration = Duration::from_secs(2);

/// How much later than its clock a busy machine may show an end.
const SLACK: Duration = Duration::from_secs(5);

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let crowd = if small { 200 } else { 1000 };
    let server = Standpipe::start(&["-vv"])?;

    report.fault("a crowd killed in the middle of its messages");
    healthy::beside(&server, report, |report| killed(&server, crowd, report))?;

    report.fault("a log that nobody reads");
    healthy::beside(&server, report, |report| stand(&server, report))?;

    report.fault("a log that nobody reads, and a crowd killed");
    healthy::beside(&server, report, |report| {
        killed(&server, crowd, report)?;
        read_on(&server, report)
    })?;
    server.check_end(report)?;

    report.fault("Ctrl-C under load, with clients that never read");
    ctrl_c(small, report)
}

/// Connects a crowd in a process of its own, and kills that.
fn killed(server: &Standpipe, crowd: usize, report: &mut Report) -> Result<(), Failure> {
    let before = server.clients()?.len();
    let doomed = Doomed::start(server.address, crowd, false)?;
    let there = server.clients()?.len() - before;
    report.held(server.clients()?.len());
    let began = Instant::now();
    drop(doomed);
    let gone = until("the crowd to be gone", || {
        Ok(server.clients()?.len() == before)
    });
    report.bad_inputs(there as u64);
    report.check(
        "clients of a killed process are let go",
        there == crowd && gone.is_ok(),
        format!(
            "{there} of {crowd} there, {} left after {:.1} s",
            server.clients()?.len() - before,
            began.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// Nobody reads the log; more is logged than fits anywhere.
fn stand(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    server.log_stands(true);
    let mut client = Client::connect(server.address, "/echo")?;
    let mut echoes = 0;
    for n in 0..LINES {
        // A page that is not there, and a path that cannot be.
        server.get(["/nothing", "/%zz"][n % 2])?;
        client.echo(&n.to_string())?;
        echoes += 1;
    }
    client.close()?;
    report.bad_inputs(LINES as u64);
    report.check(
        "service goes on while nobody reads the log",
        echoes == LINES,
        format!("{echoes} of {LINES} echoes"),
    );
    Ok(())
}

fn read_on(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    let line = server.log_from(0).len();
    server.log_stands(false);
    let mut dropped = 0;
    let told = until("the log to say what it has dropped", || {
        let lines = server.log_from(line);
        let said = lines
            .iter()
            .filter(|line| line.contains("log lines were dropped here"));
        dropped = said.count();
        Ok(dropped > 0)
    });
    report.check(
        "read again, the log says what it has dropped",
        told.is_ok(),
        format!("{dropped} such lines"),
    );
    Ok(())
}

fn ctrl_c(small: bool, report: &mut Report) -> Result<(), Failure> {
    let (many, stuck) = if small { (200, 20) } else { (1000, 100) };
    let grace = format!("{}s", GRACE.as_secs());
    let flags = ["--shutdown-timeout", &grace, "--sndbuf", "16KiB"];
    let mut server = Standpipe::start(&flags)?;
    let never_read = never_readers(&server, stuck)?;
    let mut healthy = Vec::new();
    for n in 0..many {
        let path = ["/echo", "/ws/room"][n % 2];
        let mut client = Client::connect(server.address, path)?;
        client.unblock()?;
        client.try_bytes(&frame(TEXT, b"load"))?;
        healthy.push((client, None));
    }
    signal(server.pid(), "INT")?;
    let began = Instant::now();
    let (mut ended, mut open) = (None, many);
    while (ended.is_none() || open > 0) && began.elapsed() < GRACE + SLACK * 2 {
        open = 0;
        for (client, code) in &mut healthy {
            let before = *code;
            let end = client.look(usize::MAX, |got| {
                if let Got::Close(with) = got {
                    *code = Some(with);
                }
            });
            if before.is_none() && *code == Some(1001) {
                client.try_bytes(&close(1001))?;
            }
            // It says one word after another until it is told goodbye.
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
    let told = healthy.iter().filter(|(_, code)| *code == Some(1001));
    let told = told.count();
    report.lost((many - told) as u64);
    report.check(
        "every healthy client sees 1001",
        told == many,
        format!("{told} of {many}"),
    );
    let in_time = ended.filter(|(status, took)| status.success() && *took <= GRACE + SLACK);
    report.check(
        "it ends with 0, within its grace",
        in_time.is_some(),
        ended.map_or("it did not end".into(), |(status, took)| {
            format!("{status} after {:.1} s of {GRACE:?}", took.as_secs_f64())
        }),
    );
    let expected = format!("drained {many}, lost {stuck}");
    let said = until("the report", || Ok(server.printed().contains(&expected)));
    report.check(
        "its report counts both kinds",
        said.is_ok(),
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

/// Clients that send to `/echo` and do not read, each until its writer waits.
fn never_readers(server: &Standpipe, count: usize) -> Result<Vec<Client>, Failure> {
    let bytes = frame(BINARY, &[0; 60 << 10]);
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::open_narrow(16 << 10, server.address)?;
        client.upgrade(server.address, "/echo")?;
        client.unblock()?;
        clients.push((client, 0));
    }
    until("every writer to wait", || {
        for (client, sent) in &mut clients {
            while let taken @ 1.. = client.try_bytes(&bytes[*sent..])? {
                *sent = (*sent + taken) % bytes.len();
            }
        }
        let states = server.clients()?;
        let blocked = |client: &&serde_json::Value| client["writer"]["state"] == "blocked in write";
        Ok(states.iter().filter(blocked).count() == count)
    })?;
    Ok(clients.into_iter().map(|(client, _)| client).collect())
}
