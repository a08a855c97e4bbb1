//! [`Stopped`]: clients whose process has been stopped. Their kernel still acknowledges what is sent to them.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::CLIENT_PROCESS;
use crate::Failure;
use crate::client::{Client, End};
use crate::frame::Got;
use crate::healthy::TOPIC;
use crate::server::{Standpipe, signal};
use crate::target::Target;

/// A helper process with many connections, stopped by SIGSTOP.
pub(super) struct Stopped {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    ports: HashSet<u16>,
}

/// The result of one client, after its process was continued.
pub(super) struct Resumed {
    pub(super) code: Option<u16>,
    end: Option<End>,
}

impl Resumed {
    pub(super) fn ended_as_expected(&self) -> bool {
        self.end.is_some()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stopped {
    pub(super) fn start(to: Target, connections: usize) -> Result<Stopped, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([CLIENT_PROCESS, &to.to_string(), &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().expect("the stream is piped");
        let output = BufReader::new(child.stdout.take().expect("the stream is piped")).lines();
        let mut stopped = Stopped {
            child,
            input,
            output,
            ports: HashSet::new(),
        };
        let ready = stopped
            .output
            .next()
            .ok_or("the helper process printed nothing")??;
        let ports = ready.split_whitespace().map(str::parse);
        stopped.ports = ports
            .collect::<Result<_, _>>()
            .map_err(|_| format!("the helper process printed: {ready}"))?;
        signal(stopped.child.id(), "STOP")?;
        Ok(stopped)
    }

    /// Returns whether the server has disconnected all of these clients.
    pub(super) fn is_disconnected(&self, server: &Standpipe) -> Result<bool, Failure> {
        let port = |peer: &str| peer.rsplit_once(':')?.1.parse::<u16>().ok();
        let clients = server.clients()?;
        let mut ports = clients
            .iter()
            .filter_map(|client| port(client["peer"].as_str()?));
        Ok(!ports.any(|port| self.ports.contains(&port)))
    }

    /// Lets the process run again, and returns what each client finds.
    pub(super) fn resume(mut self) -> Result<Vec<Resumed>, Failure> {
        signal(self.child.id(), "CONT")?;
        writeln!(self.input, "look")?;
        let mut resumed = Vec::new();
        for _ in 0..self.ports.len() {
            let line = self.output.next().ok_or("the helper process is gone")??;
            let (end, code) = line.split_once(' ').ok_or(line.clone())?;
            resumed.push(Resumed {
                code: code.parse().ok(),
                end: match end {
                    "reset" => Some(End::Reset),
                    "eof" => Some(End::Eof),
                    _ => None,
                },
            });
        }
        Ok(resumed)
    }
}

/// Runs as the helper process: connects, half of the clients to the topic, and prints their ports. After a line on its
/// standard input, it prints what became of each connection.
#[allow(
    clippy::print_stdout,
    reason = "the helper answers its parent on standard output"
)]
pub(crate) fn client_process(arguments: &[String]) -> Result<(), Failure> {
    let [to, connections] = arguments else {
        return Err("ADDRESS CONNECTIONS".into());
    };
    let (to, connections): (Target, usize) = (to.parse()?, connections.parse()?);
    let paths = ["/echo", TOPIC];
    let mut clients = (0..connections)
        .map(|n| Client::connect(to, paths[n % 2]))
        .collect::<Result<Vec<_>, _>>()?;
    let ports: Vec<_> = clients.iter().map(|one| one.port.to_string()).collect();
    println!("{}", ports.join(" "));
    // The process is stopped here. Standard input ends if the parent is gone.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    for client in &mut clients {
        client.unblock()?;
        let deadline = Instant::now() + Duration::from_secs(2);
        let (mut code, mut end) = (None, None);
        while end.is_none() && Instant::now() < deadline {
            end = client.read_available(usize::MAX, |got| {
                if let Got::Close(with) = got {
                    code = Some(with);
                }
            });
            if end.is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let end = match end {
            Some(End::Reset) => "reset",
            Some(End::Eof) => "eof",
            None => "open",
        };
        let code = code.map_or("-".into(), |code: u16| code.to_string());
        println!("{end} {code}");
    }
    Ok(())
}
