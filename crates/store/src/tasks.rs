//! Tasks: creating, listing, and the commands of people. Each change carries its leaf and, where the workflow must
//! know, its intent.

use crate::{InputFile, Intent, IntentKind, Message, Store, StoreError, Tx, new_id};
use domain::{
    budget::Budget,
    event::{Actor, Event, EventKind},
    ids::{MessageId, RunId, TaskId},
    policy::Policy,
    task::{Agent, Command, Desired, Limits, Task, TaskStatus, transition},
};
use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};

/// Tasks read at once.
const PAGE: u32 = 200;

/// A task to be created.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// A short name.
    pub name: String,
    /// The instructions.
    pub description: String,
    /// `provider/model`.
    pub llm_model: String,
    /// What works on it.
    pub agent: Agent,
    /// Limits of its sandbox.
    pub limits: Limits,
    /// Iterations per run.
    pub max_iterations: u32,
    /// How much it may use of models; none: not limited.
    pub budget: Option<Budget>,
    /// Input files: path, SHA-256 in hexadecimal, bytes.
    pub files: Vec<(String, String, Vec<u8>)>,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only those in this state.
    pub status: Option<TaskStatus>,
    /// Only those whose name or description contains this.
    pub text: Option<String>,
    /// Only those older than this one (the cursor of the page before).
    pub before: Option<TaskId>,
    /// How many at the most.
    pub limit: Option<u32>,
}

/// A page of tasks, newest first.
#[derive(Debug, Clone)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Where the next page starts; none: this is the last.
    pub next: Option<TaskId>,
}

pub(crate) fn task(r: &SqliteRow) -> Result<Task, StoreError> {
    let (status, desired): (&str, &str) = (r.try_get("status")?, r.try_get("desired")?);
    Ok(Task {
        id: r.try_get::<&str, _>("id")?.parse()?,
        name: r.try_get("name")?,
        description: r.try_get("description")?,
        llm_model: r.try_get("llm_model")?,
        agent: serde_json::from_str(r.try_get("agent")?)?,
        limits: serde_json::from_str(r.try_get("limits")?)?,
        max_iterations: r.try_get("max_iterations")?,
        status: TaskStatus::parse(status).ok_or_else(|| StoreError::corrupt(format!("task status {status}")))?,
        desired: Desired::parse(desired).ok_or_else(|| StoreError::corrupt(format!("task wish {desired}")))?,
        status_reason: r.try_get("status_reason")?,
        image: r.try_get("image")?,
        policy_version: r.try_get("policy_version")?,
        run: r.try_get::<Option<&str>, _>("run_id")?.map(str::parse).transpose()?,
        created_by: r.try_get("created_by")?,
        created_at: r.try_get("created_at")?,
        updated_at: r.try_get("updated_at")?,
    })
}

impl Tx {
    /// Reads a task inside the transaction.
    pub async fn task_get(&mut self, id: TaskId) -> Result<Task, StoreError> {
        let row =
            sqlx::query("SELECT * FROM task WHERE id = $1").bind(id.to_string()).fetch_optional(&mut self.conn).await?;
        task(&row.ok_or_else(|| StoreError::not_found("task", id))?)
    }

    /// Creates a task with the first version of its policy.
    pub async fn task_create(&mut self, new: NewTask, by: &str) -> Result<Task, StoreError> {
        let id = new_id(TaskId::from_uuid);
        let now = self.now_text();
        sqlx::query(
            "INSERT INTO task (id, name, description, llm_model, agent, limits, max_iterations, status, desired, \
             policy_version, created_by, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'created', 'run', 1, $8, $9, $9)",
        )
        .bind(id.to_string())
        .bind(&new.name)
        .bind(&new.description)
        .bind(&new.llm_model)
        .bind(serde_json::to_string(&new.agent)?)
        .bind(serde_json::to_string(&new.limits)?)
        .bind(new.max_iterations)
        .bind(by)
        .bind(&now)
        .execute(&mut self.conn)
        .await?;
        let policy = Policy { budget: new.budget, ..Policy::initial(&new.llm_model) };
        self.policy_insert(id, &policy).await?;
        let mut files = Vec::with_capacity(new.files.len());
        for (path, sha256, bytes) in &new.files {
            let body = self.body(&id, bytes).await?;
            let file =
                InputFile { path: path.clone(), commitment: body.commitment, sha256: sha256.clone(), size: body.size };
            self.input_file_insert(id, &file).await?;
            files.push(json!({"sha256": file.sha256, "size": file.size, "commitment": file.commitment}));
        }
        let (name, description) =
            (self.body(&id, new.name.as_bytes()).await?, self.body(&id, new.description.as_bytes()).await?);
        let data = json!({
            "agent": new.agent.name(), "llm_model": new.llm_model, "limits": new.limits,
            "max_iterations": new.max_iterations, "policy": policy, "files": files,
        });
        let event = Event::point(EventKind::TaskCreated, data).task(id).by(Actor::Token { name: by.to_owned() });
        self.leaf(event.body("name", name).body("description", description)).await?;
        self.task_get(id).await
    }

    /// Starts a task: its first run.
    pub async fn task_start(&mut self, id: TaskId, by: &str) -> Result<Task, StoreError> {
        let task = self.task_get(id).await?;
        let (status, desired) = transition(task.status, task.desired, Command::Start)?;
        self.run_start(&task, 1, &task.description, EventKind::TaskStarted, by).await?;
        self.task_set(id, status, desired, None).await?;
        self.task_get(id).await
    }

    /// Starts a further run from the last image, workspace and session.
    pub async fn task_continue(&mut self, id: TaskId, instructions: &str, by: &str) -> Result<Task, StoreError> {
        let task = self.task_get(id).await?;
        let (status, desired) = transition(task.status, task.desired, Command::Continue)?;
        let number: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) + 1 FROM run WHERE task_id = $1")
            .bind(id.to_string())
            .fetch_one(&mut self.conn)
            .await?;
        let number = u32::try_from(number).map_err(StoreError::corrupt)?;
        self.run_start(&task, number, instructions, EventKind::TaskContinued, by).await?;
        self.task_set(id, status, desired, None).await?;
        self.task_get(id).await
    }

    async fn run_start(
        &mut self,
        task: &Task,
        number: u32,
        instructions: &str,
        kind: EventKind,
        by: &str,
    ) -> Result<(), StoreError> {
        self.gate_close(task.id).await?;
        let run = new_id(RunId::from_uuid);
        let body = self.body(&task.id, instructions.as_bytes()).await?;
        sqlx::query("INSERT INTO run (id, task_id, number, instructions, started_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(run.to_string())
            .bind(task.id.to_string())
            .bind(number)
            .bind(instructions)
            .bind(self.now_text())
            .execute(&mut self.conn)
            .await?;
        sqlx::query("UPDATE task SET run_id = $2 WHERE id = $1")
            .bind(task.id.to_string())
            .bind(run.to_string())
            .execute(&mut self.conn)
            .await?;
        let event = Event::point(kind, json!({"run_number": number, "image": task.image}));
        let event = event.task(task.id).run(run).by(Actor::Token { name: by.to_owned() });
        self.leaf(event.body("instructions", body)).await?;
        self.intent(Intent { kind: IntentKind::Start, task: task.id, run }).await
    }

    /// Records the wish to pause, resume or cancel; the workflow honours it at once.
    pub async fn task_command(&mut self, id: TaskId, command: Command, by: &str) -> Result<Task, StoreError> {
        let kind = match command {
            Command::Pause => EventKind::TaskPauseRequested,
            Command::Resume => EventKind::TaskResumeRequested,
            Command::Cancel => EventKind::TaskCancelRequested,
            Command::Start => return self.task_start(id, by).await,
            Command::Continue | Command::Message => {
                return Err(StoreError::conflict("bad_command", "this command needs words"));
            }
        };
        let task = self.task_get(id).await?;
        let (status, desired) = transition(task.status, task.desired, command)?;
        self.task_set(id, status, desired, None).await?;
        let mut event =
            Event::point(kind, json!({"status": task.status})).task(id).by(Actor::Token { name: by.to_owned() });
        event.run = task.run;
        self.leaf(event).await?;
        self.wake(id).await?;
        self.task_get(id).await
    }

    /// Stores words for the agent. `restart`: the running agent is restarted to hear them at once.
    pub async fn task_message(
        &mut self,
        id: TaskId,
        text: &str,
        restart: bool,
        by: &str,
    ) -> Result<Message, StoreError> {
        let task = self.task_get(id).await?;
        transition(task.status, task.desired, Command::Message)?;
        let message = Message {
            id: new_id(MessageId::from_uuid),
            author: by.to_owned(),
            text: text.to_owned(),
            now: restart,
            delivered_at: None,
            created_at: self.now_text(),
        };
        self.message_insert(id, &message).await?;
        let body = self.body(&id, text.as_bytes()).await?;
        let mut event = Event::point(EventKind::TaskMessage, json!({"message": message.id, "now": restart}));
        event.run = task.run;
        self.leaf(event.task(id).by(Actor::Token { name: by.to_owned() }).body("text", body)).await?;
        self.wake(id).await?;
        Ok(message)
    }

    /// Sets what a task shows; writes a leaf when its status changes.
    pub async fn task_set(
        &mut self,
        id: TaskId,
        status: TaskStatus,
        desired: Desired,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        self.gate_close(id).await?;
        let before = self.task_get(id).await?;
        sqlx::query("UPDATE task SET status = $2, desired = $3, status_reason = $4, updated_at = $5 WHERE id = $1")
            .bind(id.to_string())
            .bind(status.as_str())
            .bind(desired.as_str())
            .bind(reason)
            .bind(self.now_text())
            .execute(&mut self.conn)
            .await?;
        if before.status != status {
            let mut event = Event::point(EventKind::TaskStatus, json!({"from": before.status, "to": status})).task(id);
            event.run = before.run;
            self.leaf(event).await?;
        }
        Ok(())
    }

    /// Shows a status without touching what the operator wants.
    pub async fn task_show_status(&mut self, id: TaskId, status: TaskStatus) -> Result<(), StoreError> {
        let task = self.task_get(id).await?;
        if task.status == status { Ok(()) } else { self.task_set(id, status, task.desired, None).await }
    }

    /// Marks the workspace and base image of a task as ready.
    pub async fn task_prepared(&mut self, id: TaskId, image: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE task SET prepared = 1, image = COALESCE(image, $2) WHERE id = $1")
            .bind(id.to_string())
            .bind(image)
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Sets the image of a task's next iteration.
    pub async fn task_set_image(&mut self, id: TaskId, image: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE task SET image = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(image)
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }
}

impl Store {
    /// One task.
    pub async fn task_get(&self, id: TaskId) -> Result<Task, StoreError> {
        let row =
            sqlx::query("SELECT * FROM task WHERE id = $1").bind(id.to_string()).fetch_optional(self.reader()).await?;
        task(&row.ok_or_else(|| StoreError::not_found("task", id))?)
    }

    /// Tasks, newest first.
    pub async fn task_list(&self, f: &TaskFilter) -> Result<TaskPage, StoreError> {
        let limit = f.limit.unwrap_or(50).clamp(1, PAGE);
        let rows = sqlx::query(
            "SELECT * FROM task WHERE ($1 IS NULL OR status = $1) \
             AND ($2 IS NULL OR instr(lower(name), lower($2)) > 0 OR instr(lower(description), lower($2)) > 0) \
             AND ($3 IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        )
        .bind(f.status.map(TaskStatus::as_str))
        .bind(&f.text)
        .bind(f.before.map(|t| t.to_string()))
        .bind(i64::from(limit) + 1)
        .fetch_all(self.reader())
        .await?;
        let mut tasks: Vec<Task> = rows.iter().map(task).collect::<Result<_, _>>()?;
        let more = tasks.len() > limit as usize;
        tasks.truncate(limit as usize);
        let next = if more { tasks.last().map(|t| t.id) } else { None };
        Ok(TaskPage { tasks, next })
    }

    /// Every task that a workflow works on.
    pub async fn task_active(&self) -> Result<Vec<Task>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM task WHERE status NOT IN ('created', 'completed', 'failed', 'cancelled') ORDER BY id",
        )
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(task).collect()
    }

    /// The ids of all tasks: the owners of workspaces.
    pub async fn task_ids(&self) -> Result<Vec<TaskId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM task").fetch_all(self.reader()).await?;
        ids.iter().map(|i| Ok(i.parse()?)).collect()
    }
}
