//! The comparison: all configurations in turns, and the medians of their ratios to plain `PUBLISH`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Failure;
use crate::hubs::{self, Layout};
use crate::load::{Load, Measured};
use crate::plain::{self, Threads};
use crate::processor;
use crate::server::{self, RedisServer};

/// How much of plain `PUBLISH` hubs should reach, with a history and without.
const NEEDED: [(bool, f64); 2] = [(true, 0.4), (false, 0.6)];

const HISTORY: usize = 128;

const BASE: Load = Load {
    publishers: 16,
    together: 16,
    topics: 1,
    history: 0,
    duration: Duration::from_millis(300),
};

/// The subject of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Plain(Threads),
    Hubs(Layout),
}

type Configuration = (Subject, Load);

pub(crate) fn run(rounds: usize) -> Result<(), Failure> {
    let server = server::start()?;
    println!("of plain: median of the ratios of each round; of best: ratio of the best rounds");
    println!(
        "Redis, hubs: processor time for each message in µs; hubs includes publishers and members"
    );
    println!(
        "{} publishers with {} messages of {} B together; medians of {rounds} rounds",
        BASE.publishers,
        BASE.together,
        crate::load::SIZE
    );
    for topics in [1, 100] {
        let mut configurations: Vec<Configuration> = [Threads::One, Threads::Two]
            .map(|threads| (Subject::Plain(threads), Load { topics, ..BASE }))
            .to_vec();
        for history in [HISTORY, 0] {
            for layout in [Layout::One, Layout::TwoApart, Layout::TwoBoth] {
                configurations.push((
                    Subject::Hubs(layout),
                    Load {
                        topics,
                        history,
                        ..BASE
                    },
                ));
            }
        }
        let mut results: Vec<Vec<Measured>> = vec![Vec::new(); configurations.len()];
        for _ in 0..rounds {
            for ((subject, load), results) in configurations.iter().zip(&mut results) {
                results.push(measure(&server, *subject, load)?);
            }
        }
        print(&configurations, &results);
    }
    Ok(())
}

fn measure(server: &RedisServer, subject: Subject, load: &Load) -> Result<Measured, Failure> {
    match subject {
        Subject::Plain(threads) => plain::run(server, threads, load),
        Subject::Hubs(layout) => hubs::run(server, layout, load, || {}),
    }
}

fn print(configurations: &[Configuration], results: &[Vec<Measured>]) {
    let topics = configurations[0].1.topics;
    println!("\n{topics} topic{}", if topics == 1 { "" } else { "s" });
    println!(
        "{:40} {:>8} {:>8} {:>11} {:>8} {:>7} {:>6} {:>4}",
        "", "msg/s", "of plain", "from–to", "of best", "Redis", "hubs", "lost"
    );
    let mut enough = true;
    for ((subject, load), measured) in configurations.iter().zip(results) {
        let ratios = measured.iter().zip(&results[0]);
        let ratios: Vec<f64> = ratios
            .map(|(measured, plain)| measured.rate() / plain.rate())
            .collect();
        let ratio = median(&ratios);
        let of_all = |figure: &dyn Fn(&Measured) -> f64| {
            median(&measured.iter().map(figure).collect::<Vec<_>>())
        };
        let range = ratios
            .iter()
            .fold((f64::MAX, 0f64), |(least, most), ratio| {
                (least.min(*ratio), most.max(*ratio))
            });
        println!(
            "{:40} {:>6.0} k {ratio:>8.2} {:>11} {:>8.2} {:>7.1} {:>6.1} {:>4}",
            name(*subject, load),
            of_all(&Measured::rate) / 1e3,
            format!("{:.2}–{:.2}", range.0, range.1),
            best(measured) / best(&results[0]),
            of_all(&|measured| measured.each(measured.redis)),
            of_all(&|measured| measured.each(measured.program)),
            measured
                .iter()
                .map(|measured| measured.dropped)
                .sum::<u64>(),
        );
        let needed = NEEDED
            .iter()
            .find(|(history, _)| *history == (load.history > 0));
        if let (Subject::Hubs(_), Some((_, needed))) = (subject, needed) {
            enough &= ratio >= *needed;
        }
    }
    println!(
        "at least {} of plain with a history and {} without: {}",
        NEEDED[0].1,
        NEEDED[1].1,
        if enough { "yes" } else { "NO" }
    );
}

/// Returns the rate of the round in which other processes disturbed least.
fn best(measured: &[Measured]) -> f64 {
    measured.iter().map(Measured::rate).fold(0.0, f64::max)
}

fn name(subject: Subject, load: &Load) -> String {
    let history = if load.history > 0 { ", history" } else { "" };
    match subject {
        Subject::Plain(Threads::One) => "plain PUBLISH".into(),
        Subject::Plain(Threads::Two) => "plain PUBLISH, two threads".into(),
        Subject::Hubs(Layout::One) => format!("one hub{history}"),
        Subject::Hubs(Layout::TwoApart) => format!("two hubs, member at the other{history}"),
        Subject::Hubs(Layout::TwoBoth) => format!("two hubs, members at both{history}"),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// Runs one configuration, and prints what each kind of thread and each command cost.
pub(crate) fn profile(arguments: &[&str], usage: &str) -> Result<(), Failure> {
    let wrong = || Failure::from(usage);
    let (name, mut rest) = arguments.split_first().ok_or_else(wrong)?;
    let subject = match *name {
        "plain" => Subject::Plain(Threads::Two),
        "one" => Subject::Hubs(Layout::One),
        "two-apart" => Subject::Hubs(Layout::TwoApart),
        "two-both" => Subject::Hubs(Layout::TwoBoth),
        _ => return Err(wrong()),
    };
    let mut load = Load {
        duration: Duration::from_secs(5),
        ..BASE
    };
    while let Some((argument, others)) = rest.split_first() {
        rest = others;
        let mut value = || -> Result<usize, Failure> {
            let (value, others) = rest.split_first().ok_or_else(wrong)?;
            rest = others;
            value.parse().map_err(|_| wrong())
        };
        match *argument {
            "--history" => load.history = HISTORY,
            "--topics" => load.topics = value()?,
            "--publishers" => load.publishers = value()?,
            "--together" => load.together = value()?,
            seconds => load.duration = Duration::from_secs(seconds.parse().map_err(|_| wrong())?),
        }
    }
    let server = server::start()?;
    let before = server::commands(&server)?;
    let mut threads = BTreeMap::new();
    let measured = match subject {
        Subject::Plain(threads) => plain::run(&server, threads, &load)?,
        Subject::Hubs(layout) => hubs::run(&server, layout, &load, || {
            threads = processor::of_threads().unwrap_or_default();
        })?,
    };
    println!("{load:?}");
    println!(
        "{:.0} msg/s; Redis {:.2} µs and this program {:.2} µs of processor time for each message",
        measured.rate(),
        measured.each(measured.redis),
        measured.each(measured.program)
    );
    for (name, time) in &threads {
        println!("  threads {name:18} {:6.2} µs", measured.each(*time));
    }
    for (name, (calls, took)) in server::commands(&server)? {
        let (calls_before, took_before) = before.get(&name).copied().unwrap_or_default();
        let (calls, took) = (calls - calls_before, took - took_before);
        if calls > 0 {
            println!(
                "  command {name:18} {calls:9} calls, {:6.2} µs each, {:6.3} µs per message",
                took as f64 / calls as f64,
                took as f64 / measured.messages as f64
            );
        }
    }
    Ok(())
}
