//! One connection and the calls on it: each on a thread of its own, with a deadline, and
//! turned away at once where an earlier call for the same machine never came back. This
//! module must never know what a call does.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use farshore_types::MachineId;
use tokio::sync::broadcast;
use virt::{connect::Connect, error::Error};

use super::{
    embed,
    events::EventSink,
    fault::{Call, Fault},
    ffi, lookup,
};
use crate::{Event, HypervisorError, Kind, Result};

/// Longest wait for a connection.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// Events kept for a receiver that lags.
const EVENT_QUEUE: usize = 1024;
/// Bytes of stack of the event loop's thread.
const EVENT_STACK: usize = 512 * 1024;

/// A host as libvirt knows it.
pub(super) struct Host {
    shared: Arc<Shared>,
}

struct Shared {
    uri: String,
    connection: Mutex<Option<Arc<Owned>>>,
    /// Set by libvirt's close callback: the next call opens anew.
    broken: Arc<AtomicBool>,
    events: broadcast::Sender<Event>,
    /// Calls that missed their deadline and still run.
    overdue: Mutex<Vec<(MachineId, &'static str)>>,
}

/// A connection and the listening on it, which ends when this is dropped.
pub(super) struct Owned {
    opened: Arc<Opened>,
    callback: i32,
}

impl std::ops::Deref for Owned {
    type Target = Connect;

    fn deref(&self) -> &Connect {
        &self.opened.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        ffi::unlisten(&self.opened.0, self.callback);
    }
}

/// A connection that is closed when dropped; `virt`'s own is not.
struct Opened(Connect);

impl Drop for Opened {
    fn drop(&mut self) {
        if let Err(error) = self.0.close() {
            tracing::debug!(%error, "closing a libvirt connection");
        }
    }
}

impl Opened {
    fn open(uri: &str) -> Call<Arc<Opened>> {
        Connect::open(Some(uri)).map(|c| Arc::new(Opened(c))).map_err(|error| unopened(uri, error))
    }

    /// The process's one connection to an embedded host. Each opening registers libvirt's
    /// drivers anew, and after some ten it has no room left: so it is opened once and kept.
    fn embedded(uri: &str, root: &Path) -> Call<Arc<Opened>> {
        static KEPT: Mutex<Option<(String, Arc<Opened>, File)>> = Mutex::new(None);
        let mut kept = lock(&KEPT);
        match &*kept {
            Some((held, opened, _)) if held == uri => return Ok(Arc::clone(opened)),
            Some((held, ..)) => {
                let detail = format!("this process holds the embedded host of {held}, and can hold one only");
                return Err(
                    Fault::new(Kind::Unsupported, detail).advise("use a process for each embedded host")
                );
            }
            None => {}
        }
        embed::prepare(root)?;
        let alone = embed::hold(root)?.ok_or_else(|| held(uri))?;
        embed::mend_jobs(root)?;
        let opened = Opened::open(uri)?;
        *kept = Some((uri.to_owned(), Arc::clone(&opened), alone));
        Ok(opened)
    }
}

impl Host {
    pub(super) async fn open(uri: &str) -> Result<Host> {
        let shared = Arc::new(Shared {
            uri: uri.to_owned(),
            connection: Mutex::new(None),
            broken: Arc::new(AtomicBool::new(false)),
            events: broadcast::channel(EVENT_QUEUE).0,
            overdue: Mutex::new(Vec::new()),
        });
        let host = Host { shared };
        host.call("connect to the hypervisor", None, OPEN_DEADLINE, |_| Ok(())).await?;
        Ok(host)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Runs `call` on a thread for blocking work and waits for it, at most `deadline`.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        machine: Option<MachineId>,
        deadline: Duration,
        call: impl FnOnce(&Connect) -> Call<T> + Send + 'static,
    ) -> Result<T> {
        if let Some(error) = machine.and_then(|id| self.turned_away(operation, id, |_| true)) {
            return Err(error);
        }
        self.run(operation, machine, deadline, call).await
    }

    /// As [`call`](Self::call), also where an earlier call for the machine is overdue, but one that
    /// is called `but`.
    pub(super) async fn call_regardless<T: Send + 'static>(
        &self,
        operation: &'static str,
        machine: MachineId,
        deadline: Duration,
        but: Option<&'static str>,
        call: impl FnOnce(&Connect) -> Call<T> + Send + 'static,
    ) -> Result<T> {
        match self.turned_away(operation, machine, |overdue| Some(overdue) == but) {
            Some(error) => Err(error),
            None => self.run(operation, Some(machine), deadline, call).await,
        }
    }

    /// An error that names the machine as people do.
    pub(super) async fn error(
        &self,
        operation: &'static str,
        machine: Option<MachineId>,
        kind: Kind,
        detail: String,
    ) -> HypervisorError {
        let fault =
            self.call::<()>(operation, machine, OPEN_DEADLINE, move |_| Err(Fault::new(kind, detail))).await;
        fault.err().unwrap_or_else(|| HypervisorError::new(operation, kind, ""))
    }

    fn turned_away(
        &self,
        operation: &'static str,
        machine: MachineId,
        by: impl Fn(&'static str) -> bool,
    ) -> Option<HypervisorError> {
        let overdue = lock(&self.shared.overdue);
        let overdue = overdue.iter().find(|(of, what)| *of == machine && by(what))?.1;
        let detail = format!("libvirt has still not answered an earlier attempt to {overdue} it");
        let error = HypervisorError::new(operation, Kind::Busy, detail).of(machine);
        Some(error.advise(
            "look whether QEMU or its storage hangs; the machine is tried again when the answer comes",
        ))
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        machine: Option<MachineId>,
        deadline: Duration,
        call: impl FnOnce(&Connect) -> Call<T> + Send + 'static,
    ) -> Result<T> {
        let (shared, stage) = (Arc::clone(&self.shared), Mutex::new(Stage::Running));
        let watch = Arc::new(Watch { shared, machine, operation, stage });
        let thread = tokio::task::spawn_blocking({
            let watch = Arc::clone(&watch);
            move || {
                let answer = watch.shared.answer(operation, machine, call);
                watch.finished();
                answer
            }
        });
        match tokio::time::timeout(deadline, thread).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => Err(failed(operation, machine, Kind::Other, panic.to_string())),
            Err(_) => {
                watch.late();
                let detail = format!("libvirt did not answer within {} s", deadline.as_secs());
                Err(failed(operation, machine, Kind::Timeout, detail))
            }
        }
    }
}

impl Shared {
    fn answer<T>(
        &self,
        operation: &'static str,
        machine: Option<MachineId>,
        call: impl FnOnce(&Connect) -> Call<T>,
    ) -> Result<T> {
        let connection = self.connection().map_err(|fault| fault.during(operation))?;
        call(&connection).map_err(|fault| {
            if fault.kind == Kind::Connection {
                self.broken.store(true, Ordering::Release);
            }
            let error = fault.during(operation);
            match machine {
                Some(id) => error.of(lookup::name_of(&connection, id).unwrap_or_else(|| id.to_string())),
                None => error,
            }
        })
    }

    /// The open connection; where there is none, or it broke, a new one.
    fn connection(&self) -> Call<Arc<Owned>> {
        let mut held = lock(&self.connection);
        if let Some(connection) = held.as_ref().filter(|_| !self.broken.load(Ordering::Acquire)) {
            return Ok(Arc::clone(connection));
        }
        *held = None;
        let connection = Arc::new(self.open()?);
        self.broken.store(false, Ordering::Release);
        *held = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn open(&self) -> Call<Owned> {
        start_event_loop()?;
        let opened = match embed::root_of(&self.uri) {
            Some(root) => Opened::embedded(&self.uri, &root)?,
            None => Opened::open(&self.uri)?,
        };
        let sink = EventSink { events: self.events.clone(), broken: Arc::clone(&self.broken) };
        let listener: Arc<dyn ffi::Listener> = Arc::new(sink);
        let callback = ffi::listen(&opened.0, &listener)?;
        if let Err(error) = ffi::listen_for_close(&opened.0, &listener) {
            tracing::debug!(%error, "this connection cannot tell when it breaks");
        }
        Ok(Owned { opened, callback })
    }
}

/// One call: who, and how far it is.
struct Watch {
    shared: Arc<Shared>,
    machine: Option<MachineId>,
    operation: &'static str,
    stage: Mutex<Stage>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Running,
    Late,
    Done,
}

impl Watch {
    fn finished(&self) {
        let mut stage = lock(&self.stage);
        if let (Stage::Late, Some(machine)) = (*stage, self.machine) {
            let mut overdue = lock(&self.shared.overdue);
            if let Some(at) = overdue.iter().position(|of| *of == (machine, self.operation)) {
                overdue.swap_remove(at);
            }
        }
        *stage = Stage::Done;
    }

    fn late(&self) {
        let mut stage = lock(&self.stage);
        if let (Stage::Running, Some(machine)) = (*stage, self.machine) {
            lock(&self.shared.overdue).push((machine, self.operation));
            *stage = Stage::Late;
        }
    }
}

/// Starts libvirt's event loop, once per process. Without it no connection learns of events,
/// and an embedded one cannot run at all.
fn start_event_loop() -> Call<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        ffi::silence_errors();
        ffi::register_event_loop().map_err(|e| e.to_string())?;
        let thread = std::thread::Builder::new().name("libvirt-events".to_owned()).stack_size(EVENT_STACK);
        thread.spawn(run_events).map(drop).map_err(|e| e.to_string())
    });
    started
        .clone()
        .map_err(|why| Fault::new(Kind::Other, format!("libvirt's event loop did not start: {why}")))
}

fn run_events() {
    loop {
        if let Err(error) = ffi::run_event_loop_once() {
            tracing::warn!(%error, "libvirt's event loop stumbled");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

fn unopened(uri: &str, error: Error) -> Fault {
    let fault = Fault::from(error);
    match fault.kind {
        Kind::Busy => held(uri),
        Kind::Denied => fault,
        _ => Fault { kind: Kind::Connection, detail: format!("{uri}: {}", fault.detail), advice: None },
    }
}

fn held(uri: &str) -> Fault {
    Fault::new(Kind::Busy, format!("another process (an agent?) holds the embedded host of {uri}"))
        .advise("stop that process, or send the request to it")
}

fn failed(
    operation: &'static str,
    machine: Option<MachineId>,
    kind: Kind,
    detail: String,
) -> HypervisorError {
    let error = HypervisorError::new(operation, kind, detail);
    match machine {
        Some(id) => error.of(id),
        None => error,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn what_an_overdue_call_must_come_before_is_turned_away_until_it_ends() {
        let host = Host::open("test:///default").await.unwrap();
        let id = MachineId(uuid::Uuid::nil());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let hang = move |_: &Connect| ended.recv().map_or(Ok(()), Ok);
        assert_eq!(host.call("freeze", Some(id), SOON, hang).await.unwrap_err().kind, Kind::Timeout);
        let ask = async |but| host.call_regardless("ask", id, OPEN_DEADLINE, but, |_| Ok(())).await;
        assert_eq!(ask(Some("freeze")).await.unwrap_err().kind, Kind::Busy);
        // What is late and over since does not stand for it.
        let slow = |_: &Connect| {
            std::thread::sleep(3 * SOON);
            Ok(())
        };
        assert!(host.call_regardless("thaw", id, SOON, None, slow).await.is_err());
        tokio::time::sleep(10 * SOON).await;
        assert_eq!(ask(Some("freeze")).await.unwrap_err().kind, Kind::Busy);
        assert!(ask(None).await.is_ok());
        drop(end);
        while ask(Some("freeze")).await.is_err() {
            tokio::time::sleep(SOON).await;
        }
    }
}
