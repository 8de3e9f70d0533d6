//! A machine's definition made fit for another host: other names, disks and networks; what
//! belongs to the old host goes; everything else stays byte for byte. This module must never
//! decide which disk or network a machine gets.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
};

use farshore_types::{DiskKey, MachineId};
use quick_xml::escape::escape;

use super::{DefinitionError, Element, parse, read::disk_key};

/// What a definition is changed to. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Another name for the machine.
    pub name: Option<String>,
    /// Another UUID: for a copy beside the original.
    pub id: Option<MachineId>,
    /// The disks that get other content.
    pub disks: BTreeMap<DiskKey, Overlay>,
    /// Whether disks of `disks` that the definition does not have are added to it: those that
    /// were plugged in only until the machine stops. Else that is an error.
    pub add_disks: bool,
    /// The disks that the machine comes up without.
    pub drop_disks: BTreeSet<DiskKey>,
    /// Other networks by the name of network, bridge or device that a card is connected to
    /// now; `None` pulls its plug.
    pub networks: BTreeMap<String, Option<String>>,
    /// Where a network that `networks` does not name leads: `true` pulls the plug, `false`
    /// leaves it.
    pub unplug_others: bool,
    /// The one network that every card is connected to, whatever it was connected to; `networks`
    /// counts for nothing then.
    pub all_networks: Option<String>,
    /// Every card gets an address that nobody has: for a copy beside the original.
    pub new_cards: bool,
    /// Another file for the firmware's variables.
    pub nvram: Option<PathBuf>,
    /// Another kind of virtualization: `qemu` where the host has no `kvm`.
    pub virtualization: Option<String>,
    /// Another emulator; an empty path leaves the choice to the hypervisor.
    pub emulator: Option<PathBuf>,
}

/// A disk's other content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: String,
}

/// The network cards of a started machine's definition, each with its cable pulled: as the
/// hypervisor takes them for a change of what runs.
///
/// # Errors
/// [`DefinitionError`] where it is malformed.
pub fn unplugged_nics(text: &str) -> Result<Vec<String>, DefinitionError> {
    let root = parse(text)?;
    let devices = root.child("devices").ok_or(DefinitionError::Missing { what: "<devices>" })?;
    let unplugged = |nic: &Element| {
        let mut edits = Edits { text, list: Vec::new() };
        nic.children("link").for_each(|link| edits.remove(link));
        edits.insert_first(nic, "<link state='down'/>");
        let (whole, after) = (edits.apply(), text.len() - nic.span.end);
        whole[nic.span.start..whole.len() - after].to_owned()
    };
    let is_plugged =
        |nic: &&Element| !nic.children("link").any(|link| link.attribute("state") == Some("down"));
    Ok(devices.children("interface").filter(is_plugged).map(unplugged).collect())
}

/// Changes a definition.
///
/// Always goes: `<backingStore>`, the disks' `<mirror>` and source indexes, `<alias>`,
/// dynamic `<seclabel>`, the domain's `id`, the content of CD and floppy drives.
///
/// # Errors
/// [`DefinitionError`] where it is malformed, or a named disk is not there.
pub fn rewrite(text: &str, to: &Rewrite) -> Result<String, DefinitionError> {
    let root = parse(text)?;
    let mut edits = Edits { text, list: Vec::new() };
    edits.machine(&root, to);
    let devices = root.child("devices").ok_or(DefinitionError::Missing { what: "<devices>" })?;
    let mut seen = BTreeSet::new();
    for disk in devices.children("disk") {
        let key = disk_key(disk);
        edits.disk(disk, key.as_ref(), to);
        seen.extend(key);
    }
    let missing = |key: &&DiskKey| !seen.contains(*key);
    if to.add_disks {
        let added = to.disks.iter().filter(|(key, _)| missing(key));
        let added: String = added.map(|(key, overlay)| new_disk(devices, key, overlay)).collect();
        edits.insert_last(devices, &added);
    } else if let Some(missing) = to.disks.keys().find(missing) {
        return Err(DefinitionError::NoSuchDisk(missing.clone()));
    }
    if let Some(missing) = to.drop_disks.iter().find(missing) {
        return Err(DefinitionError::NoSuchDisk(missing.clone()));
    }
    for nic in devices.children("interface") {
        edits.nic(nic, to);
    }
    for device in &devices.children {
        // A user's own alias is part of the definition; a generated one belongs to a run.
        let generated = |a: &&Element| !a.attribute("name").unwrap_or_default().starts_with("ua-");
        device.children("alias").filter(generated).for_each(|a| edits.remove(a));
    }
    Ok(edits.apply())
}

/// Attributes that hold a secret: of displays, and of whatever else has one.
const SECRETS: [&str; 2] = ["passwd", "password"];

/// The definition without the secrets in it.
///
/// # Errors
/// [`DefinitionError`] where it is malformed.
pub fn without_secrets(text: &str) -> Result<String, DefinitionError> {
    let root = parse(text)?;
    let mut edits = Edits { text, list: Vec::new() };
    let mut left = vec![&root];
    while let Some(element) = left.pop() {
        for name in SECRETS {
            edits.set_attribute(element, name, None);
        }
        left.extend(&element.children);
    }
    Ok(edits.apply())
}

/// Changes to a text: what stands at a place, and what shall.
struct Edits<'a> {
    text: &'a str,
    list: Vec<(Range<usize>, String)>,
}

impl Edits<'_> {
    fn machine(&mut self, root: &Element, to: &Rewrite) {
        self.set_attribute(root, "id", None);
        if let Some(kind) = &to.virtualization {
            self.set_attribute(root, "type", Some(kind));
        }
        if let Some(name) = &to.name {
            self.set_child(root, "name", name);
        }
        if let Some(id) = &to.id {
            self.set_child(root, "uuid", &id.to_string());
        }
        root.children("seclabel")
            .filter(|s| s.attribute("type") == Some("dynamic"))
            .for_each(|s| self.remove(s));
        if let (Some(path), Some(nvram)) = (&to.nvram, root.at(&["os", "nvram"])) {
            self.nvram(nvram, path);
        }
        if let (Some(path), Some(emulator)) = (&to.emulator, root.at(&["devices", "emulator"])) {
            if path.as_os_str().is_empty() {
                self.remove(emulator);
            } else {
                self.set_text(emulator, &path.to_string_lossy());
            }
        }
    }

    /// The variables' file; what it is made from where it is missing stays.
    fn nvram(&mut self, nvram: &Element, path: &Path) {
        let path = path.to_string_lossy();
        match nvram.child("source") {
            Some(source) => {
                self.list.push((source.span.clone(), format!("<source file='{}'/>", escape(&*path))));
            }
            None => self.set_text(nvram, &path),
        }
    }

    fn disk(&mut self, disk: &Element, key: Option<&DiskKey>, to: &Rewrite) {
        if key.is_some_and(|key| to.drop_disks.contains(key)) {
            self.remove(disk);
            return;
        }
        disk.children("backingStore").chain(disk.children("mirror")).for_each(|e| self.remove(e));
        let source = disk.child("source");
        if let Some(overlay) = key.and_then(|key| to.disks.get(key)) {
            self.overlay(disk, overlay);
        } else if matches!(disk.attribute("device"), Some("cdrom" | "floppy")) {
            source.into_iter().for_each(|s| self.remove(s));
        } else if let Some(source) = source {
            self.set_attribute(source, "index", None);
        }
    }

    fn overlay(&mut self, disk: &Element, overlay: &Overlay) {
        self.set_attribute(disk, "type", Some("file"));
        match disk.child("driver") {
            Some(driver) => self.set_attribute(driver, "type", Some(&overlay.format)),
            None => {
                self.insert_first(disk, &format!("<driver name='qemu' type='{}'/>", escape(&overlay.format)));
            }
        }
        let source = format!("<source file='{}'/>", escape(&*overlay.path.to_string_lossy()));
        match disk.child("source") {
            Some(old) => self.replace(old, source),
            None => self.insert_first(disk, &source),
        }
    }

    fn nic(&mut self, nic: &Element, to: &Rewrite) {
        let source = nic.child("source");
        let now = source.and_then(|s| ["network", "bridge", "dev"].iter().find_map(|name| s.attribute(name)));
        // What a run chose: the tap device's name, and the port of a network.
        nic.children("target").filter(|t| generated_device(t)).for_each(|t| self.remove(t));
        if to.new_cards {
            nic.children("mac").for_each(|m| self.remove(m));
        }
        if let Some(network) = &to.all_networks {
            return self.connect(nic, network);
        }
        match now.and_then(|now| to.networks.get(now)) {
            Some(Some(network)) => self.connect(nic, network),
            Some(None) => self.unplug(nic),
            None if to.unplug_others => self.unplug(nic),
            None => {}
        }
    }

    fn connect(&mut self, nic: &Element, network: &str) {
        self.set_attribute(nic, "type", Some("network"));
        self.source(nic, &format!("<source network='{}'/>", escape(network)));
        nic.children("virtualport").for_each(|p| self.remove(p));
    }

    /// Leaves the card in its slot, connected to the emulator's own closed network with the
    /// link down: the guest sees the same hardware and an unplugged cable.
    fn unplug(&mut self, nic: &Element) {
        self.set_attribute(nic, "type", Some("user"));
        for name in ["source", "virtualport", "backend", "portForward", "link"] {
            nic.children(name).for_each(|e| self.remove(e));
        }
        self.insert_first(nic, "<link state='down'/>");
    }

    fn source(&mut self, of: &Element, source: &str) {
        match of.child("source") {
            Some(old) => self.replace(old, source.to_owned()),
            None => self.insert_first(of, source),
        }
    }

    fn replace(&mut self, element: &Element, xml: String) {
        self.list.push((element.span.clone(), xml));
    }

    fn set_child(&mut self, parent: &Element, name: &str, text: &str) {
        match parent.child(name) {
            Some(child) => self.set_text(child, text),
            None => self.insert_first(parent, &format!("<{name}>{}</{name}>", escape(text))),
        }
    }

    fn set_text(&mut self, element: &Element, text: &str) {
        let text = escape(text);
        let inner = element.inner(self.text);
        if element.open == element.span {
            let tag = self.text[element.open.clone()].trim_end_matches("/>").trim_end();
            self.list.push((element.span.clone(), format!("{tag}>{text}</{}>", element.name)));
        } else {
            self.list.push((inner, text.into_owned()));
        }
    }

    fn insert_first(&mut self, parent: &Element, xml: &str) {
        if parent.open == parent.span {
            let slash = parent.open.end - 2;
            self.list.push((slash..parent.open.end, format!(">{xml}</{}>", parent.name)));
        } else {
            self.list.push((parent.open.end..parent.open.end, xml.to_owned()));
        }
    }

    fn insert_last(&mut self, parent: &Element, xml: &str) {
        if parent.open == parent.span {
            self.insert_first(parent, xml);
        } else {
            let end = parent.inner(self.text).end;
            self.list.push((end..end, xml.to_owned()));
        }
    }

    /// Sets, adds or (`None`) removes an attribute; the others stay as written.
    fn set_attribute(&mut self, element: &Element, name: &str, value: Option<&str>) {
        let tag = &self.text[element.open.clone()];
        let place = attribute_place(tag, name);
        let written = value.map_or_else(String::new, |v| format!(" {name}='{}'", escape(v)));
        match place {
            Some(place) => self.list.push((shift(place, element.open.start), written)),
            None if written.is_empty() => {}
            None => {
                let at = element.open.start + 1 + element.name.len();
                self.list.push((at..at, written));
            }
        }
    }

    /// Removes an element, and the line that it stood on alone.
    fn remove(&mut self, element: &Element) {
        let before = &self.text[..element.span.start];
        let line = before.trim_end_matches([' ', '\t']);
        let start = if line.ends_with('\n') { line.len() - 1 } else { element.span.start };
        self.list.push((start..element.span.end, String::new()));
    }

    fn apply(mut self) -> String {
        // Stable: two insertions at one place keep their order.
        self.list.sort_by_key(|(place, _)| (place.start, place.end));
        let (mut out, mut at) = (String::with_capacity(self.text.len()), 0);
        for (place, new) in self.list {
            if place.start >= at {
                out.push_str(&self.text[at..place.start]);
                out.push_str(&new);
                at = place.end;
            }
        }
        out.push_str(&self.text[at..]);
        out
    }
}

/// A disk that the definition does not have, at the bus of those that are named like it.
fn new_disk(devices: &Element, key: &DiskKey, overlay: &Overlay) -> String {
    let prefix = key.as_str().get(..2).unwrap_or_default();
    let targets = devices.children("disk").filter_map(|disk| disk.child("target"));
    let mut like =
        targets.filter(|target| target.attribute("dev").is_some_and(|dev| dev.starts_with(prefix)));
    let bus = like.find_map(|target| target.attribute("bus")).unwrap_or(match prefix {
        "sd" => "sata",
        "hd" => "ide",
        "xv" => "xen",
        _ => "virtio",
    });
    format!(
        "<disk type='file' device='disk'><driver name='qemu' type='{}'/><source file='{}'/>\
         <target dev='{key}' bus='{}'/></disk>",
        escape(&overlay.format),
        escape(&*overlay.path.to_string_lossy()),
        escape(bus)
    )
}

/// Where ` name='value'` stands in a start tag, the space before it included.
fn attribute_place(tag: &str, name: &str) -> Option<Range<usize>> {
    let mut at = tag.find(char::is_whitespace)?;
    loop {
        let rest = &tag[at..];
        let start = at + rest.find(|c: char| !c.is_whitespace())?;
        let equals = start + tag[start..].find('=')?;
        let open = equals + tag[equals..].find(['"', '\''])?;
        let quote = tag[open..].chars().next()?;
        let end = open + 1 + tag[open + 1..].find(quote)? + 1;
        if tag[start..equals].trim_end() == name {
            return Some(at..end);
        }
        at = end;
    }
}

fn shift(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

fn generated_device(target: &Element) -> bool {
    let device = target.attribute("dev").unwrap_or_default();
    ["vnet", "macvtap", "vif"].iter().any(|prefix| device.starts_with(prefix))
}

#[cfg(test)]
mod tests;
