//! Rules on words that must not be in the project: notes of unfinished work, hosts that
//! packages come from, folders of somebody's machine. Written in two halves here, so that
//! this file keeps its own rules.

use super::Source;

/// Written by cargo; it names where packages come from.
const LOCK: &str = "Cargo.lock";

const UNFINISHED: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

const HOSTS: [&str; 8] = [
    concat!("crates", ".io"),
    concat!("static.", "rust-lang.org"),
    concat!("deb.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("py", "pi.org"),
    concat!("npm", "js.org"),
    concat!("docker", ".io"),
    concat!("ghcr", ".io"),
];

const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tmp/", "briefs")];

pub(super) fn unfinished(source: &Source) -> Vec<String> {
    find(source, |line| {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .find(|word| UNFINISHED.contains(word))
            .map(|word| format!("{word}: finish it or write it down as an issue"))
    })
}

pub(super) fn hosts_and_machine_paths(source: &Source) -> Vec<String> {
    if source.path == LOCK {
        return Vec::new();
    }
    find(source, |line| {
        let host =
            HOSTS.iter().find(|host| line.contains(*host)).map(|host| format!("names the host {host}"));
        host.or_else(|| {
            let path = MACHINE_PATHS.iter().find(|path| starts_a_path(line, path))?;
            Some(format!("names a folder of one machine, {path}"))
        })
    })
}

/// Whether `path` stands in `line` as the start of an absolute path, not in the middle of a longer one.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || "_-./}".contains(c))
    })
}

pub(super) fn trailing_space(source: &Source) -> Vec<String> {
    find(source, |line| line.ends_with([' ', '\t', '\r']).then(|| "space at the end of the line".to_owned()))
}

fn find(source: &Source, fault: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let faults = source.lines().filter_map(|(at, line)| Some((at, fault(line)?)));
    faults.map(|(at, fault)| format!("{}:{at}: {fault}", source.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_unfinished_work_is_refused_as_a_word() {
        for word in UNFINISHED {
            assert_eq!(unfinished(&Source::sample("a.rs", &format!("ok\n// {word}: later"))).len(), 1);
            assert!(unfinished(&Source::sample("a.rs", &format!("a{word}b"))).is_empty());
        }
    }

    #[test]
    fn a_host_is_refused_except_in_the_lock_file() {
        for host in HOSTS {
            let text = format!("see https://{host}/x");
            assert_eq!(hosts_and_machine_paths(&Source::sample("a.md", &text)).len(), 1);
            assert!(hosts_and_machine_paths(&Source::sample(LOCK, &text)).is_empty());
        }
    }

    #[test]
    fn a_machines_folder_is_refused_and_a_relative_one_is_not() {
        for path in MACHINE_PATHS {
            assert_eq!(
                hosts_and_machine_paths(&Source::sample("a.toml", &format!("p = \"{path}x\""))).len(),
                1
            );
            assert!(
                hosts_and_machine_paths(&Source::sample("a.toml", &format!("p = \"a{path}x\""))).is_empty()
            );
        }
    }

    #[test]
    fn space_at_the_end_of_a_line_is_refused() {
        let findings = trailing_space(&Source::sample("a.rs", "a\nb \nc\n"));
        assert_eq!(findings, ["a.rs:2: space at the end of the line"]);
    }
}
