//! The rows that a batch of records becomes.

use super::moment;
use crate::{
    StoreError,
    journal::{
        Position,
        record::{AttemptOver, BodyAt, CallBegun, CallEnded, Entry, NextAttempt, Refusal, Target},
    },
};
use std::collections::HashMap;

pub(super) struct LeafRow {
    pub(super) index: i64,
    pub(super) time: String,
    pub(super) kind: String,
    pub(super) phase: String,
    pub(super) op: Option<String>,
    pub(super) task: Option<String>,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct CallRow {
    pub(super) id: String,
    pub(super) scope: String,
    pub(super) task: Option<String>,
    pub(super) run: Option<String>,
    pub(super) iteration: Option<u32>,
    pub(super) turn: Option<u32>,
    pub(super) key: Option<String>,
    pub(super) token: Option<String>,
    pub(super) op: String,
    pub(super) ingress: String,
    pub(super) asked_model: String,
    pub(super) stream: bool,
    pub(super) retry_of: Option<String>,
    pub(super) request: String,
    pub(super) request_size: i64,
    pub(super) begun_at: String,
    pub(super) target: Option<TargetRow>,
    pub(super) end: EndRow,
}

#[derive(Clone)]
pub(super) struct TargetRow {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) format: String,
    pub(super) url: String,
    pub(super) sent: Option<String>,
    pub(super) attempts: u32,
}

#[derive(Default)]
pub(super) struct EndRow {
    pub(super) status: String,
    pub(super) response: Option<String>,
    pub(super) response_size: Option<i64>,
    pub(super) normalised: Option<String>,
    pub(super) http_status: Option<u16>,
    pub(super) finish_reason: Option<String>,
    pub(super) tokens: [Option<i64>; 5],
    pub(super) cost: Option<i64>,
    pub(super) price: Option<String>,
    /// Tokens and micro-dollars that count against a budget: reserved while it is open.
    pub(super) charged: [Option<i64>; 2],
    pub(super) first_byte_ms: Option<i64>,
    pub(super) total_ms: Option<i64>,
    pub(super) error_code: Option<String>,
    pub(super) error: Option<String>,
    pub(super) ended_at: Option<String>,
}

pub(super) struct AttemptRow {
    pub(super) call: String,
    pub(super) number: u32,
    pub(super) target: TargetRow,
    pub(super) status: String,
    pub(super) http_status: Option<u16>,
    pub(super) error_code: Option<String>,
    pub(super) error: Option<String>,
    pub(super) response: Option<String>,
    pub(super) first_byte_ms: Option<i64>,
    pub(super) total_ms: Option<i64>,
    pub(super) begun_at: String,
}

pub(super) struct ToolRow {
    pub(super) task: String,
    pub(super) run: String,
    pub(super) iteration: u32,
    pub(super) turn: u32,
    pub(super) call: String,
    pub(super) position: i64,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    pub(super) hash: Option<String>,
}

pub(super) struct ResultRow {
    pub(super) call: String,
    pub(super) position: u32,
    pub(super) result: String,
    pub(super) by: String,
}

/// The rows of a batch.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) calls: Vec<CallRow>,
    /// Where in `calls` a call is.
    pub(super) at: HashMap<String, usize>,
    pub(super) ends: Vec<(String, EndRow)>,
    pub(super) targets: Vec<(String, TargetRow)>,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) tools: Vec<ToolRow>,
    pub(super) results: Vec<ResultRow>,
    pub(super) bodies: Vec<(i64, Position)>,
    pub(super) carries: Vec<(String, String, Vec<u8>)>,
    pub(super) scopes: Vec<(u32, String)>,
}

/// Where a body is looked for: the first 63 bits of its commitment.
pub(crate) fn body_key(commitment: &[u8; 32]) -> i64 {
    let mut head = [0; 8];
    head.copy_from_slice(&commitment[..8]);
    i64::from_be_bytes(head) & i64::MAX
}

fn body<'a>(entry: &'a Entry<'_>, number: u32) -> Result<&'a BodyAt, StoreError> {
    entry.bodies.get(number as usize).ok_or_else(|| StoreError::corrupt("a record names a body that it does not have"))
}

fn name(entry: &Entry<'_>, number: Option<u32>) -> Result<Option<String>, StoreError> {
    number.map(|n| body(entry, n).map(BodyAt::name)).transpose()
}

fn own(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn count(n: Option<u64>) -> Option<i64> {
    n.and_then(|n| i64::try_from(n).ok())
}

fn charged(amounts: Option<(u64, u64)>) -> [Option<i64>; 2] {
    [count(amounts.map(|a| a.0)), count(amounts.map(|a| a.1))]
}

fn target(entry: &Entry<'_>, t: &Target<'_>, attempts: u32) -> Result<TargetRow, StoreError> {
    let (provider, model) = (t.provider.to_owned(), t.model.to_owned());
    let (format, url) = (t.format.to_owned(), t.url.to_owned());
    Ok(TargetRow { provider, model, format, url, sent: name(entry, t.sent)?, attempts })
}

fn attempt(entry: &Entry<'_>, call: &str, over: &AttemptOver<'_>) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        call: call.to_owned(),
        number: over.number,
        target: TargetRow {
            provider: over.provider.to_owned(),
            model: over.model.to_owned(),
            format: over.format.to_owned(),
            url: over.url.to_owned(),
            sent: own(over.sent),
            attempts: over.number,
        },
        status: over.status.to_owned(),
        http_status: over.http_status,
        error_code: own(over.error_code),
        error: own(over.error),
        response: name(entry, over.response)?,
        first_byte_ms: count(over.first_byte_ms),
        total_ms: count(Some(over.total_ms)),
        begun_at: moment(over.begun_ms)?,
    })
}

impl Rows {
    pub(super) fn bodies(&mut self, bodies: &[BodyAt], at: Position) {
        self.bodies.extend(bodies.iter().map(|b| (body_key(&b.commitment), at)));
    }

    pub(super) fn begun(
        &mut self,
        entry: &Entry<'_>,
        begun: &CallBegun<'_>,
        refusal: Option<&Refusal<'_>>,
        time: &str,
    ) -> Result<(), StoreError> {
        let request = body(entry, begun.request)?;
        let end = match refusal {
            None => EndRow { status: "open".to_owned(), charged: charged(begun.reserved), ..EndRow::default() },
            Some(r) => EndRow {
                status: "refused".to_owned(),
                http_status: Some(r.http_status),
                error_code: Some(r.code.to_owned()),
                error: Some(r.error.to_owned()),
                ended_at: Some(time.to_owned()),
                ..EndRow::default()
            },
        };
        for result in &begun.results {
            let (call, by) = (result.call.to_owned(), begun.id.to_owned());
            let result_name = body(entry, result.body)?.name();
            self.results.push(ResultRow { call, position: result.position, result: result_name, by });
        }
        self.at.insert(begun.id.to_owned(), self.calls.len());
        self.calls.push(CallRow {
            id: begun.id.to_owned(),
            scope: crate::body::base_of(entry.scope).to_owned(),
            task: own(begun.task),
            run: own(begun.run),
            iteration: begun.iteration,
            turn: begun.turn,
            key: own(begun.key),
            token: own(begun.token),
            op: begun.op.to_owned(),
            ingress: begun.ingress.to_owned(),
            asked_model: begun.asked_model.to_owned(),
            stream: begun.stream,
            retry_of: own(begun.retry_of),
            request: request.name(),
            request_size: request.size.cast_signed(),
            begun_at: time.to_owned(),
            target: begun.first.as_ref().map(|t| target(entry, t, 1)).transpose()?,
            end,
        });
        Ok(())
    }

    pub(super) fn attempt(&mut self, entry: &Entry<'_>, next: &NextAttempt<'_>, time: &str) -> Result<(), StoreError> {
        let number = next.over.number + 1;
        let row = target(entry, &next.next, number)?;
        self.attempts.push(attempt(entry, next.call, &next.over)?);
        self.attempts.push(AttemptRow {
            call: next.call.to_owned(),
            number,
            target: row.clone(),
            status: "open".to_owned(),
            http_status: None,
            error_code: None,
            error: None,
            response: None,
            first_byte_ms: None,
            total_ms: None,
            begun_at: time.to_owned(),
        });
        match self.at.get(next.call).and_then(|n| self.calls.get_mut(*n)) {
            Some(call) => call.target = Some(row),
            None => self.targets.push((next.call.to_owned(), row)),
        }
        Ok(())
    }

    pub(super) fn ended(
        &mut self,
        entry: &Entry<'_>,
        ended: &CallEnded<'_>,
        hashes: Vec<Option<String>>,
        time: &str,
    ) -> Result<(), StoreError> {
        if let Some(last) = &ended.last {
            self.attempts.push(attempt(entry, ended.call, last)?);
        }
        if let Some(place) = &ended.place {
            for ((position, tool), hash) in ended.tools.iter().enumerate().zip(hashes) {
                self.tools.push(ToolRow {
                    task: place.task.to_owned(),
                    run: place.run.to_owned(),
                    iteration: place.iteration,
                    turn: place.turn,
                    call: ended.call.to_owned(),
                    position: position as i64,
                    id: tool.id.to_owned(),
                    name: tool.name.to_owned(),
                    arguments: body(entry, tool.arguments)?.name(),
                    hash,
                });
            }
        }
        let carries = ended.carries.iter().map(|(id, c)| (entry.scope.to_owned(), (*id).to_owned(), c.to_vec()));
        self.carries.extend(carries);
        let row = EndRow {
            status: ended.status.to_owned(),
            response: name(entry, ended.response)?,
            response_size: ended.response.map(|n| body(entry, n)).transpose()?.map(|b| b.size.cast_signed()),
            normalised: name(entry, ended.normalised)?,
            http_status: ended.http_status,
            finish_reason: own(ended.finish_reason),
            tokens: [ended.prompt, ended.completion, ended.cached, ended.cache_write, ended.reasoning].map(count),
            cost: ended.cost_micro_usd,
            price: own(ended.price),
            charged: charged(ended.charged),
            first_byte_ms: count(ended.first_byte_ms),
            total_ms: count(Some(ended.total_ms)),
            error_code: own(ended.error_code),
            error: own(ended.error),
            ended_at: Some(time.to_owned()),
        };
        match self.at.get(ended.call).and_then(|n| self.calls.get_mut(*n)) {
            Some(call) => call.end = row,
            None => self.ends.push((ended.call.to_owned(), row)),
        }
        Ok(())
    }
}
