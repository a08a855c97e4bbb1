//! What a siege has shown, as checks of the report.

use super::attackers::Kind;
use super::floods::Floods;
use super::{CLOSE, FILL, HEAD, PING, PONG, SLACK, Size, Wave};
use crate::report::{Report, after};

pub(super) fn waves(all: &[Wave], size: &Size, report: &mut Report) {
    let waves = all.len();
    for (fault, kind, count, deadline, what) in [
        (
            "subscribers that never read",
            Kind::NeverReads,
            size.never_read,
            FILL + CLOSE,
            "who never reads is cut with 4008, then reset",
        ),
        (
            "subscribers that read on when they are cut",
            Kind::ReadsOn,
            size.read_on,
            FILL + CLOSE,
            "who reads on when it is cut sees 4008",
        ),
        (
            "subscribers at 1 KiB/s",
            Kind::Slow,
            size.slow,
            FILL + CLOSE,
            "who takes 1 KiB/s of it is cut with 4008, then reset",
        ),
        (
            "clients that answer no ping",
            Kind::Silent,
            size.silent,
            PING + PONG,
            "who answers no ping is reset",
        ),
        (
            "heads of a byte a second",
            Kind::Head,
            size.heads,
            HEAD,
            "who sends its head a byte a second is reset",
        ),
    ] {
        report.fault(fault);
        let attackers = all.iter().flat_map(|wave| &wave.attackers);
        let of_kind: Vec<_> = attackers.filter(|one| one.kind == kind).collect();
        let right = of_kind.iter().filter(|one| one.ended_right()).count();
        let last = of_kind.iter().filter_map(|one| one.gone).max();
        report.check(
            what,
            right == count * waves && last.is_some_and(|last| last <= deadline + SLACK),
            format!(
                "{right} of {}, the last {} (clock {} s)",
                of_kind.len(),
                after(last),
                deadline.as_secs()
            ),
        );
    }
    report.fault("clients of a stopped process");
    let thawed: Vec<_> = all.iter().flat_map(|wave| &wave.thawed).collect();
    let ended = thawed.iter().filter(|one| one.ended_right()).count();
    let told = thawed.iter().filter(|one| one.code == Some(4008)).count();
    let gone = all.iter().map(|wave| wave.frozen_gone).max();
    let all_gone = all.iter().all(|wave| wave.frozen_gone.is_some());
    let gone = gone.flatten().filter(|_| all_gone);
    report.check(
        "clients of a stopped process are let go, and see it when it runs again",
        ended == size.frozen * waves && gone.is_some_and(|gone| gone <= FILL + CLOSE + SLACK),
        format!(
            "{ended} of {}, the last {}; {told} could still read 4008",
            thawed.len(),
            after(gone)
        ),
    );
    let newcomers: usize = all.iter().map(|wave| wave.newcomers).sum();
    let slowest = all.iter().map(|wave| wave.slowest_newcomer).max();
    report.check(
        "newcomers in the middle of it are served",
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
            &format!("{} is ended with {}", flood.name, flood.expected),
            flood.tried > 0 && flood.right == flood.tried,
            format!(
                "{} of {} times, {} frames sent{}",
                flood.right,
                flood.tried,
                flood.frames,
                flood.wrong.as_deref().unwrap_or_default()
            ),
        );
    }
}
