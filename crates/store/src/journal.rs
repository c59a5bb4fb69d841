//! The journal of model calls: append-only segment files, written before a call leaves and before its answer ends.
//!
//! ```text
//! calls/000001.seg   frame frame frame …            a new segment at each start and every 64 MiB
//! frame              header | sealed bodies | record (leaves without their index, what the tables need)
//! ```
//! - [`Journal::append`] hands a frame to the OS with one write under a short lock: what it returned for survives
//!   `kill -9`. [`Journal::flush`] makes it survive a power failure too; those who wait together share one flush.
//! - The one writer folds records into the database in the order of the journal (`fold`); the place up to which it has
//!   come is in the same transaction, so each record is folded exactly once.
//! - Bodies stay here. The database knows where they lie. A segment goes when every scope with a body in it is erased.
//! - A frame that a crash tore was never acknowledged: it is cut at the next start.
//! - When appending failed for want of space nothing is appended until there is room again; the answer is no.
//! - The writer may fall behind by [`MAX_BACKLOG`]; then whoever records something waits for it.

pub(crate) mod frame;
pub(crate) mod record;
pub(crate) mod segment;

use crate::{StoreError, body::create_private_dir, now};
use frame::Closed;
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};

/// Where a segment ends and the next begins.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of records that may wait for being folded: less than the reserve of the disk, as a stop folds them first.
const MAX_BACKLOG: u64 = 4 << 20;
/// What a frame counts beside its record.
const FRAME_WEIGHT: u64 = 256;
/// How long a record waits for the writer to catch up before the answer is no.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(10);
/// Space that must be free again after the disk was full: more than the reserve, which is for stopping.
const ROOM_AGAIN: u64 = 16 << 20;

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// A frame that was handed to the OS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    /// Where it begins.
    pub(crate) at: Position,
    /// Its number in this process, for [`Journal::flush`].
    number: u64,
}

/// The journal of this process.
pub(crate) struct Journal {
    dir: PathBuf,
    end: Mutex<End>,
    /// What was appended and is not folded, by weight.
    backlog: AtomicU64,
    /// Set while the writer cannot fold.
    stuck: AtomicBool,
    flushed: watch::Sender<u64>,
    flushing: AsyncMutex<()>,
    progress: watch::Sender<u64>,
    /// Tells the writer that there is something to fold.
    pub(crate) waiting: Notify,
}

struct End {
    file: Arc<File>,
    at: Position,
    last_ms: i64,
    appended: u64,
    /// Counts how often the open calls were closed by recovery.
    epoch: u64,
    /// Files with bytes that may not be on disk.
    dirty: Vec<Arc<File>>,
    /// Whether the folder may have names that are not on disk.
    dirty_dir: bool,
    full: bool,
    /// Set when bytes may lie behind the end that are not ours to read, or a flush failed.
    broken: Option<&'static str>,
}

impl Journal {
    /// Opens the journal in `dir` with a fresh segment, behind all that are there and behind `folded`.
    pub(crate) fn open(dir: PathBuf, folded: Position) -> Result<Self, StoreError> {
        create_private_dir(&dir)?;
        let newest = segment::list(&dir)?.last().copied().unwrap_or(0).max(folded.segment);
        let at = Position { segment: newest + 1, offset: 0 };
        let file = Arc::new(segment::create(&dir, at.segment)?);
        let end = End {
            dirty: vec![Arc::clone(&file)],
            file,
            at,
            last_ms: 0,
            appended: 0,
            epoch: 0,
            dirty_dir: true,
            full: false,
            broken: None,
        };
        Ok(Self {
            dir,
            end: Mutex::new(end),
            backlog: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            flushed: watch::Sender::new(0),
            flushing: AsyncMutex::new(()),
            progress: watch::Sender::new(0),
            waiting: Notify::new(),
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn lock(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the next frame will begin.
    pub(crate) fn end(&self) -> Position {
        self.lock().at
    }

    /// Whether records wait for being folded.
    pub(crate) fn is_behind(&self) -> bool {
        self.backlog.load(Ordering::Acquire) > 0
    }

    /// Waits until the writer is near enough for a further record.
    pub(crate) async fn room(&self) -> Result<(), StoreError> {
        if self.stuck.load(Ordering::Acquire) && self.is_behind() {
            return Err(StoreError::DiskFull);
        }
        if self.backlog.load(Ordering::Acquire) < MAX_BACKLOG {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let near = async {
            while self.backlog.load(Ordering::Acquire) >= MAX_BACKLOG {
                if progress.changed().await.is_err() {
                    return Err(StoreError::Closed);
                }
            }
            Ok(())
        };
        tokio::time::timeout(BACKLOG_PATIENCE, near).await.unwrap_or(Err(StoreError::DiskFull))
    }

    /// Hands a frame to the OS. After an error nothing of it is there.
    pub(crate) fn append(&self, frame: Closed, folds: bool) -> Result<Appended, StoreError> {
        self.append_in(None, frame, folds)
    }

    /// The same for a call that was begun in `epoch`, unless recovery has closed it.
    pub(crate) fn append_of(&self, epoch: u64, frame: Closed) -> Result<Appended, StoreError> {
        self.append_in(Some(epoch), frame, true)
    }

    /// Calls that are begun now belong to this.
    pub(crate) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// From now on no call ends that was begun before.
    pub(crate) fn close_calls(&self) {
        self.lock().epoch += 1;
    }

    fn append_in(&self, epoch: Option<u64>, mut frame: Closed, folds: bool) -> Result<Appended, StoreError> {
        fail::fail_point!("store.journal.append.before", |_| Err(StoreError::DiskFull));
        let mut end = self.lock();
        if epoch.is_some_and(|e| e != end.epoch) {
            return Err(StoreError::conflict("call_ended", "the call was closed by recovery"));
        }
        end.check(&self.dir)?;
        if end.at.offset >= SEGMENT_BYTES {
            end.rotate(&self.dir)?;
        }
        end.last_ms = end.last_ms.max(now().as_millisecond());
        let (at, time_ms) = (end.at, end.last_ms);
        let bytes = frame.at(time_ms);
        if let Err(e) = end.file.write_all_at(bytes, at.offset) {
            return Err(end.undo(e));
        }
        end.at.offset += bytes.len() as u64;
        end.appended += 1;
        let number = end.appended;
        if end.dirty.is_empty() {
            let file = Arc::clone(&end.file);
            end.dirty.push(file);
        }
        if folds {
            // Counted under the lock: whoever reads the end afterwards also sees that there is something to fold.
            self.backlog.fetch_add(frame.meta as u64 + FRAME_WEIGHT, Ordering::AcqRel);
        }
        drop(end);
        if folds {
            self.waiting.notify_one();
        }
        fail::fail_point!("store.journal.append.after");
        Ok(Appended { at, number })
    }

    /// Returns when the frame is on disk.
    pub(crate) async fn flush(&self, frame: Appended) -> Result<(), StoreError> {
        self.flush_to(frame.number).await
    }

    /// Returns when everything appended so far is on disk.
    pub(crate) async fn flush_all(&self) -> Result<(), StoreError> {
        let number = self.lock().appended;
        self.flush_to(number).await
    }

    async fn flush_to(&self, number: u64) -> Result<(), StoreError> {
        if *self.flushed.borrow() >= number {
            return Ok(());
        }
        let _turn = self.flushing.lock().await;
        if *self.flushed.borrow() >= number {
            return Ok(());
        }
        fail::fail_point!("store.journal.flush.before", |_| Err(StoreError::DiskFull));
        let (upto, files, dir) = {
            let mut end = self.lock();
            if let Some(why) = end.broken {
                return Err(StoreError::corrupt(why));
            }
            let dir = std::mem::take(&mut end.dirty_dir).then(|| self.dir.clone());
            (end.appended, std::mem::take(&mut end.dirty), dir)
        };
        let synced = tokio::task::spawn_blocking(move || {
            files.iter().try_for_each(|f| f.sync_data())?;
            dir.map_or(Ok(()), |d| File::open(d)?.sync_all())
        });
        let result = synced.await.map_err(std::io::Error::other).and_then(|r| r);
        if let Err(e) = result {
            // What the kernel dropped cannot be flushed again: nothing is promised any more until a restart.
            self.lock().broken = Some("the call journal could not be flushed; restart the server");
            return Err(e.into());
        }
        self.flushed.send_replace(upto);
        fail::fail_point!("store.journal.flush.after");
        Ok(())
    }

    /// Notes that the writer's transaction reached the database.
    pub(crate) fn folded(&self, weight: u64, ok: bool) {
        self.stuck.store(!ok, Ordering::Release);
        self.backlog.fetch_sub(weight, Ordering::AcqRel);
        self.progress.send_modify(|n| *n += 1);
    }

    /// The weight of a record, as it counts in the backlog.
    pub(crate) const fn weight(meta: usize) -> u64 {
        meta as u64 + FRAME_WEIGHT
    }

    /// Removes a segment, unless it is the one that is written.
    pub(crate) fn remove(&self, number: u32) -> Result<(), StoreError> {
        if number >= self.end().segment {
            return Ok(());
        }
        match std::fs::remove_file(segment::path(&self.dir, number)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }
}

impl End {
    fn check(&mut self, dir: &Path) -> Result<(), StoreError> {
        if let Some(why) = self.broken {
            return Err(StoreError::corrupt(why));
        }
        if self.full {
            let space = rustix::fs::statvfs(dir).map_err(std::io::Error::from)?;
            if space.f_bavail.saturating_mul(space.f_frsize) < ROOM_AGAIN {
                return Err(StoreError::DiskFull);
            }
            self.full = false;
        }
        Ok(())
    }

    fn rotate(&mut self, dir: &Path) -> Result<(), StoreError> {
        fail::fail_point!("store.journal.rotate.before", |_| Err(StoreError::DiskFull));
        let next = Position { segment: self.at.segment + 1, offset: 0 };
        self.file = Arc::new(segment::create(dir, next.segment)?);
        self.at = next;
        self.dirty.push(Arc::clone(&self.file));
        self.dirty_dir = true;
        Ok(())
    }

    /// Takes back what a failed write left behind.
    fn undo(&mut self, e: std::io::Error) -> StoreError {
        if let Err(e) = self.file.set_len(self.at.offset) {
            tracing::error!(error = %e, "a torn frame could not be cut from the call journal");
            self.broken = Some("the call journal could not be cut back; restart the server");
        }
        let e = StoreError::from(e);
        self.full |= matches!(e, StoreError::DiskFull);
        e
    }
}
