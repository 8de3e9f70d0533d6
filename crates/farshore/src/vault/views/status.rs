//! The vault as a whole.

use farshore_control::report::Problem;
use farshore_health::Level;
use farshore_vault::{Core, Moment};

use super::{Seen, host_name};
use crate::views::StatusView;

pub(in crate::vault) fn status(core: &Core, at: &Moment, uptime_secs: u64) -> StatusView {
    let count = |levels: &mut dyn Iterator<Item = Level>| {
        levels.fold([0; 3], |mut counts: [u64; 3], level| {
            counts[level as usize] += 1;
            counts
        })
    };
    let term = core.term();
    let live = core.protections().filter(|row| row.is_live());
    let known = core.hosts().filter(|row| !row.removed);
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        vault: term.vault,
        term: term.number,
        uptime_secs,
        learning_from: core.silent_hosts().map(|host| host_name(core, host)).collect(),
        problems: superseded(core).into_iter().collect(),
        protections: count(&mut live.map(|row| Seen::of(core, row, at).health.level)),
        hosts: count(&mut known.map(|row| core.host_health(row, at).level)),
    }
}

/// That another vault commands instead of this one, which goes on to answer as if nothing were.
fn superseded(core: &Core) -> Option<Problem> {
    let term = core.superseded_by()?;
    Some(Problem {
        code: "superseded".to_owned(),
        what: format!(
            "another vault is followed, with term {}: this one commands nothing any more",
            term.number
        ),
        advice: "use that vault (`farshore context set`), and stop this one".to_owned(),
    })
}
