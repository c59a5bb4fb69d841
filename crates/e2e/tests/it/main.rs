//! End-to-end suites: the real server, Docker and OpenClaw. `scripts/e2e` runs them.

mod access;
mod acts;
mod budget;
mod crash;
mod decisions;
mod disk;
mod engine;
mod installation;
mod limits;
mod log;
mod openclaw;
mod openclaw_control;
mod providers;
mod restart;
mod states;
mod workspace;
