//! Which events of a bucket are told to whom.
//!
//! Source: S3 user guide, "Amazon S3 Event Notifications" and "Event notification types and
//! destinations".

use serde::{Deserialize, Serialize};

/// Every event that a configuration can name, without the leading `s3:`.
pub const EVENTS: [&str; 30] = [
    "IntelligentTiering",
    "LifecycleExpiration:*",
    "LifecycleExpiration:Delete",
    "LifecycleExpiration:DeleteMarkerCreated",
    "LifecycleTransition",
    "ObjectAcl:Put",
    "ObjectAnnotation:*",
    "ObjectAnnotation:Delete",
    "ObjectAnnotation:Put",
    "ObjectCreated:*",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectCreated:Copy",
    "ObjectCreated:Post",
    "ObjectCreated:Put",
    "ObjectRemoved:*",
    "ObjectRemoved:Delete",
    "ObjectRemoved:DeleteMarkerCreated",
    "ObjectRestore:*",
    "ObjectRestore:Completed",
    "ObjectRestore:Delete",
    "ObjectRestore:Post",
    "ObjectTagging:*",
    "ObjectTagging:Delete",
    "ObjectTagging:Put",
    "ReducedRedundancyLostObject",
    "Replication:*",
    "Replication:OperationFailedReplication",
    "Replication:OperationMissedThreshold",
    "Replication:OperationNotTracked",
    "Replication:OperationReplicatedAfterThreshold",
];

/// What kind of thing an ARN names. It decides the name of the XML element and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetKind {
    /// `TopicConfiguration`.
    Topic,
    /// `QueueConfiguration`.
    Queue,
    /// `CloudFunctionConfiguration`.
    Function,
}

impl TargetKind {
    /// All of them.
    pub const ALL: [TargetKind; 3] = [TargetKind::Topic, TargetKind::Queue, TargetKind::Function];

    /// The name of the element that holds the ARN.
    pub fn element(self) -> &'static str {
        match self {
            TargetKind::Topic => "Topic",
            TargetKind::Queue => "Queue",
            TargetKind::Function => "CloudFunction",
        }
    }

    /// The name of the element that holds the rule.
    pub fn configuration(self) -> &'static str {
        match self {
            TargetKind::Topic => "TopicConfiguration",
            TargetKind::Queue => "QueueConfiguration",
            TargetKind::Function => "CloudFunctionConfiguration",
        }
    }
}

/// One rule: these events of these keys go there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationRule {
    /// Its id, unique in the bucket.
    pub id: String,
    /// What the ARN names.
    pub kind: TargetKind,
    /// Where events go.
    pub arn: String,
    /// Events, without the leading `s3:`.
    pub events: Vec<String>,
    /// Only keys that start with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only keys that end with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
}

impl NotificationRule {
    fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("")
    }

    fn suffix(&self) -> &str {
        self.suffix.as_deref().unwrap_or("")
    }

    /// Whether an event of a key goes there.
    pub fn wants(&self, event: &str, key: &str) -> bool {
        key.starts_with(self.prefix())
            && key.ends_with(self.suffix())
            && self.events.iter().any(|wanted| covers(wanted, event))
    }

    /// Whether some key has both rules tell the same event, which S3 does not allow.
    pub fn overlaps(&self, other: &NotificationRule) -> bool {
        let either = |a: &str, b: &str, inside: fn(&str, &str) -> bool| inside(a, b) || inside(b, a);
        let events =
            |event: &String| other.events.iter().any(|wanted| covers(wanted, event) || covers(event, wanted));
        self.events.iter().any(events)
            && either(self.prefix(), other.prefix(), |a, b| a.starts_with(b))
            && either(self.suffix(), other.suffix(), |a, b| a.ends_with(b))
    }
}

/// Whether a configured event is, or with its `*` includes, another.
fn covers(wanted: &str, event: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(family) => event.starts_with(family),
        None => wanted == event,
    }
}

/// All rules of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationConfiguration {
    /// In the order of S3's answer: topics, queues, functions.
    pub rules: Vec<NotificationRule>,
    /// Whether every event also goes to EventBridge, which here means: can be polled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub event_bridge: bool,
}

impl NotificationConfiguration {
    /// Whether nothing is told to anybody.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && !self.event_bridge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(events: &[&str], prefix: &str, suffix: &str) -> NotificationRule {
        NotificationRule {
            id: "r".to_owned(),
            kind: TargetKind::Queue,
            arn: "arn:aws:sqs:us-east-1:1:q".to_owned(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            prefix: Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
            suffix: Some(suffix.to_owned()).filter(|suffix| !suffix.is_empty()),
        }
    }

    #[test]
    fn a_rule_wants_its_events_of_its_keys() {
        let images = rule(&["ObjectCreated:*", "ObjectRemoved:Delete"], "in/", ".jpg");
        for (event, key, expected) in [
            ("ObjectCreated:Put", "in/a.jpg", true),
            ("ObjectRemoved:Delete", "in/a.jpg", true),
            ("ObjectRemoved:DeleteMarkerCreated", "in/a.jpg", false),
            ("ObjectCreated:Put", "in/a.png", false),
            ("ObjectCreated:Put", "a.jpg", false),
        ] {
            assert_eq!(images.wants(event, key), expected, "{event} {key}");
        }
    }

    #[test]
    fn rules_overlap_when_a_key_could_match_both() {
        let images = rule(&["ObjectCreated:Put"], "in/", ".jpg");
        for (other, expected) in [
            (rule(&["ObjectCreated:*"], "", ""), true),
            (rule(&["ObjectCreated:*"], "in/deep/", "x.jpg"), true),
            (rule(&["ObjectCreated:*"], "out/", ""), false),
            (rule(&["ObjectCreated:*"], "", ".png"), false),
            (rule(&["ObjectRemoved:*"], "", ""), false),
        ] {
            assert_eq!((images.overlaps(&other), other.overlaps(&images)), (expected, expected), "{other:?}");
        }
    }
}
