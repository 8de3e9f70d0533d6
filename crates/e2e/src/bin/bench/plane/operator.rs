//! An operator's tool: calls the public API with a token, as the command line does, each call
//! over a connection of its own. This module must never look into a vault by another way.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use farshore::views::{Page, ProtectionView};
use farshore_channel::Visitor;
use farshore_e2e::host::Outcome;
use hyper::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::lab::text;

/// Pause from one page to the next: somebody reads.
const READS: Duration = Duration::from_millis(50);

/// Calls the API.
#[derive(Clone)]
pub(super) struct Operator {
    runtime: Arc<Runtime>,
    vault: Visitor,
}

impl Operator {
    /// As the context in that file says.
    pub(super) fn of(context: &Path) -> Outcome<Operator> {
        let all: toml::Table = fs::read_to_string(context).map_err(text)?.parse().map_err(text)?;
        let of = |key: &str| all.get(key).and_then(toml::Value::as_str).ok_or(format!("there is no {key}"));
        let fingerprint = of("fingerprint")?.parse().map_err(text)?;
        let vault = Visitor::new(of("address")?, fingerprint, of("token")?).map_err(text)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Operator { runtime: Arc::new(runtime.map_err(text)?), vault })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.call(&Method::GET, path, None::<&Value>)
    }

    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        value: Option<&impl Serialize>,
    ) -> Outcome<T> {
        let path = format!("/api/v1/{path}");
        let told = |error| format!("{method} {path}: {error}");
        self.runtime.block_on(self.vault.call(method, &path, value, None)).map_err(told)
    }

    /// All protections, page after page; what each page took.
    pub(super) fn protections(&self, limit: u32) -> Outcome<(Vec<ProtectionView>, Vec<Duration>)> {
        let (mut all, mut took, mut cursor) = (Vec::new(), Vec::new(), String::new());
        loop {
            let begun = Instant::now();
            let page: Page<ProtectionView> = self.get(&format!("protections?limit={limit}{cursor}"))?;
            took.push(begun.elapsed());
            all.extend(page.items);
            let Some(next) = page.next else { return Ok((all, took)) };
            cursor = format!("&cursor={next}");
            std::thread::sleep(READS);
        }
    }
}

/// Somebody who reads the list from its beginning to its end, again and again.
pub(super) struct Reader {
    over: Arc<AtomicBool>,
    reading: JoinHandle<Outcome<Read>>,
}

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    /// How often the whole list.
    pub(super) walks: usize,
    /// What each page took, in seconds.
    pub(super) pages: Vec<f64>,
    /// The oldest that any machine's newest point ever was, in milliseconds: points arrive.
    pub(super) oldest_ms: u64,
}

impl Reader {
    /// Begins; each list has to have `count` items.
    pub(super) fn begin(operator: &Operator, limit: u32, count: usize) -> Reader {
        let over = Arc::new(AtomicBool::new(false));
        let (operator, stop) = (operator.clone(), Arc::clone(&over));
        let reading = std::thread::spawn(move || {
            let mut read = Read::default();
            while !stop.load(Relaxed) {
                let (all, took) = operator.protections(limit)?;
                if all.len() != count {
                    return Err(format!("the list has {} protections, not {count}", all.len()));
                }
                read.walks += 1;
                let oldest = all.iter().map(|one| one.rpo_ms.unwrap_or(u64::MAX)).max();
                read.oldest_ms = read.oldest_ms.max(oldest.unwrap_or(u64::MAX));
                read.pages.extend(took.iter().map(Duration::as_secs_f64));
            }
            Ok(read)
        });
        Reader { over, reading }
    }

    pub(super) fn end(self) -> Outcome<Read> {
        self.over.store(true, Relaxed);
        self.reading.join().map_err(|_| "the reader failed")?
    }
}
