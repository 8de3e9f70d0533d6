//! The agent as the tests with real guests run it: the program itself, and in the same
//! process the hand of whoever works on that host. An embedded libvirt admits one process,
//! so nobody else could start a machine there while the agent runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use farshore_agent::Config;
use farshore_e2e::desk::{self, Desk};
use farshore_hypervisor::{Hypervisor, Kind, Start, libvirt::Libvirt};
use virt::{connect::Connect, domain::Domain};
use virt_sys as sys;

/// How often an order is looked for, and a machine looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for a host that another process holds, or a machine to run.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often in a row a machine must be seen running: libvirt still says so for a moment
/// after its QEMU was killed.
const SURE: u32 = 50;

/// `test-agent place CONFIG XML` defines a machine and starts it, `test-agent change CONFIG ORDER`
/// does to one what an order says; everything else is the agent's, and an agent that serves takes
/// orders from a file beside its configuration.
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let done = match &args[..] {
        [_, word, config, xml] if word == "place" => Some(place(config.as_ref(), xml.as_ref())),
        [_, word, config, order] if word == "change" => Some(change_alone(config.as_ref(), order)),
        _ => None,
    };
    match done {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(why)) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
        None => {}
    }
    if args.iter().any(|arg| arg == "serve")
        && let Some(config) = args.iter().skip_while(|arg| *arg != "--config").nth(1).map(PathBuf::from)
    {
        let orders = config.clone();
        std::thread::spawn(move || take_orders(&orders));
        if Desk::of(&config).exists() {
            return told_by_desk(&config);
        }
    }
    farshore_agent::cli::main()
}

/// Serves under a vault that is a test's own.
fn told_by_desk(config: &Path) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match desk::serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The file `order` names a machine to be started, or on further lines what else is to be done to
/// it; `order.done` says how that went.
fn take_orders(config: &Path) {
    let order = config.with_file_name("order");
    let mut connection = None;
    loop {
        sleep(LOOK);
        let Ok(text) = fs::read_to_string(&order) else { continue };
        let done = match text.split_once('\n') {
            None => start(config, &mut connection, &text),
            Some((machine, what)) => change(config, &mut connection, machine, what),
        };
        let answer = done.err().unwrap_or_default();
        // A test that gets no answer says so itself.
        let _ = fs::remove_file(&order);
        let _ = fs::write(config.with_file_name("order.done"), answer);
    }
}

/// Starts a machine until it runs: the agent may have started it paused at this moment, to
/// read its disks, and stop it again. The connection is one beside the agent's, kept
/// because libvirt opens its drivers only some ten times in a process.
fn start(config: &Path, connection: &mut Option<Connect>, machine: &str) -> Result<(), String> {
    let host = connected(config, connection)?;
    let (begun, mut seen) = (Instant::now(), 0);
    loop {
        let domain = Domain::lookup_by_name(host, machine).map_err(|e| e.to_string())?;
        let (state, _) = domain.get_state().map_err(|e| e.to_string())?;
        let told = match state {
            sys::VIR_DOMAIN_RUNNING if seen == SURE => return Ok(()),
            sys::VIR_DOMAIN_RUNNING => {
                seen += 1;
                Ok(())
            }
            sys::VIR_DOMAIN_SHUTOFF => domain.create().map(drop).map_err(|e| e.to_string()),
            other => Err(format!("it is in state {other}")),
        };
        if state != sys::VIR_DOMAIN_RUNNING {
            seen = 0;
        }
        match told {
            Err(why) if begun.elapsed() > PATIENCE => return Err(why),
            _ => sleep(LOOK),
        }
    }
}

fn connected<'a>(config: &Path, connection: &'a mut Option<Connect>) -> Result<&'a Connect, String> {
    if connection.is_none() {
        let uri = Config::load(config).map_err(|e| e.to_string())?.hypervisor_uri();
        *connection = Some(Connect::open(Some(&uri)).map_err(|e| e.to_string())?);
    }
    connection.as_ref().ok_or_else(|| "no connection".to_owned())
}

/// Does to a machine what one line says, with a device's definition after it: `resize DISK BYTES`,
/// `attach live` or `attach both`, `detach live` or `detach both`, `off`, `save`. While a backup runs that
/// is turned away, and tried again.
fn change(config: &Path, connection: &mut Option<Connect>, machine: &str, what: &str) -> Result<(), String> {
    let host = connected(config, connection)?;
    let (line, device) = what.split_once('\n').unwrap_or((what, ""));
    let words: Vec<&str> = line.split(' ').collect();
    let begun = Instant::now();
    loop {
        let domain = Domain::lookup_by_name(host, machine).map_err(|e| e.to_string())?;
        let both = sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_AFFECT_CONFIG;
        let flags = |which: &str| if which == "both" { both } else { sys::VIR_DOMAIN_AFFECT_LIVE };
        let done = match &words[..] {
            ["resize", disk, size] => {
                let size = size.parse().map_err(|_| format!("'{size}' is no size"))?;
                domain.block_resize(disk, size, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES).map(drop)
            }
            ["attach", which] => domain.attach_device_flags(device, flags(which)).map(drop),
            ["detach", which] => domain.detach_device_flags(device, flags(which)).map(drop),
            ["off"] => domain.destroy().map(drop),
            ["save"] => domain.managed_save(0).map(drop),
            _ => return Err(format!("what is '{line}'?")),
        };
        match done {
            Err(e) if begun.elapsed() < PATIENCE && e.message().contains("lock") => sleep(LOOK),
            done => return done.map_err(|e| e.to_string()),
        }
    }
}

/// Carries out an order where no agent runs; a device that is unplugged is gone when it returns.
fn change_alone(config: &Path, order: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let host = open(config).await?;
        let (machine, what) = order.split_once('\n').ok_or("an order has more than one line")?;
        change(config, &mut None, machine, what)?;
        let Some((_, device)) = what.split_once('\n').filter(|(line, _)| line.starts_with("detach")) else {
            return Ok(());
        };
        let begun = Instant::now();
        loop {
            let disks = host.find(machine).await.map_err(|e| e.to_string())?.disks;
            let is = |path: &PathBuf| device.contains(&format!("'{}'", path.display()));
            if !disks.iter().any(|disk| disk.path.as_ref().is_some_and(is)) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err("the guest does not let the disk go".to_owned());
            }
            sleep(LOOK);
        }
    })
}

async fn open(config: &Path) -> Result<Libvirt, String> {
    let uri = Config::load(config).map_err(|e| e.to_string())?.hypervisor_uri();
    let begun = Instant::now();
    loop {
        match Libvirt::open(&uri).await {
            Ok(host) => return Ok(host),
            // A watchdog holds it for a moment after its agent's death.
            Err(e) if e.kind == Kind::Busy && begun.elapsed() < PATIENCE => sleep(LOOK),
            Err(e) => return Err(e.to_string()),
        }
    }
}

/// Defines a machine and starts it, where no agent runs.
fn place(config: &Path, xml: &Path) -> Result<(), String> {
    let xml = fs::read_to_string(xml).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let host = open(config).await?;
        let id = host.define(&xml).await.map_err(|e| e.to_string())?;
        host.start(id, Start::Running).await.map_err(|e| e.to_string())
    })
}
