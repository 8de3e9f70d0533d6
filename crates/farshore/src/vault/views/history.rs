//! A protection's past.

use farshore_health::{DAY_MS, HOUR_MS};
use farshore_types::MachineId;
use farshore_vault::{Core, Moment, Problem, ProblemKind};

use crate::views::HistoryView;

/// # Errors
/// The machine is not protected.
pub(in crate::vault) fn history(
    core: &Core,
    machine: MachineId,
    at: &Moment,
) -> Result<HistoryView, Problem> {
    let row = core.protection(machine).filter(|row| row.is_live()).ok_or_else(|| Problem {
        kind: ProblemKind::NotFound,
        code: "protection-unknown".to_owned(),
        what: format!("machine {machine} is not protected"),
        advice: "list what is: farshore status".to_owned(),
        details: Vec::new(),
    })?;
    let over = |span_ms| core.rpo_over(machine, span_ms, at);
    let cycles = core.cycles_of(machine, at);
    Ok(HistoryView {
        machine,
        name: row.name.clone(),
        hour: over(HOUR_MS),
        day: over(DAY_MS),
        week: over(7 * DAY_MS),
        cycles: cycles.totals,
        largest: cycles.largest,
        slowest_ms: cycles.slowest_ms,
        mean_ms: cycles.mean_ms(),
        missed_share: cycles.missed_share(),
        pending: core.judge(row, at).source.map_or(0, |source| source.pending),
    })
}
