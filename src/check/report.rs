//! What a check found, for people and for programs.

use serde_json::json;

/// Findings that are kept to be listed; the rest are only counted.
pub const FINDINGS_LISTED_MAX: usize = 10_000;
/// Repairs that are kept to be listed; the rest are only counted.
pub const REPAIRS_LISTED_MAX: usize = 100_000;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The database of the records, or their journal, does not match its own checksums.
    Database,
    /// A record cannot be decoded, or its name means nothing.
    Record,
    /// A record belongs to a bucket that does not exist.
    NoBucket,
    /// Older versions of a key have no newest one, or not the newest is the newest.
    Index,
    /// A body that a record names is not there.
    BodyMissing,
    /// A body has another length than the record says.
    BodyLength,
    /// A body does not match a checksum.
    BodyDamaged,
    /// A body has two owners, or an owner and an entry on the to-delete list.
    BodyShared,
    /// Bodies and records do not belong together.
    Pairing,
    /// A body that no record names.
    OrphanBody,
    /// A part of an upload that is not open.
    OrphanPart,
}

impl Kind {
    /// The name in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Database => "database",
            Kind::Record => "record",
            Kind::NoBucket => "no-bucket",
            Kind::Index => "index",
            Kind::BodyMissing => "body-missing",
            Kind::BodyLength => "body-length",
            Kind::BodyDamaged => "body-damaged",
            Kind::BodyShared => "body-shared",
            Kind::Pairing => "pairing",
            Kind::OrphanBody => "orphan-body",
            Kind::OrphanPart => "orphan-part",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing.
    pub kind: Kind,
    /// The object, record or body it is about.
    pub subject: String,
    /// What exactly.
    pub detail: String,
}

/// Everything that a check has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// Buckets.
    pub buckets: u64,
    /// Newest versions, delete markers among them.
    pub objects: u64,
    /// Older versions.
    pub versions: u64,
    /// Open uploads.
    pub uploads: u64,
    /// Parts of open uploads.
    pub parts: u64,
    /// Events that wait for their target.
    pub events: u64,
    /// Bodies that were read and compared, those kept as records among them.
    pub bodies: u64,
    /// The bytes of those.
    pub body_bytes: u64,
    /// Bodies in other stores, which were not looked at.
    pub bodies_elsewhere: u64,
    /// Bodies that wait to be deleted; the next start goes on with them.
    pub deletes_waiting: u64,
    /// Bodies that are reserved in other stores.
    pub reserved: u64,
    /// Bodies that no record names.
    pub orphans: u64,
    /// Damaged bodies that the scrub has moved out of the way; one that a record names is a finding as well.
    pub quarantined: u64,
    /// Entries of the journal that the database does not have yet, as after a crash.
    pub recovered: u64,
    /// What is wrong, in the order found; at most [`FINDINGS_LISTED_MAX`].
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub found: u64,
    /// How many of them have been put right.
    pub repaired: u64,
    /// What was done about it; at most [`REPAIRS_LISTED_MAX`].
    pub repairs: Vec<String>,
}

impl Report {
    /// Adds a finding.
    pub fn add(&mut self, kind: Kind, subject: &str, detail: &str) {
        self.found += 1;
        if self.findings.len() < FINDINGS_LISTED_MAX {
            self.findings.push(Finding { kind, subject: subject.to_owned(), detail: detail.to_owned() });
        }
    }

    /// Says what was done, or why not.
    pub fn say(&mut self, what: String) {
        if self.repairs.len() < REPAIRS_LISTED_MAX {
            self.repairs.push(what);
        }
    }

    /// Says what was done about a finding.
    pub fn say_repaired(&mut self, what: String) {
        self.repaired += 1;
        self.say(what);
    }

    /// Whether anything is wrong that has not been put right.
    pub fn damaged(&self) -> bool {
        self.found > self.repaired
    }

    /// Names and values of all counts.
    fn counts(&self) -> [(&'static str, u64); 16] {
        [
            ("buckets", self.buckets),
            ("objects", self.objects),
            ("versions", self.versions),
            ("uploads", self.uploads),
            ("parts", self.parts),
            ("events", self.events),
            ("bodies", self.bodies),
            ("bodyBytes", self.body_bytes),
            ("bodiesElsewhere", self.bodies_elsewhere),
            ("deletesWaiting", self.deletes_waiting),
            ("reserved", self.reserved),
            ("orphans", self.orphans),
            ("quarantined", self.quarantined),
            ("journalEntries", self.recovered),
            ("found", self.found),
            ("repaired", self.repaired),
        ]
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        let finding = |finding: &Finding| {
            let Finding { kind, subject, detail } = finding;
            json!({ "kind": kind.as_str(), "subject": subject, "detail": detail })
        };
        let mut object = json!({
            "clean": !self.damaged(),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "repairs": self.repairs,
        });
        for (name, count) in self.counts() {
            object[name] = json!(count);
        }
        object.to_string()
    }

    /// A line for each finding and each repair, then a summary.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for Finding { kind, subject, detail } in &self.findings {
            text.push_str(&format!("{}: {}: {detail}\n", kind.as_str(), subject.escape_debug()));
        }
        let unlisted = self.found - self.findings.len() as u64;
        if unlisted > 0 {
            text.push_str(&format!("... and {unlisted} more\n"));
        }
        self.repairs.iter().for_each(|repair| text.push_str(&format!("repair: {repair}\n")));
        text.push_str(&format!(
            "checked {} buckets, {} objects, {} older versions, {} uploads with {} parts, {} bodies of {} bytes\n",
            self.buckets, self.objects, self.versions, self.uploads, self.parts, self.bodies, self.body_bytes,
        ));
        for (count, what) in [
            (self.recovered, "journal entries that the next start applies"),
            (self.events, "events that wait for their target"),
            (self.deletes_waiting, "bodies that wait to be deleted"),
            (self.reserved, "bodies that are reserved in other stores"),
            (self.bodies_elsewhere, "bodies in other stores, not looked at"),
            (self.orphans, "orphans"),
            (self.quarantined, "damaged bodies in quarantine, which nothing deletes but you"),
        ] {
            if count > 0 {
                text.push_str(&format!("{count} {what}\n"));
            }
        }
        let verdict = match (self.found, self.damaged()) {
            (0, _) => "clean".to_owned(),
            (found, false) => format!("clean now: {found} problems, all repaired"),
            (found, true) => format!("NOT clean: {found} problems, {} repaired", self.repaired),
        };
        text + &verdict + "\n"
    }
}
