//! [`Doomed`]: a helper process with many connections, which the drill kills.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::Failure;
use crate::client::Client;
use crate::frame::{BINARY, FIRST_FRAGMENT, MIDDLE_FRAGMENT, frame};
use crate::target::Target;

/// The helper name with which this program is started again.
pub(crate) const DOOMED_PROCESS: &str = "doomed-process";

pub(crate) struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        // SIGKILL: the clients send no Close.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Doomed {
    /// Starts a process with `count` connections. Each is in the middle of a message, or has sent nothing if `silent`.
    pub(crate) fn start(to: Target, count: usize, silent: bool) -> Result<Doomed, Failure> {
        let what = if silent { "silent" } else { "talking" };
        let mut child = Command::new(std::env::current_exe()?)
            .args([DOOMED_PROCESS, &to.to_string(), &count.to_string(), what])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("the stream is piped");
        let doomed = Doomed(child);
        let mut ready = String::new();
        BufReader::new(output).read_line(&mut ready)?;
        if ready.trim() == "ready" {
            Ok(doomed)
        } else {
            Err(format!("the helper process printed {ready:?}"))?
        }
    }
}

/// Runs as the helper process: connects, prints `ready`, and waits until it is killed.
#[allow(
    clippy::print_stdout,
    reason = "the helper answers its parent on standard output"
)]
pub(crate) fn process(arguments: &[String]) -> Result<(), Failure> {
    let [to, count, what] = arguments else {
        return Err("ADDRESS COUNT silent|talking".into());
    };
    let (to, count): (Target, usize) = (to.parse()?, count.parse()?);
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
            client.send(FIRST_FRAGMENT, b"a message that")?;
            client.send(MIDDLE_FRAGMENT, b" goes on")?;
        }
        clients.push(client);
    }
    println!("ready");
    // Standard input ends when the parent process is gone.
    std::io::stdin().read_exact(&mut [0])?;
    Ok(())
}
