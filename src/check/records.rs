//! The walk over all records: each is decoded, compared with its neighbours, and its bodies are read.

use super::Stores;
use super::bodies;
use super::progress::Progress;
use super::repair::Repairable;
use super::report::{Kind, Report};
use crate::model::bucket::BucketRecord;
use crate::model::multipart::{PartRecord, UploadRecord};
use crate::model::object::ObjectRecord;
use crate::model::{BucketName, SortedId, keys};
use crate::storage::ids::is_id;
use crate::storage::{Result, Visit};
use std::collections::HashSet;

/// One walk. Memory grows with the number of buckets and of open uploads only.
pub struct Walk<'w, 's> {
    stores: &'w Stores<'s>,
    report: &'w mut Report,
    progress: &'w mut Progress,
    buckets: HashSet<String>,
    /// Uploads that have parts, in order.
    uploads_with_parts: Vec<[u8; 16]>,
    open_uploads: HashSet<[u8; 16]>,
    versions: Option<VersionsOfKey>,
    repairable: Repairable,
}

/// The key whose older versions are being visited.
struct VersionsOfKey {
    bucket: String,
    key: String,
    /// Whether it has had its null version.
    null: bool,
}

impl<'w, 's> Walk<'w, 's> {
    /// A walk that has not begun.
    pub fn new(stores: &'w Stores<'s>, report: &'w mut Report, progress: &'w mut Progress) -> Walk<'w, 's> {
        Walk {
            stores,
            report,
            progress,
            buckets: HashSet::new(),
            uploads_with_parts: Vec::new(),
            open_uploads: HashSet::new(),
            versions: None,
            repairable: Repairable::default(),
        }
    }

    /// Visits every record but the bodies among them, in one state of the store.
    ///
    /// # Errors
    /// What the store says when it cannot be read any further.
    pub fn run(&mut self) -> Result<()> {
        let meta = self.stores.meta;
        let mut total = 0;
        let all = b"".as_slice()..b"\xff".as_slice();
        meta.scan(all.clone(), &mut |key, _| without_bodies(key, || total += 1))?;
        self.progress.phase("records", total);
        meta.scan(all, &mut |key, value| {
            without_bodies(key, || {
                self.record(key, value);
                self.progress.step();
            })
        })?;
        for upload in std::mem::take(&mut self.uploads_with_parts) {
            if !self.open_uploads.contains(&upload) {
                let subject = format!("upload {}", SortedId(upload));
                self.report.add(Kind::OrphanPart, &subject, "has parts but is not open");
                self.repairable.uploads.push(upload);
            }
        }
        Ok(())
    }

    /// What was found that can be put right.
    pub fn into_repairable(self) -> Repairable {
        self.repairable
    }

    fn record(&mut self, key: &[u8], value: &[u8]) {
        let known = match key.split_at_checked(2) {
            Some((b"b/", name)) => self.bucket(name, value),
            Some((b"g/", _)) => self.garbage(key, value),
            Some((b"n/", _)) => self.event(key),
            Some((b"o/", rest)) => self.object(rest, value),
            Some((b"p/", rest)) => self.part(rest, value),
            Some((b"r/", _)) => keys::restore_of(key).map(drop),
            Some((b"s/", _)) => self.state(key, value),
            Some((b"u/", rest)) => self.upload(rest, value),
            Some((b"v/", rest)) => self.version(rest, value),
            _ => None,
        };
        if known.is_none() {
            self.unclear(&shown(key), "is not a name that this version gives to a record");
        }
    }

    /// A record that is not understood: no orphan is dropped on the word of such a store.
    fn unclear(&mut self, subject: &str, detail: &str) {
        self.report.add(Kind::Record, subject, detail);
        self.repairable.unclear = true;
    }

    fn bucket(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let name = BucketName::parse(std::str::from_utf8(name).ok()?).ok()?;
        self.report.buckets += 1;
        if let Err(error) = BucketRecord::decode(value) {
            self.report.add(Kind::Record, &format!("bucket {name}"), &error.to_string());
        }
        self.buckets.insert(name.as_str().to_owned());
        Some(())
    }

    fn garbage(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        keys::split_garbage(key)?;
        match value {
            b"" => self.report.deletes_waiting += 1,
            _ if keys::reserved_at(value).is_some() => self.report.reserved += 1,
            _ => self.unclear(&shown(key), "has a value that means nothing"),
        }
        Some(())
    }

    fn event(&mut self, key: &[u8]) -> Option<()> {
        keys::event_target(key)?;
        self.report.events += 1;
        Some(())
    }

    fn state(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            keys::CLEAN_STOP | keys::SCRUB => Some(()),
            _ if keys::is_shared_state(key) => Some(()),
            keys::PAIRED_BODY => {
                self.pairing(std::str::from_utf8(value).ok()?);
                Some(())
            }
            _ => None,
        }
    }

    fn pairing(&mut self, id: &str) {
        let Some(blobs) = self.stores.blobs else { return };
        let id = crate::storage::BlobId(id.to_owned());
        let detail = match blobs.size(&id) {
            Ok(Some(_)) => return,
            Ok(None) => "the folder of bodies is not the one of these records".to_owned(),
            Err(error) => error.to_string(),
        };
        self.report.add(Kind::Pairing, &format!("body {}", id.0), &detail);
        self.repairable.unclear = true;
    }

    fn object(&mut self, rest: &[u8], value: &[u8]) -> Option<()> {
        let (bucket, key) = std::str::from_utf8(rest).ok()?.split_once('\0')?;
        self.report.objects += 1;
        let subject = format!("{bucket}/{key}");
        self.in_bucket(bucket, &subject);
        self.decoded(&subject, value);
        Some(())
    }

    fn version(&mut self, rest: &[u8], value: &[u8]) -> Option<()> {
        let (names, id) = rest.split_last_chunk::<16>()?;
        let names = std::str::from_utf8(names).ok()?.strip_suffix('\0')?;
        let (bucket, key) = names.split_once('\0')?;
        self.report.versions += 1;
        let subject = format!("{bucket}/{key} version {}", SortedId(*id));
        self.in_bucket(bucket, &subject);
        let record = self.decoded(&subject, value);
        self.beside_newest(bucket, key, record.as_ref(), SortedId(*id));
        let Some(record) = record else { return Some(()) };
        if record.head.id != SortedId(*id) {
            self.report.add(Kind::Index, &subject, &format!("its record says version {}", record.head.id));
        }
        if record.head.null_version
            && self.versions.as_mut().is_some_and(|it| std::mem::replace(&mut it.null, true))
        {
            self.report.add(Kind::Index, &subject, "is a second null version of its key");
        }
        Some(())
    }

    /// Compares the first older version of a key with the newest.
    fn beside_newest(&mut self, bucket: &str, key: &str, record: Option<&ObjectRecord>, id: SortedId) {
        if self.versions.as_ref().is_some_and(|it| it.bucket == bucket && it.key == key) {
            return;
        }
        let mut null = false;
        let Ok(name) = BucketName::parse(bucket) else { return };
        let subject = format!("{bucket}/{key}");
        match self.stores.meta.get(&keys::object(&name, key)) {
            Ok(Some(newest)) => match ObjectRecord::decode_head(&newest) {
                Ok(head) if head.id >= id => {
                    let detail = format!("its newest version {} is older than version {id}", head.id);
                    self.report.add(Kind::Index, &subject, &detail);
                }
                Ok(head) => null = head.null_version,
                // Reported where it was visited itself.
                Err(_) => {}
            },
            Ok(None) => {
                self.report.add(Kind::Index, &subject, "has older versions and no newest");
                if record.is_some_and(|record| record.head.id == id) {
                    self.repairable.newest.push(keys::version(&name, key, id));
                }
            }
            Err(error) => self.report.add(Kind::Database, &subject, &error.to_string()),
        }
        self.versions = Some(VersionsOfKey { bucket: bucket.to_owned(), key: key.to_owned(), null });
    }

    fn part(&mut self, rest: &[u8], value: &[u8]) -> Option<()> {
        let (upload, number) = rest.split_first_chunk::<16>()?;
        let number = u16::from_be_bytes(number.try_into().ok()?);
        self.report.parts += 1;
        if self.uploads_with_parts.last() != Some(upload) {
            self.uploads_with_parts.push(*upload);
        }
        let subject = format!("part {number} of upload {}", SortedId(*upload));
        match PartRecord::decode(value) {
            Ok(part) => bodies::of_part(self.stores, &part, &subject, self.report),
            Err(error) => self.unclear(&subject, &error.to_string()),
        }
        Some(())
    }

    fn upload(&mut self, rest: &[u8], value: &[u8]) -> Option<()> {
        let (names, turned) = rest.split_last_chunk::<16>()?;
        let names = std::str::from_utf8(names).ok()?.strip_suffix('\0')?;
        let (bucket, key) = names.split_once('\0')?;
        let id = turned.map(|byte| !byte);
        self.report.uploads += 1;
        let subject = format!("upload {} of {bucket}/{key}", SortedId(id));
        self.in_bucket(bucket, &subject);
        if let Err(error) = UploadRecord::decode(value) {
            self.report.add(Kind::Record, &subject, &error.to_string());
        }
        self.open_uploads.insert(id);
        Some(())
    }

    fn in_bucket(&mut self, bucket: &str, subject: &str) {
        if !self.buckets.contains(bucket) {
            self.report.add(Kind::NoBucket, subject, &format!("there is no bucket {bucket}"));
        }
    }

    /// Decodes the record of a version and reads its bodies.
    fn decoded(&mut self, subject: &str, value: &[u8]) -> Option<ObjectRecord> {
        match ObjectRecord::decode(value) {
            Ok(record) => {
                bodies::of_object(self.stores, &record, subject, self.report);
                Some(record)
            }
            Err(error) => {
                self.unclear(subject, &error.to_string());
                None
            }
        }
    }
}

/// Visits a record, unless it is a body: those are seen when their owners are.
fn without_bodies(key: &[u8], visit: impl FnOnce()) -> Visit {
    match key.strip_prefix(b"i/") {
        Some(id) if std::str::from_utf8(id).is_ok_and(is_id) => Visit::Seek(b"i0".to_vec()),
        _ => {
            visit();
            Visit::Next
        }
    }
}

/// A record's name for people.
fn shown(key: &[u8]) -> String {
    format!("record {}", key.escape_ascii())
}
