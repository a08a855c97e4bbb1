//! Puts the results of a siege into the report as checks.

use super::attackers::Kind;
use super::floods::Floods;
use super::{CLOSE, FILL, HANDSHAKE, PING, PONG, SLACK, Size, Wave};
use crate::report::{Report, after};

pub(super) fn waves(all: &[Wave], size: &Size, report: &mut Report) {
    let waves = all.len();
    for (fault, kind, count, deadline, what) in [
        (
            "subscribers that never read",
            Kind::NeverReads,
            size.never_read,
            FILL + CLOSE,
            "each subscriber that never reads is disconnected with 4008, then reset",
        ),
        (
            "subscribers that read again when they are disconnected",
            Kind::ReadsOn,
            size.read_on,
            FILL + CLOSE,
            "each subscriber that reads again sees 4008",
        ),
        (
            "subscribers at 1 KiB/s",
            Kind::Slow,
            size.slow,
            FILL + CLOSE,
            "each subscriber at 1 KiB/s is disconnected with 4008, then reset",
        ),
        (
            "clients that answer no ping",
            Kind::Silent,
            size.silent,
            PING + PONG,
            "each client that answers no ping is reset",
        ),
        (
            "requests at one byte per second",
            Kind::SlowRequest,
            size.slow_requests,
            HANDSHAKE,
            "each client with a slow request is reset",
        ),
    ] {
        report.fault(fault);
        let attackers = all.iter().flat_map(|wave| &wave.attackers);
        let of_kind: Vec<_> = attackers.filter(|one| one.kind == kind).collect();
        let expected = of_kind.iter().filter(|one| one.ended_as_expected()).count();
        let last = of_kind.iter().filter_map(|one| one.gone).max();
        report.check(
            what,
            expected == count * waves && last.is_some_and(|last| last <= deadline + SLACK),
            format!(
                "{expected} of {}, the last {} (deadline {} s)",
                of_kind.len(),
                after(last),
                deadline.as_secs()
            ),
        );
    }
    report.fault("clients of a stopped process");
    let resumed: Vec<_> = all.iter().flat_map(|wave| &wave.resumed).collect();
    let ended = resumed.iter().filter(|one| one.ended_as_expected()).count();
    let saw_4008 = resumed.iter().filter(|one| one.code == Some(4008)).count();
    let gone = all.iter().map(|wave| wave.stopped_gone).max();
    let all_gone = all.iter().all(|wave| wave.stopped_gone.is_some());
    let gone = gone.flatten().filter(|_| all_gone);
    report.check(
        "clients of a stopped process are disconnected, and see it when they run again",
        ended == size.stopped * waves && gone.is_some_and(|gone| gone <= FILL + CLOSE + SLACK),
        format!(
            "{ended} of {}, the last {}; {saw_4008} could still read 4008",
            resumed.len(),
            after(gone)
        ),
    );
    let newcomers: usize = all.iter().map(|wave| wave.newcomers).sum();
    let slowest = all.iter().map(|wave| wave.slowest_newcomer).max();
    report.check(
        "new clients are served during the siege",
        newcomers > 0,
        format!(
            "{newcomers}, the slowest in {:.0?}",
            slowest.unwrap_or_default()
        ),
    );
}

pub(super) fn floods(all: &[Floods], report: &mut Report) {
    for flood in all {
        report.fault(flood.name);
        report.bad_inputs(flood.frames);
        report.check(
            &format!("{} is closed with {}", flood.name, flood.expected),
            flood.tried > 0 && flood.correct == flood.tried,
            format!(
                "{} of {} times, {} frames sent{}",
                flood.correct,
                flood.tried,
                flood.frames,
                flood.wrong.as_deref().unwrap_or_default()
            ),
        );
    }
}
