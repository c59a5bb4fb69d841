//! Recording model calls: cheap enough for each of ten thousand in a second, strict enough that none leaves unrecorded.
//!
//! ```text
//! begin ──► [attempt_end ──► …] ──► end        each one frame of the journal, durable before it returns
//! refuse                                        the same, for a call that is not let out
//! ```
//! - A record is made on the caller's thread: bodies are sealed, leaves are written, all of it goes to the OS with one
//!   write. The tables and the log follow ([`crate::fold`]); readers wait for them, so they miss nothing acknowledged.
//! - A sandbox's call passes its task's gate ([`gate`]). A key's or a token's call has none; what it may do is judged
//!   before it comes here.
//! - A long answer is recorded while it comes ([`Recorder::body`]).
//! - If a record cannot be written the answer is an error, and the call must not leave, or its answer must not end.

pub(crate) mod body;
pub(crate) mod gate;
pub(crate) mod leaf;
pub(crate) mod make;
pub(crate) mod seal;
pub(crate) mod types;

pub use body::{BodyWriter, Written};
pub(crate) use types::token_scope;
pub use types::*;

use crate::{
    Durability, Store, StoreError,
    journal::{Appended, frame::Closed},
};
use domain::ids::{CallId, TaskId};
use futures::FutureExt;
use gate::{Gate, State};
use make::{Ending, Passing, Prepared};
use seal::ScopeKey;
use sqlx::Row;
use std::sync::{Arc, MutexGuard, PoisonError};

/// How often a call tries again because its task changed while it was being let out.
const GATE_TRIES: usize = 32;
/// Requests larger than this are sealed on a thread that may take its time.
const SEAL_ASIDE: usize = 1 << 20;
/// The scope of what belongs to nobody.
const NOBODY: &str = "system";

/// Records calls at one level of durability. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    store: Store,
    level: Durability,
}

/// The attempt under way.
#[derive(Debug)]
pub(crate) struct Attempting {
    pub(crate) number: u32,
    pub(crate) begun_ms: i64,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) format: &'static str,
    pub(crate) url: String,
    pub(crate) sent: Option<String>,
    pub(crate) over: bool,
}

/// Whether a call passed its gate.
enum Passed {
    Yes(Begun, Appended),
    Closed(Prepared),
}

impl Store {
    /// Records calls; each record is as durable as `level` says before it is acknowledged.
    pub fn recorder(&self, level: Durability) -> Recorder {
        Recorder { store: self.clone(), level }
    }
}

impl Recorder {
    /// Records that a call of a sandbox is about to leave for where `judge` says, or that it is refused.
    ///
    /// `judge` must be quick: it runs under the lock of the task's gate, and again if the task changed meanwhile.
    pub async fn begin_task<J>(&self, task: TaskId, new: NewCall, mut judge: J) -> Result<Begun, StoreError>
    where
        J: FnMut(&crate::CallContext) -> Result<NewAttempt, NotSent> + Send,
    {
        self.journal().room().await?;
        let mut sealed: Option<Prepared> = None;
        for _ in 0..GATE_TRIES {
            let (gate, key) = self.gate(task).await?;
            let prepared = match sealed.take() {
                Some(prepared) if Arc::ptr_eq(prepared.key(), &key) => prepared,
                _ => self.prepare(key, &new).await?,
            };
            match self.pass(&gate, prepared, &new, &mut judge)? {
                Passed::Yes(begun, appended) => {
                    self.durable(appended).await?;
                    return Ok(begun);
                }
                Passed::Closed(prepared) => sealed = Some(prepared),
            }
        }
        Err(StoreError::conflict("task_changing", format!("{task} changes too fast to let a call out")))
    }

    /// Records that a call of a key or a token is about to leave.
    pub async fn begin(&self, caller: Caller, new: NewCall, first: NewAttempt) -> Result<CallRef, StoreError> {
        if let Caller::Task { task, .. } = caller {
            return Err(StoreError::conflict("needs_gate", format!("a call of {task} passes its gate")));
        }
        self.journal().room().await?;
        let (call, appended) = self
            .under_key(&caller.scope(), &new, |prepared| {
                let passing = Passing { epoch: self.journal().epoch(), caller, retry_of: None, seen: &[] };
                prepared.begin(passing, &new, first)
            })
            .await?;
        self.durable(appended).await?;
        Ok(call)
    }

    /// Records a call that is not let out, and why.
    pub async fn refuse(&self, by: RefusedCaller, new: NewCall, why: NotSent) -> Result<CallId, StoreError> {
        let caller = match by {
            RefusedCaller::Task(task) => {
                let begun = self.begin_task(task, new, |_| Err(why.clone())).await?;
                return match begun {
                    Begun::Refused(id, _) => Ok(id),
                    Begun::Sent(_) => Err(StoreError::corrupt("a refused call was let out")),
                };
            }
            RefusedCaller::Key(key) => Some(Caller::Key { key }),
            RefusedCaller::Token(name) => Some(Caller::Token { name }),
            RefusedCaller::Unknown => None,
        };
        self.journal().room().await?;
        let scope = caller.as_ref().map_or_else(|| NOBODY.to_owned(), Caller::scope);
        let (id, appended) =
            self.under_key(&scope, &new, |prepared| prepared.refuse(&new, caller.as_ref(), None, &why)).await?;
        self.durable(appended).await?;
        Ok(id)
    }

    /// Records that an attempt is over and that the next one is about to leave.
    pub async fn attempt_end(&self, call: &CallRef, end: AttemptEnd, next: NewAttempt) -> Result<(), StoreError> {
        self.journal().room().await?;
        let appended = {
            let mut attempt = under_way(call)?;
            let (frame, then) = make::attempt(self.journal(), call, &attempt, end, next)?;
            let appended = self.journal().append_of(call.0.epoch, frame)?;
            *attempt = then;
            appended
        };
        self.durable(appended).await
    }

    /// Records how a call ended, with all that came back.
    pub async fn end(&self, call: &CallRef, end: CallEnd) -> Result<(), StoreError> {
        self.journal().room().await?;
        let appended = {
            let mut attempt = under_way(call)?;
            let Ending { frame, told } = make::end(self.journal(), call, &attempt, end)?;
            let appended = self.journal().append_of(call.0.epoch, frame)?;
            attempt.over = true;
            if let (Some(task), Some(told)) = (call.caller().task(), told) {
                self.store.0.gates.tell(task, told);
            }
            appended
        };
        self.durable(appended).await
    }

    /// A place for an answer that is recorded while it comes.
    pub fn body(&self, call: &CallRef) -> Result<BodyWriter, StoreError> {
        BodyWriter::new(Arc::clone(self.journal()), Arc::clone(&call.0.key))
    }

    /// What a client dropped that a provider wants back with this tool call.
    pub async fn carry(&self, caller: &Caller, tool_id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.caught_up().await;
        let scope = caller.scope();
        // Those of an earlier generation were erased with it.
        let row = sqlx::query(
            "SELECT sealed FROM reasoning_carry
             WHERE (scope = $1 OR (scope > $1 || '#' AND scope < $1 || '$')) AND tool_id = $2",
        )
        .bind(&scope)
        .bind(tool_id)
        .fetch_optional(self.store.reader())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut sealed: Vec<u8> = row.try_get("sealed")?;
        let key = self.key(&scope).await?;
        Ok(Some(key.open(&mut sealed)?.to_vec()))
    }

    fn journal(&self) -> &Arc<crate::journal::Journal> {
        &self.store.0.journal
    }

    async fn durable(&self, appended: Appended) -> Result<(), StoreError> {
        match self.level {
            Durability::Process => Ok(()),
            Durability::Power => self.journal().flush(appended).await,
        }
    }

    /// The task's gate, opened by the writer if it is not open.
    async fn gate(&self, task: TaskId) -> Result<(Arc<Gate>, Arc<ScopeKey>), StoreError> {
        for _ in 0..GATE_TRIES {
            let gate = self.store.0.gates.of(task);
            if let Some(key) = gate.key() {
                return Ok((gate, key));
            }
            let opened = Arc::clone(&gate);
            // At the level of the records, as a key may be made that they need.
            if let Err(e) = self.store.write(self.level, move |tx| tx.gate_load(task, opened).boxed()).await {
                self.store.0.gates.close(task);
                return Err(e);
            }
        }
        Err(StoreError::conflict("task_changing", format!("{task} changes too fast to let a call out")))
    }

    async fn key(&self, scope: &str) -> Result<Arc<ScopeKey>, StoreError> {
        // Held while it is looked for, so that it is not dropped from those that are kept.
        let mut _loaded = None;
        for _ in 0..GATE_TRIES {
            if let Some(key) = self.store.0.gates.key(scope) {
                return Ok(key);
            }
            let wanted = scope.to_owned();
            let load = crate::work(move |tx| async move { tx.key_load(&wanted).await }.boxed());
            _loaded = Some(self.store.write(Durability::Power, load).await?);
        }
        Err(StoreError::conflict("key_changing", format!("bodies of {scope} are erased too often to record a call")))
    }

    /// Seals a request and appends the frame that `make` makes of it, while the key of the scope is not erased.
    async fn under_key<T>(
        &self,
        scope: &str,
        new: &NewCall,
        make: impl FnOnce(Prepared) -> Result<(T, Closed), StoreError>,
    ) -> Result<(T, Appended), StoreError> {
        for _ in 0..GATE_TRIES {
            let key = self.key(scope).await?;
            let prepared = self.prepare(Arc::clone(&key), new).await?;
            let Some(_in_use) = key.in_use() else { continue };
            let (made, frame) = make(prepared)?;
            return Ok((made, self.journal().append(frame, true)?));
        }
        Err(StoreError::conflict("key_changing", format!("bodies of {scope} are erased too often to record a call")))
    }

    async fn prepare(&self, key: Arc<ScopeKey>, new: &NewCall) -> Result<Prepared, StoreError> {
        let (journal, request) = (Arc::clone(self.journal()), new.request.clone());
        if request.len() <= SEAL_ASIDE {
            return Prepared::new(&journal, &key, &request);
        }
        tokio::task::spawn_blocking(move || Prepared::new(&journal, &key, &request))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    /// Judges a call and records it, while the gate is open.
    fn pass(
        &self,
        gate: &Gate,
        prepared: Prepared,
        new: &NewCall,
        judge: &mut (dyn FnMut(&crate::CallContext) -> Result<NewAttempt, NotSent> + Send),
    ) -> Result<Passed, StoreError> {
        let mut state = gate.lock();
        let State::Open(known) = &mut *state else { return Ok(Passed::Closed(prepared)) };
        if !Arc::ptr_eq(prepared.key(), &known.key) {
            return Ok(Passed::Closed(prepared));
        }
        let context = &known.context;
        let first = match judge(context) {
            Ok(first) => first,
            Err(why) => {
                let (id, frame) = prepared.refuse(new, None, Some(context), &why)?;
                let appended = self.journal().append(frame, true)?;
                return Ok(Passed::Yes(Begun::Refused(id, why), appended));
            }
        };
        let caller = context.next()?;
        let seen = make::match_results(&known.unanswered, &new.results);
        let passing = Passing { epoch: self.journal().epoch(), caller, retry_of: context.retry_of(), seen: &seen };
        let (call, frame) = prepared.begin(passing, new, first)?;
        let appended = self.journal().append(frame, true)?;
        known.context.began(call.id());
        let answered: Vec<usize> = seen.iter().map(|s| s.index).collect();
        let mut index = 0;
        known.unanswered.retain(|_| {
            index += 1;
            !answered.contains(&(index - 1))
        });
        Ok(Passed::Yes(Begun::Sent(call), appended))
    }
}

/// The attempt under way, which nobody else ends meanwhile.
fn under_way(call: &CallRef) -> Result<MutexGuard<'_, Attempting>, StoreError> {
    let attempt = call.0.attempt.lock().unwrap_or_else(PoisonError::into_inner);
    if attempt.over {
        return Err(StoreError::conflict("call_ended", format!("{} has already ended", call.id())));
    }
    Ok(attempt)
}
