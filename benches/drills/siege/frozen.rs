//! [`Frozen`]: clients whose process has been stopped. Their kernel still answers for them.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::CLIENT_PROCESS;
use crate::Failure;
use crate::client::{Client, End};
use crate::frame::Got;
use crate::healthy::TOPIC;
use crate::server::{Standpipe, signal};

/// A process of ours with so many connections, stopped.
pub(super) struct Frozen {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    ports: HashSet<u16>,
}

/// What one of them found when it ran again.
pub(super) struct Thawed {
    pub(super) code: Option<u16>,
    end: Option<End>,
}

impl Thawed {
    pub(super) fn ended_right(&self) -> bool {
        self.end.is_some()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Frozen {
    pub(super) fn start(to: SocketAddr, connections: usize) -> Result<Frozen, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([CLIENT_PROCESS, &to.to_string(), &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut frozen = Frozen {
            child,
            input,
            output,
            ports: HashSet::new(),
        };
        let ready = frozen
            .output
            .next()
            .ok_or("the helper process is silent")??;
        let ports = ready.split_whitespace().map(str::parse);
        frozen.ports = ports
            .collect::<Result<_, _>>()
            .map_err(|_| format!("the helper process said: {ready}"))?;
        signal(frozen.child.id(), "STOP")?;
        Ok(frozen)
    }

    /// Whether the server has none of them any more.
    pub(super) fn is_forgotten(&self, server: &Standpipe) -> Result<bool, Failure> {
        let port = |peer: &str| peer.rsplit_once(':')?.1.parse::<u16>().ok();
        let clients = server.clients()?;
        let mut ports = clients
            .iter()
            .filter_map(|client| port(client["peer"].as_str()?));
        Ok(!ports.any(|port| self.ports.contains(&port)))
    }

    /// Lets it run again, and gives what its clients find.
    pub(super) fn thaw(mut self) -> Result<Vec<Thawed>, Failure> {
        signal(self.child.id(), "CONT")?;
        writeln!(self.input, "look")?;
        let mut thawed = Vec::new();
        for _ in 0..self.ports.len() {
            let line = self.output.next().ok_or("the helper process is gone")??;
            let (end, code) = line.split_once(' ').ok_or(line.clone())?;
            thawed.push(Thawed {
                code: code.parse().ok(),
                end: match end {
                    "reset" => Some(End::Reset),
                    "eof" => Some(End::Eof),
                    _ => None,
                },
            });
        }
        Ok(thawed)
    }
}

/// The helper: connects, half of it to the topic, says its ports, and when it is told to looks what became of them.
#[allow(clippy::print_stdout, reason = "this is how it answers its parent")]
pub(crate) fn client_process(arguments: &[String]) -> Result<(), Failure> {
    let [to, connections] = arguments else {
        return Err("ADDRESS CONNECTIONS".into());
    };
    let (to, connections): (SocketAddr, usize) = (to.parse()?, connections.parse()?);
    let paths = ["/echo", TOPIC];
    let mut clients = (0..connections)
        .map(|n| Client::connect(to, paths[n % 2]))
        .collect::<Result<Vec<_>, _>>()?;
    let ports: Vec<_> = clients.iter().map(|one| one.port.to_string()).collect();
    println!("{}", ports.join(" "));
    // Here it is stopped. The end of standard input means that nobody will ask.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    for client in &mut clients {
        client.unblock()?;
        let deadline = Instant::now() + Duration::from_secs(2);
        let (mut code, mut end) = (None, None);
        while end.is_none() && Instant::now() < deadline {
            end = client.look(usize::MAX, |got| {
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
