//! Running another program, with an error that says which, how it ended and what it said.

use std::ffi::OsString;
use std::process::{Command, Output, Stdio};

use crate::error::GuestError;

/// Bytes of a program's complaint that an error repeats, from the end.
const STDERR_SHOWN: usize = 2000;

/// A command that also finds what only root has in its path (`mkfs.ext4`).
pub(crate) fn program(name: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    path.push(":/usr/sbin:/sbin");
    let mut command = Command::new(name);
    command.env("PATH", path).stdin(Stdio::null());
    command
}

/// Runs it to its end and gives what it wrote to standard output.
pub(crate) fn output_of(command: &mut Command) -> Result<String, GuestError> {
    let said = command.output();
    let program = || command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        said.map_err(|source| GuestError::Missing { program: program(), source })?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let stderr =
        String::from_utf8_lossy(&stderr[stderr.len().saturating_sub(STDERR_SHOWN)..]).trim().to_owned();
    Err(GuestError::Failed { command: format!("{command:?}"), status: status.to_string(), stderr })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_repeats_what_the_program_said() {
        let error = output_of(program("sh").args(["-c", "echo out of cheese >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("out of cheese") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_missing_program_is_named_with_its_remedy() {
        let error = output_of(&mut program("farshore-no-such-program")).unwrap_err().to_string();
        assert!(error.contains("farshore-no-such-program") && error.contains("setup"), "{error}");
    }
}
