//! [`Doomed`]: a process of ours with many connections, which will be killed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::Failure;
use crate::client::Client;
use crate::frame::{BEGINS, BINARY, GOES_ON, frame};

/// What it is started as: this program again.
pub(crate) const DOOMED_PROCESS: &str = "doomed-process";

pub(crate) struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        // SIGKILL: nothing of it is told goodbye.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Doomed {
    /// So many connections: in the middle of a message each, or silent from the first byte on.
    pub(crate) fn start(to: SocketAddr, count: usize, silent: bool) -> Result<Doomed, Failure> {
        let what = if silent { "silent" } else { "talking" };
        let mut child = Command::new(std::env::current_exe()?)
            .args([DOOMED_PROCESS, &to.to_string(), &count.to_string(), what])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("it is piped");
        let doomed = Doomed(child);
        let mut ready = String::new();
        BufReader::new(output).read_line(&mut ready)?;
        if ready.trim() == "ready" {
            Ok(doomed)
        } else {
            Err(format!("the helper process said {ready:?}"))?
        }
    }
}

/// The helper: connects, says so, and waits for its end.
#[allow(clippy::print_stdout, reason = "this is how it answers its parent")]
pub(crate) fn process(arguments: &[String]) -> Result<(), Failure> {
    let [to, count, what] = arguments else {
        return Err("ADDRESS COUNT silent|talking".into());
    };
    let (to, count): (SocketAddr, usize) = (to.parse()?, count.parse()?);
    let mut clients = Vec::new();
    for n in 0..count {
        if what == "silent" {
            clients.push(Client::open(to)?);
            continue;
        }
        let mut client = Client::connect(to, ["/echo", "/ws/doomed?echo=false"][n % 2])?;
        if n % 4 < 2 {
            let message = frame(BINARY, &[7; 5000]);
            client.bytes(&message[..n * 13 % message.len()])?;
        } else {
            client.send(BEGINS, b"a message that")?;
            client.send(GOES_ON, b" goes on")?;
        }
        clients.push(client);
    }
    println!("ready");
    // The end of standard input means that the parent is gone.
    std::io::stdin().read_exact(&mut [0])?;
    Ok(())
}
