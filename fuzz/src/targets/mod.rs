//! The targets: functions that take any bytes and must come back.
//!
//! Each asserts, beside that nothing panics, what must hold for every input: the same result however the
//! input was split, nothing beyond its end, what was printed is read back. What a run returns says how the
//! input ended, in few ways: inputs with a new one are kept to make others from.

use std::hash::{DefaultHasher, Hash, Hasher};

mod connections;
mod documents;
mod independent;
mod listings;
mod peers;
mod records;
mod requests;
mod signatures;
mod values;
mod wire;

/// A target.
pub struct Target {
    /// Its name, on the command line and in the corpus.
    pub name: &'static str,
    /// What inputs are made from first.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Takes an input and says how it ended.
    pub run: fn(&[u8]) -> u64,
    /// The most runs at a time; sockets and files do not bear millions.
    pub runs_max: u64,
}

/// No bound but the time.
const UNBOUNDED: u64 = u64::MAX;

const fn row(
    name: &'static str,
    seeds: fn() -> Vec<Vec<u8>>,
    run: fn(&[u8]) -> u64,
    runs_max: u64,
) -> Target {
    Target { name, seeds, run, runs_max }
}

/// Every target.
pub static TARGETS: &[Target] = &[
    row("head", wire::heads, wire::head, UNBOUNDED),
    row("framing", wire::chunked_bodies, wire::framing, UNBOUNDED),
    row("aws-chunked", wire::aws_chunked_bodies, wire::aws_chunked, UNBOUNDED),
    row("form", wire::forms, wire::form, UNBOUNDED),
    row("signature", signatures::requests, signatures::verify, UNBOUNDED),
    row("canonical", signatures::queries, signatures::agree, UNBOUNDED),
    row("policy", signatures::policies, signatures::policy, UNBOUNDED),
    row("post-policy", signatures::post_policies, signatures::post_policy, UNBOUNDED),
    row("xml", documents::trees, documents::xml, UNBOUNDED),
    row("body", documents::bodies, documents::body, UNBOUNDED),
    row("config", documents::configurations, documents::config, 20_000),
    row("request", requests::raw, requests::handle, UNBOUNDED),
    row("record", records::records, records::record, UNBOUNDED),
    row("journal", records::journals, records::journal, 20_000),
    row("uri", values::targets, values::uri, UNBOUNDED),
    row("value", values::texts_seed, values::value, UNBOUNDED),
    row("listing", listings::buckets, listings::listing, UNBOUNDED),
    row("sequence", connections::sequences, connections::sequence, 5_000),
    row("redis", peers::replies, peers::redis, 2_000),
    row("upstream", peers::answers, peers::upstream, 2_000),
    row("upstream-ring", peers::answers, peers::upstream_ring, 2_000),
    row("upstream-s3", peers::answers, peers::upstream_s3, 2_000),
];

/// Few bits of how a run ended.
fn outcome(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The first byte of an input as a choice, and the rest.
fn choice(input: &[u8]) -> (usize, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (usize::from(*first), rest))
}

fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

/// Reads in pieces of one to `most` bytes, as a network would deliver them.
struct Pieces<'i> {
    rest: &'i [u8],
    most: usize,
    turn: usize,
}

impl<'i> Pieces<'i> {
    fn new(rest: &'i [u8], most: usize) -> Pieces<'i> {
        Pieces { rest, most, turn: 0 }
    }
}

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.turn += 1;
        let count = (1 + self.turn % self.most).min(self.rest.len()).min(buffer.len());
        let (now, later) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}
