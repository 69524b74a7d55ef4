//! The command line, checked once, with a bound on everything that decides how long a run takes.

use crate::target::Target;
use std::ops::RangeInclusive;
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
    /// The command line of `startup`.
    pub command: Vec<String>,
}

const SIZE_BYTES: RangeInclusive<u64> = 0..=5 << 30;
const CONNECTIONS: RangeInclusive<usize> = 1..=256;
const SECONDS: RangeInclusive<f64> = 0.1..=60.0;
const ROUNDS: RangeInclusive<usize> = 1..=100;
const OBJECTS: RangeInclusive<usize> = 1..=100_000;

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
            ("--connections 256", true),
            ("--connections 257", false),
            ("--connections 0", false),
            ("--seconds 60", true),
            ("--seconds 61", false),
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
