//! Learn: a control loop of 100 Hz in `main`, and authentication before the 101. Each cycle applies the newest command of
//!        each operator, and sends one telemetry sample to all. A command is valid for half a second. An operator that
//!        reads slowly gets only the newest sample.
//! Run:   cargo run --example robot    In a second terminal, with the word `secret` in the file `token`:
//!        cargo run -- client --token-file token ws://127.0.0.1:9001/
//! Watch: type a speed. The robot moves for half a second, and then it stands still. A second operator adds its speed.
//! Try next: a `thread::sleep` of 20 ms in the cycle. The loop is late, commands wait in the channel, and no queue grows.
//!
//! ```text
//! reader of operator 1 ─┐
//! reader of operator 2 ─┴─▶ events ─┐
//!                                   ├─▶ select! ─publish─▶ topic ─▶ queue of each operator
//! tick, 100 Hz ─────────────────────┘   (main)
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::collections::HashMap;
use std::time::{Duration, Instant};
use std::{env, error::Error};

use standpipe::crossbeam_channel::{select, tick};
use standpipe::http::header::WWW_AUTHENTICATE;
use standpipe::{
    Config, Event, Hub, HubConfig, Outbox, Policy, Reply, Request, Server, SubscribeOptions,
    Subscription, TopicSettings,
};

const VALID: Duration = Duration::from_millis(500);

/// Decides about each request before the 101, on the thread of its client.
fn door(request: &mut Request) -> Reply {
    match request.bearer_token() {
        Some("secret") => Reply::upgrade(),
        _ => Reply::status(401).header(WWW_AUTHENTICATE, "Bearer"),
    }
}

struct Operator {
    outbox: Outbox,
    _telemetry: Subscription,
    command: Option<(f64, Instant)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let newest = TopicSettings::default()
        .policy(Policy::Conflate)
        .max_lateness(VALID);
    let hub = Hub::new(HubConfig::default().topic("telemetry", newest));
    let telemetry = hub.topic("telemetry")?;
    let server = Server::bind(address, Config::default().hub(&hub))?;
    let handle = server.handle();
    println!(
        "robot on ws://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.shutdown())?;

    let events = server.events_with(64, door)?;
    let cycle = tick(Duration::from_millis(10));
    let mut operators: HashMap<u64, Operator> = HashMap::new();
    let mut position = 0.0;
    loop {
        select! {
            recv(events.receiver()) -> event => match event {
                Ok(Event::Opened { number, outbox, .. }) => {
                    let _telemetry = telemetry.subscribe(outbox.clone(), SubscribeOptions::new())?;
                    operators.insert(number, Operator { outbox, _telemetry, command: None });
                }
                Ok(Event::Message { number, message }) => {
                    let speed = message.to_text().ok().and_then(|text| text.parse().ok());
                    match (operators.get_mut(&number), speed) {
                        (Some(operator), Some(speed)) => operator.command = Some((speed, Instant::now())),
                        (Some(operator), None) => operator.outbox.close(4000, "a speed is a number"),
                        (None, _) => {}
                    }
                }
                Ok(Event::Closed { number, cause }) => {
                    operators.remove(&number);
                    println!("operator {number} left: {cause}");
                }
                Ok(_) => {}       // Events that a later version may add.
                Err(_) => break, // The server has shut down.
            },
            recv(cycle) -> _ => {
                let commands = operators.values().filter_map(|operator| operator.command);
                let valid = commands.filter(|(_, at)| at.elapsed() < VALID);
                let speed = valid.fold(0.0, |sum, (speed, _)| sum + speed);
                position += speed / 100.0;
                telemetry.publish(format!("{position:.3} {speed:.1}"))?;
            },
        }
    }
    println!("{}", events.join()?);
    Ok(())
}
