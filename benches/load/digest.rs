//! What one core can digest: every upload is read through MD5, which is the limit of a large PUT.

use crate::compare::random_bytes;
use md5::{Digest, Md5};
use std::time::{Duration, Instant};

const BLOCK_BYTES: usize = 256 * 1024;
const TIME: Duration = Duration::from_secs(1);

/// Digests for a second; prints a line of JSON.
pub fn run() -> Result<(), String> {
    let block = random_bytes(BLOCK_BYTES);
    let (mut digest, mut bytes, begin) = (Md5::new(), 0_u64, Instant::now());
    while begin.elapsed() < TIME {
        digest.update(&block);
        bytes += block.len() as u64;
    }
    let rate = bytes as f64 / begin.elapsed().as_secs_f64() / 1e6;
    // Used, so that it is computed.
    let last = digest.finalize()[0];
    println!("{}", serde_json::json!({ "md5_mb_per_s": rate.round(), "last": last }));
    Ok(())
}
