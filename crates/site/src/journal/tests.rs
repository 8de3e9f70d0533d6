//! What a crash, or worse, leaves of a journal.

use farshore_control::Term;
use farshore_sim::MemoryFiles;
use farshore_types::VaultId;
use uuid::Uuid;

use super::*;

fn record(number: u64) -> Record {
    Record::Term(Term { number, vault: VaultId(Uuid::nil()) })
}

fn dir() -> &'static Path {
    Path::new("/site")
}

fn open(files: &MemoryFiles) -> (Journal, Vec<Record>, Opened) {
    Journal::open(Arc::new(files.clone()), dir()).unwrap()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let files = MemoryFiles::new();
    let (mut journal, records, opened) = open(&files);
    assert!(records.is_empty() && opened == Opened::default());
    journal.append(&[record(1), record(2)]).unwrap();
    journal.append(&[record(3)]).unwrap();
    let (mut journal, records, opened) = open(&files);
    assert_eq!((records, opened), (vec![record(1), record(2), record(3)], Opened::default()));
    journal.rewrite(&[record(3)]).unwrap();
    journal.append(&[record(4)]).unwrap();
    assert_eq!(open(&files).1, [record(3), record(4)]);
}

#[test]
fn a_torn_end_is_dropped_and_said_wherever_it_is_torn() {
    let files = MemoryFiles::new();
    let (mut journal, ..) = open(&files);
    journal.append(&[record(1)]).unwrap();
    let whole = files.content(&dir().join(FILE)).unwrap();
    journal.append(&[record(2)]).unwrap();
    let more = files.content(&dir().join(FILE)).unwrap();
    for len in whole.len()..more.len() {
        let torn = MemoryFiles::new();
        torn.put(&dir().join(FILE), &more[..len]);
        let (mut journal, records, opened) = open(&torn);
        assert_eq!(records, [record(1)], "cut at {len}");
        assert_eq!(opened, Opened { torn: (len - whole.len()) as u64, damaged: false });
        journal.append(&[record(5)]).unwrap();
        assert_eq!(open(&torn).1, [record(1), record(5)], "cut at {len}");
    }
}

#[test]
fn damage_before_the_end_is_no_torn_end() {
    let files = MemoryFiles::new();
    let (mut journal, ..) = open(&files);
    journal.append(&[record(1), record(2), record(3)]).unwrap();
    let mut bytes = files.content(&dir().join(FILE)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    files.put(&dir().join(FILE), &bytes);
    let (_, records, opened) = open(&files);
    assert_eq!(records, [record(1)]);
    assert!(opened.damaged && opened.torn > 0);
}

#[test]
fn an_append_that_failed_counts_for_nothing_and_spoils_nothing() {
    let files = MemoryFiles::new();
    open(&files).0.append(&[record(1)]).unwrap();
    for nth in 1..20 {
        let files = files.copy();
        let failing = files.failing(nth, io::ErrorKind::Other, false);
        let Ok((mut journal, ..)) = Journal::open(Arc::new(failing.clone()), dir()) else { continue };
        let appended = journal.append(&[record(2)]).is_ok();
        if journal.append(&[record(3)]).is_err() {
            journal.append(&[record(3)]).unwrap();
        }
        let expected =
            if appended { vec![record(1), record(2), record(3)] } else { vec![record(1), record(3)] };
        let (_, records, _) = Journal::open(Arc::new(failing), dir()).unwrap();
        assert_eq!(records, expected, "failure {nth}");
    }
}

#[test]
fn another_programs_file_is_left_alone() {
    let files = MemoryFiles::new();
    files.put(&dir().join(FILE), b"something else entirely");
    assert!(matches!(Journal::open(Arc::new(files), dir()), Err(JournalError::Foreign { .. })));
}
