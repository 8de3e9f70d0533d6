//! Names and ids: every path and every field takes either; what is not found is told with
//! what comes close.

use std::collections::HashSet;

use farshore_types::{CloudId, HostId, JobId, MachineId, PolicyId};
use farshore_vault::{
    Core, Problem, ProblemKind,
    rows::{AlertRow, CloudRow, HostRow, MachineRow, PolicyRow, ProtectionRow, SiteRow, TokenRow},
};
use uuid::Uuid;

use crate::vault::issuer::problem;

/// Longest text, in bytes, for which something close is looked for: no name is longer.
const CLOSE_MAX: usize = 128;
/// Most names that are told where nothing comes close.
const TOLD_MAX: usize = 10;

pub(super) fn site<'a>(core: &'a Core, wanted: &str) -> Result<&'a SiteRow, Problem> {
    find("site", wanted, core.sites(), |row| row.id.0, |row| &row.name)
}

pub(super) fn cloud<'a>(core: &'a Core, wanted: &str) -> Result<&'a CloudRow, Problem> {
    find("cloud", wanted, core.clouds(), |row| row.id.0, |row| &row.name)
}

pub(super) fn host<'a>(core: &'a Core, wanted: &str) -> Result<&'a HostRow, Problem> {
    find("host", wanted, core.hosts().filter(|row| !row.removed), |row| row.id.0, |row| &row.name)
}

pub(super) fn policy<'a>(core: &'a Core, wanted: &str) -> Result<&'a PolicyRow, Problem> {
    find("policy", wanted, core.policies(), |row| row.id.0, |row| &row.name)
}

pub(super) fn token<'a>(core: &'a Core, wanted: &str) -> Result<&'a TokenRow, Problem> {
    find("token", wanted, core.tokens(), |row| row.id, |row| &row.name)
}

/// A machine; one that is on two hosts is one, and its protection's source shows it.
pub(super) fn machine<'a>(core: &'a Core, wanted: &str) -> Result<&'a MachineRow, Problem> {
    let is_source = |row: &MachineRow| {
        let protection = core.protection(row.facts.id).filter(|protection| protection.is_live());
        protection.is_some_and(|protection| protection.source() == row.host)
    };
    let id = |row: &MachineRow| row.facts.id.0;
    let found = find("machine", wanted, core.machines(), id, |row| &row.facts.name)?;
    let same = || core.machines().filter(|row| row.facts.id == found.facts.id);
    Ok(same().find(|row| is_source(row)).unwrap_or(found))
}

/// A live protection, by its machine.
pub(super) fn protection<'a>(core: &'a Core, wanted: &str) -> Result<&'a ProtectionRow, Problem> {
    let live = core.protections().filter(|row| row.is_live());
    find("protection", wanted, live, |row| row.machine.0, |row| &row.name)
}

/// A protection, live or ended: what has ended may still have a replica.
pub(super) fn any_protection(core: &Core, wanted: &str) -> Result<MachineId, Problem> {
    let ended = core.protections().filter(|row| !row.is_live());
    protection(core, wanted)
        .or_else(|problem| {
            let found = find("protection", wanted, ended, |row| row.machine.0, |row| &row.name);
            found.map_err(|_| problem)
        })
        .map(|row| row.machine)
}

/// The id of a job that is known.
pub(super) fn job(core: &Core, wanted: &str) -> Result<JobId, Problem> {
    let id = wanted.parse::<Uuid>().ok().map(JobId);
    id.filter(|id| core.jobs().any(|row| row.job.id == *id)).ok_or_else(|| no_job(wanted))
}

/// There is no such job.
pub(super) fn no_job(wanted: &str) -> Problem {
    let advice = "`farshore job list` lists them; they are kept for a week after their end";
    problem(ProblemKind::NotFound, "job-unknown", format!("there is no job {wanted}"), advice)
}

/// An alert, by its id.
pub(super) fn alert<'a>(core: &'a Core, wanted: &str) -> Result<&'a AlertRow, Problem> {
    wanted.parse::<Uuid>().ok().and_then(|id| core.alert(id)).ok_or_else(|| {
        let advice = "`farshore alert list --state all` lists them";
        problem(ProblemKind::NotFound, "alert-unknown", format!("there is no alert {wanted}"), advice)
    })
}

/// Ids of what a list of names or ids means.
pub(super) fn machines(core: &Core, wanted: &[String]) -> Result<Vec<MachineId>, Problem> {
    wanted.iter().map(|name| machine(core, name).map(|row| row.facts.id)).collect()
}

/// The id of a host, where one is named.
pub(super) fn host_id(core: &Core, wanted: Option<&str>) -> Result<Option<HostId>, Problem> {
    wanted.map(|name| host(core, name).map(|row| row.id)).transpose()
}

/// The id of a cloud, where one is named.
pub(super) fn cloud_id(core: &Core, wanted: Option<&str>) -> Result<Option<CloudId>, Problem> {
    wanted.map(|name| cloud(core, name).map(|row| row.id)).transpose()
}

/// The id of a policy, where one is named.
pub(super) fn policy_id(core: &Core, wanted: Option<&str>) -> Result<Option<PolicyId>, Problem> {
    wanted.map(|name| policy(core, name).map(|row| row.id)).transpose()
}

/// Hosts of a site, of a cloud, or one; none: all.
pub(super) fn hosts_of(
    core: &Core,
    in_site: Option<&str>,
    in_cloud: Option<&str>,
    one: Option<&str>,
) -> Result<Option<HashSet<HostId>>, Problem> {
    let in_site = in_site.map(|name| site(core, name).map(|row| row.id)).transpose()?;
    let (in_cloud, one) = (cloud_id(core, in_cloud)?, host_id(core, one)?);
    if in_site.is_none() && in_cloud.is_none() && one.is_none() {
        return Ok(None);
    }
    let wanted = |row: &&HostRow| {
        in_site.is_none_or(|site| row.site == site)
            && (in_cloud.is_none() || row.cloud == in_cloud)
            && one.is_none_or(|host| row.id == host)
    };
    Ok(Some(core.hosts().filter(wanted).map(|row| row.id).collect()))
}

/// Finds one of several by its id or its name.
fn find<'a, R: 'a>(
    noun: &str,
    wanted: &str,
    rows: impl Iterator<Item = &'a R>,
    id: impl Fn(&R) -> Uuid,
    name: impl Fn(&'a R) -> &'a str,
) -> Result<&'a R, Problem> {
    let wanted_id = wanted.parse::<Uuid>().ok();
    let (mut named, mut names): (Vec<&R>, Vec<&str>) = (Vec::new(), Vec::new());
    for row in rows {
        if wanted_id == Some(id(row)) {
            return Ok(row);
        }
        if name(row) == wanted && named.iter().all(|other| id(other) != id(row)) {
            named.push(row);
        }
        names.push(name(row));
    }
    match named[..] {
        [one] => Ok(one),
        [] => Err(unknown(noun, wanted, &mut names)),
        _ => {
            let ids: Vec<String> = named.iter().map(|row| id(row).to_string()).collect();
            let (code, what) = (format!("{noun}-ambiguous"), format!("several {noun}s are named '{wanted}'"));
            let advice = format!("name one by its id: {}", ids.join(", "));
            Err(problem(ProblemKind::Conflict, &code, what, &advice))
        }
    }
}

fn unknown(noun: &str, wanted: &str, names: &mut Vec<&str>) -> Problem {
    names.sort_unstable();
    names.dedup();
    let close =
        names.iter().filter(|_| wanted.len() <= CLOSE_MAX).map(|known| (distance(known, wanted), *known));
    let close = close.min().filter(|(distance, _)| *distance <= wanted.chars().count().div_ceil(2));
    let advice = match (close, names.len()) {
        (Some((_, close)), _) => format!("did you mean '{close}'?"),
        (None, 0) => format!("there is no {noun} yet"),
        (None, 1..=TOLD_MAX) => format!("there are: {}", names.join(", ")),
        (None, more) => format!("list them: there are {more}"),
    };
    let what = format!("there is no {noun} '{wanted}'");
    problem(ProblemKind::NotFound, &format!("{noun}-unknown"), what, &advice)
}

/// How many characters have to be changed, put in or taken out to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let cost = before + usize::from(a != *b);
            let best = cost.min(row[j].min(row[j + 1]) + 1);
            before = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(wanted: &str, names: &[&str]) -> Result<String, String> {
        let all: Vec<(Uuid, String)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (Uuid::from_u128(n as u128 + 1), (*name).to_owned()))
            .collect();
        find("host", wanted, all.iter(), |one| one.0, |one| &one.1)
            .map(|one| one.1.clone())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn names_and_ids_find_and_typos_are_helped() {
        let names = ["web1", "web2", "db"];
        assert_eq!(look("db", &names), Ok("db".to_owned()));
        assert_eq!(look(&Uuid::from_u128(2).to_string(), &names), Ok("web2".to_owned()));
        assert!(look("wbe1", &names).unwrap_err().contains("did you mean 'web1'?"));
        assert!(look("something-else", &names).unwrap_err().contains("db, web1, web2"));
        assert!(look("x", &[]).unwrap_err().contains("no host yet"));
        assert!(look("a", &["a", "a"]).unwrap_err().contains("by its id"));
    }

    #[test]
    fn the_distance_counts_changes() {
        assert_eq!((distance("web1", "web1"), distance("web1", "wbe1"), distance("", "abc")), (0, 2, 3));
        assert_eq!((distance("kitten", "sitting"), distance("é", "e")), (3, 1));
    }
}
