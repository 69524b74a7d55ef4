//! The command line, checked once, with a bound on everything that decides how long a run takes.

use crate::target::{BUCKET, Target};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What the user wrote. Not every command uses every field.
#[derive(Debug)]
pub struct Arguments {
    /// The servers, in the order of the report.
    pub targets: Vec<Target>,
    /// Bytes of one object.
    pub size_bytes: u64,
    /// Connections, one thread each.
    pub connections: usize,
    /// Measured time per operation, target and round.
    pub duration: Duration,
    /// How often every target is visited.
    pub rounds: usize,
    /// Objects that are read and written.
    pub objects: usize,
    /// The methods that `compare` measures.
    pub operations: Vec<String>,
    /// Whether the objects are there already.
    pub filled: bool,
    /// The bucket of `stock` and `list`.
    pub bucket: String,
    /// The folder of records that `stock` fills.
    pub folder: PathBuf,
    /// Prefixes that the keys of `stock` are spread over, 0 for none; whether `list` has a delimiter.
    pub groups: usize,
    /// Where a page of `list` starts.
    pub start_after: String,
    /// What `soak` begins its random choices with; 0 lets the clock choose.
    pub seed: u64,
    /// The command line of `startup`.
    pub command: Vec<String>,
}

const SIZE_BYTES: RangeInclusive<u64> = 0..=5 << 30;
const CONNECTIONS: RangeInclusive<usize> = 1..=1024;
/// A week, for `soak`.
const SECONDS: RangeInclusive<f64> = 0.1..=604_800.0;
const ROUNDS: RangeInclusive<usize> = 1..=100;
const OBJECTS: RangeInclusive<usize> = 1..=1_000_000;
const GROUPS: RangeInclusive<usize> = 0..=1_000_000;

impl Arguments {
    /// Reads the words after the command. Fails with a message for the user.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Arguments {
            targets: Vec::new(),
            size_bytes: 1024,
            connections: 8,
            duration: Duration::from_secs(2),
            rounds: 5,
            objects: 1000,
            operations: ["get", "head", "put"].map(str::to_owned).to_vec(),
            filled: false,
            bucket: BUCKET.to_owned(),
            folder: PathBuf::new(),
            groups: 0,
            start_after: String::new(),
            seed: 0,
            command: Vec::new(),
        };
        while let Some(word) = words.next() {
            if word == "--" {
                arguments.command = words.collect();
                break;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            arguments.set(&word, &value)?;
        }
        Ok(arguments)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        match option {
            "--target" => self.targets.push(value.parse()?),
            "--size" => self.size_bytes = number(option, value, &SIZE_BYTES)?,
            "--connections" => self.connections = number(option, value, &CONNECTIONS)?,
            "--seconds" => self.duration = Duration::from_secs_f64(number(option, value, &SECONDS)?),
            "--rounds" => self.rounds = number(option, value, &ROUNDS)?,
            "--objects" => self.objects = number(option, value, &OBJECTS)?,
            "--operations" => self.operations = value.split(',').map(str::to_owned).collect(),
            "--filled" => self.filled = value == "yes",
            "--bucket" => self.bucket = value.to_owned(),
            "--folder" => self.folder = value.into(),
            "--groups" => self.groups = number(option, value, &GROUPS)?,
            "--seed" => self.seed = number(option, value, &(0..=u64::MAX))?,
            "--start-after" => self.start_after = value.to_owned(),
            _ => return Err(format!("unknown option {option}")),
        }
        Ok(())
    }
}

fn number<T>(option: &str, value: &str, bounds: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + std::fmt::Debug,
{
    let parsed = value.parse().ok().filter(|number| bounds.contains(number));
    parsed.ok_or_else(|| format!("{option} must be within {bounds:?}, not {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_option_has_bounds() {
        for (line, good) in [
            ("--connections 1024", true),
            ("--connections 1025", false),
            ("--connections 0", false),
            ("--seconds 604800", true),
            ("--seconds 604801", false),
            ("--seconds NaN", false),
            ("--rounds 101", false),
            ("--objects 0", false),
            ("--size x", false),
            ("--size", false),
            ("--other 1", false),
        ] {
            assert_eq!(parse(line).is_ok(), good, "{line}");
        }
    }

    #[test]
    fn words_after_two_dashes_are_the_servers_own() {
        let arguments = parse("--rounds 3 -- server --rounds x").unwrap();
        assert_eq!((arguments.rounds, arguments.command.len()), (3, 3));
    }
}
