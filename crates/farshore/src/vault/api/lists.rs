//! Lists, a page at a time: by name, filtered, from a cursor on. What a page costs is its own
//! views, not everybody's. This module must never know what is listed.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use farshore_vault::{Problem, ProblemKind};

use crate::{vault::issuer::problem, views::Page};

/// Items of a page, unless asked for otherwise.
const LIMIT_DEFAULT: u32 = 100;
/// Most items of a page.
const LIMIT_MAX: u32 = 1000;
/// Most views that are made for a page of those that pass a filter: a page may have fewer
/// than asked for, but never holds up everybody else.
const SCAN_MAX: usize = 1000;
/// Longest cursor, in bytes.
const CURSOR_MAX: usize = 1024;

/// Where something is in its list: its name, then ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    name: Cow<'a, str>,
    ids: (u128, u128),
}

impl<'a> Place<'a> {
    pub(super) fn new(name: impl Into<Cow<'a, str>>, id: uuid::Uuid) -> Place<'a> {
        Place::between(name, id, uuid::Uuid::nil())
    }

    pub(super) fn between(name: impl Into<Cow<'a, str>>, one: uuid::Uuid, other: uuid::Uuid) -> Place<'a> {
        Place { name: name.into(), ids: (one.as_u128(), other.as_u128()) }
    }

    /// Where what has no name is: the newest first.
    pub(super) fn newest_first(at_ms: u64, id: uuid::Uuid) -> Place<'a> {
        Place::new(format!("{:020}", u64::MAX - at_ms), id)
    }

    fn cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{:032x}{:032x}{}", self.ids.0, self.ids.1, self.name))
    }

    fn of_cursor(cursor: &str) -> Option<Place<'static>> {
        let text = URL_SAFE_NO_PAD.decode(cursor).ok().filter(|_| cursor.len() <= CURSOR_MAX)?;
        let text = String::from_utf8(text).ok()?;
        let id = |part: &str| u128::from_str_radix(part, 16).ok();
        let ids = (id(text.get(..32)?)?, id(text.get(32..64)?)?);
        Some(Place { name: text.get(64..)?.to_owned().into(), ids })
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) limit: Option<u32>,
    pub(super) cursor: Option<String>,
    pub(super) q: Option<String>,
}

impl Part {
    /// Whether a name has what is searched for.
    pub(super) fn has(&self, name: &str) -> bool {
        self.q.as_deref().is_none_or(|q| name.to_lowercase().contains(&q.to_lowercase()))
    }

    /// A page of `rows`, which were filtered by what they are; `view` makes an item, or none
    /// where it does not pass.
    pub(super) fn page<'a, R, T>(
        &self,
        rows: impl Iterator<Item = R>,
        place: impl Fn(&R) -> Place<'a>,
        mut view: impl FnMut(&R) -> Option<T>,
    ) -> Result<Page<T>, Problem> {
        let limit = self.limit()?;
        let after = self.after()?;
        let mut rest: Vec<(Place<'a>, R)> = rows.map(|row| (place(&row), row)).collect();
        rest.retain(|(place, _)| after.as_ref().is_none_or(|after| place > after));
        // Only what can be on this page is put in order.
        let most = limit.max(SCAN_MAX);
        if rest.len() > most + 1 {
            rest.select_nth_unstable_by(most, |one, other| one.0.cmp(&other.0));
            rest.truncate(most + 1);
        }
        rest.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut items = Vec::new();
        for (index, (_, row)) in rest.iter().enumerate() {
            if items.len() == limit || index == most {
                let next = rest.get(index.wrapping_sub(1)).map(|(place, _)| place.cursor());
                return Ok(Page { items, next });
            }
            items.extend(view(row));
        }
        Ok(Page { items, next: None })
    }

    fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let what = format!("a page of {limit} cannot be");
            return Err(problem(ProblemKind::Invalid, "limit", what, "use 1 to 1000"));
        }
        Ok(limit as usize)
    }

    fn after(&self) -> Result<Option<Place<'static>>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let place = Place::of_cursor(cursor).ok_or_else(|| {
            let what = "the cursor is none of this list's".to_owned();
            problem(ProblemKind::Invalid, "cursor", what, "use `next` of the page before, or leave it out")
        })?;
        Ok(Some(place))
    }
}

/// The parameters of a list: a page of it, and filters.
macro_rules! list_params {
    ($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, serde::Deserialize, utoipa::IntoParams)]
        #[serde(default, deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            /// Most items of the page, 100 unless given.
            #[param(minimum = 1, maximum = 1000)]
            limit: Option<u32>,
            /// From here on: `next` of the page before.
            cursor: Option<String>,
            /// Only those with this in their names, small letters and capitals alike.
            q: Option<String>,
            $($(#[$meta])* $field: Option<$kind>,)*
        }

        impl $name {
            fn part(&self) -> $crate::vault::api::lists::Part {
                let (limit, cursor, q) = (self.limit, self.cursor.clone(), self.q.clone());
                $crate::vault::api::lists::Part { limit, cursor, q }
            }
        }
    };
}
pub(super) use list_params;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use uuid::Uuid;

    use super::*;

    fn all() -> Vec<(String, Uuid)> {
        // Names that repeat, in no order.
        (0..3000u128).map(|n| (format!("m{}", n * 7919 % 1500), Uuid::from_u128(n))).collect()
    }

    fn read(limit: u32, passes: fn(&str) -> bool) -> (Vec<(String, Uuid)>, usize) {
        let (all, mut read, mut most) = (all(), Vec::new(), 0);
        let mut part = Part { limit: Some(limit), ..Part::default() };
        loop {
            let made = Cell::new(0);
            let view = |row: &&(String, Uuid)| {
                made.set(made.get() + 1);
                passes(&row.0).then(|| (*row).clone())
            };
            let page = part.page(all.iter(), |row| Place::new(&row.0, row.1), view).unwrap();
            assert!(page.items.len() <= limit as usize);
            most = most.max(made.get());
            read.extend(page.items);
            match page.next {
                Some(next) => part.cursor = Some(next),
                None => return (read, most),
            }
        }
    }

    #[test]
    fn pages_together_are_the_list_in_order_and_each_costs_no_more_than_itself() {
        let mut expected = all();
        expected.sort();
        for limit in [1000, 100, 7] {
            let (read, most) = read(limit, |_| true);
            assert_eq!(read, expected, "pages of {limit}");
            assert_eq!(most, limit as usize, "views that were made for one page");
        }
    }

    #[test]
    fn a_filter_that_little_passes_holds_up_nobody_and_loses_nothing() {
        let mut expected = all();
        expected.retain(|(name, _)| name.ends_with("99"));
        expected.sort();
        let (read, most) = read(10, |name| name.ends_with("99"));
        assert_eq!(read, expected);
        assert!(most <= SCAN_MAX);
    }

    #[test]
    fn what_is_no_cursor_and_no_limit_is_refused() {
        let page = |part: Part| part.page(all().iter(), |row| Place::new(row.0.clone(), row.1), |_| Some(()));
        for cursor in ["", "x", "????", "AAAA"] {
            let error = page(Part { cursor: Some(cursor.to_owned()), ..Part::default() }).unwrap_err();
            assert_eq!(error.code, "cursor");
        }
        for limit in [0, 1001] {
            assert_eq!(page(Part { limit: Some(limit), ..Part::default() }).unwrap_err().code, "limit");
        }
    }
}
