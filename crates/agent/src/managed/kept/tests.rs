//! What a crash, or damage, leaves of what is kept.

use farshore_control::Term;
use farshore_sim::MemoryFiles;
use farshore_types::VaultId;
use uuid::Uuid;

use super::*;

fn kept(number: u64) -> Kept {
    Kept { term: Some(Term { number, vault: VaultId(Uuid::nil()) }), ..Kept::default() }
}

fn dir() -> &'static Path {
    Path::new("/state")
}

#[test]
fn whatever_write_fails_the_old_or_the_new_is_there_whole() {
    let files = MemoryFiles::new();
    kept(1).save(&files, dir()).unwrap();
    let mut failed = 0;
    for nth in 1..12 {
        let failing = files.copy().failing(nth, std::io::ErrorKind::Other, true);
        let saved = kept(2).save(&failing, dir());
        failed += u32::from(saved.is_err());
        failing.heal();
        let (found, damage) = Kept::load(&failing, dir()).unwrap();
        let number = found.term.unwrap().number;
        assert!(damage.is_none() && (number == 2 || saved.is_err()), "failure {nth}: {number}");
    }
    assert!(failed > 3, "every step was made to fail: {failed}");
}

#[test]
fn a_damaged_file_is_moved_aside_and_said_and_a_newer_one_is_left_alone() {
    let files = MemoryFiles::new();
    kept(1).save(&files, dir()).unwrap();
    let path = dir().join(FILE);
    let mut bytes = files.content(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    files.put(&path, &bytes);
    let (found, damage) = Kept::load(&files, dir()).unwrap();
    assert!(found == Kept::default() && damage.unwrap().contains("managed.damaged"));
    assert!(files.content(&dir().join("managed.damaged")).is_ok(), "a person may still look at it");
    files.put(&path, br#"{"format":9,"term":null,"documents":[],"lineages":[],"requests":[]}"#);
    let error = Kept::load(&files, dir()).unwrap_err().fault();
    assert!(error.what.contains("format 9"), "{error:?}");
}
