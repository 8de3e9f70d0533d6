//! Which distribution this is, from what it says about itself.

use std::fs;

const OS_RELEASE: &str = "/etc/os-release";
/// The oldest release that setup knows; its QEMU and libvirt are taken from backports.
const OLDEST: u32 = 12;

/// A distribution as far as setup tells them apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Debian 12; its code name.
    Oldest(String),
    /// A newer Debian, or one that is not released yet.
    Newer,
    /// Anything else; its name.
    Other(String),
}

impl Release {
    /// Asks the machine.
    pub(super) fn of_this_machine() -> Release {
        parse(&fs::read_to_string(OS_RELEASE).unwrap_or_default())
    }

    /// The suite that QEMU and libvirt must come from, if it is not the usual one.
    pub(super) fn backports(&self) -> Option<String> {
        match self {
            Release::Oldest(code_name) => Some(format!("{code_name}-backports")),
            Release::Newer | Release::Other(_) => None,
        }
    }
}

fn parse(text: &str) -> Release {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    let name = || value("PRETTY_NAME").unwrap_or_else(|| "an unknown system".to_owned());
    if value("ID").as_deref() != Some("debian") {
        return Release::Other(name());
    }
    match (value("VERSION_ID").map(|id| id.parse::<u32>()), value("VERSION_CODENAME")) {
        (Some(Ok(OLDEST)), Some(code_name)) => Release::Oldest(code_name),
        (Some(Ok(version)), _) if version < OLDEST => Release::Other(name()),
        _ => Release::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian(version: &str) -> Release {
        parse(&format!(
            "PRETTY_NAME=\"Debian GNU/Linux {version}\"\nID=debian\nVERSION_ID=\"{version}\"\nVERSION_CODENAME=name\n"
        ))
    }

    #[test]
    fn only_the_oldest_release_needs_backports() {
        assert_eq!(debian("12").backports().as_deref(), Some("name-backports"));
        assert_eq!(debian("13"), Release::Newer);
        assert_eq!(parse("ID=debian\nVERSION_CODENAME=forky\n"), Release::Newer);
    }

    #[test]
    fn what_setup_does_not_know_keeps_its_name() {
        assert_eq!(debian("11"), Release::Other("Debian GNU/Linux 11".to_owned()));
        assert_eq!(
            parse("ID=ubuntu\nPRETTY_NAME=\"Ubuntu 24.04\"\n"),
            Release::Other("Ubuntu 24.04".to_owned())
        );
        assert_eq!(parse(""), Release::Other("an unknown system".to_owned()));
    }
}
