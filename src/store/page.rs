//! Pages of a list: a stable order by time and id, and a key where the next page begins.

use uuid::Uuid;

use crate::ids::Timestamp;

/// Most rows on one page.
pub const PAGE_MAX: usize = 500;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last row seen, from [`Paged::next`]. `None` for the first page.
    pub after: Option<(Timestamp, Uuid)>,
    /// Most rows wanted, clamped to 1 to [`PAGE_MAX`].
    pub limit: usize,
}

impl Page {
    /// The first rows of a list.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// Rows to show.
    fn rows(self) -> usize {
        self.limit.clamp(1, PAGE_MAX)
    }

    /// Rows to read: one more than shown tells whether there is a next page.
    pub(super) fn rows_to_read(self) -> i64 {
        i64::try_from(self.rows() + 1).expect("a page is small")
    }

    /// Cuts what was read to what is shown.
    pub(super) fn cut<T>(
        self,
        mut items: Vec<T>,
        key: impl Fn(&T) -> (Timestamp, Uuid),
    ) -> Paged<T> {
        let has_more = items.len() > self.rows();
        items.truncate(self.rows());
        let next = if has_more {
            items.last().map(key)
        } else {
            None
        };
        Paged { items, next }
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins. `None` if this was the last.
    pub next: Option<(Timestamp, Uuid)>,
}

/// Restricts a boxed query to the rows behind a key, oldest first, and orders it.
macro_rules! oldest_first {
    ($query:expr, $page:expr, $time:expr, $id:expr) => {{
        let mut query = $query;
        if let Some((time, id)) = $page.after {
            // The first bound is what an index can use.
            query = query
                .filter($time.ge(time))
                .filter($time.gt(time).or($id.gt($crate::store::values::AnyId(id))));
        }
        query
            .order(($time.asc(), $id.asc()))
            .limit($page.rows_to_read())
    }};
}

/// Restricts a boxed query to the rows behind a key, newest first, and orders it.
macro_rules! newest_first {
    ($query:expr, $page:expr, $time:expr, $id:expr) => {{
        let mut query = $query;
        if let Some((time, id)) = $page.after {
            query = query
                .filter($time.le(time))
                .filter($time.lt(time).or($id.lt($crate::store::values::AnyId(id))));
        }
        query
            .order(($time.desc(), $id.desc()))
            .limit($page.rows_to_read())
    }};
}

pub(super) use {newest_first, oldest_first};
