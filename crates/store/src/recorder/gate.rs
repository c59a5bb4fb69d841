//! What must be known of a task before one of its calls is let out, kept in memory while nothing changes it.
//!
//! ```text
//! (none) ──► loading ──► open ──► dead
//!               └──────────────────▲    a change of the task's state, policy or iteration
//! ```
//! - A gate is loaded by the writer in a transaction and opens after its commit, never before.
//! - A change closes it first ([`crate::Tx::gate_close`]), then folds every call that had been let out, and only then
//!   writes its own leaf: no call is accepted after a pause, a cancel or the end of an iteration is recorded.
//! - A call is let out under the gate's lock, so that turns have no gap and no double.
//! - The end of a call needs no gate. It tells whichever gate is there; one that is loading applies it when it opens.
//!   What it was told may be in what it loaded too, so telling it twice changes nothing.

use super::seal::ScopeKey;
use crate::{CallContext, CallStatus, StoreError, body::base_of};
use domain::ids::{CallId, TaskId};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Tasks and other scopes that are kept at hand.
const KEPT: usize = 1024;
/// The most unanswered tool calls of a task whose results are looked for.
pub(crate) const MAX_UNANSWERED: usize = 256;

/// A tool call whose result has not been seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unanswered {
    pub(crate) call: String,
    pub(crate) position: u32,
    pub(crate) turn: u32,
    pub(crate) tool_id: String,
    pub(crate) name: String,
}

/// How a call ended, for the gate.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) call: CallId,
    pub(crate) status: CallStatus,
    pub(crate) tools: Vec<Unanswered>,
}

/// What is known of a task, while it is open.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) context: CallContext,
    pub(crate) key: Arc<ScopeKey>,
    /// Oldest first.
    pub(crate) unanswered: VecDeque<Unanswered>,
}

#[derive(Debug)]
pub(crate) enum State {
    Loading(Vec<Told>),
    Open(Box<Known>),
    Dead,
}

/// The gate of one task.
#[derive(Debug)]
pub(crate) struct Gate(Mutex<State>);

impl Gate {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of the task's bodies, while the gate is open.
    pub(crate) fn key(&self) -> Option<Arc<ScopeKey>> {
        match &*self.lock() {
            State::Open(known) => Some(Arc::clone(&known.key)),
            State::Loading(_) | State::Dead => None,
        }
    }

    /// Opens it with what was loaded, unless something changed meanwhile or it is open.
    pub(crate) fn open(&self, mut known: Known) {
        let mut state = self.lock();
        if let State::Loading(told) = &mut *state {
            for t in told.drain(..) {
                known.tell(t);
            }
            *state = State::Open(Box::new(known));
        }
    }

    fn close(&self) {
        *self.lock() = State::Dead;
    }
}

impl Known {
    fn tell(&mut self, told: Told) {
        self.context.ended(told.call, told.status);
        for tool in told.tools {
            let known = self.unanswered.iter().any(|u| u.call == tool.call && u.position == tool.position);
            if !known {
                self.unanswered.push_back(tool);
            }
        }
        while self.unanswered.len() > MAX_UNANSWERED {
            self.unanswered.pop_front();
        }
    }
}

/// The gates of all tasks, and the keys of all other scopes.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<TaskId, Arc<Gate>>>,
    keys: Mutex<HashMap<String, Arc<ScopeKey>>>,
}

impl Gates {
    fn gates(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<Gate>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Arc<ScopeKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate of a task; a new one if there is none.
    pub(crate) fn of(&self, task: TaskId) -> Arc<Gate> {
        let mut gates = self.gates();
        if gates.len() >= KEPT && !gates.contains_key(&task) {
            // One that is dropped must not let anything out any more: whoever holds it finds it dead.
            gates.drain().for_each(|(_, gate)| gate.close());
        }
        Arc::clone(gates.entry(task).or_insert_with(|| Arc::new(Gate(Mutex::new(State::Loading(Vec::new()))))))
    }

    /// Closes a task's gate: calls that come now wait for a new one.
    pub(crate) fn close(&self, task: TaskId) {
        let gate = self.gates().remove(&task);
        if let Some(gate) = gate {
            gate.close();
        }
    }

    /// Tells a task's gate how a call ended, after that was appended.
    pub(crate) fn tell(&self, task: TaskId, told: Told) {
        let gate = self.gates().get(&task).map(Arc::clone);
        let Some(gate) = gate else { return };
        match &mut *gate.lock() {
            State::Loading(late) => late.push(told),
            State::Open(known) => known.tell(told),
            State::Dead => {}
        }
    }

    pub(crate) fn key(&self, scope: &str) -> Option<Arc<ScopeKey>> {
        self.keys().get(scope).map(Arc::clone)
    }

    pub(crate) fn keep_key(&self, key: Arc<ScopeKey>) {
        let mut keys = self.keys();
        if keys.len() >= KEPT {
            // One that is in use stays, so that it can be retired.
            keys.retain(|_, key| Arc::strong_count(key) > 1);
        }
        keys.entry(base_of(&key.scope).to_owned()).or_insert(key);
    }

    /// Lets no further call begin under the key of a scope.
    pub(crate) fn retire_key(&self, scope: &str) {
        let key = self.keys().remove(scope);
        if let Some(key) = key {
            key.retire();
        }
    }
}

/// Gates that open, and keys that are kept, once a transaction is committed.
#[derive(Default)]
pub(crate) struct Opening {
    pub(crate) gates: Vec<(Arc<Gate>, Known)>,
    pub(crate) keys: Vec<Arc<ScopeKey>>,
}

impl Opening {
    pub(crate) fn commit(&mut self, gates: &Gates) {
        self.gates.drain(..).for_each(|(gate, known)| gate.open(known));
        self.keys.drain(..).for_each(|key| gates.keep_key(key));
    }

    /// Keeps no key of a scope that was loaded in this transaction.
    pub(crate) fn retire_key(&mut self, scope: &str) {
        self.keys.retain(|key| base_of(&key.scope) != scope);
    }

    pub(crate) fn drop_all(&mut self) {
        self.gates.clear();
        self.keys.clear();
    }
}

impl crate::Tx {
    /// Lets no further call of a task out until this transaction is over, and folds those that were. To be called
    /// before the leaf of any change of the task's state, run, iteration, policy or key is written.
    pub(crate) async fn gate_close(&mut self, task: TaskId) -> Result<(), StoreError> {
        self.gates.close(task);
        self.fold().await
    }

    /// Reads what a gate must know; it opens after the commit.
    pub(crate) async fn gate_load(&mut self, task: TaskId, gate: Arc<Gate>) -> Result<(), StoreError> {
        // Whatever was appended before the gate was there is folded by now, or is folded here.
        self.fold().await?;
        let context = self.call_context(task).await?;
        let (name, key) = self.body_key(&task.to_string()).await?;
        let key = Arc::new(ScopeKey::new(&name, &key)?);
        let unanswered = self.tool_calls_open(task).await?;
        self.opening.gates.push((gate, Known { context, key, unanswered }));
        Ok(())
    }

    /// Makes sure of the key of a scope. It is kept after the commit, and is to be taken from there: only what is kept can
    /// be retired.
    pub(crate) async fn key_load(&mut self, scope: &str) -> Result<Arc<ScopeKey>, StoreError> {
        let (name, key) = self.body_key(scope).await?;
        let key = Arc::new(ScopeKey::new(&name, &key)?);
        self.opening.keys.push(Arc::clone(&key));
        Ok(key)
    }
}
