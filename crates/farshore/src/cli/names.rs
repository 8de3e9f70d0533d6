//! Names and ids: every command takes either; what is not found is told with what comes
//! close.

use uuid::Uuid;

use crate::ProgramError;

/// Finds one of several by its id or its name.
pub(crate) fn find<'a, T>(
    what: &str,
    wanted: &str,
    all: &'a [T],
    id: impl Fn(&T) -> Uuid,
    name: impl Fn(&T) -> &str,
) -> Result<&'a T, ProgramError> {
    if let Ok(wanted) = wanted.parse::<Uuid>()
        && let Some(found) = all.iter().find(|one| id(one) == wanted)
    {
        return Ok(found);
    }
    let named: Vec<&T> = all.iter().filter(|one| name(one) == wanted).collect();
    match named[..] {
        [one] => Ok(one),
        [] => {
            let close = all.iter().map(&name).min_by_key(|known| distance(known, wanted));
            let close = close.filter(|known| distance(known, wanted) <= wanted.len().div_ceil(2));
            let advice = match (close, all.is_empty()) {
                (Some(close), _) => format!("did you mean '{close}'?"),
                (None, true) => format!("there is no {what} yet"),
                (None, false) => {
                    format!("there are: {}", all.iter().map(&name).collect::<Vec<_>>().join(", "))
                }
            };
            Err(ProgramError::usage(format!("there is no {what} '{wanted}'"), advice))
        }
        _ => {
            let ids: Vec<String> = named.iter().map(|one| id(one).to_string()).collect();
            let advice = format!("name one by its id: {}", ids.join(", "));
            Err(ProgramError::usage(format!("several {what}s are named '{wanted}'"), advice))
        }
    }
}

/// How many characters have to be changed, put in or taken out to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let cost = before + usize::from(a != *b);
            let best = cost.min(row[j].min(row[j + 1]) + 1);
            before = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(wanted: &str, names: &[&str]) -> Result<String, String> {
        let all: Vec<(Uuid, String)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (Uuid::from_u128(n as u128 + 1), (*name).to_owned()))
            .collect();
        find("host", wanted, &all, |one| one.0, |one| &one.1)
            .map(|one| one.1.clone())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn names_and_ids_find_and_typos_are_helped() {
        let names = ["web1", "web2", "db"];
        assert_eq!(look("db", &names), Ok("db".to_owned()));
        assert_eq!(look(&Uuid::from_u128(2).to_string(), &names), Ok("web2".to_owned()));
        assert!(look("wbe1", &names).unwrap_err().contains("did you mean 'web1'?"));
        assert!(look("something-else", &names).unwrap_err().contains("web1, web2, db"));
        assert!(look("x", &[]).unwrap_err().contains("no host yet"));
        assert!(look("a", &["a", "a"]).unwrap_err().contains("by its id"));
    }

    #[test]
    fn the_distance_counts_changes() {
        assert_eq!((distance("web1", "web1"), distance("web1", "wbe1"), distance("", "abc")), (0, 2, 3));
        assert_eq!((distance("kitten", "sitting"), distance("abc", "")), (3, 3));
    }
}
