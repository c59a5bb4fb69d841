//! Folding: what the journal holds becomes rows and leaves, by the one writer, in the order of the journal.
//!
//! - Each transaction of the store folds first, so it sees every call that was acknowledged before it; when nothing
//!   else is written, the writer folds by itself.
//! - The place up to which the journal is folded is a row of the same transaction: each record is folded exactly once,
//!   also when the process dies between the two.
//! - Rows are written by the dozen. A call that begins and ends in one batch is inserted once, as it ended.

mod many;
mod rows;
mod write;

pub(crate) use rows::body_key;

use crate::{
    Store, StoreError, Tx,
    journal::{
        Journal, Position,
        record::{Entry, LeafText, Record},
        segment::{self, Batch, Reader},
    },
    recorder::leaf::tail,
    time_text,
};
use rows::{LeafRow, Rows};
use std::collections::{BTreeSet, HashMap};

/// Records that are folded together.
const BATCH: usize = 1024;
/// Bytes of records that are folded together.
const BATCH_BYTES: usize = 4 << 20;
/// Where the place is kept that the journal is folded up to.
const FOLDED: &str = "journal";

/// What is read of the journal at once.
struct Span {
    batch: Batch,
    next: Position,
    /// A segment that ends in something torn: its number and where its last whole frame ends.
    torn: Option<(u32, u64, u64)>,
}

impl Tx {
    /// Folds what was appended up to now.
    pub(crate) async fn fold(&mut self) -> Result<(), StoreError> {
        let end = self.journal.end();
        while self.place.folded < end {
            let span = read(&self.journal, self.place.folded, end, false)?;
            if let Some((number, _, bytes)) = span.torn {
                tracing::error!(
                    segment = number,
                    bytes,
                    "the call journal has bytes that are no frame; they were passed over"
                );
            }
            self.fold_span(span).await?;
        }
        Ok(())
    }

    /// Folds what an earlier process left, and cuts what its end tore.
    async fn fold_rest(&mut self) -> Result<(), StoreError> {
        let end = self.journal.end();
        while self.place.folded < end {
            let span = read(&self.journal, self.place.folded, end, true)?;
            if let Some((number, len, bytes)) = span.torn {
                tracing::warn!(segment = number, bytes, "the call journal ended in a torn frame, which was cut");
                segment::cut(self.journal.dir(), number, len)?;
            }
            self.fold_span(span).await?;
        }
        Ok(())
    }

    async fn fold_span(&mut self, span: Span) -> Result<(), StoreError> {
        let Span { batch, next, .. } = span;
        if !batch.records.is_empty() {
            fail::fail_point!("store.fold.before", |_| Err(StoreError::DiskFull));
            self.fold_batch(&batch).await?;
        }
        self.place_set(next).await?;
        self.place.weight += batch.records.iter().map(|f| Journal::weight(f.meta.len())).sum::<u64>();
        self.place.folded = next;
        if !batch.records.is_empty() {
            fail::fail_point!("store.fold.after", |_| Err(StoreError::DiskFull));
        }
        Ok(())
    }

    async fn fold_batch(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut rows = Rows::default();
        let mut times = Times::default();
        let mut leaves = Vec::with_capacity(batch.records.len() * 2);
        let mut scopes: HashMap<&str, BTreeSet<u32>> = HashMap::new();
        let mut index = self.leaf_count();
        for found in &batch.records {
            let meta = batch.metas.get(found.meta.clone()).unwrap_or_default();
            let entry: Entry<'_> = postcard::from_bytes(meta)
                .map_err(|e| StoreError::corrupt(format!("the record at {:?}: {e}", found.at)))?;
            let time = times.text(found.time_ms)?;
            for leaf in &entry.leaves {
                leaves.push(leaf_row(leaf, index, &time));
                index += 1;
            }
            let segments = scopes.entry(entry.scope).or_default();
            segments.insert(found.at.segment);
            segments.extend(entry.bodies.iter().flat_map(|b| &b.pieces).map(|p| p.0));
            rows.bodies(&entry.bodies, found.at);
            match &entry.record {
                Record::Begun(begun) => rows.begun(&entry, begun, None, &time)?,
                Record::Refused(begun, refusal) => rows.begun(&entry, begun, Some(refusal), &time)?,
                Record::Attempt(next) => rows.attempt(&entry, next, &time)?,
                Record::Ended(ended) => {
                    let hashes = self.hashes(&entry, ended).await?;
                    rows.ended(&entry, ended, hashes, &time)?;
                }
            }
        }
        for (scope, segments) in scopes {
            rows.scopes.extend(segments.into_iter().map(|s| (s, scope.to_owned())));
        }
        rows.write(&mut self.conn, leaves).await?;
        self.set_leaf_count(index);
        Ok(())
    }

    /// The hashes of emitted arguments; none where there is none, or the key is erased.
    async fn hashes(
        &mut self,
        entry: &Entry<'_>,
        ended: &crate::journal::record::CallEnded<'_>,
    ) -> Result<Vec<Option<String>>, StoreError> {
        if ended.tools.is_empty() {
            return Ok(Vec::new());
        }
        let key = match self.body_key_of(entry.scope).await {
            Ok(key) => crate::recorder::seal::ScopeKey::new(entry.scope, &key)?,
            Err(StoreError::Erased) => return Ok(vec![None; ended.tools.len()]),
            Err(e) => return Err(e),
        };
        let open = |sealed: &[u8]| {
            let mut sealed = sealed.to_vec();
            key.open(&mut sealed).map(|hash| String::from_utf8_lossy(hash).into_owned())
        };
        ended.tools.iter().map(|t| t.hash.map(open).transpose()).collect()
    }

    async fn place_set(&mut self, at: Position) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(FOLDED)
        .bind(serde_json::to_string(&at)?)
        .execute(&mut self.conn)
        .await?;
        Ok(())
    }

    /// Folds what an earlier process left, in one transaction, and removes segments that nobody needs.
    pub(crate) async fn fold_at_start(&mut self) -> Result<(), StoreError> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.conn).await?;
        self.fold_rest().await?;
        sqlx::query("COMMIT").execute(&mut self.conn).await?;
        self.place.weight = 0;
        self.segments_sweep().await
    }

    /// Removes segments in which every body is erased, or none ever was.
    async fn segments_sweep(&mut self) -> Result<(), StoreError> {
        let kept: Vec<u32> = sqlx::query_scalar(
            "SELECT DISTINCT s.segment FROM segment_scope s JOIN body_key k ON k.scope = s.scope WHERE k.key IS NOT NULL",
        )
        .fetch_all(&mut self.conn)
        .await?;
        for number in segment::list(self.journal.dir())? {
            if number < self.place.folded.segment && !kept.contains(&number) {
                self.journal.remove(number)?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// Waits until every call that was acknowledged is in the tables, so that a reader misses none.
    ///
    /// Where that is impossible at the moment the reader gets what is there.
    pub(crate) async fn caught_up(&self) {
        if self.0.journal.is_behind() {
            let folded = self.write(crate::Durability::Process, |_| Box::pin(async { Ok(()) }));
            if let Err(e) = folded.await {
                tracing::warn!(error = %e, "calls could not be brought into the tables; a reader does not see them yet");
            }
        }
    }
}

/// The place up to which the journal was folded.
pub(crate) async fn place_get(conn: &mut sqlx::SqliteConnection) -> Result<Position, StoreError> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT value FROM meta WHERE key = $1").bind(FOLDED).fetch_optional(conn).await?;
    match text {
        Some(text) => Ok(serde_json::from_str(&text)?),
        None => Ok(Position::default()),
    }
}

/// Reads the next records between two places; passes from one segment to the next.
fn read(journal: &Journal, from: Position, end: Position, careful: bool) -> Result<Span, StoreError> {
    let dir = journal.dir();
    let mut span = Span { batch: Batch::default(), next: from, torn: None };
    while span.next < end && span.torn.is_none() {
        let last = span.next.segment == end.segment;
        let segment = span.next.segment;
        let mut reader = if segment::path(dir, segment).exists() {
            Some(Reader::open(dir, segment, span.next.offset, last.then_some(end.offset), careful)?)
        } else {
            None
        };
        if let Some(reader) = &mut reader {
            while reader.next(&mut span.batch)? {
                if span.batch.records.len() >= BATCH || span.batch.metas.len() >= BATCH_BYTES {
                    span.next.offset = reader.offset;
                    return Ok(span);
                }
            }
            span.torn = (reader.left() > 0).then(|| (segment, reader.offset, reader.left()));
        }
        span.next = if last { end } else { Position { segment: segment + 1, offset: 0 } };
    }
    Ok(span)
}

fn leaf_row(leaf: &LeafText<'_>, index: u64, time: &str) -> LeafRow {
    let text = [leaf.head, &index.to_string(), leaf.middle, time, &tail()].concat();
    LeafRow {
        index: index.cast_signed(),
        time: time.to_owned(),
        kind: leaf.kind.to_owned(),
        phase: leaf.phase.to_owned(),
        op: leaf.op.map(str::to_owned),
        task: leaf.task.map(str::to_owned),
        bytes: text.into_bytes(),
    }
}

/// Moments as text; neighbours are often the same.
#[derive(Default)]
struct Times {
    last: Option<(i64, String)>,
}

impl Times {
    fn text(&mut self, ms: i64) -> Result<String, StoreError> {
        if let Some((last, text)) = &self.last
            && *last == ms
        {
            return Ok(text.clone());
        }
        let text = moment(ms)?;
        self.last = Some((ms, text.clone()));
        Ok(text)
    }
}

fn moment(ms: i64) -> Result<String, StoreError> {
    Ok(time_text(jiff::Timestamp::from_millisecond(ms).map_err(StoreError::corrupt)?))
}
