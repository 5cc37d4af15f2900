//! Lists in pages: `?limit=&cursor=` → `{items, nextCursor}`; the cursor names the last item and is
//! opaque to callers.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::problem::{Problem, ProblemCode};
use crate::{
    ids::Timestamp,
    store::{Page, Paged},
};

/// Items of a page by default.
pub const LIMIT_DEFAULT: usize = 100;
/// Most items of a page.
pub const LIMIT_MAX: usize = 500;
/// Latest time in a cursor (end of the year 9999), which every database can compare with.
const CURSOR_TIME_MAX: i64 = 253_402_300_799_999;
/// Bytes of a decoded cursor: a time and an id.
const CURSOR_BYTES: usize = 8 + 16;

/// A position in a list ordered by time, then id.
pub type Cursor = (Timestamp, Uuid);

/// The query of a list.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items per page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[param(min_length = 32, max_length = 32)]
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Returns the requested page.
    ///
    /// # Errors
    /// `bad_request` for a limit out of bounds, `bad_cursor` for a cursor that is not ours.
    pub fn page(&self) -> Result<Page, Problem> {
        page(self.limit, self.cursor.as_deref())
    }
}

/// Returns the page for `limit` and `cursor`.
///
/// # Errors
/// `bad_request` for a limit out of bounds, `bad_cursor` for a cursor that is not ours.
pub fn page(limit: Option<usize>, cursor: Option<&str>) -> Result<Page, Problem> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!(
            "limit must be 1 to {LIMIT_MAX}"
        )));
    }
    let after = match cursor {
        Some(text) => Some(decode(text).ok_or_else(|| {
            Problem::new(
                ProblemCode::BadCursor,
                "cursor must be the nextCursor of a page of this list",
            )
        })?),
        None => None,
    };
    Ok(Page { after, limit })
}

/// One page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageOf<T> {
    /// Items in the order of the list.
    pub items: Vec<T>,
    /// Where the next page begins. Null if this was the last.
    pub next_cursor: Option<String>,
}

impl<T> PageOf<T> {
    /// Makes a page of rows from the store, converted by `show`.
    pub fn of<R>(paged: Paged<R>, show: impl FnMut(R) -> T) -> Self {
        Self {
            items: paged.items.into_iter().map(show).collect(),
            next_cursor: paged.next.map(encode),
        }
    }

    /// Cuts a page out of a whole list, ordered by its items' cursors.
    pub fn cut(mut all: Vec<T>, page: &Page, cursor: impl Fn(&T) -> Cursor) -> Self {
        all.sort_by_key(&cursor);
        let start = page
            .after
            .map_or(0, |after| all.partition_point(|item| cursor(item) <= after));
        let rest = all.len() - start;
        let items: Vec<T> = all.into_iter().skip(start).take(page.limit).collect();
        let next_cursor = if rest > items.len() {
            items.last().map(|item| encode(cursor(item)))
        } else {
            None
        };
        Self { items, next_cursor }
    }
}

/// Encodes a cursor.
#[must_use]
pub fn encode((time, id): Cursor) -> String {
    let mut bytes = Vec::with_capacity(CURSOR_BYTES);
    bytes.extend_from_slice(&time.0.to_be_bytes());
    bytes.extend_from_slice(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes a cursor. `None` if the text is not one of ours.
#[must_use]
pub fn decode(text: &str) -> Option<Cursor> {
    let bytes: [u8; CURSOR_BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (time, id) = bytes.split_at(8);
    let time = i64::from_be_bytes(time.try_into().ok()?);
    (0..=CURSOR_TIME_MAX)
        .contains(&time)
        .then_some((Timestamp(time), Uuid::from_slice(id).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursor_comes_back_as_it_went(time in 0..=CURSOR_TIME_MAX, id: u128) {
            let cursor = (Timestamp(time), Uuid::from_u128(id));
            prop_assert_eq!(decode(&encode(cursor)), Some(cursor));
        }

        #[test]
        fn any_text_is_a_cursor_or_refused(text in ".{0,64}") {
            if let Some(cursor) = decode(&text) {
                prop_assert_eq!(encode(cursor), text);
            }
        }

        #[test]
        fn pages_of_a_list_give_every_item_once(times in prop::collection::vec(0..5_i64, 0..40), limit in 1..10_usize) {
            let all: Vec<Cursor> = times
                .iter()
                .enumerate()
                .map(|(index, time)| (Timestamp(*time), Uuid::from_u128(index as u128)))
                .collect();
            let mut seen = Vec::new();
            let mut cursor = None;
            loop {
                let asked = page(Some(limit), cursor.as_deref()).unwrap();
                let part = PageOf::cut(all.clone(), &asked, |item| *item);
                prop_assert!(part.items.len() <= limit);
                seen.extend(part.items);
                cursor = part.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let mut sorted = all;
            sorted.sort();
            prop_assert_eq!(seen, sorted);
        }
    }

    #[test]
    fn time_beyond_what_databases_know_is_a_bad_cursor() {
        let text = encode((Timestamp(i64::MAX), Uuid::nil()));
        assert_eq!(
            page(None, Some(&text)).unwrap_err().code,
            ProblemCode::BadCursor
        );
    }

    #[test]
    fn limit_is_one_to_five_hundred() {
        for limit in [0, LIMIT_MAX + 1] {
            assert_eq!(
                page(Some(limit), None).unwrap_err().code,
                ProblemCode::BadRequest
            );
        }
        assert_eq!(page(None, None).unwrap().limit, LIMIT_DEFAULT);
    }
}
