//! The key space: which record lives under which bytes.
//!
//! ```text
//! b/<bucket>                              bucket record
//! o/<bucket> 00 <key>                     the newest version of a key (object or delete marker)
//! v/<bucket> 00 <key> 00 <id: 16 bytes>   every older version, newest first
//! u/<bucket> 00 <key> 00 <~id: 16 bytes>  an open multipart upload, oldest first
//! p/<upload id: 16 bytes> <number: u16>   a part of an open upload
//! i/<blob id>                             a small body, kept as a record
//! g/<location> 00 <blob id>               a body that no record names any more, to be deleted
//! n/<arn> 00 <number: u64> <8 bytes>      an event that its target has not taken yet, oldest first
//! r/<due: u64><bucket> 00 <key> 00 <id>   a restored version of which something is to be told then
//! s/key/<name>                            the fingerprint of a key that front ends share, or what it is
//! s/lease/<name>                          which front end does what one does for all
//! s/clean-stop                            the last run ended in order
//! s/paired-body                           the id of a body that only the folder of these records has
//! s/scrub                                 how far the scrub has come, or when the last one began
//! ```
//!
//! Bucket names and keys contain no 00, so byte order is key order and a range of a bucket or of a
//! key is one range of records.

use super::{BucketName, SortedId};
use crate::codec::clock::Millis;
use crate::storage::BlobId;
use std::ops::Range;

/// Stands while nothing runs and the last run ended in order.
pub const CLEAN_STOP: &[u8] = b"s/clean-stop";

/// Names a body that only the folder of bodies that belongs to these records has.
pub const PAIRED_BODY: &[u8] = b"s/paired-body";

/// How far the scrub has come; see [`crate::scrub`].
pub const SCRUB: &[u8] = b"s/scrub";

/// The record of a bucket.
pub fn bucket(name: &BucketName) -> Vec<u8> {
    format!("b/{name}").into_bytes()
}

/// All bucket records.
pub fn buckets() -> Range<Vec<u8>> {
    b"b/".to_vec()..b"b0".to_vec()
}

/// The newest version of a key.
pub fn object(bucket: &BucketName, key: &str) -> Vec<u8> {
    [b"o/", bucket.as_str().as_bytes(), b"\0", key.as_bytes()].concat()
}

/// The newest versions of all keys of a bucket.
pub fn objects(bucket: &BucketName) -> Range<Vec<u8>> {
    of_bucket(b"o/", bucket)
}

/// An older version of a key.
pub fn version(bucket: &BucketName, key: &str, id: SortedId) -> Vec<u8> {
    [b"v/", bucket.as_str().as_bytes(), b"\0", key.as_bytes(), b"\0", &id.0].concat()
}

/// All older versions of a key.
pub fn versions(bucket: &BucketName, key: &str) -> Range<Vec<u8>> {
    of_key(b"v/", bucket, key)
}

/// All older versions in a bucket.
pub fn bucket_versions(bucket: &BucketName) -> Range<Vec<u8>> {
    of_bucket(b"v/", bucket)
}

/// An open upload.
pub fn upload(bucket: &BucketName, key: &str, id: SortedId) -> Vec<u8> {
    // Ids sort newest first, uploads are listed oldest first: the key holds the complement.
    let turned = id.0.map(|byte| !byte);
    [b"u/", bucket.as_str().as_bytes(), b"\0", key.as_bytes(), b"\0", &turned].concat()
}

/// All open uploads of a bucket.
pub fn uploads(bucket: &BucketName) -> Range<Vec<u8>> {
    of_bucket(b"u/", bucket)
}

/// A part of an open upload.
pub fn part(upload: SortedId, number: u16) -> Vec<u8> {
    [b"p/".as_slice(), &upload.0, &number.to_be_bytes()].concat()
}

/// All parts of an open upload, in order of their numbers.
pub fn parts(upload: SortedId) -> Range<Vec<u8>> {
    part(upload, 0)..[b"p/".as_slice(), &upload.0, &[0xff, 0xff, 0xff]].concat()
}

/// A small body.
pub fn inline_body(id: &BlobId) -> Vec<u8> {
    [b"i/", id.0.as_bytes()].concat()
}

/// An entry of the to-delete list.
pub fn garbage(location: &str, id: &BlobId) -> Vec<u8> {
    [b"g/", location.as_bytes(), b"\0", id.0.as_bytes()].concat()
}

/// What the value begins with of an entry of the to-delete list whose body is still being written:
/// whoever publishes the body removes the entry in the same commit, whoever clears up after a crash first
/// makes it an ordinary entry. Only one of the two can succeed.
const RESERVED: &str = "reserved";

/// The value of an entry of a body that is reserved at a time.
pub fn reservation(now: Millis) -> Vec<u8> {
    format!("{RESERVED} {now}").into_bytes()
}

/// When the body of an entry was reserved, or `None` for one that is not reserved (any more). Reservations
/// of earlier versions of this program do not say when, and count as made at the beginning of time.
pub fn reserved_at(value: &[u8]) -> Option<Millis> {
    let rest = std::str::from_utf8(value).ok()?.strip_prefix(RESERVED)?;
    Some(rest.trim_start().parse().unwrap_or(0))
}

/// The lease of what only one front end does at a time.
pub fn lease(name: &str) -> Vec<u8> {
    format!("s/lease/{name}").into_bytes()
}

/// What is known to all front ends of an encryption key or of a name for one.
pub fn key_claim(name: &str) -> Vec<u8> {
    format!("s/key/{name}").into_bytes()
}

/// Whether a record is one of those under which front ends agree: a lease, or what is known of a key.
pub fn is_shared_state(record_key: &[u8]) -> bool {
    record_key.starts_with(b"s/lease/") || record_key.starts_with(b"s/key/")
}

/// The whole to-delete list.
pub fn all_garbage() -> Range<Vec<u8>> {
    b"g/".to_vec()..b"g0".to_vec()
}

/// Splits an entry of the to-delete list into location and blob id.
pub fn split_garbage(record_key: &[u8]) -> Option<(String, BlobId)> {
    let text = std::str::from_utf8(record_key.strip_prefix(b"g/")?).ok()?;
    let (location, id) = text.split_once('\0')?;
    Some((location.to_owned(), BlobId(id.to_owned())))
}

/// An event for a target. ARNs hold no control characters.
pub fn event(arn: &str, sequence: u64, unique: [u8; 8]) -> Vec<u8> {
    [b"n/".as_slice(), arn.as_bytes(), b"\0", &sequence.to_be_bytes(), &unique].concat()
}

/// All events for a target, in order.
pub fn events(arn: &str) -> Range<Vec<u8>> {
    [b"n/", arn.as_bytes(), b"\0"].concat()..[b"n/", arn.as_bytes(), b"\x01"].concat()
}

/// All events.
pub fn all_events() -> Range<Vec<u8>> {
    b"n/".to_vec()..b"n0".to_vec()
}

/// The target of a record in [`all_events`].
pub fn event_target(record_key: &[u8]) -> Option<&str> {
    let rest = record_key.strip_prefix(b"n/")?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// The entry of a restored version, by the moment (in milliseconds) when something is to be told of it.
pub fn restore(due_ms: u64, bucket: &BucketName, key: &str, id: SortedId) -> Vec<u8> {
    let name = bucket.as_str().as_bytes();
    [b"r/".as_slice(), &due_ms.to_be_bytes(), name, b"\0", key.as_bytes(), b"\0", &id.0].concat()
}

/// The entries of all restored versions, earliest first.
pub fn all_restores() -> Range<Vec<u8>> {
    b"r/".to_vec()..b"r0".to_vec()
}

/// What a record in [`all_restores`] names: when, and which version.
pub fn restore_of(record_key: &[u8]) -> Option<(u64, BucketName, &str, SortedId)> {
    let (due, rest) = record_key.strip_prefix(b"r/")?.split_first_chunk::<8>()?;
    let (rest, id) = rest.split_last_chunk::<16>()?;
    let (bucket, key) = std::str::from_utf8(rest.strip_suffix(b"\0")?).ok()?.split_once('\0')?;
    Some((u64::from_be_bytes(*due), BucketName::parse(bucket).ok()?, key, SortedId(*id)))
}

/// The object key of a record in [`objects`].
pub fn object_key_of<'k>(bucket: &BucketName, record_key: &'k [u8]) -> Option<&'k str> {
    std::str::from_utf8(record_key.get(bucket.as_str().len() + 3..)?).ok()
}

/// The object key and id of a record in [`uploads`].
pub fn upload_of<'k>(bucket: &BucketName, record_key: &'k [u8]) -> Option<(&'k str, SortedId)> {
    let (key, SortedId(turned)) = version_of(bucket, record_key)?;
    Some((key, SortedId(turned.map(|byte| !byte))))
}

/// The object key and id of a record in [`bucket_versions`].
pub fn version_of<'k>(bucket: &BucketName, record_key: &'k [u8]) -> Option<(&'k str, SortedId)> {
    let rest = record_key.get(bucket.as_str().len() + 3..)?;
    let split = rest.len().checked_sub(17)?;
    let id = rest[split + 1..].try_into().ok()?;
    Some((std::str::from_utf8(&rest[..split]).ok()?, SortedId(id)))
}

/// The part number of a record in [`parts`].
pub fn part_number_of(record_key: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(record_key.get(18..20)?.try_into().ok()?))
}

fn of_bucket(family: &[u8], bucket: &BucketName) -> Range<Vec<u8>> {
    let name = bucket.as_str().as_bytes();
    [family, name, b"\0"].concat()..[family, name, b"\x01"].concat()
}

fn of_key(family: &[u8], bucket: &BucketName, key: &str) -> Range<Vec<u8>> {
    let start = [family, bucket.as_str().as_bytes(), b"\0", key.as_bytes(), b"\0"].concat();
    let mut end = start.clone();
    *end.last_mut().expect("a key range ends in its separator") = 1;
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_put_together() {
        let bucket = BucketName::parse("abc").expect("valid");
        let id = SortedId::new(1, None);
        assert_eq!(object_key_of(&bucket, &object(&bucket, "a/b")), Some("a/b"));
        assert_eq!(version_of(&bucket, &version(&bucket, "k", id)), Some(("k", id)));
        assert_eq!(upload_of(&bucket, &upload(&bucket, "k", id)), Some(("k", id)));
        let event = event("arn:x", u64::MAX, [0xff; 8]);
        assert_eq!(event_target(&event), Some("arn:x"));
        assert!(events("arn:x").contains(&event) && !events("arn:xy").contains(&event));
        assert_eq!(part_number_of(&part(id, 10_000)), Some(10_000));
        let blob = BlobId("0a".to_owned());
        assert_eq!(split_garbage(&garbage("us-east-1", &blob)), Some(("us-east-1".to_owned(), blob)));
    }

    #[test]
    fn reservations_say_when_they_were_made() {
        assert_eq!(reserved_at(&reservation(17)), Some(17));
        assert_eq!(reserved_at(b"reserved"), Some(0));
        assert_eq!(reserved_at(b""), None);
    }

    #[test]
    fn the_range_of_a_key_holds_no_other_key() {
        let bucket = BucketName::parse("abc").expect("valid");
        let id = SortedId::new(1, None);
        let range = versions(&bucket, "a");
        assert!(range.contains(&version(&bucket, "a", id)));
        for other in ["", "a\u{1}", "a/", "aa", "b"] {
            assert!(!range.contains(&version(&bucket, other, id)), "{other:?}");
        }
        assert!(parts(id).contains(&part(id, 0)) && parts(id).contains(&part(id, u16::MAX)));
    }
}
