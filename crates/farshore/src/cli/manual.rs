//! Man pages, a page for each command, made of what the commands say of themselves.

use std::{fs, path::Path};

use clap::Command;

use crate::ProgramError;

/// Writes the pages of a command and of all below it into a folder.
///
/// # Errors
/// A folder that cannot be written.
pub(crate) fn write(command: Command, dir: &Path) -> Result<(), ProgramError> {
    fs::create_dir_all(dir).map_err(ProgramError::io("create", dir))?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), dir)
        .map_err(ProgramError::io("write man pages into", dir))
}
