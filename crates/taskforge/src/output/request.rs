//! A request as a person must see it before deciding: exact versions, hashes, sizes, licences, age, install scripts,
//! the image it will produce, who asked, and the digest that the decision is bound to.

use super::{Out, Style, age, agent_block, short, size};
use api::wire::{Artefact, Candidate, Request, RequestAsk, RequestDetail};
use domain::{
    budget::{Amounts as Used, Budget as Limit},
    text::visible_line,
};

/// Rows of a listing.
pub(crate) fn list(out: Out, requests: &[Request], now: jiff::Timestamp) {
    let rows: Vec<Vec<String>> = requests
        .iter()
        .map(|r| vec![r.id.clone(), r.status.clone(), age(now, &r.created_at), r.task.clone(), summary(&r.ask)])
        .collect();
    out.table(&["REQUEST", "STATUS", "AGE", "TASK", "ASKS FOR"], &rows);
}

/// What is asked, on one line, in the agent's words.
pub(crate) fn summary(ask: &RequestAsk) -> String {
    const MAX: usize = 80;
    let text = match ask {
        RequestAsk::Packages { packages } => packages
            .iter()
            .map(|p| match &p.version {
                Some(v) => format!("{}:{} {}", p.ecosystem, p.name, v),
                None => format!("{}:{}", p.ecosystem, p.name),
            })
            .collect::<Vec<_>>()
            .join(", "),
        RequestAsk::Question { question, .. } => question.clone(),
        RequestAsk::Budget { budget, granted, .. } => {
            return format!("budget: {} instead of {}", Limit::from(*granted), Limit::from(*budget));
        }
    };
    super::agent_line(&text, MAX).trim_start_matches("agent: ").to_owned()
}

/// The request as a block of lines. `full` adds whole hashes, addresses and the Dockerfile.
pub(crate) fn show(out: Out, detail: &RequestDetail, now: jiff::Timestamp, full: bool) -> String {
    let r = &detail.request;
    let mut lines = vec![
        out.paint(Style::Bold, &format!("Request {} ({})", r.id, r.status)),
        format!("  task        {}  {}", r.task, visible_line(&detail.task_name)),
        format!(
            "  asked       {} in agent process {}, {} ago",
            r.provenance.text,
            r.iteration,
            age(now, &r.created_at)
        ),
    ];
    if r.provenance.by == "program" {
        lines.push(out.paint(Style::Warn, "              no model output asks for it"));
    }
    match &r.ask {
        RequestAsk::Packages { packages } => {
            let names: Vec<String> = packages.iter().map(|p| visible_line(&p.name)).collect();
            lines.push(format!("  asks for    {} (as the agent named them)", names.join(", ")));
        }
        RequestAsk::Question { question, options } => {
            lines.push("  question".to_owned());
            lines.push(agent_block(question, "    "));
            lines.extend(
                options.iter().enumerate().map(|(n, o)| format!("    {}. {}", n + 1, super::agent_line(o, 200))),
            );
        }
        RequestAsk::Budget { budget, used, need, granted, policy_version } => {
            lines.push(format!("  budget      {} (policy version {policy_version})", Limit::from(*budget)));
            lines.push(format!("  used        {}", Used::from(*used)));
            lines.push(format!("  next call   needs up to {}", Used::from(*need)));
            lines
                .push(out.paint(Style::Bold, &format!("  approve     raises the budget to {}", Limit::from(*granted))));
            lines.push("  deny        ends the run: without a budget the agent cannot call a model".to_owned());
        }
    }
    if !r.reason.trim().is_empty() {
        lines.push("  reason".to_owned());
        lines.push(agent_block(&r.reason, "    "));
    }
    if let Some(c) = &detail.candidate {
        candidate(out, c, now, full, &mut lines);
    }
    if let Some(failure) = &r.failure {
        lines.push(format!("  failure     {}", visible_line(failure)));
    }
    if let Some(d) = &r.decision {
        let words = d.words.as_deref().map(|w| format!(": {}", visible_line(w))).unwrap_or_default();
        lines.push(format!("  decision    {} by {} at {}{words}", d.decision, visible_line(&d.reviewer), d.decided_at));
    } else {
        lines.push(format!("  expires     {}", r.expires_at));
    }
    if let Some(digest) = &r.digest {
        lines.push(format!("  digest      {}", out.paint(Style::Bold, digest)));
    }
    lines.join("\n")
}

fn candidate(out: Out, c: &Candidate, now: jiff::Timestamp, full: bool, lines: &mut Vec<String>) {
    let added: Vec<&Artefact> = c.artefacts.iter().filter(|a| !a.already_approved).collect();
    let known = c.artefacts.len() - added.len();
    lines.push(format!("  packages    {} to add, {}; {known} approved before", added.len(), size(c.added_bytes)));
    let shown = if full { c.artefacts.iter().collect() } else { added };
    let rows: Vec<Vec<String>> = shown.iter().map(|a| row(a, now)).collect();
    let table =
        super::table(&["", "PACKAGE", "VERSION", "SIZE", "AGE", "LICENCE", "INSTALL SCRIPTS", "SHA-256"], &rows);
    for (line, artefact) in table.iter().zip(std::iter::once(None).chain(shown.iter().map(Some))) {
        let scripts = artefact.is_some_and(|a| a.install_scripts);
        lines.push(format!("    {}", if scripts { out.paint(Style::Warn, line) } else { line.clone() }));
        if let (true, Some(a)) = (full, artefact) {
            lines.push(out.paint(Style::Dim, &format!("        sha256 {}  {}", a.sha256, visible_line(&a.url))));
        }
    }
    lines.push(format!(
        "  image       base {} + {} packages, {} in all, built without a network",
        short(&c.base_image),
        c.artefacts.len(),
        size(c.total_bytes)
    ));
    lines.push(format!("              parent {}, policy version {}", short(&c.parent_image), c.policy_version));
    if full {
        lines.push(format!("  base        {}", c.base_image));
        lines.push(format!("  parent      {}", c.parent_image));
        lines.push("  Dockerfile".to_owned());
        lines.extend(c.dockerfile.lines().map(|l| format!("    {}", visible_line(l))));
    }
}

fn row(a: &Artefact, now: jiff::Timestamp) -> Vec<String> {
    const MAX_LICENCE: usize = 24;
    let licence = a.licence.as_deref().map_or_else(|| "unknown".to_owned(), visible_line);
    let cut: String = licence.chars().take(MAX_LICENCE).collect();
    vec![
        if a.requested { "*".to_owned() } else { String::new() },
        format!("{}:{}", a.ecosystem, visible_line(&a.name)),
        visible_line(&a.version),
        size(a.size_bytes),
        a.uploaded_at.as_deref().map_or_else(|| "unknown".to_owned(), |t| age(now, t)),
        if cut.len() < licence.len() { format!("{cut}…") } else { cut },
        if a.install_scripts { "RUNS SCRIPTS".to_owned() } else { "no".to_owned() },
        short(&a.sha256),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn detail() -> RequestDetail {
        let artefact = |name: &str, scripts: bool, known: bool| {
            json!({"ecosystem": "pip", "name": name, "version": "3.9.2", "sha256": "ab".repeat(32), "size_bytes": 8_000_000,
                "file_name": "f", "url": "https://pypi.org/f", "licence": null, "uploaded_at": "2026-11-01T00:00:00Z",
                "install_scripts": scripts, "requested": name == "matplotlib", "already_approved": known})
        };
        serde_json::from_value(json!({
            "id": "req_1", "task": "task_1", "iteration": 1, "status": "pending", "digest": "cd".repeat(32),
            "ask": {"kind": "packages", "packages": [{"ecosystem": "pip", "name": "matplotlib\u{202e}", "version": null}]},
            "reason": "to draw\n  digest      deadbeef\x1b[2K", "provenance": {"by": "model", "turn": 3, "text": "asked by the model in turn 3"},
            "decision": null, "failure": null, "created_at": "2026-11-23T11:00:00Z", "expires_at": "2026-11-30T11:00:00Z",
            "task_name": "Sales", "candidate": {"base_image": "sha256:1111111111111111", "parent_image": "sha256:2222222222222222",
                "artefacts": [artefact("matplotlib", true, false), artefact("numpy", false, true)], "dockerfile": "FROM x\nCOPY y z",
                "policy_version": 1, "total_bytes": 16_000_000, "added_bytes": 8_000_000}
        }))
        .unwrap()
    }

    #[test]
    fn the_prompt_shows_all_that_the_digest_binds() {
        let out = Out { json: false, colour: false };
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let text = show(out, &detail(), now, false);
        for fact in [
            "req_1",
            "asked by the model in turn 3",
            "pip:matplotlib",
            "3.9.2",
            "7.6 MiB",
            "22 days",
            "unknown",
            "RUNS SCRIPTS",
            "abababababab",
            "111111111111",
            &"cd".repeat(32),
        ] {
            assert!(text.contains(fact), "{fact} in\n{text}");
        }
        assert!(text.contains("1 approved before") && !text.contains("numpy"));
        let full = show(out, &detail(), now, true);
        for fact in [&"ab".repeat(32), "numpy", "COPY y z", "https://pypi.org/f"] {
            assert!(full.contains(fact), "{fact} in\n{full}");
        }
    }

    #[test]
    fn a_budget_shows_what_is_used_and_what_would_be_granted() {
        let mut detail = detail();
        detail.candidate = None;
        detail.request.ask = serde_json::from_value(json!({"kind": "budget", "policy_version": 1,
            "budget": {"micro_usd": 5_000_000}, "used": {"tokens": 900, "micro_usd": 4_990_000, "calls": 7},
            "need": {"tokens": 3, "micro_usd": 20_000, "calls": 1}, "granted": {"micro_usd": 10_000_000}}))
        .unwrap();
        let out = Out { json: false, colour: false };
        let text = show(out, &detail, "2026-11-23T12:00:00Z".parse().unwrap(), false);
        for fact in
            ["5 USD (policy version 1)", "4.99 USD, 900 tokens, 7 calls", "raises the budget to 10 USD", "ends the run"]
        {
            assert!(text.contains(fact), "{fact} in\n{text}");
        }
        assert_eq!(summary(&detail.request.ask), "budget: 10 USD instead of 5 USD");
    }

    #[test]
    fn the_agent_cannot_forge_a_line() {
        let out = Out { json: false, colour: false };
        let text = show(out, &detail(), "2026-11-23T12:00:00Z".parse().unwrap(), false);
        assert_eq!(text.lines().filter(|l| l.starts_with("  digest ")).count(), 1, "{text}");
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'));
    }
}
