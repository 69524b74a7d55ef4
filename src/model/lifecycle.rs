//! The lifecycle rules of a bucket, and what they say of one object at one moment.
//!
//! Pure: the rules are asked with what is known of a version and answer when something is due. Who asks
//! and acts is [`crate::lifecycle`]; how rules come from and go to XML is [`crate::ops::lifecycle`].
//!
//! Source: S3 user guide, "Managing the lifecycle of objects", above all "Lifecycle configuration
//! elements" and "Transitioning objects using Amazon S3 Lifecycle".

use crate::codec::clock::Millis;
use serde::{Deserialize, Serialize};

/// A day in milliseconds.
pub const DAY_MS: u64 = 86_400_000;

/// Objects below this size are not moved to another class unless a rule speaks of sizes itself: 128 KiB.
pub const SMALL_OBJECT_BYTES: u64 = 128 * 1024;

/// Which small objects stay where they are (`x-amz-transition-default-minimum-object-size`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SmallObjects {
    /// Below 128 KiB, no transition to any class: the default since September 2024.
    #[default]
    StayInAllClasses,
    /// Below 128 KiB, no transition to any class but `GLACIER` and `DEEP_ARCHIVE`.
    VaryByClass,
}

impl SmallObjects {
    /// The value of the header.
    pub fn as_str(self) -> &'static str {
        match self {
            SmallObjects::StayInAllClasses => "all_storage_classes_128K",
            SmallObjects::VaryByClass => "varies_by_storage_class",
        }
    }

    /// Reads the value of the header.
    pub fn parse(text: &str) -> Option<SmallObjects> {
        [SmallObjects::StayInAllClasses, SmallObjects::VaryByClass]
            .into_iter()
            .find(|known| known.as_str() == text)
    }

    /// What holds for rules that do not say: S3's default where a day is a day. Where days were shortened
    /// for a test, the default from before September 2024, so that the small objects of tests move to
    /// the archive classes.
    pub fn default_in(calendar: Calendar) -> SmallObjects {
        if calendar == Calendar::REAL { SmallObjects::default() } else { SmallObjects::VaryByClass }
    }

    fn allow(self, size: u64, class: StorageClass) -> bool {
        let archive = matches!(class, StorageClass::Glacier | StorageClass::DeepArchive);
        size >= SMALL_OBJECT_BYTES || (self == SmallObjects::VaryByClass && archive)
    }
}

/// A storage class that a rule can move objects to, in the order that objects can move: only downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)] // S3's own names.
pub enum StorageClass {
    StandardIa,
    IntelligentTiering,
    OnezoneIa,
    GlacierIr,
    Glacier,
    DeepArchive,
}

impl StorageClass {
    /// All of them.
    pub const ALL: [StorageClass; 6] = [
        StorageClass::StandardIa,
        StorageClass::IntelligentTiering,
        StorageClass::OnezoneIa,
        StorageClass::GlacierIr,
        StorageClass::Glacier,
        StorageClass::DeepArchive,
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            StorageClass::StandardIa => "STANDARD_IA",
            StorageClass::IntelligentTiering => "INTELLIGENT_TIERING",
            StorageClass::OnezoneIa => "ONEZONE_IA",
            StorageClass::GlacierIr => "GLACIER_IR",
            StorageClass::Glacier => "GLACIER",
            StorageClass::DeepArchive => "DEEP_ARCHIVE",
        }
    }

    /// Reads the name.
    pub fn parse(name: &str) -> Option<StorageClass> {
        StorageClass::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Whether an object of class `from` can move here. `STANDARD` and what stands beside it are above
    /// all others.
    fn is_below(self, from: &str) -> bool {
        StorageClass::parse(from).is_none_or(|from| from < self)
    }
}

/// When S3's days end: how long one lasts, and whether they end at midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// The length of a day in milliseconds.
    pub day_ms: u64,
}

impl Calendar {
    /// Real days.
    pub const REAL: Calendar = Calendar { day_ms: DAY_MS };

    /// The moment that lies `days` after `from`. With real days S3 rounds up to midnight UTC; days that
    /// were shortened for a test have none.
    pub fn after(self, from: Millis, days: u32) -> Millis {
        let exact = from.saturating_add(u64::from(days).saturating_mul(self.day_ms));
        if self.day_ms == DAY_MS { exact.div_ceil(DAY_MS).saturating_mul(DAY_MS) } else { exact }
    }
}

/// How the scope of a rule was written, so that it is given back the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScopeForm {
    /// `Prefix` in the rule itself: the form from before filters.
    Prefix,
    /// A `Filter` with one condition or none.
    #[default]
    Filter,
    /// A `Filter` with an `And`.
    And,
}

/// What a rule applies to: all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// How it was written.
    #[serde(default)]
    pub form: ScopeForm,
    /// Only keys that start with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only objects that have all of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
    /// Only objects larger than this many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<u64>,
    /// Only objects smaller than this many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smaller_than: Option<u64>,
}

/// What is known of a version when the rules are asked.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its size in bytes; `None` for a delete marker, which has neither size nor tags.
    pub size: Option<u64>,
    /// Its tags; `None` when they have not been read yet, so that rules with tags may apply.
    pub tags: Option<&'a [(String, String)]>,
}

impl Scope {
    /// The prefix, which may be empty.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("")
    }

    /// Whether there is a condition on sizes.
    pub fn has_sizes(&self) -> bool {
        self.larger_than.is_some() || self.smaller_than.is_some()
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        if !subject.key.starts_with(self.prefix()) {
            return false;
        }
        let Some(size) = subject.size else { return self.tags.is_empty() && !self.has_sizes() };
        self.larger_than.is_none_or(|bound| size > bound)
            && self.smaller_than.is_none_or(|bound| size < bound)
            && subject.tags.is_none_or(|tags| self.tags.iter().all(|wanted| tags.contains(wanted)))
    }
}

/// What happens to the newest version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiration {
    /// That many days after it was written.
    Days(u32),
    /// From this moment on, a midnight.
    Date(Millis),
    /// Not to objects, but (if true) to a delete marker that has nothing left behind it.
    DeleteMarker(bool),
}

/// What happens to older versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncurrentExpiration {
    /// Days since another version took its place.
    pub days: u32,
    /// How many of the newest older versions are kept whatever their age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
}

/// When the newest version moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// That many days after it was written.
    Days(u32),
    /// From this moment on, a midnight.
    Date(Millis),
}

impl When {
    fn due(self, from: Millis, calendar: Calendar) -> Millis {
        match self {
            When::Days(days) => calendar.after(from, days),
            When::Date(date) => date,
        }
    }
}

/// A move of the newest version to another class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub when: When,
    /// Where to.
    pub class: StorageClass,
}

/// A move of older versions to another class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncurrentTransition {
    /// Days since another version took its place.
    pub days: u32,
    /// How many of the newest older versions stay whatever their age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// Where to.
    pub class: StorageClass,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its id, unique in the bucket.
    pub id: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// What it applies to.
    pub scope: Scope,
    /// For the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Expiration>,
    /// For older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent_expiration: Option<NoncurrentExpiration>,
    /// For uploads that were never completed: days since they began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_upload_days: Option<u32>,
    /// Moves of the newest version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<Transition>,
    /// Moves of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noncurrent_transitions: Vec<NoncurrentTransition>,
}

impl Rule {
    /// Whether the rule does anything at all.
    pub fn has_action(&self) -> bool {
        self.expiration.is_some()
            || self.noncurrent_expiration.is_some()
            || self.abort_upload_days.is_some()
            || !self.transitions.is_empty()
            || !self.noncurrent_transitions.is_empty()
    }
}

/// All rules of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleConfiguration {
    /// In the order given.
    pub rules: Vec<Rule>,
    /// Which small objects never move.
    #[serde(default)]
    pub small_objects: SmallObjects,
}

/// Where an older version stands among its key's versions.
#[derive(Clone, Copy, Debug)]
pub struct Older {
    /// When another version took its place.
    pub since: Millis,
    /// How many older versions of the key are newer than it.
    pub newer: u32,
}

impl LifecycleConfiguration {
    fn enabled(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.enabled)
    }

    fn applying<'s>(&'s self, subject: &'s Subject<'_>) -> impl Iterator<Item = &'s Rule> {
        self.enabled().filter(move |rule| rule.scope.matches(subject))
    }

    /// Whether any rule in force acts on newest versions.
    pub fn acts_on_current(&self) -> bool {
        self.enabled().any(|rule| rule.expiration.is_some() || !rule.transitions.is_empty())
    }

    /// Whether any rule in force acts on older versions.
    pub fn acts_on_noncurrent(&self) -> bool {
        self.enabled()
            .any(|rule| rule.noncurrent_expiration.is_some() || !rule.noncurrent_transitions.is_empty())
    }

    /// Whether any rule in force acts on uploads.
    pub fn acts_on_uploads(&self) -> bool {
        self.enabled().any(|rule| rule.abort_upload_days.is_some())
    }

    /// When the newest version of a key, an object written at `modified`, expires, and by which rule:
    /// the one that comes first.
    pub fn expiration(
        &self,
        subject: &Subject<'_>,
        modified: Millis,
        calendar: Calendar,
    ) -> Option<(Millis, &Rule)> {
        let due = |rule: &Rule| match rule.expiration? {
            Expiration::Days(days) => Some(calendar.after(modified, days)),
            Expiration::Date(date) => Some(date),
            Expiration::DeleteMarker(_) => None,
        };
        let mut first: Option<(Millis, &Rule)> = None;
        for rule in self.enabled().filter(|rule| rule.scope.matches(subject)) {
            if let Some(due) = due(rule).filter(|due| first.is_none_or(|(other, _)| *due < other)) {
                first = Some((due, rule));
            }
        }
        first
    }

    /// When a delete marker goes that is the only version of its key. A rule that expires objects by age
    /// clears such markers at the same age.
    pub fn marker_expiration(&self, key: &str, modified: Millis, calendar: Calendar) -> Option<Millis> {
        let subject = Subject { key, size: None, tags: None };
        let due = |rule: &Rule| match rule.expiration? {
            Expiration::Days(days) => Some(calendar.after(modified, days)),
            Expiration::Date(date) => Some(date),
            Expiration::DeleteMarker(wanted) => wanted.then_some(modified),
        };
        self.applying(&subject).filter_map(due).min()
    }

    /// The class that the newest version should have moved to by `now`, when it is another than `from`.
    pub fn transition(
        &self,
        subject: &Subject<'_>,
        from: &str,
        modified: Millis,
        now: Millis,
        calendar: Calendar,
    ) -> Option<StorageClass> {
        let size = subject.size?;
        let mut wanted = None;
        for rule in self.applying(subject) {
            for transition in &rule.transitions {
                if transition.when.due(modified, calendar) <= now
                    && self.may_move(rule, size, from, transition.class)
                {
                    wanted = wanted.max(Some(transition.class));
                }
            }
        }
        wanted
    }

    /// Whether an older version (an object or a delete marker) is to be removed by `now`. The answer is
    /// the number of newer ones that the rule keeps.
    pub fn noncurrent_expiration(
        &self,
        subject: &Subject<'_>,
        older: Older,
        now: Millis,
        calendar: Calendar,
    ) -> Option<u32> {
        let due = |rule: &Rule| {
            let action = rule.noncurrent_expiration?;
            let keep = action.keep.unwrap_or(0);
            (older.newer >= keep && calendar.after(older.since, action.days) <= now).then_some(keep)
        };
        self.applying(subject).filter_map(due).min()
    }

    /// The class that an older version should have moved to by `now`, when it is another than `from`.
    pub fn noncurrent_transition(
        &self,
        subject: &Subject<'_>,
        from: &str,
        older: Older,
        now: Millis,
        calendar: Calendar,
    ) -> Option<StorageClass> {
        let size = subject.size?;
        let mut wanted = None;
        for rule in self.applying(subject) {
            for transition in &rule.noncurrent_transitions {
                if older.newer >= transition.keep.unwrap_or(0)
                    && calendar.after(older.since, transition.days) <= now
                    && self.may_move(rule, size, from, transition.class)
                {
                    wanted = wanted.max(Some(transition.class));
                }
            }
        }
        wanted
    }

    /// When an upload that began at `created` is aborted, and by which rule.
    pub fn abort(&self, key: &str, created: Millis, calendar: Calendar) -> Option<(Millis, &Rule)> {
        self.enabled()
            .filter(|rule| key.starts_with(rule.scope.prefix()))
            .filter_map(|rule| Some((calendar.after(created, rule.abort_upload_days?), rule)))
            .min_by_key(|(due, _)| *due)
    }

    fn may_move(&self, rule: &Rule, size: u64, from: &str, class: StorageClass) -> bool {
        class.is_below(from) && (rule.scope.has_sizes() || self.small_objects.allow(size, class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Millis = 1_700_049_600_000;

    fn rule(scope: Scope) -> Rule {
        Rule { id: "r".to_owned(), enabled: true, scope, ..Rule::default() }
    }

    fn of(rules: Vec<Rule>) -> LifecycleConfiguration {
        LifecycleConfiguration { rules, ..LifecycleConfiguration::default() }
    }

    fn object(key: &str, size: u64) -> Subject<'_> {
        Subject { key, size: Some(size), tags: Some(&[]) }
    }

    #[test]
    fn real_days_end_at_midnight_and_shortened_ones_do_not() {
        assert_eq!(Calendar::REAL.after(NOON, 1), NOON + DAY_MS + DAY_MS / 2);
        let midnight = NOON + DAY_MS / 2;
        assert_eq!(Calendar::REAL.after(midnight, 1), midnight + DAY_MS);
        assert_eq!(Calendar { day_ms: 1_000 }.after(NOON + 1, 3), NOON + 3_001);
        assert!(Calendar::REAL.after(u64::MAX - 5, u32::MAX) > NOON);
    }

    #[test]
    fn every_condition_of_a_scope_must_hold() {
        let tag = |name: &str| (name.to_owned(), "1".to_owned());
        let scope = Scope {
            prefix: Some("a/".to_owned()),
            tags: vec![tag("x"), tag("y")],
            larger_than: Some(10),
            smaller_than: Some(20),
            ..Scope::default()
        };
        let both = [tag("y"), tag("z"), tag("x")];
        let one = [tag("x")];
        type Case<'c> = (&'c str, Option<u64>, Option<&'c [(String, String)]>, bool);
        let cases: [Case<'_>; 8] = [
            ("a/b", Some(11), Some(&both), true),
            ("a/b", Some(19), None, true),
            ("a", Some(11), Some(&both), false),
            ("a/b", Some(10), Some(&both), false),
            ("a/b", Some(20), Some(&both), false),
            ("a/b", Some(11), Some(&one), false),
            ("a/b", Some(11), Some(&[]), false),
            ("a/b", None, None, false),
        ];
        for (key, size, tags, expected) in cases {
            assert_eq!(scope.matches(&Subject { key, size, tags }), expected, "{key} {size:?} {tags:?}");
        }
        assert!(Scope::default().matches(&Subject { key: "k", size: None, tags: None }));
    }

    #[test]
    fn the_earliest_expiration_of_the_rules_in_force_counts() {
        let expiring = |id: &str, expiration, enabled| Rule {
            id: id.to_owned(),
            enabled,
            expiration: Some(expiration),
            ..Rule::default()
        };
        let rules = of(vec![
            expiring("later", Expiration::Days(10), true),
            expiring("first", Expiration::Days(2), true),
            expiring("off", Expiration::Days(1), false),
            expiring("marker", Expiration::DeleteMarker(true), true),
        ]);
        let (due, rule) = rules.expiration(&object("k", 1), NOON, Calendar::REAL).expect("a rule applies");
        assert_eq!((due, rule.id.as_str()), (Calendar::REAL.after(NOON, 2), "first"));
        assert_eq!(rules.marker_expiration("k", NOON, Calendar::REAL), Some(NOON));
        let by_age = of(vec![expiring("age", Expiration::Days(5), true)]);
        assert_eq!(by_age.marker_expiration("k", NOON, Calendar::REAL), Some(Calendar::REAL.after(NOON, 5)));
        let kept = of(vec![expiring("kept", Expiration::DeleteMarker(false), true)]);
        assert_eq!(kept.marker_expiration("k", NOON, Calendar::REAL), None);
    }

    #[test]
    fn objects_only_move_downwards_and_small_ones_stay() {
        let to = |days, class| Transition { when: When::Days(days), class };
        let mut rules = of(vec![Rule {
            transitions: vec![to(1, StorageClass::StandardIa), to(3, StorageClass::Glacier)],
            ..rule(Scope::default())
        }]);
        let calendar = Calendar { day_ms: 1_000 };
        let big = SMALL_OBJECT_BYTES;
        let class = |rules: &LifecycleConfiguration, size: u64, from: &str, days: u64| {
            rules.transition(&object("k", size), from, NOON, NOON + days * 1_000, calendar)
        };
        assert_eq!(class(&rules, big, "STANDARD", 0), None);
        assert_eq!(class(&rules, big, "STANDARD", 1), Some(StorageClass::StandardIa));
        assert_eq!(class(&rules, big, "STANDARD", 3), Some(StorageClass::Glacier));
        assert_eq!(class(&rules, big, "GLACIER_IR", 2), None);
        assert_eq!(class(&rules, big, "GLACIER", 9), None);
        assert_eq!(class(&rules, big - 1, "STANDARD", 9), None);
        rules.small_objects = SmallObjects::VaryByClass;
        assert_eq!(class(&rules, big - 1, "STANDARD", 2), None);
        assert_eq!(class(&rules, big - 1, "STANDARD", 9), Some(StorageClass::Glacier));
        rules.rules[0].scope.larger_than = Some(0);
        assert_eq!(class(&rules, 1, "STANDARD", 1), Some(StorageClass::StandardIa));
    }

    #[test]
    fn the_newest_older_versions_are_kept() {
        let rules = of(vec![Rule {
            noncurrent_expiration: Some(NoncurrentExpiration { days: 1, keep: Some(2) }),
            ..rule(Scope::default())
        }]);
        let calendar = Calendar { day_ms: 1_000 };
        for (newer, after, expected) in
            [(0, 5_000, None), (1, 5_000, None), (2, 5_000, Some(2)), (2, 999, None)]
        {
            let older = Older { since: NOON, newer };
            let due = rules.noncurrent_expiration(&object("k", 1), older, NOON + after, calendar);
            assert_eq!(due, expected, "{newer} {after}");
        }
    }
}
