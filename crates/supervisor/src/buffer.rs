//! One direction of a connection: bytes that were read and not yet written.

use std::io::{self, ErrorKind, Read, Write};

/// Bytes that wait in one direction.
const CAPACITY: usize = 32 << 10;

/// A bounded buffer between a reader and a writer that never block.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    /// The reader has ended.
    pub(crate) ended: bool,
    /// The writer was told so.
    pub(crate) told: bool,
}

impl Buffer {
    /// Whether more can be read.
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && self.to < CAPACITY
    }

    /// Whether something waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        self.from < self.to
    }

    /// Whether the end is due to be passed on.
    pub(crate) fn must_tell(&self) -> bool {
        self.ended && !self.told && !self.has_output()
    }

    /// Reads what is there; whether anything happened.
    pub(crate) fn fill(&mut self, reader: &mut impl Read) -> io::Result<bool> {
        if !self.wants_input() {
            return Ok(false);
        }
        // Allocated with the first byte: an idle direction costs nothing.
        self.bytes.resize(CAPACITY, 0);
        match reader.read(&mut self.bytes[self.to..]) {
            Ok(0) => {
                self.ended = true;
                Ok(true)
            }
            Ok(count) => {
                self.to += count;
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes what can be written; whether anything happened.
    pub(crate) fn drain(&mut self, writer: &mut impl Write) -> io::Result<bool> {
        if !self.has_output() {
            return Ok(false);
        }
        match writer.write(&self.bytes[self.from..self.to]) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                self.from += count;
                if self.from == self.to {
                    (self.from, self.to) = (0, 0);
                }
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
