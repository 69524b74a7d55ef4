//! Inputs from inputs: a seeded source of mutations, and the loop that tries them on a target.

use super::targets::Target;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Inputs are not made longer than this, in bytes: more than every limit on lines, small enough to be quick.
pub const INPUT_BYTES_MAX: usize = 24 * 1024;
/// No run may take longer. Far above what any input needs, even on a machine that does much else.
pub const RUN_TIME_MAX: Duration = Duration::from_secs(10);
/// Inputs that are remembered because they ended in a way of their own.
const POOL_MAX: usize = 512;
/// Mutations that are applied to one input, at most.
const MUTATIONS_MAX: u64 = 6;

/// SplitMix64: small, fast, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// A sequence that a seed determines.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.below(of.len())]
    }
}

/// Pieces that mean something to somebody here.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b"%",
    b"%00",
    b"%2F",
    b"%zz",
    b"..",
    b"/",
    b"//",
    b"?",
    b"&",
    b"=",
    b"+",
    b";",
    b":",
    b",",
    b"\"",
    b"'",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"<",
    b">",
    b"</",
    b"/>",
    b"<!DOCTYPE x>",
    b"<!ENTITY a \"b\">",
    b"&amp;",
    b"&#0;",
    b"&#x110000;",
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"-->",
    b"<?xml",
    b"*",
    b"?*",
    b"${aws:username}",
    b"$",
    b"0",
    b"-1",
    b"-0",
    b"1e999",
    b"0x10",
    b"9223372036854775807",
    b"18446744073709551615",
    b"18446744073709551616",
    b"4294967296",
    b"ffffffffffffffff",
    b"null",
    b"true",
    b"\xc3\xa9",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\xe2\x80\xa8",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1",
    b"--",
    b"Thu, 01 Jan 1970 00:00:00 GMT",
    b"9999-12-31T23:59:60Z",
    b"bytes=-",
    b"s3:*",
    b"arn:aws:s3:::",
    b"Deny",
    b"Allow",
];

/// Numbers at the edges of what machines count with.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Changes an input in a few places; `other` is what pieces are taken from.
fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.next() % MUTATIONS_MAX {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() + 1 - at).min(random.below(64) + 1);
        match random.below(12) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            4 => splice(input, at, at, random.one(WORDS)),
            5 => splice(input, at, end, random.one(WORDS)),
            6 => {
                let piece = input[at..end].to_vec();
                let most = if random.below(20) == 0 { 500 } else { 4 };
                let times = random.below(most);
                splice(input, at, at, &piece.repeat(times));
            }
            7 => {
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() + 1 - from);
                splice(input, at, end, &other[from..to]);
            }
            8 => {
                let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)];
                splice(input, at, (at + width).min(input.len()), &edge[..width]);
            }
            9 => digits(random, input),
            10 => {
                let mut piece = input[at..end].to_vec();
                piece.reverse();
                splice(input, at, end, &piece);
            }
            _ => input.extend_from_slice(&other[random.below(other.len() + 1)..]),
        }
        input.truncate(INPUT_BYTES_MAX);
    }
}

fn splice(input: &mut Vec<u8>, start: usize, end: usize, piece: &[u8]) {
    input.splice(start..end, piece.iter().copied());
}

/// Puts another number where one stands in digits.
fn digits(random: &mut Random, input: &mut Vec<u8>) {
    let found: Vec<usize> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
    if found.is_empty() {
        return;
    }
    let start = found[random.below(found.len())];
    let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = EDGES[random.below(EDGES.len())].wrapping_add(random.next() % 3).to_string();
    splice(input, start, start + length, number.as_bytes());
}

/// How long a target is tried.
pub struct Effort {
    /// The time for all runs together.
    pub time: Duration,
    /// What the mutations come from.
    pub seed: u64,
}

/// What became of it.
pub struct Found {
    /// Runs.
    pub runs: u64,
    /// Inputs that ended in a way of their own, the first ones included.
    pub pool: Vec<Vec<u8>>,
}

/// An input that must not end as it did.
#[derive(Debug)]
pub struct Crash {
    /// The input.
    pub input: Vec<u8>,
    /// How it ended.
    pub why: String,
}

/// Runs one input.
///
/// # Errors
/// How it ended, when it must not end so.
pub fn run_one(target: &Target, input: &[u8]) -> Result<u64, String> {
    let started = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })?;
    let took = started.elapsed();
    if took > RUN_TIME_MAX { Err(format!("{took:?} for {} bytes", input.len())) } else { Ok(outcome) }
}

/// Tries a target, beginning with the inputs of its corpus and its own.
///
/// # Errors
/// The first input that ended in a panic or took too long.
pub fn fuzz(target: &Target, corpus: &Path, effort: &Effort) -> Result<Found, Crash> {
    let mut random = Random::new(
        effort.seed
            ^ target
                .name
                .bytes()
                .fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))),
    );
    let mut seen = HashSet::new();
    let mut pool = Vec::new();
    let mut runs = 0;
    let mut attempt = |input: Vec<u8>, pool: &mut Vec<Vec<u8>>| -> Result<(), Crash> {
        runs += 1;
        match run_one(target, &input) {
            Err(why) => return Err(Crash { input, why }),
            Ok(outcome) => {
                if seen.insert(outcome) && pool.len() < POOL_MAX {
                    pool.push(input);
                }
            }
        }
        Ok(())
    };
    for input in first_inputs(target, corpus) {
        attempt(input, &mut pool)?;
    }
    let started = Instant::now();
    let mut tried = 0;
    while started.elapsed() < effort.time && tried < target.runs_max {
        let mut input = pool[random.below(pool.len())].clone();
        let other = pool[random.below(pool.len())].clone();
        mutate(&mut random, &mut input, &other);
        attempt(input, &mut pool)?;
        tried += 1;
    }
    Ok(Found { runs, pool })
}

/// The target's own inputs, then those of the repository by name.
fn first_inputs(target: &Target, corpus: &Path) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    let entries = std::fs::read_dir(corpus.join(target.name)).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    inputs.extend(paths.into_iter().filter_map(|path| std::fs::read(path).ok()));
    inputs.push(Vec::new());
    inputs
}
