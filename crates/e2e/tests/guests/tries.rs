//! Which failed tests may be tried again. On a busy machine a guest in emulation comes too late, or
//! the instant at which it was to be caught passes: what was only waited for in vain may. Whatever
//! else fails, a lost write above all, stays failed: it leaves a mark, which fails every later try
//! of the same run at once and says what the first one found.

use std::{
    fs, panic,
    path::{Path, PathBuf},
    sync::Once,
};

/// In every message of what was waited for, and in no other.
const WAITED: &str = "in vain";

/// Where the mark of this test is; none where nobody would try it again.
fn mark() -> Option<PathBuf> {
    let run = std::env::var("NEXTEST_RUN_ID").ok()?;
    let test = std::thread::current().name()?.to_owned();
    Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("failed").join(run).join(test))
}

/// Fails a test that has failed for good before; from now on it leaves a mark where it fails so.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    if let Some(first) = mark().and_then(|mark| found(&mark)) {
        panic!("this is not tried again; the first try found: {first}");
    }
    ONCE.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            failed(&panic.to_string());
            told(panic);
        }));
    });
}

/// Leaves the mark, where this is more than waiting in vain.
pub(crate) fn failed(why: &str) {
    if let Some(mark) = mark().filter(|_| !why.contains(WAITED)) {
        leave(&mark, why);
    }
}

fn leave(mark: &Path, why: &str) {
    if found(mark).is_none() {
        fs::create_dir_all(mark.parent().unwrap()).unwrap();
        fs::write(mark, why).unwrap();
    }
}

fn found(mark: &Path) -> Option<String> {
    fs::read_to_string(mark).ok()
}

#[test]
fn a_loss_is_found_by_the_next_try_as_it_was_seen_first_and_a_vain_wait_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("run").join("test");
    assert_eq!(found(&mark), None);
    leave(&mark, "record 7 is missing");
    leave(&mark, "this is not tried again");
    assert_eq!(found(&mark).as_deref(), Some("record 7 is missing"));
    let waited = panic::catch_unwind(|| crate::site::gave_up("the guest's word")).unwrap_err();
    assert!(waited.downcast_ref::<String>().is_some_and(|why| why.contains(WAITED)));
}
