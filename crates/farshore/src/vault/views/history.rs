//! A protection's past.

use farshore_health::{DAY_MS, HOUR_MS};
use farshore_vault::{Core, Moment, rows::ProtectionRow};

use crate::views::HistoryView;

/// A protection's past as it is shown.
pub(in crate::vault) fn history(core: &Core, row: &ProtectionRow, at: &Moment) -> HistoryView {
    let machine = row.machine;
    let over = |span_ms| core.rpo_over(machine, span_ms, at);
    let cycles = core.cycles_of(machine, at);
    HistoryView {
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
    }
}
