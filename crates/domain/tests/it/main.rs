//! The decisions of a task's workflow, as tables and as random walks.
#![cfg(test)]

mod plan_table;
mod plan_walk;
