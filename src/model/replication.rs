//! Which new objects a bucket's replication configuration is for.
//!
//! Nothing is copied by this server; the configuration is kept for those who read it, and matching
//! objects are marked as S3 marks them.
//!
//! Source: S3 user guide, "Replication configuration file elements".

use serde::{Deserialize, Serialize};

/// The status of an object that waits to be replicated.
pub const PENDING: &str = "PENDING";

/// The replication configuration of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationConfiguration {
    /// The document, as S3 returns it: what stands inside the root element.
    pub xml: String,
    /// The rules that are enabled.
    pub rules: Vec<ReplicationRule>,
}

/// An enabled rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationRule {
    /// The beginning of the keys that it is for.
    pub prefix: String,
    /// Tags that the object must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
}

impl ReplicationConfiguration {
    /// Whether a new object is to be replicated.
    pub fn applies(&self, key: &str, tags: &[(String, String)]) -> bool {
        self.rules
            .iter()
            .any(|rule| key.starts_with(&rule.prefix) && rule.tags.iter().all(|tag| tags.contains(tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_wants_its_prefix_and_all_of_its_tags() {
        let tag = |name: &str| (name.to_owned(), "1".to_owned());
        let rule = ReplicationRule { prefix: "a/".to_owned(), tags: vec![tag("x"), tag("y")] };
        let replication = ReplicationConfiguration { rules: vec![rule], ..Default::default() };
        assert!(replication.applies("a/k", &[tag("y"), tag("z"), tag("x")]));
        assert!(!replication.applies("a/k", &[tag("x")]));
        assert!(!replication.applies("b/k", &[tag("x"), tag("y")]));
        assert!(!ReplicationConfiguration::default().applies("k", &[]));
    }
}
