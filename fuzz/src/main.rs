//! Tries targets with mutated inputs; `fuzz/README.md` says how.

mod allocation;
mod mutator;
mod targets;

use allocation::ALLOCATION_BYTES_MAX;
use mutator::{Crash, Effort, Random, fuzz, run_one};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use targets::{TARGETS, Target};

#[global_allocator]
static WATCHED: allocation::Watched = allocation::Watched;

/// Inputs that `--keep` leaves in the corpus of a target, and the longest of them in bytes.
const KEPT_MAX: usize = 24;
const KEPT_BYTES_MAX: usize = 1024;

struct Arguments {
    seconds: u64,
    keep: bool,
    input: Option<PathBuf>,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("s3pail-fuzz: {why}");
            return ExitCode::from(2);
        }
    };
    let seed = seed();
    println!("S3PAIL_FUZZ_SEED={seed}");
    let mut failed = false;
    for target in &arguments.targets {
        let outcome = match &arguments.input {
            Some(path) => once(target, path),
            None => try_target(target, &arguments, seed),
        };
        if let Err(why) = outcome {
            failed = true;
            println!("{}: FAILED: {why}", target.name);
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { seconds: 60, keep: false, input: None, targets: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let value = words.next().and_then(|value| value.parse().ok());
                found.seconds = value.ok_or("--seconds takes a whole number")?;
            }
            "--input" => found.input = Some(words.next().ok_or("--input takes a file")?.into()),
            "--keep" => found.keep = true,
            name => {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                let target = TARGETS.iter().find(|target| target.name == name);
                let target =
                    target.ok_or_else(|| format!("no target {name}; allowed: {}", names.join(", ")))?;
                found.targets.push(target);
            }
        }
    }
    if found.targets.is_empty() {
        found.targets = TARGETS.iter().collect();
    }
    Ok(found)
}

fn seed() -> u64 {
    let given = std::env::var("S3PAIL_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let of_clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    given.unwrap_or_else(|| Random::new(of_clock()).next() >> 32)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn once(target: &Target, path: &Path) -> Result<(), String> {
    let input = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    run_one(target, &input).map(|_| println!("{}: {} passed", target.name, path.display()))
}

fn try_target(target: &Target, arguments: &Arguments, seed: u64) -> Result<(), String> {
    let effort = Effort { time: Duration::from_secs(arguments.seconds), seed };
    let found = fuzz(target, &folder("corpus"), &effort).map_err(|crash| keep_crash(target, &crash))?;
    let largest = allocation::largest();
    if largest > ALLOCATION_BYTES_MAX {
        return Err(format!("{largest} bytes were asked for at once"));
    }
    println!(
        "{}: {} runs, {} outcomes, largest allocation {largest} bytes",
        target.name,
        found.runs,
        found.pool.len()
    );
    if arguments.keep { keep_pool(target, &found.pool) } else { Ok(()) }
}

fn keep_crash(target: &Target, crash: &Crash) -> String {
    let sum = crash.input.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let path = folder("crashes").join(format!("{}-{sum:016x}", target.name));
    let kept = std::fs::create_dir_all(folder("crashes")).and_then(|()| std::fs::write(&path, &crash.input));
    let place = kept.map_or_else(|error| format!("not kept: {error}"), |()| path.display().to_string());
    format!("{} ({place})", crash.why)
}

fn keep_pool(target: &Target, pool: &[Vec<u8>]) -> Result<(), String> {
    let folder = folder("corpus").join(target.name);
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let own = (target.seeds)();
    let small =
        pool.iter().filter(|input| (1..=KEPT_BYTES_MAX).contains(&input.len()) && !own.contains(input));
    for (number, input) in small.take(KEPT_MAX).enumerate() {
        std::fs::write(folder.join(format!("{number:02}")), input).map_err(|error| error.to_string())?;
    }
    Ok(())
}
