//! Initial replication beside `nbdcopy` and `qemu-img convert`, all reading the same kind of
//! export: a pull-mode backup of a started machine. And resync of what has not changed.

use std::{fs, process::Command};

use farshore_agent::control::Replicated;
use farshore_e2e::host::{Outcome, run};
use farshore_hypervisor::{BackupDisk, BackupMode, BackupSpec, Hypervisor, Start, libvirt::Libvirt};
use tokio::runtime::Runtime;

use crate::{
    lab::{Cost, Lab, Pair, text, timed},
    machine::{MACHINE, Machine, copy, definition},
    table::{Row, median, mib, over, secs},
};

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let others = Others::new(lab)?;
    let (mut plain, mut packed, mut nbdcopy, mut convert) = (vec![], vec![], vec![], vec![]);
    let mut resync = None;
    for round in 0..lab.arguments.rounds {
        nbdcopy.push(others.nbdcopy()?);
        let (mut pair, took, sent) = initial(lab, "off")?;
        plain.push(took);
        if round == 0 {
            resync = Some((resync_unchanged(&mut pair)?, sent));
        }
        drop(pair);
        convert.push(others.convert()?);
        packed.push(initial(lab, "on")?.1);
        println!(
            "    round {}: initial {}, nbdcopy {}; compressed {}, qemu-img {}",
            round + 1,
            secs(plain[plain.len() - 1].wall),
            secs(nbdcopy[nbdcopy.len() - 1].wall),
            secs(packed[packed.len() - 1].wall),
            secs(convert[convert.len() - 1].wall)
        );
    }
    let mut rows: Vec<Row> = [
        compared(
            "initial replication of 4 GiB with 1 GiB of files, TLS, digests, durable, against `nbdcopy --flush`",
            (&plain, &nbdcopy),
            ("≤ 1.5 ×", 1.5),
        ),
        compared(
            "the same compressed, against `qemu-img convert -c -o compression_type=zstd`",
            (&packed, &convert),
            ("≤ 0.5 ×", 0.5),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some((again, first)) = resync {
        let share = again as f64 / first.max(1) as f64;
        rows.push(Row {
            measure: "resync of an unchanged 4 GiB disk after QEMU was killed: bytes sent".to_owned(),
            ours: mib(again),
            against: format!("{} of data", mib(first)),
            figure: format!("{:.2} %", share * 100.0),
            reach: "≤ 1 %",
            reached: Some(share <= 0.01),
        });
    }
    Ok(rows)
}

fn compared(measure: &str, (ours, theirs): (&[Cost], &[Cost]), reach: (&'static str, f64)) -> [Row; 2] {
    let wall = |costs: &[Cost]| median(&costs.iter().map(|c| c.wall).collect::<Vec<_>>());
    let busy = |costs: &[Cost]| median(&costs.iter().map(|c| c.busy).collect::<Vec<_>>());
    let pair = |ours, theirs| ((secs(ours), secs(theirs)), over(ours, theirs));
    let (walls, ratio) = pair(wall(ours), wall(theirs));
    let (busies, more) = pair(busy(ours), busy(theirs));
    let processors = Row::shown(
        "… processor time of the whole machine meanwhile",
        busies.0,
        busies.1,
        format!("{more:.2} ×"),
    );
    [Row::ratio(measure, walls, ratio, reach), processors]
}

/// One initial replication by one command; the hosts, how long the command took, and the
/// bytes of data sent.
pub(crate) fn initial(lab: &Lab, compression: &str) -> Outcome<(Pair, Cost, u64)> {
    let mut pair = lab.pair()?;
    let disk = copy(&lab.disk_of_files()?, pair.home.dir.join("images/vda.qcow2"))?;
    drop(Machine::start(&pair.home, &disk)?);
    pair.home.start_agent()?;
    pair.settle()?;
    settle()?;
    let (done, cost) = timed(|| replicate_once(&pair, compression))?;
    Ok((pair, cost, done.sent))
}

/// `farshore-agent replicate --once`.
pub(crate) fn replicate_once(pair: &Pair, compression: &str) -> Outcome<Replicated> {
    let to = format!("127.0.0.1:{}", pair.away.port);
    let target = ["--to", to.as_str(), "--server-name", pair.away.name.as_str()];
    let mut args = vec!["replicate", MACHINE, "--once", "--compression", compression];
    args.extend(target);
    pair.home.command(&args)
}

/// Bytes sent after QEMU was killed and the machine started again.
fn resync_unchanged(pair: &mut Pair) -> Outcome<u64> {
    let _ = pair.home.kill_machines();
    pair.home.kill_agent();
    drop(Machine::start(&pair.home, &pair.home.dir.join("images/vda.qcow2"))?);
    pair.home.start_agent()?;
    Ok(replicate_once(pair, "off")?.sent)
}

/// Lets the kernel write out what earlier steps left, so that nobody pays for another.
fn settle() -> Outcome<()> {
    run(&mut Command::new("sync")).map(drop)
}

/// The same disk in a backup of its own, for other tools to read.
struct Others {
    runtime: Runtime,
    host: Libvirt,
    socket: std::path::PathBuf,
    dir: tempfile::TempDir,
    id: farshore_types::MachineId,
}

impl Others {
    fn new(lab: &Lab) -> Outcome<Others> {
        let dir = tempfile::Builder::new().prefix("others-").tempdir_in(&lab.dir).map_err(text)?;
        let disk = copy(&lab.disk_of_files()?, dir.path().join("vda.qcow2"))?;
        let runtime = Runtime::new().map_err(text)?;
        let socket = dir.path().join("backup.sock");
        let spec = BackupSpec {
            checkpoint: None,
            disks: vec![BackupDisk {
                key: "vda".parse().map_err(text)?,
                mode: BackupMode::Full,
                tracked: false,
                scratch: dir.path().join("scratch"),
            }],
            socket: socket.clone(),
        };
        let uri = format!("qemu:///embed?root={}/libvirt", dir.path().display());
        let (host, id) = runtime.block_on(async {
            let host = Libvirt::open(&uri).await.map_err(text)?;
            let id = host.define(&definition(&disk, None)).await.map_err(text)?;
            host.start(id, Start::Paused).await.map_err(text)?;
            host.begin_backup(id, &spec).await.map_err(text)?;
            Ok::<_, String>((host, id))
        })?;
        Ok(Others { runtime, host, socket, dir, id })
    }

    fn export(&self) -> String {
        format!("nbd+unix:///vda?socket={}", self.socket.display())
    }

    fn nbdcopy(&self) -> Outcome<Cost> {
        let out = self.dir.path().join("copy.raw");
        let _ = fs::remove_file(&out);
        settle()?;
        Ok(timed(|| run(Command::new("nbdcopy").args(["--flush", &self.export()]).arg(&out)))?.1)
    }

    fn convert(&self) -> Outcome<Cost> {
        let out = self.dir.path().join("copy.qcow2");
        let _ = fs::remove_file(&out);
        settle()?;
        let how = ["convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"];
        Ok(timed(|| run(Command::new("qemu-img").args(how).arg(self.export()).arg(&out)))?.1)
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        // The machine goes with the measurement; a failure leaves a process that says so.
        if let Err(e) = self.runtime.block_on(self.host.destroy(self.id)) {
            eprintln!("bench: stopping the machine of the other tools: {e}");
        }
    }
}
