use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, DEADLINE, Example, close_code, connect, connect_small, text};

// The parts of the feed that know no client are tested directly.
#[allow(dead_code, reason = "the tests do not use all of it")]
#[path = "../../examples/live_feed/book.rs"]
mod book;
#[allow(dead_code, reason = "the tests do not use all of it")]
#[path = "../../examples/live_feed/command.rs"]
mod command;
#[allow(dead_code, reason = "the tests do not use all of it")]
#[path = "../../examples/live_feed/latest_quotes.rs"]
mod latest_quotes;
#[allow(dead_code, reason = "the tests do not use all of it")]
#[path = "../../examples/live_feed/market.rs"]
mod market;
#[path = "../../examples/live_feed/schedule.rs"]
mod schedule;

use book::{Book, SYMBOLS};
use command::Command;
use latest_quotes::LatestQuotes;
use market::Market;
use schedule::Schedule;

/// A client that stores the quotes and trades it receives.
struct TestReader {
    client: Client,
    latest: LatestQuotes,
    /// Numbers of trades.
    trades: Vec<u64>,
}

impl TestReader {
    #[track_caller]
    fn open(address: SocketAddr, topics: &str) -> TestReader {
        TestReader::receive_welcome(connect(address, &format!("/ws?topics={topics}")))
    }

    /// Connects with a small receive buffer, so that the kernel buffers little while the test does not read.
    #[track_caller]
    fn open_with_small_buffer(address: SocketAddr, topics: &str) -> TestReader {
        TestReader::receive_welcome(connect_small(address, &format!("/ws?topics={topics}")))
    }

    #[track_caller]
    fn receive_welcome(mut client: Client) -> TestReader {
        let welcome: Value = serde_json::from_str(&text(&mut client)).unwrap();
        assert_eq!(welcome["type"], "welcome", "the welcome comes first");
        assert_eq!(welcome["control"], true, "{welcome}");
        TestReader {
            client,
            latest: LatestQuotes::default(),
            trades: Vec::new(),
        }
    }

    /// Reads one message, stores quotes, snapshots and trades, and returns any other message.
    #[track_caller]
    fn read_message(&mut self) -> Option<Value> {
        let text = text(&mut self.client);
        if self.latest.update(&text) {
            return None;
        }
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "trade" {
            self.trades.push(message["id"].as_u64().unwrap());
            return None;
        }
        Some(message)
    }

    /// Reads until `is` returns true for this reader.
    #[track_caller]
    fn read_until(&mut self, what: &str, is: impl Fn(&TestReader) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is(self) {
            assert!(Instant::now() < deadline, "waited for {what}");
            self.read_message();
        }
    }

    /// Reads until a message of this type arrives for which `is` returns true.
    #[track_caller]
    fn wait_for(&mut self, kind: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let message = self.read_message();
            if let Some(message) = message.filter(|it| it["type"] == kind && is(it)) {
                return message;
            }
            assert!(Instant::now() < deadline, "waited for {kind} with {what}");
        }
    }

    #[track_caller]
    fn wait_for_status(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.wait_for("status", what, is)
    }

    fn send(&mut self, command: &str) {
        self.client.send(Message::text(command)).unwrap();
    }

    /// Sends a command and returns the answer.
    #[track_caller]
    fn command(&mut self, command: &str) -> Value {
        self.send(command);
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.read_message() {
                Some(answer) if answer["type"] != "status" => return answer,
                _ => assert!(
                    Instant::now() < deadline,
                    "waited for an answer to {command}"
                ),
            }
        }
    }

    /// Sends a command that must succeed.
    #[track_caller]
    fn execute(&mut self, command: &str) {
        let answer = self.command(command);
        assert_eq!(answer["type"], "done", "{command}: {answer}");
    }
}

/// Returns the quotes of a new client. The generator must be paused.
fn all_quotes(address: SocketAddr, symbols: usize) -> LatestQuotes {
    let mut reader = TestReader::open(address, "quotes");
    reader.read_until("the snapshot", |reader| {
        reader.latest.quotes.len() == symbols
    });
    reader.latest
}

fn start(symbols: &str, rate: &str) -> (Example, SocketAddr) {
    let mut feed = Example::start("live_feed", &["127.0.0.1:0", symbols, rate]);
    let address = feed.address();
    (feed, address)
}

fn dropped(status: &Value, policy: &str) -> u64 {
    status["dropped"][policy].as_u64().unwrap()
}

#[test]
fn no_quote_is_missing_after_the_snapshot() {
    let (feed, address) = start("50", "40");
    let mut control = TestReader::open(address, "status");
    // Under `block` no quote is ever skipped, so a jump of `n` would be a gap behind the snapshot.
    control.execute(r#"{"policy":"block"}"#);
    control.wait_for_status("a round", |status| status["published"].as_u64() >= Some(50));
    for _ in 0..10 {
        let mut reader = TestReader::open(address, "quotes");
        reader.read_message();
        assert_eq!(
            reader.latest.messages, 0,
            "the snapshot comes before the quotes"
        );
        assert_eq!(
            reader.latest.quotes.len(),
            50,
            "the snapshot has all symbols"
        );
        reader.read_until("200 quotes", |reader| reader.latest.messages >= 200);
        assert_eq!(
            reader.latest.skipped, 0,
            "quotes are missing after the snapshot"
        );
        let answer = reader.command("\"ping\"");
        let (newest, oldest) = reader.latest.times().unwrap();
        let now = answer["now"].as_u64().unwrap();
        assert!(oldest <= newest && newest <= now, "{oldest} {newest} {now}");
    }
    feed.report();
}

#[test]
fn conflate_gives_a_slow_reader_every_newest_price() {
    let (feed, address) = start("50", "40");
    let mut control = TestReader::open(address, "quotes,status");
    let mut slow = TestReader::open_with_small_buffer(address, "quotes");
    control.wait_for_status("quotes that were replaced", |status| {
        dropped(status, "conflate") > 1000
    });
    control.execute("\"pause\"");
    let newest = all_quotes(address, 50);
    slow.read_until("the newest of every symbol", |slow| {
        slow.latest.quotes == newest.quotes
    });
    assert!(slow.latest.skipped >= 1000, "{}", slow.latest.skipped);
    assert!(slow.latest.messages < control.latest.messages);
    // No other quote follows.
    assert_eq!(slow.command("\"ping\"")["type"], "pong");
    assert_eq!(slow.latest.quotes, newest.quotes);
    assert_eq!(control.latest.quotes, newest.quotes, "a fast reader");

    // After the pause the quotes go on.
    control.execute("\"resume\"");
    let before = slow.latest.messages;
    slow.read_until("more", |slow| slow.latest.messages > before + 50);
    feed.report();
}

#[test]
fn drop_newest_leaves_old_prices_until_a_snapshot() {
    let (feed, address) = start("50", "40");
    let mut control = TestReader::open(address, "status");
    control.execute(r#"{"policy":"drop-newest"}"#);
    let mut slow = TestReader::open_with_small_buffer(address, "quotes");
    control.wait_for_status("quotes that were dropped", |status| {
        dropped(status, "drop-newest") > 1000
    });
    control.execute("\"pause\"");
    let newest = all_quotes(address, 50);
    // The answer to the ping arrives after everything that was queued before it.
    assert_eq!(slow.command("\"ping\"")["type"], "pong");
    let is_old = |(symbol, quote): (&String, &book::Quote)| newest.quotes[symbol].n > quote.n;
    let old = slow.latest.quotes.iter().filter(|one| is_old(*one)).count();
    assert_eq!(old, 50, "quotes made while the queue was full are dropped");
    slow.send("\"snapshot\"");
    slow.read_until("the newest of every symbol", |slow| {
        slow.latest.quotes == newest.quotes
    });
    feed.report();
}

#[test]
fn each_policy_counts_its_dropped_quotes() {
    let (feed, address) = start("50", "40");
    let mut control = TestReader::open(address, "status");
    let mut slow = TestReader::open_with_small_buffer(address, "quotes");
    for policy in ["drop-newest", "conflate", "drop-oldest"] {
        let before = control.wait_for_status("any", |_| true);
        control.execute(&json!({ "policy": policy }).to_string());
        let status = control.wait_for_status(policy, |status| {
            dropped(status, policy) > dropped(&before, policy) + 100
        });
        assert_eq!(status["policy"], policy);
    }
    control.execute(r#"{"policy":"disconnect"}"#);
    // The slow client must not read before it is disconnected, because then it would no longer be slow.
    control.wait_for_status("a disconnect", |status| dropped(status, "disconnect") == 1);
    assert_eq!(close_code(&mut slow.client), 4008);
    feed.report();
}

#[test]
fn block_disconnects_a_stopped_reader_and_goes_on() {
    let (feed, address) = start("50", "40");
    let mut control = TestReader::open(address, "status");
    // The generator waits 2 s for a reader that reads nothing, then disconnects it.
    let mut stopped = TestReader::open_with_small_buffer(address, "quotes");
    control.execute(r#"{"policy":"block"}"#);
    let status = control.wait_for_status("a disconnect", |status| dropped(status, "block") == 1);
    let published = |status: &Value| status["published"].as_u64().unwrap();
    control.wait_for_status("more", |next| published(next) > published(&status) + 100);
    assert_eq!(close_code(&mut stopped.client), 4008);
    feed.report();
}

#[test]
fn slow_reader_skips_quotes_and_ends_with_the_newest() {
    let (feed, address) = start("100", "40");
    let mut control = TestReader::open(address, "status");
    control.execute(r#"{"slow":10}"#);
    let status = control.wait_for_status("skipped quotes of slow 1", |status| {
        status["readers"][0]["skipped"].as_u64() > Some(500)
    });
    let slow = &status["readers"][0];
    assert_eq!(
        (slow["id"].as_u64(), slow["kib"].as_u64()),
        (Some(1), Some(10))
    );
    assert!(slow["messages"].as_u64() > Some(50), "{status}");
    assert!(
        slow["messages"].as_u64() < status["published"].as_u64(),
        "{status}"
    );
    let bound = 100 + 64 + 16;
    assert!(slow["waiting"].as_u64() <= Some(bound), "{status}");
    assert!(
        slow["newest"].as_u64() <= slow["oldest"].as_u64(),
        "{status}"
    );

    control.execute("\"pause\"");
    let newest = all_quotes(address, 100);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let look = control.command(r#"{"look":1}"#);
        let quotes: Vec<(String, u64, u64, u64)> =
            serde_json::from_value(look["quotes"].clone()).unwrap();
        let is_newest = |(symbol, n, t, price): &(String, u64, u64, u64)| {
            let (n, t, price) = (*n, *t, *price);
            newest.quotes[symbol] == book::Quote { n, t, price }
        };
        if quotes.len() == 100 && quotes.iter().all(is_newest) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "waited for the newest quotes at slow 1"
        );
        // Waiting for a status, which comes twice per second, keeps the commands below the rate limit.
        control.wait_for_status("the next", |_| true);
    }
    feed.report();
}

#[test]
fn slow_reader_reconnects_after_a_disconnect() {
    let (feed, address) = start("100", "40");
    // This client does not subscribe to the quotes, so it is not disconnected itself.
    let mut control = TestReader::open(address, "status");
    control.execute(r#"{"slow":10}"#);
    control.execute(r#"{"policy":"disconnect"}"#);
    let disconnects = |status: &Value| status["readers"][0]["disconnects"].as_u64().unwrap_or(0);
    let status = control.wait_for_status("a disconnect", |status| disconnects(status) > 0);
    let reason = status["readers"][0]["why"].as_str().unwrap();
    assert!(reason.starts_with("4008 slow consumer"), "{reason}");
    control.wait_for_status("a second disconnect", |status| disconnects(status) > 1);
    feed.report();
}

#[test]
fn number_of_slow_readers_is_limited() {
    let (feed, address) = start("100", "40");
    let mut control = TestReader::open(address, "status");
    control.execute(r#"{"slow":10}"#);
    control.execute(r#"{"remove":1}"#);
    control.wait_for_status("no slow readers", |status| status["readers"] == json!([]));
    for _ in 0..7 {
        control.execute(r#"{"slow":1000}"#);
    }
    // The eighth is accepted or not, because the thread of the removed reader may still be about to end.
    let last = [(); 2].map(|()| control.command(r#"{"slow":1000}"#));
    assert_eq!(
        last[1]["why"], "there can be at most 8 slow readers",
        "{last:?}"
    );
    feed.report();
}

#[test]
fn gaps_in_trade_numbers_show_missed_trades() {
    let (feed, address) = start("20", "100");
    let mut fast = TestReader::open(address, "trades");
    let mut slow = TestReader::open_with_small_buffer(address, "quotes,trades");
    fast.read_until("300 trades", |fast| fast.trades.len() >= 300);
    let is_next = |pair: &[u64]| pair[1] == pair[0] + 1;
    assert!(fast.trades.windows(2).all(is_next), "{:?}", fast.trades);

    let last = *fast.trades.last().unwrap();
    slow.read_until("a trade as new as the fast one's", |slow| {
        slow.trades.last() >= Some(&last)
    });
    let trades = &slow.trades;
    assert!(
        trades.windows(2).all(|pair| pair[0] < pair[1]),
        "{trades:?}"
    );
    let gaps = trades.windows(2).filter(|pair| !is_next(pair)).count();
    assert!(gaps > 0, "the slow reader missed no trade: {trades:?}");
    feed.report();
}

#[test]
fn invalid_command_is_answered_with_an_error() {
    let (feed, address) = start("5", "1");
    let mut client = TestReader::open(address, "status");
    let deep = format!(r#"{{"policy":{}"#, "[".repeat(200));
    for (command, expected) in [
        ("", "EOF"),
        ("pause", "expected"),
        (r#"{"policy":"drop-all"}"#, "unknown variant `drop-all`"),
        (r#"{"policy":"block","slow":9}"#, "expected"),
        (r#"{"fly":1}"#, "unknown variant `fly`"),
        (
            r#"{"slow":2}"#,
            "a slow reader reads 3 to 10000 KiB per second",
        ),
        (r#"{"slow":-1}"#, "invalid value"),
        (r#"{"slow":1e99}"#, "invalid type"),
        (r#"{"remove":7}"#, "there is no such reader"),
        (r#"{"look":7}"#, "there is no such reader"),
        (&*deep, "expected"),
        (&"[".repeat(250), "expected"),
    ] {
        let answer = client.command(command);
        assert_eq!(answer["type"], "error", "{command}: {answer}");
        let error = answer["why"].as_str().unwrap();
        assert!(error.contains(expected), "{command}: {error}");
    }
    client.client.send(Message::binary(vec![7])).unwrap();
    let answer = client.wait_for("error", "any", |_| true);
    assert_eq!(answer["why"], "a command is text");
    assert_eq!(client.command("\"ping\"")["type"], "pong");
    assert_eq!(client.command(r#"{"pause":null}"#)["type"], "done");
    feed.report();
}

#[test]
fn long_message_and_flood_close_the_connection() {
    let (feed, address) = start("5", "1");
    let mut client = TestReader::open(address, "status");
    client.send(&format!("{:>257}", "\"ping\""));
    assert_eq!(close_code(&mut client.client), 1009);
    let mut flood = TestReader::open(address, "status");
    for _ in 0..200 {
        // Sending fails at some point, because the server closes the connection.
        if flood.client.send(Message::text("\"snapshot\"")).is_err() {
            break;
        }
    }
    assert_eq!(close_code(&mut flood.client), 1008);
    feed.report();
}

/// Sends a GET request without an `Origin`, as a program does, and returns the whole response.
fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn unknown_path_or_topic_is_rejected() {
    let (feed, address) = start("5", "1");
    assert!(get(address, "/", "").contains("<title>Live feed</title>"));
    for (path, status) in [("/other", "404"), ("/ws?topics=quotes,secrets", "400")] {
        let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let response = get(address, path, upgrade);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{response}"
        );
    }
    feed.report();
}

#[test]
fn ctrl_c_closes_fast_and_slow_readers() {
    let (mut feed, address) = start("200", "20");
    let mut control = TestReader::open(address, "quotes,trades,status");
    control.execute(r#"{"slow":5}"#);
    control.wait_for_status("skipped quotes", |status| {
        status["readers"][0]["skipped"].as_u64() > Some(200)
    });
    feed.interrupt();
    assert_eq!(close_code(&mut control.client), 1001);
    assert_eq!(feed.line("drained"), "drained 2, lost 0");
    feed.end();
}

#[test]
fn market_makes_one_price_per_symbol_in_each_round() {
    let book = Book::new(SYMBOLS as usize);
    let mut symbols: Vec<&str> = (0..book.len()).map(|at| book.symbol(at)).collect();
    symbols.sort_unstable();
    symbols.dedup();
    assert_eq!(symbols.len(), SYMBOLS as usize);

    let mut market = Market::new(7, 1);
    for _ in 0..3 {
        let mut round: Vec<usize> = Vec::new();
        for _ in 0..7 {
            let (symbol, price) = market.step();
            assert!(price >= 100 && price == market.price(symbol));
            round.push(symbol);
        }
        assert!(market.is_round_complete());
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn highest_n_wins_in_any_message() {
    let mut latest = LatestQuotes::default();
    assert!(
        latest.update(r#"["BC7",18,20,101]"#),
        "a quote before any snapshot"
    );
    assert!(
        latest.update(
            r#"{"type":"snapshot","now":30,"quotes":[["BC7",17,10,100],["DF0",5,10,200]]}"#
        )
    );
    assert_eq!(
        (latest.quotes["BC7"].n, latest.quotes["DF0"].price),
        (18, 200)
    );
    assert!(
        latest.update(r#"["DF0",5,10,200]"#),
        "a duplicate is ignored"
    );
    assert!(latest.update(r#"["DF0",9,40,205]"#));
    assert_eq!(
        (latest.messages, latest.skipped),
        (3, 3),
        "6, 7 and 8 were replaced"
    );
    assert_eq!(latest.times(), Some((40, 20)));
    for other in [r#"{"type":"trade","id":1}"#, "[]", "", r#"["BC7",-1,0,0]"#] {
        assert!(!latest.update(other), "{other}");
    }
    latest.reset();
    assert!(latest.update(r#"["BC7",1,5,99]"#));
    assert_eq!(
        latest.quotes["BC7"].n, 1,
        "after a reset `n` may start again"
    );
}

#[test]
fn schedule_keeps_rate_and_restarts_after_long_wait() {
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    let mut schedule = Schedule::new(1000, start);
    assert_eq!(
        schedule.due(),
        after(5),
        "several quotes are due in one check"
    );
    for (ms, due) in [(5, 5), (12, 7), (12, 0), (112, 100)] {
        assert_eq!(schedule.check(after(ms)), due, "at {ms} ms");
        schedule.record_made(due);
    }
    assert_eq!(
        schedule.check(after(5_000)),
        1,
        "the schedule starts again from now"
    );
    schedule.record_made(1);
    assert_eq!(schedule.check(after(5_010)), 9);
}

#[test]
fn commands_that_affect_others_are_control_commands() {
    for (text, is_control) in [
        ("\"ping\"", false),
        ("\"snapshot\"", false),
        ("\"pause\"", true),
        ("\"resume\"", true),
        (r#"{"slow":20}"#, true),
        (r#"{"remove":1}"#, true),
        (r#"{"look":1}"#, true),
        (r#"{"policy":"conflate"}"#, true),
    ] {
        let command = Command::parse(&standpipe::Message::text(text)).unwrap();
        assert_eq!(command.is_control(), is_control, "{text}");
    }
}
