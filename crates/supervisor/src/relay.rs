//! The loop: connections, signals, children.
//!
//! A connection is *held* from its acceptance until the gateway's socket takes it, and *open* from then on until both
//! directions have ended or one side fails. A held one that is closed by the agent is forgotten, so that a request
//! that nobody waits for any more is not sent later.

use crate::{
    GATEWAY_AWAY,
    agent::Agent,
    args::Args,
    buffer::Buffer,
    gateway::{BACKOFF_FIRST, BACKOFF_LAST, dial},
    sys::Signals,
};
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};
use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

/// Between SIGTERM and SIGKILL when the gateway was away for too long.
const END_GRACE: Duration = Duration::from_secs(5);
/// How long what the agent sent last may take to reach the gateway after it has ended.
const FLUSH: Duration = Duration::from_millis(500);
/// Turns of one connection before the others get theirs.
const FAIR_TURNS: usize = 16;
/// Events taken at once.
const EVENTS: usize = 64;
const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

/// All connections of the sandbox.
pub(crate) struct Relay<'a> {
    epoll: OwnedFd,
    listener: TcpListener,
    is_accepting: bool,
    signals: &'a Signals,
    socket: PathBuf,
    gateway_timeout: Duration,
    connections: Vec<Option<Connection>>,
}

struct Connection {
    agent: TcpStream,
    gateway: Option<UnixStream>,
    up: Buffer,
    down: Buffer,
    held_since: Instant,
    retry_at: Instant,
    pause: Duration,
    was_refused: bool,
    agent_interest: EventFlags,
    gateway_interest: EventFlags,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(args: &Args, listener: TcpListener, signals: &'a Signals) -> Result<Self, String> {
        let fail = |e: Errno| format!("cannot watch descriptors: {e}");
        listener.set_nonblocking(true).map_err(|e| format!("cannot listen: {e}"))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(fail)?;
        epoll::add(&epoll, signals, EventData::new_u64(SIGNALS), EventFlags::IN).map_err(fail)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).map_err(fail)?;
        let connections = (0..args.max_connections).map(|_| None).collect();
        Ok(Self {
            epoll,
            listener,
            is_accepting: true,
            signals,
            socket: args.socket.clone(),
            gateway_timeout: args.gateway_timeout,
            connections,
        })
    }

    /// Works until the agent has ended; the exit code.
    pub(crate) fn run(mut self, agent: &mut Agent) -> Result<u8, String> {
        let mut ending: Option<Instant> = None;
        loop {
            self.turn(agent, ending)?;
            if let Some(code) = agent.code {
                self.flush();
                return Ok(if ending.is_some() { GATEWAY_AWAY } else { code });
            }
            match ending {
                Some(kill_at) if Instant::now() >= kill_at => agent.signal(libc::SIGKILL),
                None if self.is_gateway_lost() => {
                    eprintln!(
                        "taskforge-supervisor: the gateway was away for {} s, the agent is stopped to be resumed",
                        self.gateway_timeout.as_secs()
                    );
                    agent.signal(libc::SIGTERM);
                    ending = Some(Instant::now() + END_GRACE);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Waits for something to do and does it.
    fn turn(&mut self, agent: &mut Agent, ending: Option<Instant>) -> Result<(), String> {
        let timeout =
            self.next_wake(ending).map(|t| Timespec::try_from(t).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 }));
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(format!("cannot wait for events: {e}")),
        }
        for Event { data, .. } in events {
            match data.u64() {
                LISTENER => self.accept(),
                SIGNALS => self.take_signals(agent),
                token => {
                    let index = usize::try_from((token - FIRST_CONNECTION) / 2).unwrap_or(usize::MAX);
                    self.advance(index);
                }
            }
        }
        let now = Instant::now();
        for index in 0..self.connections.len() {
            let due = |c: &Connection| c.gateway.is_none() && c.retry_at <= now;
            if self.connections[index].as_ref().is_some_and(due) {
                self.advance(index);
            }
        }
        self.accept_again();
        Ok(())
    }

    fn next_wake(&self, ending: Option<Instant>) -> Option<Duration> {
        let retries = self.connections.iter().flatten().filter(|c| c.gateway.is_none()).map(|c| c.retry_at);
        retries.chain(ending).min().map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn is_gateway_lost(&self) -> bool {
        let held = self.connections.iter().flatten().filter(|c| c.gateway.is_none());
        held.map(|c| c.held_since.elapsed()).max().is_some_and(|t| t >= self.gateway_timeout)
    }

    fn take_signals(&self, agent: &mut Agent) {
        while let Some(signal) = self.signals.next() {
            match signal {
                libc::SIGCHLD => agent.reap(),
                other => agent.signal(other),
            }
        }
    }

    /// Takes new connections while there is room; beyond it they wait in the listener's queue.
    fn accept(&mut self) {
        while let Some(index) = self.connections.iter().position(Option::is_none) {
            let Ok((stream, _)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            let now = Instant::now();
            self.connections[index] = Some(Connection {
                agent: stream,
                gateway: None,
                up: Buffer::default(),
                down: Buffer::default(),
                held_since: now,
                retry_at: now,
                pause: BACKOFF_FIRST,
                was_refused: false,
                agent_interest: EventFlags::empty(),
                gateway_interest: EventFlags::empty(),
            });
            self.advance(index);
        }
        if self.is_accepting {
            self.is_accepting = epoll::delete(&self.epoll, &self.listener).is_err();
        }
    }

    fn accept_again(&mut self) {
        if !self.is_accepting && self.connections.iter().any(Option::is_none) {
            let data = EventData::new_u64(LISTENER);
            self.is_accepting = epoll::add(&self.epoll, &self.listener, data, EventFlags::IN).is_ok();
        }
    }

    /// Moves one connection on as far as it goes; forgets it when it is done or broken.
    fn advance(&mut self, index: usize) {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return };
        let goes_on = connection.advance(&self.socket).unwrap_or(false)
            && connection.watch(&self.epoll, FIRST_CONNECTION + index as u64 * 2).is_ok();
        if !goes_on {
            // Closing both sockets takes them out of the epoll set too.
            self.connections[index] = None;
        }
    }

    /// Hands over what the agent sent before it ended.
    fn flush(&mut self) {
        let until = Instant::now() + FLUSH;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let waiting = self.connections.iter().flatten().any(|c| c.gateway.is_some() && c.up.has_output());
            if !waiting || left.is_zero() {
                return;
            }
            let timeout = Timespec::try_from(left).ok();
            let mut events = Vec::with_capacity(EVENTS);
            if epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()).is_err() {
                return;
            }
            for index in 0..self.connections.len() {
                self.advance(index);
            }
        }
    }
}

impl Connection {
    /// Copies in both directions; `false` when it is done.
    fn advance(&mut self, socket: &std::path::Path) -> io::Result<bool> {
        if self.gateway.is_none() {
            while self.up.fill(&mut self.agent)? {}
            // One that finds the gateway at once may close its sending half before that.
            if self.up.ended && self.was_refused {
                return Ok(false);
            }
            if !self.dial(socket) {
                return Ok(true);
            }
        }
        let Some(gateway) = &mut self.gateway else { return Ok(true) };
        for _ in 0..FAIR_TURNS {
            let moved = [
                self.up.fill(&mut self.agent)?,
                self.up.drain(gateway)?,
                self.down.fill(gateway)?,
                self.down.drain(&mut self.agent)?,
            ];
            if self.up.must_tell() {
                self.up.told = true;
                gateway.shutdown(Shutdown::Write)?;
            }
            if self.down.must_tell() {
                self.down.told = true;
                self.agent.shutdown(Shutdown::Write)?;
            }
            if !moved.contains(&true) {
                break;
            }
        }
        Ok(!(self.up.told && self.down.told))
    }

    /// Tries to reach the gateway when it is time to; whether it is reached.
    fn dial(&mut self, socket: &std::path::Path) -> bool {
        if Instant::now() < self.retry_at {
            return false;
        }
        if let Ok(stream) = dial(socket) {
            self.gateway = Some(stream);
            return true;
        }
        self.was_refused = true;
        self.retry_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(BACKOFF_LAST);
        false
    }

    /// Tells epoll what this connection waits for. A side that waits for nothing is taken out: its hang-up would be
    /// reported for ever.
    fn watch(&mut self, epoll: &OwnedFd, token: u64) -> Result<(), Errno> {
        let wanted = |input: bool, output: bool| {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, input);
            flags.set(EventFlags::OUT, output);
            flags
        };
        let agent = wanted(self.up.wants_input(), self.down.has_output());
        update(epoll, &self.agent, token, &mut self.agent_interest, agent)?;
        if let Some(stream) = &self.gateway {
            let gateway = wanted(self.down.wants_input(), self.up.has_output());
            update(epoll, stream, token + 1, &mut self.gateway_interest, gateway)?;
        }
        Ok(())
    }
}

fn update(
    epoll: &OwnedFd,
    stream: impl AsFd,
    token: u64,
    known: &mut EventFlags,
    wanted: EventFlags,
) -> Result<(), Errno> {
    let data = EventData::new_u64(token);
    match (known.is_empty(), wanted.is_empty()) {
        (true, true) => {}
        (true, false) => epoll::add(epoll, stream, data, wanted)?,
        (false, true) => epoll::delete(epoll, stream)?,
        (false, false) if *known != wanted => epoll::modify(epoll, stream, data, wanted)?,
        (false, false) => {}
    }
    *known = wanted;
    Ok(())
}
