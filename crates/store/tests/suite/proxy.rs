//! Something between a store and its server that cuts connections in the very moment of a
//! commit: before the server hears of it, after it has done it, or while it is still on its
//! way to the server.

use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

pub struct Proxy {
    /// The connection string through it.
    pub text: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    armed: AtomicBool,
    commits: AtomicU64,
    before: AtomicU64,
    after: AtomicU64,
    late: AtomicU64,
}

/// How long a commit is on its way to the server after its client was cut off.
const LATE: Duration = Duration::from_millis(700);

impl Proxy {
    pub fn start(folder: &Path, text: &str) -> Proxy {
        fs::create_dir(folder).unwrap();
        let (main, host) = text.split_once("?host=").unwrap();
        let server = PathBuf::from(host).join(".s.PGSQL.5432");
        let through = format!("{main}?host={}", folder.display());
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&server) else { continue };
                let state = shared.clone();
                std::thread::spawn(move || carry(client, server, &state));
            }
        });
        Proxy { text: through, state }
    }

    pub fn cut_commits(&self) {
        self.state.armed.store(true, SeqCst);
    }

    /// How many were cut before the server heard of the commit, after it, and long before.
    pub fn cuts(&self) -> [u64; 3] {
        let State { before, after, late, .. } = &*self.state;
        [before, after, late].map(|count| count.load(SeqCst))
    }
}

/// Carries bytes both ways until either end goes, or until a commit is to be cut.
fn carry(mut client: UnixStream, mut server: UnixStream, state: &State) {
    let silent = Arc::new(AtomicBool::new(false));
    let back = {
        let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let silent = silent.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(len @ 1..) = from.read(&mut buffer) {
                if silent.load(SeqCst) || to.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            to.shutdown(Shutdown::Both).ok();
        })
    };
    let mut buffer = [0; 8192];
    while let Ok(len @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..len];
        let commit = bytes.windows(7).any(|window| window == b"COMMIT\0");
        let turn =
            if commit && state.armed.load(SeqCst) { state.commits.fetch_add(1, SeqCst) + 1 } else { 0 };
        if turn > 0 && turn % 5 == 2 {
            state.before.fetch_add(1, SeqCst);
            break;
        }
        if turn > 0 && turn % 5 == 4 {
            // The thread above reads the answer, so the commit is done, and says nothing.
            silent.store(true, SeqCst);
            server.write_all(bytes).ok();
            back.join().ok();
            state.after.fetch_add(1, SeqCst);
            return;
        }
        if turn > 0 && turn % 5 == 0 {
            state.late.fetch_add(1, SeqCst);
            client.shutdown(Shutdown::Both).ok();
            std::thread::sleep(LATE);
            server.write_all(bytes).ok();
            back.join().ok();
            return;
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    server.shutdown(Shutdown::Both).ok();
    client.shutdown(Shutdown::Both).ok();
}
