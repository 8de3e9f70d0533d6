//! Reads the guest's ledger out of recovery points, without booting them: the chain of
//! records on the second disk, and on the first the file that must be in step with it.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use farshore_agent::control::{Exported, PointLine};
use farshore_e2e::host::TestHost;
use farshore_ledger::{
    Hash, RECORD_BYTES, Record, Root, Verdict, WITNESS_BYTES, Witness, judge, slots_on, survey,
};
use farshore_types::PointId;

use crate::site::{MACHINE, Site};

/// First bytes of the file on the first disk. It is one block, allocated once and then
/// written in place, so it is found without a file system.
const WITNESS_MAGIC: &[u8] = b"FSWITNES";
/// Where a file's block may begin.
const BLOCK: usize = 4096;

/// What a point held when it was first seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    disks: [blake3::Hash; 2],
    pub(crate) last: u64,
}

/// Judges points, and remembers each: a point never changes.
#[derive(Default)]
pub(crate) struct Judge {
    seen: BTreeMap<PointId, Seen>,
    /// Published points that were read by `qemu-img`, too.
    pub(crate) published: u64,
}

impl Judge {
    /// Judges every point that is kept now (or only those not seen before): its ledger is
    /// whole, both disks are of one instant, and it is what it was before. Gives the newest
    /// point's last record.
    ///
    /// The newest is read first: while a slow machine reads, the oldest are pruned.
    ///
    /// # Errors
    /// What is wrong, and with which point.
    pub(crate) fn check(&mut self, site: &Site, all: bool) -> Result<u64, String> {
        let mut newest = None;
        let mut later = u64::MAX;
        for point in site.points().into_iter().rev() {
            let known = self.seen.get(&point.id).copied();
            let found = match known.filter(|_| !all) {
                Some(seen) => Some(seen),
                None => self.read(site, &point)?,
            };
            let Some(seen) = found else { continue };
            if seen.last > later {
                return Err(format!(
                    "point {} ends at record {}, one after it at {later}",
                    point.id, seen.last
                ));
            }
            if known.is_some_and(|before| before != seen) {
                return Err(format!("point {} has changed", point.id));
            }
            self.seen.insert(point.id, seen);
            (newest, later) = (newest.or(Some(seen.last)), seen.last);
        }
        newest.ok_or_else(|| "no point could be read before it was pruned".to_owned())
    }

    fn read(&mut self, site: &Site, point: &PointLine) -> Result<Option<Seen>, String> {
        self.read_at(site, &site.away, point)
    }

    /// Reads one point by the agent of its host, and by stock `qemu-img` where it is published. None
    /// where it was pruned meanwhile.
    fn read_at(&mut self, site: &Site, host: &TestHost, point: &PointLine) -> Result<Option<Seen>, String> {
        let out = tempfile::tempdir_in(site.dir.path()).unwrap();
        let (id, to) = (point.id.to_string(), out.path().display().to_string());
        let exported: Exported = match host.command(&["export", MACHINE, "--point", &id, "--to", &to]) {
            Ok(exported) => exported,
            Err(_) if !kept(site, host, point.id) => return Ok(None),
            Err(why) => return Err(format!("exporting point {id}: {why}")),
        };
        let [vda, vdb] = &exported.disks[..] else { panic!("the guest has two disks") };
        let seen = (site.whole)(&vda.path, &vdb.path).map_err(|why| format!("point {id}: {why}"))?;
        if point.published {
            self.compare_with_stock(site, host, point.id, (out.path(), seen))?;
        }
        Ok(Some(seen))
    }

    fn compare_with_stock(
        &mut self,
        site: &Site,
        host: &TestHost,
        id: PointId,
        (dir, seen): (&Path, Seen),
    ) -> Result<(), String> {
        for (n, disk) in ["vda", "vdb"].into_iter().enumerate() {
            let image = host.dir.join("replicas").join(&site.uuid).join(format!("{disk}.qcow2"));
            let to = dir.join("stock");
            let mut convert = Command::new("qemu-img");
            convert.args(["convert", "-l", &id.to_string(), "-f", "qcow2", "-O", "raw"]);
            let done = convert.args([&image, &to]).stdin(Stdio::null()).output().unwrap();
            if !done.status.success() {
                // A prune, or the next publishing, may have taken it out of the list.
                let still = site.points_at(host).into_iter().any(|point| point.id == id && point.published);
                let said = String::from_utf8_lossy(&done.stderr).into_owned();
                return if still { Err(format!("qemu-img cannot read point {id}: {said}")) } else { Ok(()) };
            }
            if hash(&to) != seen.disks[n] {
                return Err(format!("point {id}: {disk} read by qemu-img is not what the agent exports"));
            }
        }
        self.published += 1;
        Ok(())
    }
}

/// Whether a point is still kept.
fn kept(site: &Site, host: &TestHost, id: PointId) -> bool {
    site.points_at(host).iter().any(|point| point.id == id)
}

/// The last record of a point that the other host keeps.
pub(crate) fn last_of(site: &Site, point: &PointLine) -> u64 {
    last_at(site, &site.away, point)
}

/// The last record of a point that a host keeps.
pub(crate) fn last_at(site: &Site, host: &TestHost, point: &PointLine) -> u64 {
    let found = Judge::default().read_at(site, host, point).unwrap();
    found.unwrap_or_else(|| panic!("point {} is not kept", point.id)).last
}

/// A way to judge both disks of a point, raw.
pub(crate) type Whole = fn(&Path, &Path) -> Result<Seen, String>;

/// Judges those of the full guest.
pub(crate) fn whole_debian(vda: &Path, vdb: &Path) -> Result<Seen, String> {
    let verdict = crate::ext4::judged(vda, vdb)?;
    seen(verdict, [hash(vda), hash(vdb)])
}

/// Judges those of the demo guest.
pub(crate) fn whole(vda: &Path, vdb: &Path) -> Result<Seen, String> {
    let ledger = fs::read(vdb).unwrap();
    let found = survey(&mut &ledger[..], slots_on(ledger.len() as u64)).unwrap();
    let first = fs::read(vda).unwrap();
    let blocks = first.chunks_exact(BLOCK).filter(|block| block.starts_with(WITNESS_MAGIC));
    let witness = blocks.map(|block| Witness::decode(&block[..WITNESS_BYTES])).next_back();
    let verdict = judge(&found, witness, Root::Clean);
    seen(verdict, [blake3::hash(&first), blake3::hash(&ledger)])
}

fn seen(verdict: Verdict, disks: [blake3::Hash; 2]) -> Result<Seen, String> {
    match verdict.is_good() && verdict.last > 0 {
        true => Ok(Seen { disks, last: verdict.last }),
        false => Err(verdict.to_string()),
    }
}

/// One record of the demo guest's ledger, and its digest.
pub(crate) fn record_on(vdb: &Path, number: u64) -> (Record, Hash) {
    let ledger = fs::read(vdb).unwrap();
    let slot = usize::try_from(number % slots_on(ledger.len() as u64)).unwrap() * RECORD_BYTES;
    let block = ledger[slot..slot + RECORD_BYTES].try_into().unwrap();
    Record::decode(block).unwrap()
}

fn hash(path: &Path) -> blake3::Hash {
    blake3::hash(&fs::read(path).unwrap())
}
