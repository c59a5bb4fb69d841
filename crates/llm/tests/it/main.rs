//! Fixtures in files, from every format to every other, against files of what is expected; and properties of streams.
#![cfg(test)]

mod cells;
mod files;
mod streams;
