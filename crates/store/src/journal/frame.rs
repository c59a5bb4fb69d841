//! A frame of the journal: a header, the sealed bodies, the record.
//!
//! ```text
//! magic 4 | kind 4 | data length 4 | meta length 4 | time 8 | data crc 4 | meta crc 4 | crc of these 4 | data | meta
//! ```
//! Numbers are little-endian. Data comes first, so that bodies are sealed where they will be written from.

use crate::StoreError;

/// Bytes before the data.
pub(crate) const HEADER: usize = 36;
/// The largest data of a frame: bodies are cut into pieces long before.
pub(crate) const MAX_DATA: usize = 64 << 20;
/// The largest record of a frame.
pub(crate) const MAX_META: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"TFJ1";
const CRC_AT: usize = HEADER - 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record of a call, with the ends of its bodies.
    Record,
    /// A piece of a body; a later record refers to it.
    Piece,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Record => 1,
            Self::Piece => 2,
        }
    }
}

/// A header that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) data: usize,
    pub(crate) meta: usize,
    pub(crate) time_ms: i64,
    pub(crate) data_crc: u32,
    pub(crate) meta_crc: u32,
}

impl Header {
    /// Reads a header; none if these bytes are not a whole one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes[..4] != MAGIC || number(CRC_AT)? != crc32fast::hash(&bytes[..CRC_AT]) {
            return None;
        }
        let kind = [Kind::Record, Kind::Piece].into_iter().find(|k| number(4) == Some(k.number()))?;
        let (data, meta) = (number(8)? as usize, number(12)? as usize);
        let time_ms = i64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
        let fits = data <= MAX_DATA && meta <= MAX_META;
        fits.then_some(Self { kind, data, meta, time_ms, data_crc: number(24)?, meta_crc: number(28)? })
    }

    /// Bytes of the whole frame.
    pub(crate) const fn len(&self) -> u64 {
        (HEADER + self.data + self.meta) as u64
    }
}

/// A frame while it is made.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    data: usize,
}

impl Frame {
    pub(crate) fn new(room: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + room);
        bytes.resize(HEADER, 0);
        Self { bytes, data: 0 }
    }

    /// Where data is added.
    pub(crate) fn data(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes of data so far.
    pub(crate) fn data_len(&self) -> usize {
        self.bytes.len() - HEADER
    }

    /// Adds the record and all of the header but the time.
    pub(crate) fn close(mut self, kind: Kind, meta: &impl serde::Serialize) -> Result<Closed, StoreError> {
        self.data = self.data_len();
        let bytes = postcard::to_extend(meta, self.bytes).map_err(StoreError::corrupt)?;
        Self { bytes, data: self.data }.sealed(kind)
    }

    /// A frame of data alone.
    pub(crate) fn close_piece(mut self) -> Result<Closed, StoreError> {
        self.data = self.data_len();
        self.sealed(Kind::Piece)
    }

    fn sealed(mut self, kind: Kind) -> Result<Closed, StoreError> {
        let (data, meta) = (self.data, self.bytes.len() - HEADER - self.data);
        if data > MAX_DATA || meta > MAX_META {
            return Err(StoreError::TooLarge { size: (data + meta) as u64, max: (MAX_DATA + MAX_META) as u64 });
        }
        let (data_crc, meta_crc) =
            (crc32fast::hash(&self.bytes[HEADER..HEADER + data]), crc32fast::hash(&self.bytes[HEADER + data..]));
        let head = &mut self.bytes[..HEADER];
        head[..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&kind.number().to_le_bytes());
        head[8..12].copy_from_slice(&(data as u32).to_le_bytes());
        head[12..16].copy_from_slice(&(meta as u32).to_le_bytes());
        head[24..28].copy_from_slice(&data_crc.to_le_bytes());
        head[28..32].copy_from_slice(&meta_crc.to_le_bytes());
        Ok(Closed { bytes: self.bytes, meta })
    }
}

/// A frame that lacks only its time.
#[derive(Debug)]
pub(crate) struct Closed {
    bytes: Vec<u8>,
    /// Bytes of the record.
    pub(crate) meta: usize,
}

impl Closed {
    /// The bytes, as of `time_ms`.
    pub(crate) fn at(&mut self, time_ms: i64) -> &[u8] {
        self.bytes[16..24].copy_from_slice(&time_ms.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[..CRC_AT]);
        self.bytes[CRC_AT..HEADER].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_whole_or_none() {
        let mut frame = Frame::new(0);
        frame.data().extend_from_slice(b"data");
        let mut closed = frame.close(Kind::Record, &("meta", 7_u32)).unwrap();
        let bytes = closed.at(42).to_vec();
        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.kind, header.data, header.time_ms), (Kind::Record, 4, 42));
        assert_eq!(header.len(), bytes.len() as u64);
        assert_eq!(header.data_crc, crc32fast::hash(b"data"));
        for at in 0..HEADER {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            assert!(Header::read(&torn).is_none(), "byte {at}");
            assert!(Header::read(&bytes[..at]).is_none());
        }
    }
}
