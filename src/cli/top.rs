//! `standpipe top URL`: the dashboard in a terminal. It watches the same WebSocket as the page.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde_json::Value;
use standpipe::tungstenite::client::{ClientRequestBuilder, client};
use standpipe::tungstenite::{Error, Message};

use super::Failure;
use super::args::TopArgs;
use super::terminal::shown;

/// A second screen, as editors have it, and no cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the corner; and what is left of the last picture goes.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_REST: &str = "\x1b[J";
/// Where a size is not known: a pipe, or a terminal that does not say.
const WIDTH: usize = 100;
const HEIGHT: usize = 40;

/// Shows the server's clients until it ends, or once.
///
/// # Errors
/// When there is no such server, it wants a key, or it goes away.
pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    let url = args.url.socket("/dashboard/live")?;
    let mut request = ClientRequestBuilder::new(url.uri.clone());
    if let Some(key) = args.key()? {
        request = request.with_header("Authorization", format!("Bearer {key}"));
    }
    let (mut socket, _) = client(request, url.dial(None)?).map_err(|error| match error {
        standpipe::tungstenite::HandshakeError::Failure(Error::Http(response)) => format!(
            "no dashboard at {}: {}{}",
            url.uri,
            response.status(),
            if response.status() == 401 {
                ", a key is needed: --key-file"
            } else {
                ""
            }
        ),
        error => format!("no dashboard at {}: {error}", url.uri),
    })?;
    let screen = (!args.once && io::stdout().is_terminal())
        .then(Screen::enter)
        .transpose()?;
    let mut looks = 0;
    loop {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(frame)) => {
                let why = frame.map_or("without a code".into(), |frame| {
                    shown(&frame.to_string()).into_owned()
                });
                return Err(format!("closed by the server: {why}").into());
            }
            Ok(_) => continue,
            Err(error) => return Err(error.into()),
        };
        let snapshot: Value = serde_json::from_str(&text)?;
        looks += 1;
        // The first look has nothing to compare with, so no rates.
        if args.once && looks < 2 {
            continue;
        }
        let is_screen = screen.is_some();
        let (width, height) = if is_screen {
            size()
        } else {
            (WIDTH, usize::MAX)
        };
        draw(&table(&snapshot, width, height), is_screen)?;
        if args.once {
            // It sends on, and is not asked; whether it hears us is its own affair.
            let _ = socket.close(None);
            return Ok(());
        }
    }
}

/// The terminal's second screen, until it is dropped.
struct Screen;

impl Screen {
    fn enter() -> Result<Screen, Failure> {
        // Ctrl-C must not leave the terminal without its cursor.
        ctrlc::set_handler(|| {
            let _ = io::stdout().write_all(LEAVE.as_bytes());
            let _ = io::stdout().flush();
            std::process::exit(0);
        })?;
        io::stdout().write_all(ENTER.as_bytes())?;
        Ok(Screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = io::stdout().write_all(LEAVE.as_bytes());
        let _ = io::stdout().flush();
    }
}

fn draw(lines: &[String], is_screen: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !is_screen {
        writeln!(out, "{}", lines.join("\n"))?;
        return out.flush();
    }
    // In one write, so that nothing flickers. The last line has no end, or the picture would roll.
    let picture = format!("{HOME}{}\x1b[K{CLEAR_REST}", lines.join(CLEAR_LINE));
    out.write_all(picture.as_bytes())?;
    out.flush()
}

/// Columns and lines: `COLUMNS` and `LINES` where they are set, else what the terminal itself says.
fn size() -> (usize, usize) {
    let given = |name: &str| std::env::var(name).ok()?.parse().ok();
    let (width, height) = terminal_size::terminal_size()
        .map_or((WIDTH, HEIGHT), |(width, height)| {
            (usize::from(width.0), usize::from(height.0))
        });
    (
        given("COLUMNS").unwrap_or(width),
        given("LINES").unwrap_or(height),
    )
}

/// The picture, a line a client, the fullest first; each cut to the width.
fn table(snapshot: &Value, width: usize, height: usize) -> Vec<String> {
    let server = &snapshot["server"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut lines = vec![format!(
        "standpipe: {} clients, {} topics; delivered {}, dropped {}, discarded {}",
        number(&server["clients"]),
        number(&server["topics"]),
        number(&server["delivered"]),
        number(&server["dropped"]),
        number(&server["discarded"]),
    )];
    let none = Vec::new();
    let topics = snapshot["topics"].as_array().unwrap_or(&none);
    for topic in topics.iter().take(8) {
        lines.push(format!(
            "  {}: {}, {} members, {}/s, queue {}, history {}, dropped {}",
            text(&topic["topic"]),
            text(&topic["policy"]),
            number(&topic["members"]),
            number(&topic["rate"]),
            number(&topic["queue"]),
            number(&topic["history"]),
            number(&topic["dropped"]),
        ));
    }
    lines.push(String::new());
    lines.push(format!(
        "{:>7} {:<21} {:<10} {:>9} {:>9} {:>8} {:>7} {:>8} {:<28} {}",
        "CLIENT",
        "PEER",
        "QUEUE",
        "MESSAGES",
        "BYTES",
        "OLDEST",
        "MSGS/S",
        "DROPPED",
        "WRITER",
        "TOPICS"
    ));
    for client in snapshot["clients"].as_array().unwrap_or(&none) {
        let (threads, queue, books) = (&client[3], &client[4], &client[6]);
        let (messages, capacity) = (number(&queue[0]), number(&queue[1]).max(1));
        let bytes = number(&queue[2]);
        let room = number(&server["queue_bytes"]).max(1);
        let taken = (messages * 10 / capacity).max(bytes * 10 / room).min(10);
        let bar: String = (0..10).map(|n| if n < taken { '#' } else { '.' }).collect();
        let oldest = number(&queue[3]);
        let mut line = format!(
            "{:>7} {:<21} {bar} {:>9} {bytes:>9} {:>8} {:>7} {:>8} {:<28} ",
            number(&client[0]),
            text(&client[1]),
            format!("{messages}/{capacity}"),
            if oldest == 0 {
                "-".to_owned()
            } else {
                format!("{:.1}s", oldest as f64 / 1000.0)
            },
            number(&books[3]),
            number(&books[1]),
            format!(
                "{}, {:.1}s",
                text(&threads[2]),
                number(&threads[3]) as f64 / 1000.0
            ),
        );
        for (n, topic) in client[2]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .take(8)
            .enumerate()
        {
            let comma = if n == 0 { "" } else { ", " };
            // A string takes everything.
            let _ = write!(line, "{comma}{}", text(topic));
        }
        lines.push(line);
    }
    lines.truncate(height);
    lines
        .into_iter()
        .map(|line| line.trim_end().chars().take(width).collect())
        .collect()
}

/// A text of the snapshot: clients chose some of them.
fn text(value: &Value) -> std::borrow::Cow<'_, str> {
    shown(value.as_str().unwrap_or(""))
}
