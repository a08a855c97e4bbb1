//! The processor time of this program and of its threads, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::Failure;

/// `/proc` counts in hundredths of a second on every Linux: `USER_HZ` is part of its interface.
const TICKS_PER_SECOND: u64 = 100;

/// Returns the processor time of this program.
pub(crate) fn of_program() -> Result<Duration, Failure> {
    of_stat("/proc/self/stat")
}

/// Returns the processor time of the threads that run now, by the kind of their names.
pub(crate) fn of_threads() -> Result<BTreeMap<String, Duration>, Failure> {
    let mut times = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        // A thread may end after its entry was listed.
        let Ok(name) = fs::read_to_string(path.join("comm")) else {
            continue;
        };
        let Ok(time) = of_stat(&path.join("stat").to_string_lossy()) else {
            continue;
        };
        // The threads of a client have its number in their names.
        let name = name.trim().replace(|c: char| c.is_ascii_digit(), "N");
        *times.entry(name).or_insert(Duration::ZERO) += time;
    }
    Ok(times)
}

fn of_stat(path: &str) -> Result<Duration, Failure> {
    let text = fs::read_to_string(path)?;
    // The name of the process is in brackets and may contain spaces.
    let fields = text.rsplit_once(") ").ok_or("no name in stat")?.1;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks =
        || -> Result<u64, Failure> { Ok(fields.next().ok_or("no times in stat")?.parse()?) };
    let ticks = ticks()? + ticks()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
