//! The agent: roles, configuration, local commands
