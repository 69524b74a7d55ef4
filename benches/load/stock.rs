//! A bucket with very many keys, written straight into the folder of records of a server that does not run:
//! a million signed PUTs would take longer than everything that is measured afterwards.
//!
//! The records are those that the server writes: the record of an object that the server has written is the
//! model of all others, and bodies are kept as records, as the server keeps small ones.

use crate::arguments::Arguments;
use crate::compare::random_bytes;
use crate::target::BUCKET;
use s3pail::model::object::{ObjectRecord, Piece};
use s3pail::model::{BucketName, SortedId, inline_body, keys};
use s3pail::storage::file_meta::{FileMeta, FileMetaOptions};
use s3pail::storage::{Batch, MetaStore, SyncMode, Visit};
use std::time::Instant;

/// Objects that are written by one commit.
const OBJECTS_TOGETHER: usize = 2_000;
/// Objects between two lines of progress.
const PROGRESS: usize = 100_000;
/// As if they had been written by a fast client.
const OBJECTS_A_MS: u64 = 10;
/// The server keeps larger bodies in files.
const BODY_BYTES_MAX: u64 = 16 * 1024;

/// Fills one bucket; prints a line of JSON.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    if arguments.size_bytes > BODY_BYTES_MAX {
        return Err(format!("stock needs --size of at most {BODY_BYTES_MAX}"));
    }
    let begin = Instant::now();
    let failed = |error: s3pail::storage::StorageError| error.to_string();
    let meta = FileMeta::open(&arguments.folder, FileMetaOptions::new(SyncMode::None)).map_err(failed)?;
    let bucket =
        BucketName::parse(&arguments.bucket).map_err(|_| format!("not a bucket: {}", arguments.bucket))?;
    let pattern = BucketName::parse(BUCKET).map_err(|_| "not a bucket".to_owned())?;
    let model = model(&meta, &pattern)?;
    copy_bucket(&meta, &pattern, &bucket).map_err(failed)?;
    let size = usize::try_from(arguments.size_bytes).expect("bounded above");
    let bytes = random_bytes(size + arguments.objects);
    for first in (0..arguments.objects).step_by(OBJECTS_TOGETHER) {
        let mut batch = Batch::new();
        for at in first..arguments.objects.min(first + OBJECTS_TOGETHER) {
            let key = key(at, arguments);
            let record = add_body(&mut batch, model.clone(), at, &bytes[at..at + size]);
            batch.put(keys::object(&bucket, &key), record.encode());
        }
        meta.commit(batch).map_err(failed)?;
        if (first + OBJECTS_TOGETHER).is_multiple_of(PROGRESS) {
            let seconds = begin.elapsed().as_secs_f64();
            eprintln!(
                "  {}: {} of {} objects, {seconds:.0} s",
                bucket,
                first + OBJECTS_TOGETHER,
                arguments.objects
            );
        }
    }
    meta.sync().map_err(failed)?;
    println!(
        "{}",
        serde_json::json!({ "objects": arguments.objects, "seconds": begin.elapsed().as_secs_f64() })
    );
    Ok(())
}

/// Makes a bucket like another one, unless it is there.
fn copy_bucket(meta: &FileMeta, from: &BucketName, to: &BucketName) -> s3pail::storage::Result<()> {
    if meta.get(&keys::bucket(to))?.is_some() {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.put(keys::bucket(to), meta.get(&keys::bucket(from))?.unwrap_or_default());
    meta.commit(batch).map(drop)
}

/// The record of an object in the bucket.
fn model(meta: &FileMeta, bucket: &BucketName) -> Result<ObjectRecord, String> {
    let (start, mut found) = (keys::object(bucket, ""), None);
    let mut end = start.clone();
    end.extend([0xff; 4]);
    let scanned = meta.scan(&start..&end, &mut |_, value| {
        found = Some(ObjectRecord::decode(value));
        Visit::Stop
    });
    scanned.map_err(|error| error.to_string())?;
    let record = found.ok_or_else(|| format!("bucket {bucket} has no object to take as a model"))?;
    record.map_err(|error| error.to_string())
}

/// The `at`th key: as `compare` names its objects, or with `--groups` as many behind each of so many prefixes.
fn key(at: usize, arguments: &Arguments) -> String {
    match arguments.groups {
        0 => crate::compare::key(at),
        groups => {
            let each = arguments.objects.div_ceil(groups);
            format!("group-{:06}/object-{:06}", at / each, at % each)
        }
    }
}

/// Gives a record a body and an id of its own.
fn add_body(batch: &mut Batch, mut record: ObjectRecord, at: usize, body: &[u8]) -> ObjectRecord {
    record.head.id = SortedId::new(record.head.modified_ms, None);
    record.head.size = body.len() as u64;
    record.detail.pieces = Vec::new();
    if !body.is_empty() {
        let id = inline_body::new_id(record.head.modified_ms + at as u64 / OBJECTS_A_MS);
        batch.put(keys::inline_body(&id), inline_body::seal(&id, body.to_vec()));
        let size = body.len() as u64;
        record.detail.pieces = vec![Piece { inline: true, ..Piece::whole(id, size, "") }];
    }
    record
}
