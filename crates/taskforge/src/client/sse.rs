//! A stream of events that survives a restart of the server: it comes back with the last event that it saw.

use super::{Client, is_away};
use crate::cli::{Failure, Outcome};
use api::wire::Event;
use reqwest::{Method, Response, header};
use std::{collections::VecDeque, time::Duration};

/// The longest event: its contents are bounded by the server.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// How long the server may be away.
const PATIENCE: u32 = 600;
/// Pause between attempts to come back.
const PAUSE: Duration = Duration::from_secs(1);

/// Events of one task, or of all.
pub(crate) struct Events {
    client: Client,
    path: String,
    last: Option<u64>,
    open: Option<Response>,
    buffer: Vec<u8>,
    ready: VecDeque<Event>,
    /// Called with the number of seconds that the server has been away.
    pub(crate) on_away: fn(u32),
}

impl Events {
    /// Events of `path` after `last`.
    pub(crate) fn new(client: &Client, path: String, last: Option<u64>) -> Self {
        Self {
            client: client.clone(),
            path,
            last,
            open: None,
            buffer: Vec::new(),
            ready: VecDeque::new(),
            on_away: |_| (),
        }
    }

    /// The next event. Waits for as long as it takes; fails when the server stays away.
    pub(crate) async fn next(&mut self) -> Outcome<Event> {
        let mut away = 0;
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = Some(event.index);
                return Ok(event);
            }
            match self.read().await {
                Ok(true) => away = 0,
                Ok(false) => self.pause(&mut away, None).await?,
                Err(f) if is_away(&f) => self.pause(&mut away, Some(f)).await?,
                Err(f) => return Err(f),
            }
        }
    }

    async fn pause(&mut self, away: &mut u32, why: Option<Failure>) -> Outcome<()> {
        self.open = None;
        self.buffer.clear();
        *away += 1;
        if *away > PATIENCE {
            return Err(why.unwrap_or_else(|| Failure::failed("the stream of events keeps breaking off")));
        }
        (self.on_away)(*away);
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Reads a part of the stream; false when it has ended.
    async fn read(&mut self) -> Outcome<bool> {
        let response = match &mut self.open {
            Some(open) => open,
            None => {
                let mut request =
                    self.client.request(Method::GET, &self.path).header(header::ACCEPT, "text/event-stream");
                if let Some(last) = self.last {
                    request = request.header("Last-Event-ID", last);
                }
                self.open.insert(self.client.send(request).await?)
            }
        };
        let Ok(Some(part)) = response.chunk().await else { return Ok(false) };
        self.buffer.extend_from_slice(&part);
        while let Some(end) = self.buffer.windows(2).position(|w| w == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            if let Some(event) = parse(&block)? {
                self.ready.push_back(event);
            }
        }
        if self.buffer.len() > MAX_EVENT_BYTES {
            return Err(Failure::failed("the server sent an event that is too long"));
        }
        Ok(true)
    }
}

/// Reads a block of the stream; none for keep-alives.
fn parse(block: &[u8]) -> Outcome<Option<Event>> {
    let text = String::from_utf8_lossy(block);
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.strip_prefix(' ').unwrap_or(v));
    match (field("event:"), field("data:")) {
        (Some("error"), code) => {
            Err(Failure::failed(format!("the server broke the stream off: {}", code.unwrap_or("unknown"))))
        }
        (_, Some(data)) => Ok(Some(serde_json::from_str(data)?)),
        (_, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_events_or_keep_alives() {
        assert!(parse(b":\n\n").unwrap().is_none());
        let block = b"id: 7\nevent: task.created\ndata: {\"index\":7,\"time\":\"t\",\"kind\":\"task.created\",\"phase\":\"point\",\"actor\":{},\"data\":{}}\n\n";
        assert_eq!(parse(block).unwrap().unwrap().index, 7);
        assert!(parse(b"event: error\ndata: internal\n\n").is_err());
        assert!(parse(b"data: {\n\n").is_err());
    }
}
