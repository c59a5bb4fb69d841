//! Statements for many rows: a few lengths of each, so that the database prepares each once.

use crate::StoreError;
use sqlx::{Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};
use std::sync::OnceLock;

/// Rows of one statement.
const LENGTHS: [usize; 4] = [64, 16, 4, 1];

pub(super) type Bound = Query<'static, Sqlite, SqliteArguments<'static>>;

/// A statement that takes rows.
pub(super) struct Many {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    texts: [OnceLock<String>; LENGTHS.len()],
}

impl Many {
    /// `head`, then the rows, then `tail`.
    pub(super) const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self { head, columns, tail, texts: [const { OnceLock::new() }; LENGTHS.len()] }
    }

    fn text(&'static self, which: usize) -> &'static str {
        let rows = LENGTHS[which];
        self.texts[which].get_or_init(|| {
            let row = format!("({})", vec!["?"; self.columns].join(","));
            format!("{} VALUES {}{}", self.head, vec![row; rows].join(","), self.tail)
        })
    }

    /// Runs it for all rows, in their order.
    pub(super) async fn run<T>(
        &'static self,
        conn: &mut SqliteConnection,
        rows: Vec<T>,
        bind: fn(Bound, T) -> Bound,
    ) -> Result<(), StoreError> {
        let mut rows = rows.into_iter();
        for (which, length) in LENGTHS.into_iter().enumerate() {
            while rows.len() >= length {
                let query = rows.by_ref().take(length).fold(sqlx::query(self.text(which)), bind);
                query.execute(&mut *conn).await?;
            }
        }
        Ok(())
    }
}
