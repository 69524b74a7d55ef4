//! Where the access log of a bucket goes.
//!
//! Source: S3 user guide, "Logging requests with server access logging".

use super::acl::Grant;
use crate::codec::clock::Millis;
use crate::codec::time::Civil;
use serde::{Deserialize, Serialize};

/// The service principal that bucket policies let deliver logs.
pub const LOGGING_SERVICE: &str = "logging.s3.amazonaws.com";

/// Which moment gives a partitioned log its folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DateSource {
    /// When the requests were made: the records of a file are of one day.
    EventTime,
    /// When the file was delivered.
    DeliveryTime,
}

impl DateSource {
    /// The text of `PartitionDateSource`.
    pub fn as_str(self) -> &'static str {
        match self {
            DateSource::EventTime => "EventTime",
            DateSource::DeliveryTime => "DeliveryTime",
        }
    }
}

/// How the keys of log files are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyFormat {
    /// Prefix, moment, random text.
    Simple,
    /// Prefix, folders for account, region, bucket and day, moment, random text.
    Partitioned(DateSource),
}

/// `LoggingEnabled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggingConfiguration {
    /// The bucket that gets the log.
    pub target_bucket: String,
    /// What the keys of log files start with; may be empty.
    pub target_prefix: String,
    /// Who may do what with log files besides their owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_grants: Vec<Grant>,
    /// How keys are formed; `None` was not said and means [`KeyFormat::Simple`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_format: Option<KeyFormat>,
}

/// What the folders of a partitioned log are called.
#[derive(Clone, Copy, Debug)]
pub struct Partition<'a> {
    /// The account number of the source bucket's owner.
    pub account: &'a str,
    /// The region of the source bucket.
    pub region: &'a str,
    /// The source bucket.
    pub bucket: &'a str,
}

impl LoggingConfiguration {
    /// The key of a log file. `event` is the moment of its first record, `unique` tells it from others.
    pub fn key(&self, partition: Partition<'_>, event: Millis, delivery: Millis, unique: &str) -> String {
        let prefix = &self.target_prefix;
        match self.key_format.unwrap_or(KeyFormat::Simple) {
            KeyFormat::Simple => format!("{prefix}{}-{unique}", moment(delivery)),
            KeyFormat::Partitioned(source) => {
                let Partition { account, region, bucket } = partition;
                // By event time a file is of a day, and its name says no more than that.
                let at = match source {
                    DateSource::DeliveryTime => delivery,
                    DateSource::EventTime => event - event % super::lifecycle::DAY_MS,
                };
                let Civil { year, month, day, .. } = Civil::from_millis(at);
                let folder = format!("{account}/{region}/{bucket}/{year:04}/{month:02}/{day:02}");
                format!("{prefix}{folder}/{}-{unique}", moment(at))
            }
        }
    }

    /// Whether records of different days go to different files.
    pub fn is_by_day(&self) -> bool {
        self.key_format == Some(KeyFormat::Partitioned(DateSource::EventTime))
    }
}

/// `2026-11-22-19-30-00`.
fn moment(at: Millis) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::from_millis(at);
    format!("{year:04}-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_form_that_was_asked_for() {
        let (event, delivery) = (1_795_375_800_000, 1_795_375_800_000 + super::super::lifecycle::DAY_MS);
        let partition = Partition { account: "123456789012", region: "us-east-1", bucket: "abc" };
        let cases = [
            (None, "log/2026-11-23-19-30-00-U"),
            (Some(KeyFormat::Simple), "log/2026-11-23-19-30-00-U"),
            (
                Some(KeyFormat::Partitioned(DateSource::DeliveryTime)),
                "log/123456789012/us-east-1/abc/2026/11/23/2026-11-23-19-30-00-U",
            ),
            (
                Some(KeyFormat::Partitioned(DateSource::EventTime)),
                "log/123456789012/us-east-1/abc/2026/11/22/2026-11-22-00-00-00-U",
            ),
        ];
        for (key_format, expected) in cases {
            let logging = LoggingConfiguration {
                target_bucket: "logs".to_owned(),
                target_prefix: "log/".to_owned(),
                target_grants: Vec::new(),
                key_format,
            };
            assert_eq!(logging.key(partition, event, delivery, "U"), expected);
        }
    }
}
