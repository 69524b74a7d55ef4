//! A second of every fuzz target; `fuzz/README.md` says what they are and how to run them for longer.

use mutator::{Effort, Random, fuzz};
use std::path::Path;
use std::time::Duration;

#[path = "../../fuzz/src/mutator.rs"]
mod mutator;
#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

/// Each target has a test here.
const NAMES: &[&str] = &[
    "head",
    "framing",
    "aws-chunked",
    "form",
    "signature",
    "canonical",
    "policy",
    "post-policy",
    "xml",
    "body",
    "config",
    "request",
    "record",
    "journal",
    "uri",
    "value",
    "listing",
    "sequence",
    "redis",
    "upstream",
    "upstream-ring",
    "upstream-s3",
];

#[track_caller]
fn smoke(name: &str) {
    let target = targets::TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let given = std::env::var("S3PAIL_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| Random::new(super::harness::now()).next() >> 32);
    eprintln!("{name}: S3PAIL_FUZZ_SEED={seed}");
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let found = fuzz(target, &corpus, &Effort { time: Duration::from_secs(1), seed });
    let found = found.unwrap_or_else(|crash| {
        panic!("{name}, S3PAIL_FUZZ_SEED={seed}: {}\ninput: {}", crash.why, crash.input.escape_ascii())
    });
    eprintln!("{name}: {} runs, {} outcomes", found.runs, found.pool.len());
    assert!(found.runs > 1 && found.pool.len() > 1, "{name} learned nothing: {} runs", found.runs);
}

/// PT-12, target by target.
#[test]
fn every_target_has_a_test() {
    let names: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, NAMES);
}

#[test]
fn head_survives_any_input() {
    smoke("head");
}

#[test]
fn framing_survives_any_input() {
    smoke("framing");
}

#[test]
fn aws_chunked_survives_any_input() {
    smoke("aws-chunked");
}

#[test]
fn form_survives_any_input() {
    smoke("form");
}

#[test]
fn signature_survives_any_input() {
    smoke("signature");
}

#[test]
fn canonical_survives_any_input() {
    smoke("canonical");
}

#[test]
fn policy_survives_any_input() {
    smoke("policy");
}

#[test]
fn post_policy_survives_any_input() {
    smoke("post-policy");
}

#[test]
fn xml_survives_any_input() {
    smoke("xml");
}

#[test]
fn body_survives_any_input() {
    smoke("body");
}

#[test]
fn config_survives_any_input() {
    smoke("config");
}

#[test]
fn request_survives_any_input() {
    smoke("request");
}

#[test]
fn record_survives_any_input() {
    smoke("record");
}

#[test]
fn journal_survives_any_input() {
    smoke("journal");
}

#[test]
fn uri_survives_any_input() {
    smoke("uri");
}

#[test]
fn value_survives_any_input() {
    smoke("value");
}

#[test]
fn redis_survives_any_input() {
    smoke("redis");
}

#[test]
fn upstream_survives_any_input() {
    smoke("upstream");
}

#[test]
fn upstream_ring_survives_any_input() {
    smoke("upstream-ring");
}

#[test]
fn upstream_s3_survives_any_input() {
    smoke("upstream-s3");
}

#[test]
fn listing_survives_any_input() {
    smoke("listing");
}

#[test]
fn sequence_survives_any_input() {
    smoke("sequence");
}
