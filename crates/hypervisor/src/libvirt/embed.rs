//! The root directory of an embedded libvirt. This module must never open a connection.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::fault::{Call, Fault};
use crate::Kind;

/// The root that `qemu:///embed?root=DIR` names.
pub(super) fn root_of(uri: &str) -> Option<PathBuf> {
    let query = uri.strip_prefix("qemu:///embed?")?;
    query.split('&').find_map(|part| part.strip_prefix("root=")).map(PathBuf::from)
}

/// Makes the root with a configuration that needs no daemon beside it, unless it has one.
pub(super) fn prepare(root: &Path) -> Call<()> {
    if !root.is_absolute() {
        let detail = format!("the embedded host's root '{}' is not an absolute path", root.display());
        return Err(
            Fault::new(Kind::Invalid, detail).advise("give it as qemu:///embed?root=/absolute/directory")
        );
    }
    let configuration = root.join("etc/qemu.conf");
    write_once(&configuration).map_err(|error| unusable(&configuration, &error))
}

/// Takes a lock on the root for as long as the file lives; none where another process has
/// it. libvirt has a lock of its own, but a process that once ran into that can never open
/// the root again: its drivers stay as they failed.
pub(super) fn hold(root: &Path) -> Call<Option<fs::File>> {
    let path = root.join("farshore.lock");
    let file = fs::File::create(&path).map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

/// Where an embedded libvirt notes what runs, below its root.
const RUNNING: &str = "run/qemu";
/// How it notes that a backup has been begun, and what of it.
const JOB: (&str, &str) = ("<job ", "async='backup'");
const BACKUP: &str = "<domainbackup";

/// Takes back backups that libvirt had only noted to begin when its process was killed: it
/// would take the machine for busy until that is started anew, and can neither end such a
/// job ("backup job data missing") nor begin another. To be called before it is started.
pub(super) fn mend_jobs(root: &Path) -> Call<()> {
    let dir = root.join(RUNNING);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| unusable(&dir, &error))?,
    };
    for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "xml")) {
        let path = entry.path();
        let Ok(status) = fs::read_to_string(&path) else { continue };
        let Some(mended) = without_unbegun_backup(&status) else { continue };
        tracing::warn!(path = %path.display(), "a backup had been begun no further than its note: taken back");
        let beside = path.with_extension("mended");
        let replace = || {
            fs::write(&beside, mended)?;
            fs::rename(&beside, &path)
        };
        replace().map_err(|error| unusable(&path, &error))?;
    }
    Ok(())
}

/// The same status without the job, where there is one and nothing is said of the backup.
fn without_unbegun_backup(status: &str) -> Option<String> {
    let start = status.find(JOB.0)?;
    let end = start + status[start..].find('>')?;
    let note = &status[start..end];
    if !note.contains(JOB.1) || status.contains(BACKUP) {
        return None;
    }
    Some(format!("{}{}{}", &status[..start], note.replace(JOB.1, "async='none'"), &status[end..]))
}

fn unusable(path: &Path, error: &io::Error) -> Fault {
    let kind = if error.kind() == io::ErrorKind::PermissionDenied { Kind::Denied } else { Kind::Other };
    Fault::new(kind, format!("cannot write {}: {error}", path.display()))
}

fn write_once(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::File::create_new(path) {
        Ok(mut file) => file.write_all(configuration().as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// No log daemon, no mount namespaces, and QEMU as this process's user: so that sockets and
/// scratch files need no rights of their own, and no image changes its owner.
fn configuration() -> String {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    format!(
        "# Written once by Farshore for an embedded host; yours to change.\n\
         stdio_handler = \"file\"\n\
         user = \"+{user}\"\n\
         group = \"+{group}\"\n\
         dynamic_ownership = 0\n\
         remember_owner = 0\n\
         namespaces = []\n\
         cgroup_controllers = []\n\
         security_default_confined = 0\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_embedded_addresses_have_a_root() {
        assert_eq!(root_of("qemu:///embed?root=/a/b"), Some("/a/b".into()));
        assert_eq!(root_of("qemu:///system"), None);
    }

    #[test]
    fn a_root_is_held_once_and_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let first = hold(dir.path()).unwrap();
        assert!(first.is_some() && hold(dir.path()).unwrap().is_none());
        drop(first);
        assert!(hold(dir.path()).unwrap().is_some());
    }

    #[test]
    fn only_a_backup_that_was_not_begun_is_taken_back() {
        let job = "<domstatus>\n  <job type='none' async='backup' flags='0x0'/>\n";
        let mended = without_unbegun_backup(job).unwrap();
        assert_eq!(mended, "<domstatus>\n  <job type='none' async='none' flags='0x0'/>\n");
        let begun = format!("{job}  <backups>\n    <domainbackup mode='pull'/>\n");
        assert_eq!(without_unbegun_backup(&begun), None);
        assert_eq!(without_unbegun_backup("<job async='migration out'/> async='backup'"), None);
        assert_eq!(without_unbegun_backup("<domstatus/>"), None);
    }

    #[test]
    fn a_configuration_that_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        let path = dir.path().join("etc/qemu.conf");
        assert!(fs::read_to_string(&path).unwrap().contains("stdio_handler"));
        fs::write(&path, "mine").unwrap();
        prepare(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
