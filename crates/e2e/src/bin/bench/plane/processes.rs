//! What processes take, as the kernel counts it, and processes of simulated agents. This
//! module must never know what they do.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use farshore_e2e::host::Outcome;

use super::swarm::{Plan, SWARM, Told};
use crate::lab::{memory, text};

/// Length of the kernel's ticks.
const TICK: Duration = Duration::from_millis(10);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// One process, watched from a moment on.
pub(super) struct Watched {
    pid: u32,
    begun: (Instant, Duration),
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    looking: JoinHandle<()>,
}

/// What it took meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    /// Of one core, 0 to as many as there are.
    pub(super) share: f64,
    /// Most bytes of memory that were resident when it was looked.
    pub(super) memory: u64,
}

impl Watched {
    pub(super) fn begin(pid: u32) -> Outcome<Watched> {
        let (most, over) = (Arc::new(AtomicU64::new(memory(pid)?)), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (Arc::clone(&most), Arc::clone(&over));
        let looking = spawn(move || {
            while !stop.load(Relaxed) {
                // Gone processes are told of by `end`.
                seen.fetch_max(memory(pid).unwrap_or(0), Relaxed);
                sleep(LOOK);
            }
        });
        Ok(Watched { pid, begun: (Instant::now(), busy(pid)?), most, over, looking })
    }

    pub(super) fn end(self) -> Outcome<Took> {
        let (wall, busy) = (self.begun.0.elapsed(), busy(self.pid)?.saturating_sub(self.begun.1));
        self.over.store(true, Relaxed);
        self.looking.join().map_err(|_| "looking at memory failed")?;
        Ok(Took { share: busy.as_secs_f64() / wall.as_secs_f64(), memory: self.most.load(Relaxed) })
    }
}

/// Time that a process has been running, in user mode and in the kernel.
pub(super) fn busy(pid: u32) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(text)?;
    // Behind the name, which may hold anything: the 14th and 15th field of all.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u32>().map_err(text));
    Ok(TICK * ticks.sum::<Outcome<u32>>()?)
}

/// A process of simulated agents; it ends with this.
pub(super) struct Swarm {
    child: Child,
    told: Arc<Mutex<Told>>,
}

impl Swarm {
    /// Starts one; its plan and its log are in `dir`.
    pub(super) fn start(plan: &Plan, dir: &Path) -> Outcome<Swarm> {
        fs::create_dir_all(dir).map_err(text)?;
        let path = dir.join("plan.json");
        fs::write(&path, serde_json::to_vec(plan).map_err(text)?).map_err(text)?;
        let log = fs::File::create(dir.join("log")).map_err(text)?;
        let program = std::env::current_exe().map_err(text)?;
        let mut command = Command::new(program);
        let command = command.arg(SWARM).arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(text)?;
        let told = Arc::new(Mutex::new(Told::default()));
        let (said, known) = (child.stdout.take().ok_or("it has no output")?, Arc::clone(&told));
        spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if let Ok(now) = serde_json::from_str(&line) {
                    *known.lock().unwrap_or_else(PoisonError::into_inner) = now;
                }
            }
        });
        Ok(Swarm { child, told })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said last.
    pub(super) fn told(&self) -> Told {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
