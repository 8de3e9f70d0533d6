//! `replicate`: one machine, in the foreground of whoever asked, until stopped or once.
//! This module must never run beside another replication of the same machine.

use std::sync::Arc;

use farshore_capture::{Activity, Status};
use farshore_hypervisor::Machine;
use farshore_types::PointId;

use crate::{
    Agent, AgentError,
    config::{Compression, Period, Replicate as Settings},
    control::{CycleLine, Event, Observer, Replicate, Replicated},
    source::{self, Orders, Owner, Running},
};

/// Copy frequency where neither command nor configuration says one.
const FREQUENCY: Period = Period::secs(30);

pub(crate) async fn replicate(
    agent: &Arc<Agent>,
    wanted: Replicate,
    observer: &Observer,
) -> Result<Replicated, AgentError> {
    let hypervisor = agent.hypervisor().await?;
    let machine = hypervisor.find(&wanted.machine).await?;
    let once = wanted.once;
    if agent.sources().of(machine.id).is_some() {
        return Err(AgentError::Request {
            what: format!("machine '{}' is being replicated already", machine.name),
            advice: "`status` shows how; stop that first".to_owned(),
        });
    }
    let settings = settings(agent, &machine, &wanted)?;
    let mut owner = Owner::open(agent, machine.id, &settings.target)?;
    if wanted.reclaim {
        let dial = source::dial(agent, &settings.target, None)?;
        owner.reclaim(agent, dial, &machine.name).await?;
        observer.tell(Event::Note(format!("this host owns the machine by epoch {} now", owner.epoch.number)));
    }
    let running = source::begin(agent, hypervisor, &machine, settings, &owner, Orders::default())?;
    follow(running, machine.name, once, observer).await
}

/// The configured settings, with what the command says instead.
fn settings(agent: &Agent, machine: &Machine, wanted: &Replicate) -> Result<Settings, AgentError> {
    let named = |entry: &&Settings| entry.machine == machine.name || entry.machine.parse() == Ok(machine.id);
    let configured = agent.config().replicate.iter().find(named);
    let target = wanted.target.clone().or_else(|| configured.map(|entry| entry.target.clone()));
    let target = target.ok_or_else(|| AgentError::Request {
        what: format!("nothing says where machine '{}' is to be replicated to", machine.name),
        advice: "give --to and --server-name, or configure it under [[replicate]]".to_owned(),
    })?;
    let mut exclude = configured.map_or(Vec::new(), |entry| entry.exclude.clone());
    exclude.extend(wanted.exclude.iter().cloned());
    Ok(Settings {
        machine: machine.name.clone(),
        target,
        frequency: wanted.frequency.or(configured.map(|entry| entry.frequency)).unwrap_or(FREQUENCY),
        app_consistent: configured.and_then(|entry| entry.app_consistent),
        compression: wanted
            .compression
            .or(configured.map(|entry| entry.compression))
            .unwrap_or(Compression::Auto),
        small_writes: configured.map(|entry| entry.small_writes).unwrap_or_default(),
        bandwidth: wanted.bandwidth.or(configured.and_then(|entry| entry.bandwidth)),
        exclude,
    })
}

/// What was told so far.
struct Told {
    observer: Observer,
    first: Status,
    last: Status,
    points: u64,
}

/// Tells of cycles as they end; stops after the first point where asked to.
async fn follow(
    mut running: Running,
    machine: String,
    once: bool,
    observer: &Observer,
) -> Result<Replicated, AgentError> {
    let mut status = running.source.status.clone();
    let first = status.borrow_and_update().clone();
    let target = running.source.settings.target.server_name.clone();
    let mut told = Told { observer: observer.clone(), last: first.clone(), first, points: 0 };
    let stop = running.stop.clone();
    let ended = loop {
        tokio::select! {
            ended = running.ended() => break ended,
            Ok(()) = status.changed() => told.update(&status.borrow_and_update().clone()),
            () = observer.stop.cancelled(), if !stop.is_cancelled() => stop.cancel(),
        }
        if once && told.points > 0 {
            stop.cancel();
        }
    };
    told.update(&status.borrow().clone());
    ended.map_err(advised)?;
    let newest: Option<PointId> = told.last.last_point.map(|point| point.id);
    let sent = told.last.totals.sent - told.first.totals.sent;
    Ok(Replicated { machine, target, points: told.points, newest, sent })
}

impl Told {
    fn update(&mut self, status: &Status) {
        self.activity(&status.activity, status.totals.sent - self.first.totals.sent);
        if let Some(cycle) = status.last_cycle.filter(|_| status.totals.cycles > self.last.totals.cycles)
            && cycle.point
        {
            self.points += 1;
            self.observer.tell(Event::Cycle(CycleLine {
                point: Some(cycle.id),
                fault: None,
                dirty: cycle.dirty,
                sent: cycle.sent,
                took_ms: cycle.took_ms,
                missed: status.totals.missed,
            }));
        }
        self.last = status.clone();
    }

    fn activity(&self, activity: &Activity, moved: u64) {
        let advance = |what: &str, done: u64, total: u64| {
            self.observer.tell(Event::Advance { what: what.to_owned(), done, total, moved });
        };
        match activity {
            Activity::InitialReplication { done, total } => advance("initial replication", *done, *total),
            Activity::Resynchronizing { done, total, .. } => advance("resynchronizing", *done, *total),
            other if *other == self.last.activity => {}
            other => {
                let (word, why) = source::told(other);
                let text = why.map_or(word.clone(), |why| format!("{word}: {why}"));
                self.observer.tell(Event::Note(text));
            }
        }
    }
}

/// A source that was superseded is told how it may own the machine again.
fn advised(error: AgentError) -> AgentError {
    let superseded = |code| matches!(code, farshore_wire::RefusalCode::OlderEpoch);
    match error {
        AgentError::Capture(farshore_capture::CaptureError::Link(farshore_link::LinkError::Refused {
            peer,
            refusal,
        })) if superseded(refusal.code) => AgentError::Request {
            what: format!("{peer} refused the session: {}: {}", refusal.code, refusal.message),
            advice:
                "the machine has another owner now. If this host shall own it again, and the machine does \
                     not run elsewhere, repeat with --reclaim"
                    .to_owned(),
        },
        error => error,
    }
}
