//! Alerts, as they were at the last look. This module must never judge.

use std::collections::HashMap;

use farshore_health::Level;
use farshore_vault::{Core, rows::AlertRow};
use uuid::Uuid;

use crate::{
    vault::views,
    views::{AlertChange, EventView},
};

/// How alerts were.
#[derive(Debug, Default)]
pub(super) struct Alerts(HashMap<Uuid, Was>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Was {
    open: bool,
    level: Level,
    acknowledged: bool,
}

impl Alerts {
    pub(super) fn changes(&mut self, core: &Core, found: &mut Vec<EventView>) {
        for row in core.alerts() {
            let now = Was::of(row);
            let was = self.0.insert(row.id, now);
            found.extend(changes(was, now).into_iter().flatten().map(|change| event(core, row, change)));
        }
        self.0.retain(|id, _| core.alert(*id).is_some());
    }
}

impl Was {
    fn of(row: &AlertRow) -> Was {
        Was { open: row.is_open(), level: row.reason.level, acknowledged: row.acknowledged.is_some() }
    }
}

/// All that happened between two looks, in the order in which it can have happened.
fn changes(was: Option<Was>, now: Was) -> [Option<AlertChange>; 4] {
    let before = was.unwrap_or(Was { open: true, acknowledged: false, ..now });
    [
        was.is_none().then_some(AlertChange::Raised),
        (before.level != now.level).then_some(AlertChange::Changed),
        (!before.acknowledged && now.acknowledged).then_some(AlertChange::Acknowledged),
        (before.open && !now.open).then_some(AlertChange::Resolved),
    ]
}

fn event(core: &Core, row: &AlertRow, change: AlertChange) -> EventView {
    let alert = views::alert(core, row);
    EventView::Alert {
        id: alert.id,
        change,
        of: alert.of,
        name: alert.name,
        level: alert.level,
        code: alert.code,
        what: alert.what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(was: Option<Was>, now: Was) -> Vec<AlertChange> {
        changes(was, now).into_iter().flatten().collect()
    }

    #[test]
    fn nothing_of_an_alert_is_left_out_however_much_happened_between_two_looks() {
        use AlertChange::{Acknowledged, Changed, Raised, Resolved};
        let new = Was { open: true, level: Level::Warning, acknowledged: false };
        let worse = Was { level: Level::Critical, ..new };
        let noted = Was { acknowledged: true, ..worse };
        let over = Was { open: false, ..noted };
        assert_eq!(told(None, new), [Raised]);
        assert_eq!(told(Some(new), new), []);
        assert_eq!(told(Some(new), worse), [Changed]);
        assert_eq!(told(Some(worse), noted), [Acknowledged]);
        assert_eq!(told(Some(noted), over), [Resolved]);
        assert_eq!(told(None, over), [Raised, Acknowledged, Resolved]);
        assert_eq!(told(Some(new), over), [Changed, Acknowledged, Resolved]);
    }
}
