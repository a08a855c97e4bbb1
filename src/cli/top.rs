//! `standpipe top URL`: the dashboard in a terminal. It receives the same snapshots as the page.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde_json::Value;
use standpipe::tungstenite::client::{ClientRequestBuilder, client};
use standpipe::tungstenite::{Error, Message};

use super::args::TopArgs;
use super::dial::TIMEOUT;
use super::terminal::printable;
use super::{Failure, refusal, signals, stdout};

/// Switches to the terminal's alternate screen, as editors do, and hides the cursor. `LEAVE` undoes both.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Moves the cursor to the top left corner.
const HOME: &str = "\x1b[H";
/// Clears the rest of a line, or of the screen, so that nothing of the previous table remains.
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_REST: &str = "\x1b[J";
/// Asks the dashboard for the clients. Those with the fullest queues come first.
const FIND: &str = r#"{"do":"find","sort":"queue","rows":2000}"#;
/// The maximum number of topics on a screen.
const TOPICS: usize = 8;
/// The width of the column of users, in characters.
const USER: usize = 12;
/// The size that is used when the terminal reports none.
const WIDTH: usize = 100;
const HEIGHT: usize = 40;

/// Shows the server's clients until the connection ends, or once.
///
/// # Errors
/// When the server cannot be reached, requires a key, or closes the connection.
pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    let url = args.url.socket("/dashboard/live")?;
    let mut request = ClientRequestBuilder::new(url.uri.clone());
    if let Some(key) = args.key()? {
        request = request.with_header("Authorization", format!("Bearer {key}"));
    }
    let secure = args.secure.secure(url.has_tls())?;
    let (mut socket, _) = client(request, url.dial(&secure, None)?).map_err(|error| {
        let reason = refusal::of_handshake(error);
        let hint = if reason.starts_with("401") {
            "; use --key-file"
        } else {
            ""
        };
        format!("no dashboard at {url}: {reason}{hint}")
    })?;
    let screen = (!args.once && io::stdout().is_terminal())
        .then(Screen::enter)
        .transpose()?;
    let mut snapshots = 0;
    let mut snapshot = Value::Null;
    loop {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(frame)) => {
                let reason = frame.map_or("without a code".into(), |frame| {
                    printable(&frame.to_string()).into_owned()
                });
                return Err(format!("closed by the server: {reason}").into());
            }
            Ok(_) => continue,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                let seconds = TIMEOUT.as_secs();
                return Err(format!("the server has sent nothing for {seconds} s").into());
            }
            Err(error) => return Err(format!("connection lost: {error}").into()),
        };
        let answer: Value = serde_json::from_str(&text)?;
        if !answer["server"].is_null() {
            snapshot = answer;
            snapshots += 1;
            // The first snapshot has no rates, because there is no earlier one to compare with.
            if !args.once || snapshots == 2 {
                socket.send(Message::text(FIND))?;
            }
            continue;
        }
        if let Some(error) = answer["error"].as_str() {
            return Err(
                format!("the server does not list its clients: {}", printable(error)).into(),
            );
        }
        let size = screen.is_some().then(size);
        draw(
            &table(&snapshot, array(&answer["clients"]), size),
            size.is_some(),
        )?;
        if args.once {
            // Errors no longer matter, and the server's answer is not awaited.
            let _ = socket.close(None);
            return Ok(());
        }
    }
}

/// The terminal's alternate screen. Dropping it switches back.
struct Screen;

impl Screen {
    fn enter() -> Result<Screen, Failure> {
        // Otherwise Ctrl-C would leave the terminal on the alternate screen and without a cursor.
        signals::on_end(|| {
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

fn draw(lines: &[String], is_screen: bool) -> Result<(), Failure> {
    let text = if is_screen {
        // One write avoids flicker. There is no line end after the last line, because it would scroll the screen.
        format!("{HOME}{}\x1b[K{CLEAR_REST}", lines.join(CLEAR_LINE))
    } else {
        lines.join("\n") + "\n"
    };
    stdout::write(text.as_bytes())
}

/// Returns columns and lines: `COLUMNS` and `LINES` if they are set, otherwise the terminal's size.
fn size() -> (usize, usize) {
    let from_env = |name: &str| std::env::var(name).ok()?.parse().ok();
    let (width, height) = terminal_size::terminal_size()
        .map_or((WIDTH, HEIGHT), |(width, height)| {
            (usize::from(width.0), usize::from(height.0))
        });
    (
        from_env("COLUMNS").unwrap_or(width),
        from_env("LINES").unwrap_or(height),
    )
}

/// Returns the lines of the whole table. On a screen of `size` columns and lines, it is cut to what fits, and says how
/// many topics are left out.
fn table(snapshot: &Value, clients: &[Value], size: Option<(usize, usize)>) -> Vec<String> {
    let (server, topics) = (&snapshot["server"], array(&snapshot["topics"]));
    let shown = size.map_or(topics.len(), |_| topics.len().min(TOPICS));
    let mut lines = vec![server_line(server)];
    lines.extend(array(&snapshot["machines"]["shards"]).iter().map(link_line));
    lines.extend(topics[..shown].iter().map(topic_line));
    lines.extend(more("topics", &server["topics"], shown));
    lines.push(String::new());
    lines.push(format!(
        "{:>7} {:<21} {:<12} {:<10} {:>9} {:>9} {:>8} {:>7} {:>8} {:<28} {}",
        "CLIENT",
        "PEER",
        "USER",
        "QUEUE",
        "MESSAGES",
        "BYTES",
        "BLOCKED",
        "MSGS/S",
        "DROPPED",
        "WRITER",
        "TOPICS"
    ));
    let queue_bytes = number(&server["queue_bytes"]).max(1);
    lines.extend(
        clients
            .iter()
            .map(|client| client_line(client, queue_bytes)),
    );
    lines.extend(more("clients", &server["clients"], clients.len()));
    let (width, height) = size.unwrap_or((usize::MAX, usize::MAX));
    lines.truncate(height);
    lines
        .into_iter()
        .map(|line| line.trim_end().chars().take(width).collect())
        .collect()
}

/// Returns the line that says how many of `total` are not shown.
fn more(what: &str, total: &Value, shown: usize) -> Option<String> {
    let missing = number(total).saturating_sub(shown as u64);
    (missing > 0).then(|| format!("  … and {missing} more {what}"))
}

fn server_line(server: &Value) -> String {
    format!(
        "standpipe: {} clients, {} topics; delivered {}, dropped {}, discarded {}",
        number(&server["clients"]),
        number(&server["topics"]),
        number(&server["delivered"]),
        number(&server["dropped"]),
        number(&server["discarded"]),
    )
}

/// Returns the line of a server through which the hub shares its topics.
fn link_line(link: &Value) -> String {
    format!(
        "  {}: {} ({}); {} hubs, {} topics, {} waiting, published {}, received {}, only here {}, gaps {}, refused {}, \
         unknown {}",
        text(&link["address"]),
        text(&link["state"]),
        text(&link["meaning"]),
        number(&link["nodes"]),
        number(&link["topics"]),
        number(&link["queue"]),
        number(&link["published"]),
        number(&link["received"]),
        number(&link["local_messages"]),
        number(&link["gaps"]),
        number(&link["refused"]),
        number(&link["unknown"]),
    )
}

fn topic_line(topic: &Value) -> String {
    format!(
        "  {}: {}, {} members, {}/s, queue {}, history {}, dropped {}",
        text(&topic["topic"]),
        text(&topic["policy"]),
        number(&topic["members"]),
        number(&topic["rate"]),
        number(&topic["queue"]),
        number(&topic["history"]),
        number(&topic["dropped"]),
    )
}

/// Returns a client's line. `client` is an array, and `dashboard/client_row.rs` lists its elements.
fn client_line(client: &Value, queue_bytes: u64) -> String {
    let (threads, queue, counts) = (&client[3], &client[4], &client[6]);
    let (messages, capacity) = (number(&queue[0]), number(&queue[1]).max(1));
    let (bytes, blocked) = (number(&queue[2]), number(&queue[3]));
    let tenths = (messages * 10 / capacity)
        .max(bytes * 10 / queue_bytes)
        .min(10);
    let bar: String = (0..10)
        .map(|n| if n < tenths { '#' } else { '.' })
        .collect();
    let blocked = match blocked {
        0 => "-".to_owned(),
        ms => seconds(ms),
    };
    let mut line = format!(
        "{:>7} {:<21} {:<12} {bar} {:>9} {bytes:>9} {blocked:>8} {:>7} {:>8} {:<28} ",
        number(&client[0]),
        text(&client[1]),
        user(&client[8]),
        format!("{messages}/{capacity}"),
        number(&counts[3]),
        number(&counts[1]),
        format!("{}, {}", text(&threads[2]), seconds(number(&threads[3]))),
    );
    for (n, topic) in array(&client[2]).iter().take(8).enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        // Writing to a string never fails.
        let _ = write!(line, "{comma}{}", text(topic));
    }
    line
}

/// Returns a user's name, shortened to the width of its column.
fn user(value: &Value) -> String {
    let name = match value {
        Value::Null => "-".into(),
        name => text(name),
    };
    match name.char_indices().nth(USER) {
        Some(_) => name.chars().take(USER - 1).chain(['…']).collect(),
        None => name.into_owned(),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn seconds(ms: u64) -> String {
    format!("{:.1}s", ms as f64 / 1000.0)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns a string of the snapshot, made safe to print, because clients choose some of them.
fn text(value: &Value) -> Cow<'_, str> {
    printable(value.as_str().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_or_harmful_user_fits_its_column() {
        assert_eq!(user(&Value::Null), "-");
        assert_eq!(user(&json!("ann")), "ann");
        assert_eq!(user(&json!("exactly-12ch")), "exactly-12ch");
        assert_eq!(user(&json!("a-longer-name")), "a-longer-na…");
        assert_eq!(user(&json!("\u{1b}[2J")), "\\u{1b}[2J");
    }

    #[test]
    fn table_has_a_column_of_users() {
        let client = json!([
            7,
            "127.0.0.1:5",
            ["room"],
            ["r", 0, "idle", 0],
            [1, 64, 9, 0],
            0,
            [1, 0, 0, 2],
            null,
            "ann",
            null
        ]);
        let snapshot = json!({"server": {"clients": 1, "queue_bytes": 100}, "topics": []});
        let lines = table(&snapshot, &[client], None);
        let (title, row) = (&lines[lines.len() - 2], &lines[lines.len() - 1]);
        let at = title.find("USER").expect("a column of users");
        assert_eq!(row.get(at..at + 4), Some("ann "), "{row}");
    }
}
