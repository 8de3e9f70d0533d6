//! Where a machine's packages come from, as pure text: finds the entry of the main suite and
//! words the same one for another suite. So no host is ever named here, and a machine that
//! uses a mirror goes on using it.

/// The entry for `suite`, made from the first of `files` that has one for `base`; each
/// file as its name and its text.
pub(super) fn entry_for(suite: &str, base: &str, files: &[(String, String)]) -> Option<String> {
    files.iter().find_map(|(name, text)| {
        if name.ends_with(".sources") {
            from_stanzas(suite, base, text)
        } else {
            from_lines(suite, base, text)
        }
    })
}

/// The newer kind: paragraphs of `Key: value`.
fn from_stanzas(suite: &str, base: &str, text: &str) -> Option<String> {
    text.split("\n\n").find_map(|stanza| {
        let value = |key: &str| {
            let mut lines = stanza.lines().filter(|line| !line.starts_with('#'));
            lines.find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
        };
        let fits = value("Types")?.contains("deb") && value("Suites")?.split_whitespace().any(|s| s == base);
        let uris = value("URIs").filter(|_| fits)?;
        let key = value("Signed-By").map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
        Some(format!("Types: deb\nURIs: {uris}\nSuites: {suite}\nComponents: main\n{key}"))
    })
}

/// The older kind: `deb [options] uri suite components` on one line.
fn from_lines(suite: &str, base: &str, text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let after_options = rest.strip_prefix('[').and_then(|r| r.split_once(']')).map_or(rest, |(_, r)| r);
        let mut words = after_options.split_whitespace();
        let (uri, named) = (words.next()?, words.next()?);
        let main = named == base && words.any(|component| component == "main");
        main.then(|| format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, text: &str) -> Option<String> {
        entry_for("bookworm-backports", "bookworm", &[(name.to_owned(), text.to_owned())])
    }

    #[test]
    fn a_stanza_gives_its_uris_and_key_to_the_new_suite() {
        let text = "Types: deb\nURIs: http://sec.example/\nSuites: bookworm-security\nComponents: main\n\n\
                    Types: deb\n# note\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By: /usr/share/key.gpg\n";
        let expected = "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm-backports\n\
                        Components: main\nSigned-By: /usr/share/key.gpg\n";
        assert_eq!(entry("debian.sources", text).as_deref(), Some(expected));
    }

    #[test]
    fn an_old_line_gives_its_uri_with_or_without_options() {
        let expected =
            "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm-backports\nComponents: main\n";
        for line in [
            "deb http://a.example/debian bookworm main\n",
            "deb [arch=amd64 x=y] http://a.example/debian bookworm main non-free\n",
        ] {
            let text = format!(
                "# deb http://no.example bookworm main\ndeb http://s.example bookworm-security main\n{line}"
            );
            assert_eq!(entry("sources.list", &text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_machine_without_the_main_suite_gives_nothing() {
        assert_eq!(entry("sources.list", "deb http://a.example/tools stable main\n"), None);
        assert_eq!(entry("x.sources", "Types: deb\nURIs: http://a.example\nSuites: trixie\n"), None);
    }
}
