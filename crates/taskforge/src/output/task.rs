//! Tasks, files and messages as text.

use super::{Out, Style, age, agent_block, short, size};
use api::wire::{File, Task, TaskDetail};
use domain::text::{visible, visible_line};

fn style_of(status: &str) -> Style {
    match status {
        "completed" => Style::Good,
        "failed" | "cancelled" => Style::Bad,
        "waiting" | "paused" => Style::Warn,
        _ => Style::Bold,
    }
}

/// Rows of a listing.
pub(crate) fn list(out: Out, tasks: &[Task], now: jiff::Timestamp) {
    let rows: Vec<Vec<String>> = tasks
        .iter()
        .map(|t| {
            vec![t.id.clone(), t.status.clone(), age(now, &t.created_at), t.llm_model.clone(), visible_line(&t.name)]
        })
        .collect();
    out.table(&["TASK", "STATUS", "AGE", "MODEL", "NAME"], &rows);
}

/// A task with its runs.
pub(crate) fn show(out: Out, detail: &TaskDetail, now: jiff::Timestamp) -> String {
    let t = &detail.task;
    let wish = if t.desired == "run" || t.ended { String::new() } else { format!(", to {}", t.desired) };
    let mut lines = vec![
        format!("{}  {}", out.paint(Style::Bold, &t.id), visible_line(&t.name)),
        format!("  status      {}{wish}", out.paint(style_of(&t.status), &t.status)),
    ];
    if let Some(reason) = &t.status_reason {
        lines.push(format!("  because     {}", visible_line(reason)));
    }
    lines.push(format!("  model       {}", visible_line(&t.llm_model)));
    lines.push(format!("  image       {}", t.image.as_deref().map_or("none yet".to_owned(), short)));
    lines.push(format!("  created     {} ago by {}", age(now, &t.created_at), visible_line(&t.created_by)));
    let u = &detail.usage;
    lines.push(format!(
        "  model calls {} ({} repeated, {} refused), {} + {} tokens",
        u.calls, u.retries, u.refused, u.prompt_tokens, u.completion_tokens
    ));
    for id in &detail.pending_requests {
        lines.push(out.paint(Style::Warn, &format!("  waits for   {id}: taskforge approvals show {id}")));
    }
    for run in &detail.runs {
        let outcome = run.outcome.as_deref().unwrap_or("goes on");
        lines.push(format!("  run {}       {outcome}, {} agent processes", run.number, run.iterations.len()));
        if let Some(failure) = &run.failure {
            let code = run.failure_code.as_deref().unwrap_or_default();
            lines.push(format!("    {code}: {}", visible_line(failure)));
        }
        if let Some(summary) = &run.summary {
            lines.push(agent_block(summary, "    "));
        }
    }
    lines.join("\n")
}

/// Files as rows: deliverables first.
pub(crate) fn files(out: Out, files: &[File]) {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort_by(|a, b| (!a.deliverable, &a.path).cmp(&(!b.deliverable, &b.path)));
    let rows: Vec<Vec<String>> = sorted
        .iter()
        .map(|f| {
            let note = match (&f.skipped, f.kept) {
                (Some(why), _) => format!("not kept: {}", visible(why)),
                (None, true) => f.sha256.as_deref().map(short).unwrap_or_default(),
                (None, false) => "not kept".to_owned(),
            };
            vec![
                if f.deliverable { "*".to_owned() } else { String::new() },
                f.kind.clone(),
                size(f.size),
                visible_line(&f.path),
                note,
            ]
        })
        .collect();
    out.table(&["", "KIND", "SIZE", "PATH", "SHA-256"], &rows);
}
