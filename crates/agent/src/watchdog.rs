//! A small process beside the agent that outlives it: when the agent is gone without a
//! goodbye, it ends the backups that the agent left running, sets guests going again that their
//! scratch files stopped, and thaws those that were frozen for a point. This module must never act while an agent lives.
//!
//! It learns of the agent's death by the end of the pipe between them, which no signal can
//! hold back. It takes a session of its own, so that what is sent to the agent's terminal
//! or group does not reach it. Under systemd use `KillMode=mixed`, which spares it long
//! enough.

use std::{ffi::OsString, io::Read, process::Stdio, sync::Arc, time::Duration};

use farshore_capture::put_back;
use farshore_env::RealFiles;
use farshore_hypervisor::{Hypervisor, JobState, Kind, Machine, PowerState};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
};

use crate::{Agent, AgentError, Config, lock::Lock, replicas::blocking, thaw::Left};

/// What the agent says before it ends in good order.
const GOODBYE: &[u8] = b"goodbye\n";
/// How often the host is looked at after the agent's death.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks that must find nothing to do: a backup that was just being begun shows up late.
const CLEAN_LOOKS: u32 = 3;
/// Looks that must find another agent in charge: the one that just died may still be
/// closing its files, its lock after the pipe between us.
const HELD_LOOKS: u32 = 6;
/// Most looks: a host that cannot be mended by then needs a person. A guest that may stand frozen
/// is never given up.
const LOOKS_MAX: u32 = 240;
/// How often such a guest is looked at from then on.
const PAUSE_LATER: Duration = Duration::from_secs(5);
/// How long an agent that ends looks for what is left.
const LAST_LOOK: Duration = Duration::from_secs(10);
/// How long the watchdog is waited for when it is dismissed.
const DISMISSAL: Duration = Duration::from_secs(2);

/// The agent's end of its watchdog.
pub struct Watchdog {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts a watchdog.
    ///
    /// # Errors
    /// That the command cannot be run.
    pub fn spawn(command: &[OsString]) -> Result<Watchdog, AgentError> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(AgentError::Request { what: "no watchdog to start".into(), advice: String::new() });
        };
        let mut process = Command::new(program);
        process.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = process.spawn().map_err(AgentError::io("start", program))?;
        let pipe = child.stdin.take();
        Ok(Watchdog { child, pipe })
    }

    /// Lets it go as its agent ends in good order: dismissed where nothing is left to mend.
    /// Where something may be, or nobody can tell, it stays and does its work as soon as the
    /// agent is gone.
    pub async fn let_go(self, agent: &Agent) {
        if is_clean(agent).await {
            return self.dismiss().await;
        }
        tracing::warn!("something may be left to mend on this host: the watchdog stays to see to it");
    }

    /// Tells it that the agent ends in good order, and that nothing is to be done.
    async fn dismiss(mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // If it is gone already, all the better.
            drop(pipe.write_all(GOODBYE).await);
        }
        if tokio::time::timeout(DISMISSAL, self.child.wait()).await.is_err() {
            tracing::warn!("the watchdog does not end");
        }
    }
}

/// Whether nothing of ours is left on the host. An agent that never met its hypervisor left
/// nothing there.
async fn is_clean(agent: &Agent) -> bool {
    if !agent.has_hypervisor() {
        return true;
    }
    let mut left = Left::default();
    let look = async {
        for _ in 0..CLEAN_LOOKS {
            match mend_but(agent, &mut left).await {
                Ok(false) => return true,
                // Mended: looked at again.
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(error = error.fault().what, "cannot look at what is left");
                    return false;
                }
            }
        }
        false
    };
    tokio::time::timeout(LAST_LOOK, look).await.unwrap_or(false)
}

/// The watchdog's whole life: waits for the agent's end, and mends what it left.
///
/// # Errors
/// What keeps it from mending.
pub async fn run(config: Config) -> Result<(), AgentError> {
    // Fails only where it leads its group already, as when it is started by hand.
    nix::unistd::setsid().ok();
    if blocking(last_words).await == GOODBYE {
        return Ok(());
    }
    #[cfg(feature = "deliberate-bugs")]
    if farshore_capture::bug::is(farshore_capture::bug::Bug::IdleWatchdog) {
        return Ok(());
    }
    tracing::warn!("the agent is gone: looking for what it left");
    let agent = Agent::new(config);
    mend_until_clean(&agent).await
}

/// All that the agent says until it ends.
fn last_words() -> Vec<u8> {
    let mut said = Vec::new();
    // A pipe that fails is a pipe that ended.
    drop(std::io::stdin().lock().read_to_end(&mut said));
    said
}

/// Mends what a dead agent left, until there is nothing more, or a new agent is in charge.
///
/// # Errors
/// What keeps it from mending, where that does not pass.
pub async fn mend_until_clean(agent: &Agent) -> Result<(), AgentError> {
    let (mut clean, mut held, mut left) = (0, 0, Left::default());
    for looks in 1.. {
        let done = match Lock::attempt(&RealFiles, &agent.config().state_dir) {
            // A new agent mends this by itself, and the host admits only one of us.
            Ok(None) => {
                held += 1;
                if held == HELD_LOOKS {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Ok(Some(_)) => mend_but(agent, &mut left).await,
            Err(error) => Err(error),
        };
        held = 0;
        clean = if matches!(done, Ok(false)) { clean + 1 } else { 0 };
        if clean == CLEAN_LOOKS {
            return Ok(());
        }
        let late = looks >= LOOKS_MAX;
        match done {
            Err(error) if left.is_empty() && (late || is_hopeless(&error)) => return Err(error),
            Ok(_) if left.is_empty() && late => return Ok(()),
            Err(error) => tracing::warn!(error = error.fault().what, "not mended yet"),
            Ok(_) => {}
        }
        tokio::time::sleep(if late { PAUSE_LATER } else { PAUSE }).await;
    }
    Ok(())
}

/// Whether looking again cannot help.
fn is_hopeless(error: &AgentError) -> bool {
    let kind = match error {
        AgentError::Hypervisor(error) => Some(error.kind),
        _ => None,
    };
    matches!(kind, Some(Kind::Invalid | Kind::Unsupported | Kind::Denied))
}

/// Looks at every machine once; whether there was anything to mend, or may be.
///
/// # Errors
/// The last of what the hypervisor reports; everything else was seen to all the same.
pub async fn mend(agent: &Agent) -> Result<bool, AgentError> {
    mend_but(agent, &mut Left::default()).await
}

/// So, where some guests are known already that may stand frozen. They are thawed at the same time
/// as all else is seen to: neither waits for the other, and of both, some may not answer for long.
async fn mend_but(agent: &Agent, left: &mut Left) -> Result<bool, AgentError> {
    left.add(agent);
    let frozen = !left.is_empty();
    let (thawed, mended) = tokio::join!(left.thaw(agent), mend_machines(agent));
    let mended = mended?;
    thawed?;
    Ok(mended || frozen)
}

async fn mend_machines(agent: &Agent) -> Result<bool, AgentError> {
    let hypervisor = agent.hypervisor().await?;
    let (mut mended, mut last) = (false, None);
    for machine in hypervisor.machines().await? {
        match mend_machine(agent, &hypervisor, &machine).await {
            Ok(did) => mended |= did,
            Err(error) => {
                tracing::warn!(machine = machine.name, error = error.fault().what, "cannot be mended now");
                last = Some(error);
            }
        }
    }
    last.map_or(Ok(mended), Err)
}

async fn mend_machine(
    agent: &Agent,
    hypervisor: &Arc<dyn Hypervisor>,
    machine: &Machine,
) -> Result<bool, AgentError> {
    let state = agent.config().state_dir.join("sources").join(machine.id.to_string());
    // Before all else: it ends the machine's jobs too.
    if put_back(&**hypervisor, &*agent.files, &state, machine.id).await? {
        tracing::warn!(machine = machine.name, "stopped again: it had been started for a cycle only");
        return Ok(true);
    }
    let job = hypervisor.job(machine.id).await?;
    let runtime = &agent.config().runtime_dir;
    let ours = matches!(&job, JobState::Backup { socket: Some(socket), .. } if socket.starts_with(runtime));
    if ours {
        tracing::warn!(machine = machine.name, "ending the backup that the agent left");
        hypervisor.end_backup(machine.id).await?;
    }
    // Also without a backup: the agent may have died between ending it and this.
    let replicated = state.exists();
    let stopped = matches!(machine.power, PowerState::Paused { io_error: true, .. });
    if stopped && replicated && matches!(job, JobState::None) || stopped && ours {
        tracing::warn!(machine = machine.name, "setting the guest going again that an I/O error stopped");
        hypervisor.resume(machine.id).await?;
        return Ok(true);
    }
    Ok(ours)
}
