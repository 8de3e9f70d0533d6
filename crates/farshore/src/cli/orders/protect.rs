//! Protecting machines, and what is ordered of protections.

use farshore_policy::OnDisable;
use farshore_types::MachineId;
use farshore_vault::{Command as Order, Enable, Finding, Severity};

use super::{ProtectArgs, ResyncArgs, UnprotectArgs, nouns::told};
use crate::{
    ProgramError,
    cli::{context::Operator, jobs::wait_for, names::find, show},
    views::*,
};

pub(crate) async fn protect(operator: &Operator, args: ProtectArgs) -> Result<(), ProgramError> {
    let machines: Vec<MachineView> = operator.get("machines").await?;
    let wanted = match args.all {
        true => unprotected(operator, &machines).await?,
        false => named(&machines, &args.machines)?,
    };
    let target = match &args.target {
        Some(name) => {
            let hosts: Vec<HostView> = operator.get("hosts").await?;
            Some(find("host", name, &hosts, |h| h.id.0, |h| &h.name)?.id)
        }
        None => None,
    };
    let excluded = args.exclude.into_iter().collect();
    let enable = Enable { machines: wanted, target, excluded, ..Enable::default() };
    let found: Vec<Finding> = operator.post("preflight", &enable).await?;
    let count = enable.machines.len();
    if args.check {
        let errors = found.iter().filter(|f| f.severity == Severity::Error).count();
        show::findings(&found);
        let text = format!("{count} machines: {errors} errors, {} warnings", found.len() - errors);
        show::one(operator.output, &found, &text);
        return match errors {
            0 => Ok(()),
            _ => {
                Err(ProgramError::usage("not every machine can be protected", "put right what is told above"))
            }
        };
    }
    if found.iter().any(|f| f.severity == Severity::Error) {
        show::findings(&found);
        return Err(ProgramError::usage("nothing was changed", "put right what is told above"));
    }
    let done = operator.order(&Order::Enable(enable)).await?;
    told(
        operator,
        &done,
        &format!("{count} machines are to be protected; `farshore status --watch` shows them"),
    );
    wait_for(operator, &done, args.waiting).await
}

/// Machines of source clouds with a policy that nothing protects yet.
async fn unprotected(operator: &Operator, machines: &[MachineView]) -> Result<Vec<MachineId>, ProgramError> {
    let (clouds, hosts): (Vec<CloudView>, Vec<HostView>) =
        (operator.get("clouds").await?, operator.get("hosts").await?);
    let is_source = |name: &str| {
        clouds.iter().any(|c| c.name == name && c.role.as_deref() == Some("source") && c.policy.is_some())
    };
    let covered =
        |host: &str| hosts.iter().any(|h| h.name == host && h.cloud.as_deref().is_some_and(is_source));
    let all: Vec<MachineId> =
        machines.iter().filter(|m| m.protection.is_none() && covered(&m.host)).map(|m| m.id).collect();
    match all.is_empty() {
        true => {
            Err(ProgramError::usage("there is no machine left to protect", "`farshore machines` lists them"))
        }
        false => Ok(all),
    }
}

/// The ids of machines; a protected one is on two hosts, and still one.
fn named(machines: &[MachineView], names: &[String]) -> Result<Vec<MachineId>, ProgramError> {
    let mut once: Vec<&MachineView> = Vec::new();
    for machine in machines {
        if once.iter().all(|known| known.id != machine.id) {
            once.push(machine);
        }
    }
    names.iter().map(|name| find("machine", name, &once, |m| m.id.0, |m| &m.name).map(|m| m.id)).collect()
}

/// The machine of a protection.
async fn protected(operator: &Operator, name: &str) -> Result<MachineId, ProgramError> {
    let all: Vec<ProtectionView> = operator.get("protections").await?;
    find("protected machine", name, &all, |p| p.machine.0, |p| &p.name).map(|p| p.machine)
}

pub(crate) async fn unprotect(operator: &Operator, args: UnprotectArgs) -> Result<(), ProgramError> {
    let machine = protected(operator, &args.machine).await?;
    let replica = match (args.delete_replica, args.keep_replica) {
        (true, _) => Some(OnDisable::Delete),
        (_, true) => Some(OnDisable::Keep),
        _ => None,
    };
    let done = operator.order(&Order::Disable { machine, replica, force: args.force }).await?;
    told(operator, &done, &format!("'{}' is not protected any more", args.machine));
    wait_for(operator, &done, args.waiting).await
}

pub(crate) async fn pause(operator: &Operator, name: &str, paused: bool) -> Result<(), ProgramError> {
    let machine = protected(operator, name).await?;
    let done = operator.order(&Order::SetPaused { machine, paused }).await?;
    told(operator, &done, &format!("'{name}' {}", if paused { "is paused" } else { "goes on" }));
    Ok(())
}

pub(crate) async fn resync(operator: &Operator, args: &ResyncArgs) -> Result<(), ProgramError> {
    let name = &args.machine;
    let machine = protected(operator, name).await?;
    let done = operator.order(&Order::Resync { machine }).await?;
    told(operator, &done, &format!("'{name}' is compared as a whole"));
    wait_for(operator, &done, args.waiting).await
}
