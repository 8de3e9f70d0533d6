//! Answers as text. This module must never know where an answer came from.

use std::io::Write;

use comfy_table::{Table, presets};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    AgentError,
    control::{
        Adopted, BroughtUp, Discarded, Exported, MachineLine, PointLine, Released, ReplicaPoints, Replicated,
        Reply, RescuedDropped, Status, Verified,
    },
};

/// Writes an answer to standard output.
///
/// # Errors
/// That nobody reads it: then it was lost, and the caller must know.
pub(super) fn print(text: &str) -> Result<(), AgentError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(AgentError::io("write", "standard output"))
}

/// Writes to standard error; who does not read that does not want it.
pub(super) fn complain(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// An answer as one JSON document.
pub(super) fn json(reply: &Reply) -> String {
    let value = match reply {
        Reply::Machines(lines) => serde_json::to_value(lines),
        Reply::Status(status) => serde_json::to_value(status),
        Reply::Points(points) => serde_json::to_value(points),
        Reply::Verified(verified) => serde_json::to_value(verified),
        Reply::Exported(exported) => serde_json::to_value(exported),
        Reply::BroughtUp(up) => serde_json::to_value(up),
        Reply::Adopted(adopted) => serde_json::to_value(adopted),
        Reply::RescuedDropped(dropped) => serde_json::to_value(dropped),
        Reply::Released(released) => serde_json::to_value(released),
        Reply::Discarded(discarded) => serde_json::to_value(discarded),
        Reply::HeldStarts(held) => serde_json::to_value(held),
        Reply::Replicated(replicated) => serde_json::to_value(replicated),
    };
    format!("{:#}\n", value.unwrap_or_default())
}

/// An answer for people.
pub(super) fn human(reply: &Reply) -> String {
    match reply {
        Reply::Machines(lines) => machines(lines),
        Reply::Status(status) => self::status(status),
        Reply::Points(replicas) => replicas.iter().map(points).collect::<Vec<_>>().join("\n"),
        Reply::Verified(verified) => self::verified(verified),
        Reply::Exported(exported) => self::exported(exported),
        Reply::BroughtUp(up) => brought_up(up),
        Reply::Adopted(adopted) => self::adopted(adopted),
        Reply::RescuedDropped(dropped) => rescued_dropped(dropped),
        Reply::Released(released) => self::released(released),
        Reply::Discarded(discarded) => self::discarded(discarded),
        Reply::HeldStarts(held) => format!("machine '{}' is started though nobody answers\n", held.machine),
        Reply::Replicated(replicated) => self::replicated(replicated),
    }
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    table
}

fn machines(lines: &[MachineLine]) -> String {
    let mut out = table(&["MACHINE", "STATE", "DISK", "SIZE", "CHANGES BY", "NOTE"]);
    for machine in lines {
        let role = match (machine.brought_up_at, machine.replicated) {
            (Some(point), _) => format!("{}, brought up at {point}", machine.power),
            (None, true) => format!("{}, replicated", machine.power),
            (None, false) => machine.power.clone(),
        };
        if machine.disks.is_empty() {
            out.add_row([machine.name.as_str(), &role, "-", "", "", ""]);
        }
        for (index, disk) in machine.disks.iter().enumerate() {
            let (name, role) = if index == 0 { (machine.name.as_str(), role.as_str()) } else { ("", "") };
            let no_discard = "discards do not reach the image: the replica never shrinks";
            let note = disk.why.as_deref().unwrap_or(if disk.discard { "" } else { no_discard });
            out.add_row([name, role, disk.disk.as_str(), &bytes(disk.size), &disk.tracking, note]);
        }
    }
    format!("{out}\n")
}

fn status(status: &Status) -> String {
    let agent = if status.running { "agent running" } else { "no agent running: nothing is replicated now" };
    let mut text = format!("Host {}: {agent}\n", status.host);
    for problem in &status.problems {
        text += &format!("{}: {problem}\n", problem.code);
    }
    if !status.sources.is_empty() {
        let mut out = table(&["REPLICATED FROM HERE", "TO", "EVERY", "STATE", "RPO", "NOTE"]);
        for line in &status.sources {
            let (every, rpo) = (duration(line.frequency_ms), line.rpo_ms.map_or("-".to_owned(), duration));
            let note = line.fault.as_deref().unwrap_or("");
            out.add_row([&line.machine, &line.target, &every, &line.state, &rpo, note]);
        }
        text += &format!("\n{out}\n");
    }
    if !status.replicas.is_empty() {
        let mut out = table(&["REPLICA HERE", "STATE", "POINTS", "NEWEST", "RPO", "STORED", "NOTE"]);
        for line in &status.replicas {
            let name = if line.machine.is_empty() { line.id.to_string() } else { line.machine.clone() };
            let state = line.brought_up_at.map_or(line.state.clone(), |at| format!("{} at {at}", line.state));
            let newest = line.newest.map_or("-".to_owned(), |id| id.to_string());
            let rpo = line.rpo_ms.map_or("-".to_owned(), duration);
            let (count, stored, note) = (line.points.to_string(), bytes(line.stored), line.faults.join("; "));
            out.add_row([&name, &state, &count, &newest, &rpo, &stored, &note]);
        }
        text += &format!("\n{out}\n");
    }
    text
}

fn points(replica: &ReplicaPoints) -> String {
    let name = if replica.machine.is_empty() { replica.id.to_string() } else { replica.machine.clone() };
    if let Some(fault) = &replica.fault {
        return format!("{name}: {fault}\n");
    }
    if replica.points.is_empty() {
        return format!("{name}: no recovery point yet: the initial replication is not complete\n");
    }
    let mut out = table(&["POINT", "CAPTURED", "CONSISTENCY", "CHANGED", "RECEIVED", "NOTE"]);
    for point in &replica.points {
        out.add_row(point_row(point));
    }
    format!("{name}: {} recovery points\n{out}\n", replica.points.len())
}

fn point_row(point: &PointLine) -> [String; 6] {
    let mut note: Vec<String> = point.pinned_by.iter().map(|holder| format!("pinned by {holder}")).collect();
    if point.published {
        note.insert(0, "published".to_owned());
    }
    [
        point.id.to_string(),
        instant(point.captured_ms),
        point.consistency.word().to_owned(),
        bytes(point.changed),
        bytes(point.received),
        note.join(", "),
    ]
}

fn verified(verified: &Verified) -> String {
    format!(
        "Point {} of {} is whole: {} of content match their digests, {} are zeros ({} read in {})\n",
        verified.point,
        verified.machine,
        bytes(verified.checked),
        bytes(verified.zeros),
        bytes(verified.read),
        duration(verified.took_ms),
    )
}

fn exported(exported: &Exported) -> String {
    let mut text = format!(
        "Point {} of {} exported in {}:\n",
        exported.point,
        exported.machine,
        duration(exported.took_ms)
    );
    for disk in &exported.disks {
        text += &format!("  {}  {}  {}\n", disk.disk, bytes(disk.size), disk.path.display());
    }
    text
}

fn brought_up(up: &BroughtUp) -> String {
    let shown = instant(up.captured_ms);
    let mut text = match (up.already, up.running_after_ms) {
        (true, _) => format!(
            "{} was brought up at point {} already ({shown}); it is {}\n",
            up.machine, up.point, up.power
        ),
        (false, Some(after)) => format!(
            "{} is {} at point {} ({shown}), {} after the command\n",
            up.machine,
            up.power,
            up.point,
            duration(after)
        ),
        (false, None) => format!("{} is defined at point {} ({shown}), not started\n", up.machine, up.point),
    };
    for disk in &up.without_disks {
        text += &format!("  it came up without disk {disk}, which is not replicated\n");
    }
    text
}

fn adopted(adopted: &Adopted) -> String {
    let name = if adopted.machine.is_empty() { adopted.id.to_string() } else { adopted.machine.clone() };
    let mut text =
        format!("The replica of {name} starts from these copies; its source sends what differs:\n");
    for disk in &adopted.disks {
        let (size, path) = (bytes(disk.size), disk.path.display());
        text += &format!("  {}  {size}  {}  {path} (was {})\n", disk.disk, disk.format, disk.from.display());
    }
    text
}

fn rescued_dropped(dropped: &RescuedDropped) -> String {
    let (gone, left) = (dropped.points.len(), dropped.left.len());
    format!("{gone} rescued points of {} are given up, {left} are left\n", dropped.machine)
}

fn released(released: &Released) -> String {
    let Released { machine, point, released, kept } = released;
    let told = match released {
        true => format!("point {point} of {machine} goes by retention from now on"),
        false => format!("point {point} of {machine} was not kept for what only this host has"),
    };
    match kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => format!("{told}\n"),
        kept => format!("{told}; kept for that still: {kept}\n"),
    }
}

fn discarded(discarded: &Discarded) -> String {
    match discarded.point {
        Some(point) => format!(
            "{} is stopped and what it wrote since point {point} is gone; its replica takes cycles again\n",
            discarded.machine
        ),
        None => format!("{} was not brought up here: nothing to discard\n", discarded.machine),
    }
}

fn replicated(replicated: &Replicated) -> String {
    let newest = replicated.newest.map_or("none".to_owned(), |id| id.to_string());
    format!(
        "{} to {}: {} recovery points, the newest {newest}, {} sent\n",
        replicated.machine,
        replicated.target,
        replicated.points,
        bytes(replicated.sent)
    )
}

/// Bytes as people read them.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A length of time as people read it.
pub(super) fn duration(ms: u64) -> String {
    let secs = ms / 1000;
    match secs {
        0 => format!("{ms} ms"),
        1..=59 => format!("{secs}.{} s", ms % 1000 / 100),
        60..=3599 => format!("{} min {} s", secs / 60, secs % 60),
        3600..=86_399 => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// An instant in this host's time.
fn instant(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or("-".to_owned(), |at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}
