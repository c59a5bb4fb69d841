//! Changing inputs at random, with a mind for JSON and event streams.

/// Random numbers by a seed (xorshift64*): the same seed gives the same input on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    /// The numbers of one input of a run.
    pub(crate) fn new(seed: u64, at: u64) -> Self {
        let mixed = (seed ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self(mixed | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(1).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }
}

/// The largest input.
const MAX_BYTES: usize = 256 << 10;

/// What parsers trip over.
const WORDS: &[&[u8]] = &[
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"0.1",
    b"4294967295",
    b"\"\\u0000\"",
    b"\"\\ud800\"",
    b"\\",
    b"\"",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"data: ",
    b"data:",
    b"event: ",
    b": ping\n\n",
    b"data: [DONE]\n\n",
    b"\xff",
    b"\xe6\x9d",
    b"\xef\xbb\xbf",
    b"\0",
    b"\"index\":0,",
    b"\"index\":4294967295,",
    b"\"id\":\"a\",",
    b"\"type\":\"text\",",
    b"\"error\":{},",
    b"\"usage\":{},",
    b"#tf#",
    b"messages#tf#x",
    b"data:image/png;base64,AAAA",
];

/// An input of the corpus with some changes.
pub(crate) fn mutate(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = pick(corpus, rng).to_vec();
    for _ in 0..=rng.below(6) {
        change(&mut input, corpus, rng);
    }
    input.truncate(MAX_BYTES);
    input
}

fn pick<'a>(corpus: &'a [Vec<u8>], rng: &mut Rng) -> &'a [u8] {
    corpus.get(rng.below(corpus.len())).map_or(&[], Vec::as_slice)
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    let range = |rng: &mut Rng, input: &[u8]| at..(at + rng.below(40)).min(input.len());
    match rng.below(10) {
        0 => {
            let bit = 1 << rng.below(8);
            if let Some(byte) = input.get_mut(at) {
                *byte ^= bit;
            }
        }
        1 => {
            let range = range(rng, input);
            input.drain(range);
        }
        2 => {
            let copy = input[range(rng, input)].to_vec();
            input.splice(at..at, copy);
        }
        3 | 4 => {
            let word = WORDS[rng.below(WORDS.len())];
            input.splice(at..at, word.iter().copied());
        }
        5 => {
            // The end of another input in place of this one's.
            let other = pick(corpus, rng);
            let from = rng.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        6 => nest(input, at, rng),
        7 => input.truncate(at),
        _ => replace_value(input, at, rng),
    }
}

/// Deep nesting.
fn nest(input: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let depth = 1 + rng.below(3000);
    let (open, close): (&[u8], &[u8]) = if rng.below(2) == 0 { (b"[", b"]") } else { (b"{\"a\":", b"}") };
    let nested = [open.repeat(depth), b"1".to_vec(), close.repeat(depth)].concat();
    input.splice(at..at, nested);
}

/// Another value in place of the one that follows the next colon.
fn replace_value(input: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(colon) = input[at..].windows(2).position(|w| w == b"\":").map(|i| at + i + 2) else { return };
    let rest = &input[colon..];
    let len = match rest.iter().find(|b| **b != b' ') {
        Some(b'"') => rest.iter().skip(2).position(|b| *b == b'"').map_or(rest.len(), |i| i + 3),
        _ => rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b'\n')).unwrap_or(rest.len()),
    };
    let word = WORDS[rng.below(15)];
    input.splice(colon..colon + len.min(rest.len()), word.iter().copied());
}
