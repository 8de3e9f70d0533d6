//! A machine without a guest: it stands still, and its disk is written through QEMU's own
//! block layer by `qemu-io`, so that bitmaps and backups see exactly what a guest's writes
//! would do, and a measurement can be repeated.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use farshore_e2e::host::{Outcome, TestHost};
use farshore_hypervisor::Start;
use serde_json::{Value, json};

use crate::lab::text;

/// Name of the machine on each host.
pub(crate) const MACHINE: &str = "bench";

/// Its UUID: the same on every host that ever runs it.
const UUID: &str = "5d0f3c4e-0a4b-4c53-9f5a-6b656e636831";

/// The disk's device in QEMU, as libvirt names it.
const DEVICE: &str = "/machine/peripheral/virtio-disk0/virtio-backend";

/// A machine that stands still.
pub(crate) struct Machine {
    qmp: BufReader<UnixStream>,
}

impl Machine {
    /// Defines and starts the machine on `host`, whose agent does not run, with this disk.
    pub(crate) fn start(host: &TestHost, disk: &Path) -> Outcome<Machine> {
        let socket = host.dir.join("qmp.sock");
        host.place(&definition(disk, Some(&socket)), Start::Paused)?;
        Machine::attach(host)
    }

    /// Connects to the machine that runs on `host`.
    pub(crate) fn attach(host: &TestHost) -> Outcome<Machine> {
        let stream = UnixStream::connect(host.dir.join("qmp.sock")).map_err(text)?;
        stream.set_read_timeout(Some(Duration::from_secs(120))).map_err(text)?;
        let mut machine = Machine { qmp: BufReader::new(stream) };
        machine.line()?;
        machine.command(&json!({"execute": "qmp_capabilities"}))?;
        Ok(machine)
    }

    /// Writes the first `len` bytes of a file to the disk at `offset`.
    pub(crate) fn write(&mut self, piece: &Path, offset: u64, len: u64) -> Outcome<()> {
        let line = format!("qemu-io -d {DEVICE} \"write -q -s {} {offset} {len}\"", piece.display());
        let said = self.command(&json!({
            "execute": "human-monitor-command", "arguments": {"command-line": line}
        }))?;
        match said.as_str() {
            Some("") => Ok(()),
            _ => Err(format!("writing to the machine's disk: {said}")),
        }
    }

    fn command(&mut self, command: &Value) -> Outcome<Value> {
        writeln!(self.qmp.get_mut(), "{command}").map_err(text)?;
        loop {
            let answer = self.line()?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(format!("QEMU answers {error}"));
            }
        }
    }

    fn line(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        self.qmp.read_line(&mut line).map_err(text)?;
        serde_json::from_str(&line).map_err(|e| format!("reading QEMU's answer: {e}"))
    }
}

/// The definition of a machine with one disk and nothing to boot.
pub(crate) fn definition(disk: &Path, qmp: Option<&Path>) -> String {
    let monitor = qmp.map_or(String::new(), |path| {
        format!(
            "<qemu:commandline><qemu:arg value='-qmp'/>\
             <qemu:arg value='unix:{},server=on,wait=off'/></qemu:commandline>",
            path.display()
        )
    });
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{MACHINE}</name><uuid>{}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/><source file='{}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
  </devices>
  {monitor}
</domain>",
        UUID,
        disk.display()
    )
}

/// A copy of a disk, made by reflink where the file system can.
pub(crate) fn copy(disk: &Path, to: PathBuf) -> Outcome<PathBuf> {
    fs::copy(disk, &to).map_err(text)?;
    Ok(to)
}

/// Waits for a cycle later than `after` whose dirty bytes are at least `dirty`; its report.
pub(crate) fn wait_cycle(host: &TestHost, after: &str, dirty: u64) -> Outcome<Value> {
    let (begun, mut last) = (Instant::now(), String::new());
    while begun.elapsed() < Duration::from_secs(180) {
        // An agent that has just been started does not know its machines yet.
        match host.source() {
            Ok(source) => {
                let cycle = &source.details["last_cycle"];
                if cycle["id"].as_str().is_some_and(|id| id != after) && number(cycle, "dirty") >= dirty {
                    return Ok(cycle.clone());
                }
                last = source.fault.unwrap_or(source.state);
            }
            Err(why) => last = why,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("waited 180 s in vain for a cycle: {last}"))
}

/// A number of a report.
pub(crate) fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or(0)
}
