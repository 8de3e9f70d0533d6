//! A protection's life, as it is seen from all sides.

use farshore_control::CardAddress;
use farshore_protection::{Answer, DrillPhase, Flat, Operation, Stage};
use farshore_types::HostId;
use farshore_vault::{
    Core, Moment,
    rows::{DrillRecord, ProtectionRow},
};

use super::{host_name, protection};
use crate::views::{AddressView, DrillRecordView, DrillView, LifeView, OperationView, ProtectionView};

/// A protection with its life in all.
pub(in crate::vault) fn protection_in_all(core: &Core, row: &ProtectionRow, at: &Moment) -> ProtectionView {
    let view = protection(core, row, at);
    let details = Some(life(core, row, view.rpo_ms, at));
    ProtectionView { details, ..view }
}

fn life(core: &Core, row: &ProtectionRow, loss_ms: Option<u64>, at: &Moment) -> LifeView {
    let life = &row.life;
    let (brought_up_at, kept, failed) = match &life.stage {
        Stage::FailedOver { at, kept, .. } => (*at, kept.iter().copied().collect(), None),
        Stage::BringingUp(up) => (None, up.kept.iter().copied().collect(), up.failed.clone()),
        Stage::Starting { at, failed, .. } => (*at, Vec::new(), failed.clone()),
        _ => (None, Vec::new(), None),
    };
    let disks = match life.flat {
        Flat::Own => "own",
        Flat::Layered => "layered",
        Flat::Scheduled { .. } => "scheduled",
        Flat::Flattening => "flattening",
    };
    let drill = life.drill.as_ref().map(|drill| DrillView {
        phase: match drill.phase {
            DrillPhase::Opening => "opening",
            DrillPhase::Open => "open",
            DrillPhase::CleaningUp => "cleaning-up",
        }
        .to_owned(),
        failed: core.drill_fails(row),
        host: drill.host.map(|host| host_name(core, host)),
        overdue: drill.overdue,
        until_ms: drill.until_ms,
    });
    let on = |is: fn(&farshore_control::Standing) -> bool| {
        let here = |host: &HostId| core.standing(*host, row.machine).is_some_and(is);
        row.hosts().into_iter().filter(here).map(|host| host_name(core, host)).collect()
    };
    let looked = core.standing(row.target(), row.machine).and_then(|standing| standing.could_start.as_ref());
    let against = looked.into_iter().flat_map(|looked| &looked.against);
    LifeView {
        could_start: looked.map(farshore_control::standing::CouldStart::could),
        against_start: against.map(ToString::to_string).collect(),
        what: life.what().to_owned(),
        away: life.is_away(),
        brought_up_at,
        kept,
        failed,
        loss_ms,
        disks: disks.to_owned(),
        drill,
        drills: row.drills.iter().map(|record| drill_record(core, record)).collect(),
        addresses: row.addresses.iter().map(|address| address_of(core, row, address)).collect(),
        rival: life.rival.map(|rival| host_name(core, rival.owner)),
        fenced_on: on(|standing| standing.fenced),
        held_on: on(|standing| standing.held_without_witness),
        operations: life.allowed_operations(&core.facts_of(row, at)).into_iter().map(operation).collect(),
    }
}

fn drill_record(core: &Core, record: &DrillRecord) -> DrillRecordView {
    DrillRecordView {
        at: record.at,
        host: record.host.map(|host| host_name(core, host)),
        ran: record.ran,
        failed: record.failed.clone(),
        overdue: record.overdue,
        ended_ms: record.ended_ms,
        notes: record.notes.clone(),
    }
}

fn address_of(core: &Core, row: &ProtectionRow, address: &CardAddress) -> AddressView {
    let mut notes = Vec::new();
    for host in row.hosts() {
        let said = core.standing(host, row.machine).into_iter().flat_map(|standing| &standing.addresses);
        for one in said.filter(|one| one.card == address.card) {
            let (name, address) = (host_name(core, host), one.address);
            notes.extend(
                one.reserved_in
                    .as_ref()
                    .map(|network| format!("{address} is reserved in network '{network}' of host '{name}'")),
            );
            notes
                .extend(one.by_hand.as_ref().map(|problem| format!("{address} on host '{name}': {problem}")));
        }
    }
    AddressView { card: address.card.clone(), home: address.home, away: address.away, notes }
}

fn operation((operation, answer): (Operation, Answer)) -> OperationView {
    let confirm = match &answer {
        Answer::Allowed { confirm } => confirm.clone(),
        _ => Vec::new(),
    };
    let reason = answer.reason();
    OperationView {
        operation,
        does: operation.what().to_owned(),
        allowed: answer.is_allowed(),
        confirm,
        code: reason.map(|reason| reason.code.clone()),
        why: reason.map(|reason| reason.what.clone()),
        instead: reason.map(|reason| reason.advice.clone()),
    }
}
