use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, DEADLINE, Example, close_code, connect, connect_small, text};

// The parts of the feed that know no client, tested as they are.
#[allow(dead_code, reason = "its other half is the program's")]
#[path = "../../examples/live_feed/book.rs"]
mod book;
#[allow(dead_code, reason = "its other half is the program's")]
#[path = "../../examples/live_feed/command.rs"]
mod command;
#[allow(dead_code, reason = "its other half is the program's")]
#[path = "../../examples/live_feed/latest_quotes.rs"]
mod latest_quotes;
#[allow(dead_code, reason = "its other half is the program's")]
#[path = "../../examples/live_feed/market.rs"]
mod market;
#[path = "../../examples/live_feed/schedule.rs"]
mod schedule;

use book::{Book, SYMBOLS};
use command::Command;
use latest_quotes::Seen;
use market::Market;
use schedule::Schedule;

/// A client that keeps what the feed tells it.
struct Reader {
    client: Client,
    seen: Seen,
    /// Numbers of trades.
    trades: Vec<u64>,
}

impl Reader {
    #[track_caller]
    fn open(address: SocketAddr, topics: &str) -> Reader {
        Reader::welcomed(connect(address, &format!("/ws?topics={topics}")))
    }

    /// With a window so small that the kernel hides little of it when the test does not read.
    #[track_caller]
    fn small(address: SocketAddr, topics: &str) -> Reader {
        Reader::welcomed(connect_small(address, &format!("/ws?topics={topics}")))
    }

    #[track_caller]
    fn welcomed(mut client: Client) -> Reader {
        let welcome: Value = serde_json::from_str(&text(&mut client)).unwrap();
        assert_eq!(welcome["type"], "welcome", "it comes first");
        assert_eq!(welcome["control"], true, "{welcome}");
        Reader {
            client,
            seen: Seen::default(),
            trades: Vec::new(),
        }
    }

    /// Takes one message. What is no quote, no snapshot and no trade is given back.
    #[track_caller]
    fn hear(&mut self) -> Option<Value> {
        let text = text(&mut self.client);
        if self.seen.hear(&text) {
            return None;
        }
        let told: Value = serde_json::from_str(&text).unwrap();
        if told["type"] == "trade" {
            self.trades.push(told["id"].as_u64().unwrap());
            return None;
        }
        Some(told)
    }

    /// Reads until `is` holds for what it knows.
    #[track_caller]
    fn until(&mut self, what: &str, is: impl Fn(&Reader) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is(self) {
            assert!(Instant::now() < deadline, "waited for {what}");
            self.hear();
        }
    }

    /// Reads until something of this type comes for which `is` holds.
    #[track_caller]
    fn told(&mut self, kind: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let told = self.hear();
            if let Some(told) = told.filter(|told| told["type"] == kind && is(told)) {
                return told;
            }
            assert!(Instant::now() < deadline, "waited for {kind} with {what}");
        }
    }

    #[track_caller]
    fn status(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.told("status", what, is)
    }

    fn say(&mut self, command: &str) {
        self.client.send(Message::text(command)).unwrap();
    }

    /// Says it, and gives the answer.
    #[track_caller]
    fn command(&mut self, command: &str) -> Value {
        self.say(command);
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.hear() {
                Some(told) if told["type"] != "status" => return told,
                _ => assert!(
                    Instant::now() < deadline,
                    "waited for an answer to {command}"
                ),
            }
        }
    }

    #[track_caller]
    fn does(&mut self, command: &str) {
        let answer = self.command(command);
        assert_eq!(answer["type"], "done", "{command}: {answer}");
    }
}

/// What a client knows that takes a snapshot while the generator stands still.
fn all(address: SocketAddr, symbols: usize) -> Seen {
    let mut reader = Reader::open(address, "quotes");
    reader.until("the snapshot", |reader| reader.seen.quotes.len() == symbols);
    reader.seen
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
fn a_snapshot_comes_first_and_after_it_nothing_is_missing() {
    let (feed, address) = start("50", "40");
    let mut control = Reader::open(address, "status");
    // So that no jump of `n` can be the policy's: under `block` nothing is ever skipped.
    control.does(r#"{"policy":"block"}"#);
    control.status("a round", |status| status["published"].as_u64() >= Some(50));
    for _ in 0..10 {
        let mut reader = Reader::open(address, "quotes");
        reader.hear();
        assert_eq!(
            reader.seen.messages, 0,
            "the snapshot comes before the quotes"
        );
        assert_eq!(reader.seen.quotes.len(), 50, "who is late gets all symbols");
        reader.until("200 quotes", |reader| reader.seen.messages >= 200);
        assert_eq!(
            reader.seen.skipped, 0,
            "there is a hole behind the snapshot"
        );
        let answer = reader.command("\"ping\"");
        let (newest, oldest) = reader.seen.times().unwrap();
        let now = answer["now"].as_u64().unwrap();
        assert!(oldest <= newest && newest <= now, "{oldest} {newest} {now}");
    }
    feed.report();
}

#[test]
fn under_conflate_a_reader_that_was_slow_ends_at_the_newest_price_of_every_symbol() {
    let (feed, address) = start("50", "40");
    let mut control = Reader::open(address, "quotes,status");
    let mut slow = Reader::small(address, "quotes");
    control.status("quotes that were replaced", |status| {
        dropped(status, "conflate") > 1000
    });
    control.does("\"pause\"");
    let newest = all(address, 50);
    slow.until("the newest of every symbol", |slow| {
        slow.seen.quotes == newest.quotes
    });
    assert!(slow.seen.skipped >= 1000, "{}", slow.seen.skipped);
    assert!(slow.seen.messages < control.seen.messages);
    // Nothing is behind them.
    assert_eq!(slow.command("\"ping\"")["type"], "pong");
    assert_eq!(slow.seen.quotes, newest.quotes);
    assert_eq!(control.seen.quotes, newest.quotes, "and so does a fast one");

    // They were not made meanwhile, and go on where they were.
    control.does("\"resume\"");
    let before = slow.seen.messages;
    slow.until("more", |slow| slow.seen.messages > before + 50);
    feed.report();
}

#[test]
fn under_drop_newest_it_stays_in_the_past_until_it_asks_for_a_snapshot() {
    let (feed, address) = start("50", "40");
    let mut control = Reader::open(address, "status");
    control.does(r#"{"policy":"drop-newest"}"#);
    let mut slow = Reader::small(address, "quotes");
    control.status("quotes that were dropped", |status| {
        dropped(status, "drop-newest") > 1000
    });
    control.does("\"pause\"");
    let newest = all(address, 50);
    // Its answer comes behind all that was queued.
    assert_eq!(slow.command("\"ping\"")["type"], "pong");
    let is_old = |(symbol, quote): (&String, &book::Quote)| newest.quotes[symbol].n > quote.n;
    let old = slow.seen.quotes.iter().filter(|one| is_old(*one)).count();
    assert_eq!(
        old, 50,
        "all that was made while its queue was full is lost to it"
    );
    slow.say("\"snapshot\"");
    slow.until("the newest of every symbol", |slow| {
        slow.seen.quotes == newest.quotes
    });
    feed.report();
}

#[test]
fn the_policy_is_switched_live_and_each_counts_what_it_does() {
    let (feed, address) = start("50", "40");
    let mut control = Reader::open(address, "status");
    let mut slow = Reader::small(address, "quotes");
    for policy in ["drop-newest", "conflate", "drop-oldest"] {
        let before = control.status("any", |_| true);
        control.does(&json!({ "policy": policy }).to_string());
        let status = control.status(policy, |status| {
            dropped(status, policy) > dropped(&before, policy) + 100
        });
        assert_eq!(status["policy"], policy);
    }
    control.does(r#"{"policy":"disconnect"}"#);
    // Before it reads: then it would be slow no more.
    control.status("the cut", |status| dropped(status, "disconnect") == 1);
    assert_eq!(close_code(&mut slow.client), 4008);

    // The generator waits for one that reads nothing, and cuts it after 2 s; then it goes on.
    let mut stopped = Reader::small(address, "quotes");
    control.does(r#"{"policy":"block"}"#);
    let status = control.status("it was cut", |status| dropped(status, "block") == 1);
    let published = |status: &Value| status["published"].as_u64().unwrap();
    control.status("more", |next| published(next) > published(&status) + 100);
    assert_eq!(close_code(&mut stopped.client), 4008);
    feed.report();
}

#[test]
fn a_slow_reader_of_the_house_is_slow_and_its_prices_end_as_everybodys() {
    let (feed, address) = start("100", "40");
    // Without quotes, as it shall not be cut itself.
    let mut control = Reader::open(address, "status");
    control.does(r#"{"slow":10}"#);
    let status = control.status("skipped quotes of slow 1", |status| {
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

    control.does("\"pause\"");
    let newest = all(address, 100);
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
        assert!(Instant::now() < deadline, "waited for slow 1 to have all");
        // Twice a second there is one, so this asks no more often than it may.
        control.status("the next", |_| true);
    }

    // Cut, it comes back by itself.
    control.does("\"resume\"");
    control.does(r#"{"policy":"disconnect"}"#);
    let cut = |status: &Value| status["readers"][0]["cuts"].as_u64().unwrap();
    let status = control.status("a cut", |status| cut(status) > 0);
    let why = status["readers"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("4008 slow consumer"), "{why}");
    control.status("another", |status| cut(status) > 1);

    control.does(r#"{"remove":1}"#);
    control.status("nobody", |status| status["readers"] == json!([]));
    for _ in 0..7 {
        control.does(r#"{"slow":1000}"#);
    }
    // The eighth may be the first one's, which is still about to end.
    let last = [(); 2].map(|()| control.command(r#"{"slow":1000}"#));
    assert_eq!(
        last[1]["why"], "there are 8 slow readers at most",
        "{last:?}"
    );
    feed.report();
}

#[test]
fn trades_are_numbered_so_that_a_slow_reader_sees_how_many_it_has_missed() {
    let (feed, address) = start("20", "100");
    let mut fast = Reader::open(address, "trades");
    let mut slow = Reader::small(address, "quotes,trades");
    fast.until("300 trades", |fast| fast.trades.len() >= 300);
    let is_next = |pair: &[u64]| pair[1] == pair[0] + 1;
    assert!(fast.trades.windows(2).all(is_next), "{:?}", fast.trades);

    let last = *fast.trades.last().unwrap();
    slow.until("a trade as new as the fast one's", |slow| {
        slow.trades.last() >= Some(&last)
    });
    let trades = &slow.trades;
    assert!(
        trades.windows(2).all(|pair| pair[0] < pair[1]),
        "{trades:?}"
    );
    let gaps = trades.windows(2).filter(|pair| !is_next(pair)).count();
    assert!(gaps > 0, "it was slow, and has missed none: {trades:?}");
    feed.report();
}

#[test]
fn wrong_commands_are_answered_and_the_connection_goes_on() {
    let (feed, address) = start("5", "1");
    let mut client = Reader::open(address, "status");
    let deep = format!(r#"{{"policy":{}"#, "[".repeat(200));
    for (command, why) in [
        ("", "EOF"),
        ("pause", "expected"),
        (r#"{"policy":"drop-all"}"#, "unknown variant `drop-all`"),
        (r#"{"policy":"block","slow":9}"#, "expected"),
        (r#"{"fly":1}"#, "unknown variant `fly`"),
        (
            r#"{"slow":2}"#,
            "a slow reader reads 3 to 10000 KiB a second",
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
        let told = answer["why"].as_str().unwrap();
        assert!(told.contains(why), "{command}: {told}");
    }
    client.client.send(Message::binary(vec![7])).unwrap();
    let answer = client.told("error", "any", |_| true);
    assert_eq!(answer["why"], "a command is text");
    assert_eq!(client.command("\"ping\"")["type"], "pong");
    assert_eq!(client.command(r#"{"pause":null}"#)["type"], "done");

    client.say(&format!("{:>257}", "\"ping\""));
    assert_eq!(close_code(&mut client.client), 1009);
    let mut flood = Reader::open(address, "status");
    for _ in 0..200 {
        // From some point on nobody listens any more.
        if flood.client.send(Message::text("\"snapshot\"")).is_err() {
            break;
        }
    }
    assert_eq!(close_code(&mut flood.client), 1008);
    feed.report();
}

/// A GET as a program of this machine sends it: the status and the body.
fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_are_judged_before_they_are_upgraded() {
    let (feed, address) = start("5", "1");
    assert!(get(address, "/", "").contains("<title>Live feed</title>"));
    for (path, status) in [("/other", "404"), ("/ws?topics=quotes,secrets", "400")] {
        let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let answer = get(address, path, upgrade);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    feed.report();
}

#[test]
fn ctrl_c_says_goodbye_to_fast_and_slow_readers_alike() {
    let (mut feed, address) = start("200", "20");
    let mut control = Reader::open(address, "quotes,trades,status");
    control.does(r#"{"slow":5}"#);
    control.status("skipped quotes", |status| {
        status["readers"][0]["skipped"].as_u64() > Some(200)
    });
    feed.interrupt();
    assert_eq!(close_code(&mut control.client), 1001);
    assert_eq!(feed.line("drained"), "drained 2, lost 0");
    feed.end();
}

#[test]
fn symbols_are_different_and_a_market_tells_each_once_a_round() {
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
        assert!(market.is_round());
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn for_each_symbol_the_highest_n_wins_whichever_message_it_came_in() {
    let mut seen = Seen::default();
    assert!(seen.hear(r#"["BC7",18,20,101]"#), "before any snapshot");
    assert!(
        seen.hear(r#"{"type":"snapshot","now":30,"quotes":[["BC7",17,10,100],["DF0",5,10,200]]}"#)
    );
    assert_eq!((seen.quotes["BC7"].n, seen.quotes["DF0"].price), (18, 200));
    assert!(seen.hear(r#"["DF0",5,10,200]"#), "a double does no harm");
    assert!(seen.hear(r#"["DF0",9,40,205]"#));
    assert_eq!(
        (seen.messages, seen.skipped),
        (3, 3),
        "6, 7 and 8 were replaced"
    );
    assert_eq!(seen.times(), Some((40, 20)));
    for other in [r#"{"type":"trade","id":1}"#, "[]", "", r#"["BC7",-1,0,0]"#] {
        assert!(!seen.hear(other), "{other}");
    }
    seen.begin_anew();
    assert!(seen.hear(r#"["BC7",1,5,99]"#));
    assert_eq!(seen.quotes["BC7"].n, 1, "after a restart `n` begins anew");
}

#[test]
fn a_schedule_counts_from_its_beginning_and_does_not_rush_after_a_long_wait() {
    let begun = Instant::now();
    let after = |ms| begun + Duration::from_millis(ms);
    let mut schedule = Schedule::new(1000, begun);
    assert_eq!(schedule.due(), after(5), "not for each alone");
    for (ms, owed) in [(5, 5), (12, 7), (12, 0), (112, 100)] {
        assert_eq!(schedule.owed(after(ms)), owed, "at {ms} ms");
        schedule.made(owed);
    }
    assert_eq!(schedule.owed(after(5_000)), 1, "it goes on from here");
    schedule.made(1);
    assert_eq!(schedule.owed(after(5_010)), 9);
}

#[test]
fn only_who_is_on_this_machine_may_change_what_others_get() {
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
        let command = Command::parse(&Message::text(text)).unwrap();
        assert_eq!(command.is_control(), is_control, "{text}");
    }
}
