//! The decisions of a task's workflow, as tables and as random walks.

mod plan_table;
mod plan_walk;
