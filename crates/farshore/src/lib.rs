//! `farshore`: the vault and the site servers as programs, and the operator's commands, which
//! speak to a vault by its public API alone. Decisions are in the crates below; this one
//! starts them, lets them be asked, and shows what they say.

pub mod cli;
mod error;
mod settings;
pub mod site;
pub mod vault;
pub mod views;

pub use error::ProgramError;
