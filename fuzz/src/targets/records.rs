//! What lies on disk: records with a checksum that is right, and the journal.

use super::{choice, outcome};
use s3pail::model::bucket::BucketRecord;
use s3pail::model::keys;
use s3pail::model::multipart::{PartRecord, UploadRecord};
use s3pail::model::object::ObjectRecord;
use s3pail::model::{BucketName, SortedId};
use s3pail::storage::journal::{Doubtful, Entry, Journal};
use std::path::PathBuf;

/// Magic, format, checksum: see `src/model/codec.rs`.
const PREFIX_BYTES: usize = 6;

pub fn records() -> Vec<Vec<u8>> {
    let id = SortedId([7; 16]);
    let marker = ObjectRecord::delete_marker(id, false, 1_700_000_000_000, "owner".to_owned()).encode();
    let upload = UploadRecord::default().encode();
    let bucket = BucketRecord { owner: "owner".to_owned(), ..BucketRecord::default() }.encode();
    vec![
        [&[0], marker.as_slice()].concat(),
        [&[1], upload.as_slice()].concat(),
        [&[2], bucket.as_slice()].concat(),
    ]
}

/// FZ-15: bytes that pass for a record are one: what was read is written and read again as the same. The
/// checksum is put right first, or nothing would get past it.
pub fn record(input: &[u8]) -> u64 {
    let (kind, bytes) = choice(input);
    let mut sealed = bytes.to_vec();
    if sealed.len() >= PREFIX_BYTES && kind < 128 {
        let sum = crc32c(&sealed[PREFIX_BYTES..]);
        sealed[..2].copy_from_slice(&[0x53, 1]);
        sealed[2..PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
    }
    let object = ObjectRecord::decode(&sealed).ok();
    if let Some(record) = &object {
        assert_eq!(ObjectRecord::decode(&record.encode()).ok().as_ref(), Some(record));
        assert!(ObjectRecord::decode_head(&sealed).is_ok(), "a whole record has a head");
    }
    let upload = UploadRecord::decode(&sealed).ok();
    if let Some(record) = &upload {
        assert_eq!(UploadRecord::decode(&record.encode()).ok().as_ref(), Some(record));
    }
    let part = PartRecord::decode(&sealed).ok();
    if let Some(record) = &part {
        assert_eq!(PartRecord::decode(&record.encode()).ok().as_ref(), Some(record));
    }
    let bucket = BucketRecord::decode(bytes).ok();
    if let Some(record) = &bucket {
        assert_eq!(BucketRecord::decode(&record.encode()).ok().as_ref(), Some(record));
    }
    let name = BucketName::parse("bucket").expect("a bucket's name");
    let of_key = (
        keys::split_garbage(bytes).is_some(),
        keys::event_target(bytes).is_some(),
        keys::restore_of(bytes).is_some(),
        keys::object_key_of(&name, bytes).is_some(),
        keys::upload_of(&name, bytes).is_some(),
        keys::version_of(&name, bytes).is_some(),
        keys::part_number_of(bytes).is_some(),
    );
    let read = (object.is_some(), upload.is_some(), part.is_some(), bucket.is_some());
    outcome((read, of_key, ObjectRecord::decode(&sealed).map_err(|error| error.to_string().len()).err()))
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("s3pail-fuzz-{}.journal", std::process::id()))
}

/// A journal as it was written, with two entries, of which the second was synced.
pub fn journals() -> Vec<Vec<u8>> {
    let path = path();
    let _ = std::fs::remove_file(&path);
    let mut journal = Journal::open(&path, None).expect("a new journal");
    journal.replay(0, &mut Doubtful::default(), &mut |_| Ok(())).expect("it is empty");
    for number in 0..2_u8 {
        let mut entry = Entry::default();
        entry.clear();
        entry.push(&[b'k', number], Some(b"value"));
        entry.push(b"gone", None);
        assert!(journal.append(&mut entry, number == 1).is_ok());
    }
    drop(journal);
    let mut bytes = std::fs::read(&path).expect("the journal");
    let _ = std::fs::remove_file(&path);
    // The file is made longer in advance; what follows the entries is zeros.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    bytes.truncate(end + 64);
    vec![bytes]
}

/// FZ-16: whatever the file holds, a replay ends, and gives only entries whose checksum is right.
pub fn journal(input: &[u8]) -> u64 {
    let path = path();
    std::fs::write(&path, input).expect("a temporary file");
    let mut writes = 0;
    let replayed = Journal::open(&path, None).and_then(|mut journal| {
        journal.replay(0, &mut Doubtful::default(), &mut |entry| {
            // Two entries were written, with these keys; no change of theirs may pass the checksum.
            let known = |key: &[u8]| key == b"gone" || (key.len() == 2 && key[0] == b'k' && key[1] < 2);
            assert!(entry.iter().all(|(key, _)| known(key)), "{entry:?}");
            writes += entry.len();
            Ok(())
        })
    });
    let _ = std::fs::remove_file(&path);
    outcome((writes, replayed.ok()))
}
