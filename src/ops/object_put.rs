//! PutObject, and the two steps that every write of an object shares: receiving a body
//! ([`receive`]) and publishing a version ([`commit_version`]).

use super::checksum::BodyChecksums;
use super::conditions::{Current, WriteConditions};
use super::encryption::Sealing;
use super::service::{Bucket, COMMIT_TRIES_MAX, Service, store_error};
use super::{Context, draft, lifecycle, location, metadata, object_lock, ownership};
use crate::codec::digest::{Checksum, ChecksumAlgorithm, ChecksumType};
use crate::codec::digest_reader::{DigestReader, Expectation};
use crate::codec::{hex, random};
use crate::crypto::key::SALT_BYTES;
use crate::crypto::sealed::{SealingReader, piece_cipher, sealed_size};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::bucket::Versioning;
use crate::model::encryption::ObjectEncryption;
use crate::model::multipart::DraftPart;
use crate::model::object::{ObjectDetail, ObjectHead, ObjectRecord, Piece};
use crate::model::replication::PENDING;
use crate::model::{ObjectKey, SortedId, inline_body, keys};
use crate::notifications::{self, Stage};
use crate::storage::{Batch, BlobHint, BlobId, Expect, Outcome, Visit, WriteError};
use std::io::Read;

/// The largest body of a single PUT and of a part: 5 GiB.
pub const PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// PutObject.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    require_length(ctx)?;
    refuse_version_id(ctx)?;
    create(ctx, body)
}

/// A new object has no version yet that its request could name.
///
/// # Errors
/// `InvalidArgument` for a request with `versionId`.
pub fn refuse_version_id(ctx: &Context<'_>) -> Result<()> {
    if !ctx.query.has("versionId") {
        return Ok(());
    }
    let message = "This operation does not accept a version-id.";
    Err(Error::invalid_argument("versionId", ctx.param("versionId").unwrap_or(""), message))
}

/// Stores an object as the headers of the request describe it, and answers as PutObject does.
///
/// # Errors
/// What the headers mean, and as [`receive`] and [`commit_version`].
pub fn create(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let detail = metadata::read(ctx)?;
    let storage_class = metadata::storage_class(ctx)?;
    let location = location::of_new_object(ctx, &detail.metadata, &storage_class)?;
    let checks = BodyChecksums::from_headers(ctx.headers)?;
    object_lock::require_digest(ctx, &detail, &checks)?;
    let condition = WriteConditions::from_headers(ctx.headers)?;
    let sealing = Sealing::of_new_object(ctx)?;
    // A condition that fails already is not worth the upload; it is decided again at the commit.
    check_now(ctx, &condition)?;
    let algorithm = checks.algorithm();
    let received = receive(ctx, body, checks, algorithm, &Destination::of(&location, sealing.as_ref()))?;
    let version = received.into_version(ctx, detail, storage_class);
    let committed =
        commit_version(ctx, ctx.key(), version, &mut |current| condition.check(&Current::of(current)))
            .map_err(|error| condition.contended(error))?;
    let mut response = Response::new(200).header("ETag", format!("\"{}\"", committed.head.etag));
    push_checksum(&mut response, &committed);
    push_version_id(&mut response, ctx.bucket(), &committed.head);
    if let Some(sealing) = &sealing {
        sealing.push_written(&mut response);
    }
    lifecycle::push_expiration(ctx, &mut response, ctx.key(), &committed);
    Ok(response)
}

/// A body without a length and without a transfer coding could be anything.
///
/// # Errors
/// `MissingContentLength`.
pub fn require_length(ctx: &Context<'_>) -> Result<()> {
    let framed = ["content-length", "transfer-encoding"].iter().any(|name| ctx.headers.has(name));
    if framed { Ok(()) } else { Err(Error::new(Code::MissingContentLength).close()) }
}

/// The account that will own what this request writes.
pub fn owner_of_new(ctx: &Context<'_>) -> String {
    ownership::owner_of_new(ctx).to_owned()
}

/// Adds the checksum headers of a stored object.
pub fn push_checksum(response: &mut Response, record: &ObjectRecord) {
    if let (Some((algorithm, kind)), Some(value)) = (record.head.checksum, &record.detail.checksum) {
        response.push_header(algorithm.header(), value.clone());
        response.push_header("x-amz-checksum-type", kind.as_str());
    }
}

/// Adds `x-amz-version-id` of a version that was found (or copied), where the bucket has versions.
pub fn push_found_version_id(response: &mut Response, bucket: &Bucket, head: &ObjectHead) {
    if bucket.record.versioning != Versioning::Unversioned {
        response.push_header("x-amz-version-id", head.version_id());
    }
}

/// Adds `x-amz-version-id` of a version that was written, where the bucket makes versions.
pub fn push_version_id(response: &mut Response, bucket: &Bucket, head: &ObjectHead) {
    if bucket.record.versioning == Versioning::Enabled || !head.null_version {
        response.push_header("x-amz-version-id", head.version_id());
    }
}

fn check_now(ctx: &Context<'_>, condition: &WriteConditions) -> Result<()> {
    if condition.is_empty() {
        return Ok(());
    }
    let current = read_current(ctx.service, ctx.bucket(), ctx.key())?;
    condition.check(&Current::of(current.as_ref().map(|(record, _)| record)))
}

/// The newest version of a key with its stored form.
pub fn read_current(
    service: &Service,
    bucket: &Bucket,
    key: &ObjectKey,
) -> Result<Option<(ObjectRecord, Vec<u8>)>> {
    let stored = service.meta.get(&keys::object(&bucket.name, key.as_str())).map_err(store_error)?;
    stored.map(|stored| Ok((ObjectRecord::decode(&stored).map_err(store_error)?, stored))).transpose()
}

/// A body that has been received, verified and stored, but that no record names yet.
pub struct Received {
    /// Its length.
    pub size: u64,
    /// Its ETag without quotes: its MD5 in hexadecimal, unless its encryption calls for another.
    pub etag: String,
    /// Its checksum, of the algorithm that is kept.
    pub checksum: Option<Checksum>,
    /// Its checksum of the algorithm that came with it, where that is not kept.
    pub sent: Option<Checksum>,
    /// Where it is.
    pub stored: Stored,
    /// How it is encrypted.
    pub encryption: Option<ObjectEncryption>,
}

/// Where a body goes, and how.
pub struct Destination<'d> {
    /// The location; empty for the only one.
    pub location: &'d str,
    /// Its encryption, which every writer has to ask for ([`Sealing::of_new_object`] and its siblings);
    /// `None` stores it as it comes.
    pub sealing: Option<&'d Sealing>,
    /// The draft that it is a piece of, and its number there. `None` makes it a body of its own.
    pub piece_of: Option<(&'d BlobId, u16)>,
}

impl<'d> Destination<'d> {
    /// A body of its own.
    pub fn of(location: &'d str, sealing: Option<&'d Sealing>) -> Destination<'d> {
        Destination { location, sealing, piece_of: None }
    }
}

impl Received {
    /// The body that it is.
    pub fn pieces(&self) -> Vec<Piece> {
        self.stored.piece.iter().cloned().collect()
    }

    /// The version of an object that consists of this body, with what only the body tells put into its
    /// record.
    pub fn into_version(
        self,
        ctx: &Context<'_>,
        mut detail: ObjectDetail,
        storage_class: String,
    ) -> NewVersion {
        detail.pieces = self.pieces();
        detail.checksum = self.checksum.as_ref().map(Checksum::to_base64);
        detail.encryption = self.encryption;
        NewVersion {
            size: self.size,
            etag: self.etag,
            owner: owner_of_new(ctx),
            storage_class,
            checksum: self.checksum.map(|checksum| (checksum.algorithm, ChecksumType::FullObject)),
            detail,
            inline: self.stored.inline,
            delete_marker: false,
        }
    }
}

/// Receives a body into the location that the request's object goes to. The checksum that is kept is of
/// `algorithm`, whatever the one is that came with the body.
///
/// # Errors
/// `MissingContentLength`, `EntityTooLarge`, `IncompleteBody`, `BadDigest`, whatever the body's
/// signature demands, and what the store says. Nothing is kept then.
pub fn receive(
    ctx: &Context<'_>,
    mut body: Body<'_>,
    checks: BodyChecksums,
    algorithm: Option<ChecksumAlgorithm>,
    destination: &Destination<'_>,
) -> Result<Received> {
    let length = body.length();
    // S3 computes a CRC64NVME of its own where the client chose nothing.
    let algorithm = algorithm.unwrap_or(ChecksumAlgorithm::DEFAULT);
    let sent = checks.algorithm().unwrap_or(algorithm);
    let expectation = checks.expectation(length, PUT_BYTES_MAX, |name| ctx.trailers.get(name));
    let mut reader = DigestReader::new(&mut body, Some(sent), expectation);
    if sent != algorithm {
        reader = reader.with_second(algorithm);
    }
    let stored = store(ctx, &mut reader, length, destination)?;
    received(reader, stored, destination.sealing)
}

/// Receives bytes that the server already has, for a copy.
///
/// # Errors
/// As [`receive`].
pub fn receive_copy(
    ctx: &Context<'_>,
    source: &mut dyn Read,
    length: u64,
    algorithm: Option<ChecksumAlgorithm>,
    destination: &Destination<'_>,
) -> Result<Received> {
    let algorithm = algorithm.unwrap_or(ChecksumAlgorithm::DEFAULT);
    let expectation = Expectation { length: Some(length), ..Expectation::default() };
    let mut reader = DigestReader::new(source, Some(algorithm), expectation);
    let stored = store(ctx, &mut reader, Some(length), destination)?;
    received(reader, stored, destination.sealing)
}

fn received(reader: DigestReader<'_>, stored: Stored, sealing: Option<&Sealing>) -> Result<Received> {
    let digested = reader.finish()?;
    let md5 = digested.md5.ok_or_else(|| Error::internal("a received body has no MD5"))?;
    let (checksum, sent) = match digested.second {
        Some(kept) => (Some(kept), digested.checksum),
        None => (digested.checksum, None),
    };
    Ok(Received {
        size: digested.size,
        etag: sealing.map_or_else(|| hex(&md5), |sealing| sealing.etag(&md5)),
        checksum,
        sent,
        stored,
        encryption: sealing.map(|sealing| sealing.encryption.clone()),
    })
}

/// What [`store`] made of a body; nothing at all of an empty one.
#[derive(Default)]
pub struct Stored {
    /// The body that it is.
    pub piece: Option<Piece>,
    /// Its stored form ([`inline_body`]), when it is to become a record.
    pub inline: Vec<(BlobId, Vec<u8>)>,
    /// What it is as a piece of a draft.
    pub drafted: Option<DraftPart>,
}

/// Stores what a reader yields, encrypted where the destination says so.
///
/// # Errors
/// What the reader fails with, and what the store says. Nothing is kept then.
pub fn store(
    ctx: &Context<'_>,
    reader: &mut dyn Read,
    length: Option<u64>,
    destination: &Destination<'_>,
) -> Result<Stored> {
    let Some(sealing) = destination.sealing else {
        return store_as_is(ctx, reader, length, destination);
    };
    let salt = random::<SALT_BYTES>();
    let mut sealed = SealingReader::new(reader, piece_cipher(&sealing.key, &salt));
    let stored = store_as_is(ctx, &mut sealed, length.map(sealed_size), destination)?;
    let (size, salt) = (sealed.size(), Some(hex(&salt)));
    Ok(Stored {
        piece: stored.piece.map(|piece| Piece { size, salt: salt.clone(), ..piece }),
        drafted: stored.drafted.map(|part| DraftPart { salt, ..part }),
        ..stored
    })
}

/// Stores what a reader yields. Small bodies stay in memory to become records; an empty one is
/// nothing at all.
fn store_as_is(
    ctx: &Context<'_>,
    reader: &mut dyn Read,
    length: Option<u64>,
    destination: &Destination<'_>,
) -> Result<Stored> {
    let location = destination.location;
    let blobs = ctx.service.blobs_of(location)?;
    // Nothing of the body has been read: a client that waits for `100 Continue` keeps it.
    ctx.service.meta.check_room().and_then(|()| blobs.check_room()).map_err(store_error)?;
    if let Some((draft, number)) = destination.piece_of {
        let drafted = draft::write_part(blobs.as_ref(), (draft, number), reader, length)?;
        return Ok(Stored { drafted, ..Stored::default() });
    }
    let inline_max = blobs.inline_max();
    let mut head = Vec::new();
    if length.is_none_or(|length| length <= inline_max as u64) {
        head.reserve(length.map_or(0, |length| length.min(inline_max as u64) as usize + 1));
        reader.take(inline_max as u64 + 1).read_to_end(&mut head).map_err(Error::from_body)?;
        if head.is_empty() {
            return Ok(Stored::default());
        }
        if head.len() <= inline_max {
            let id = inline_body::new_id(ctx.now);
            let piece = Piece { inline: true, ..Piece::whole(id.clone(), head.len() as u64, location) };
            let stored = inline_body::seal(&id, head);
            return Ok(Stored { piece: Some(piece), inline: vec![(id, stored)], drafted: None });
        }
    }
    let hint = hint(ctx, length);
    let mut whole = head.as_slice().chain(reader);
    let written = match blobs.reserve(&hint) {
        None => blobs.write(&mut whole, &hint),
        Some(id) => {
            let piece = Piece::whole(id, 0, location);
            ctx.service.reserve(&piece)?;
            let written = blobs.write_reserved(&piece.id, &mut whole, &hint);
            if written.as_ref().map_or(true, |written| written.size == 0) {
                ctx.service.drop_unnamed(&[piece]);
            }
            written
        }
    };
    let written = written.map_err(|error| match error {
        WriteError::Body(error) => Error::from_body(error),
        WriteError::Store(error) => store_error(error).close(),
    })?;
    if written.size == 0 {
        if blobs.lists() {
            let _ = blobs.delete(&written.id);
        }
        return Ok(Stored::default());
    }
    let piece = Some(Piece::whole(written.id, written.size, location));
    Ok(Stored { piece, ..Stored::default() })
}

/// What a store is told of a body that this request writes.
pub fn hint<'c>(ctx: &'c Context<'_>, length: Option<u64>) -> BlobHint<'c> {
    BlobHint {
        bucket: ctx.bucket_name().as_str(),
        key: ctx.key().as_str(),
        owner: ctx.identity.canonical_id(),
        length,
        sync: ctx.service.sync_in(&ctx.bucket().record),
    }
}

/// A version that is about to be published.
pub struct NewVersion {
    /// Size in bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// Canonical id of the owner.
    pub owner: String,
    /// Storage class; empty means `STANDARD`.
    pub storage_class: String,
    /// Checksum algorithm and type.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// The rest of the record.
    pub detail: ObjectDetail,
    /// Small bodies to be written as records in the same transaction.
    pub inline: Vec<(BlobId, Vec<u8>)>,
    /// Publish a delete marker instead of an object.
    pub delete_marker: bool,
}

/// Decides whether a write may happen, given the newest version, which it would replace.
pub type Decide<'d> = dyn FnMut(Option<&ObjectRecord>) -> Result<()> + 'd;

/// Publishes a version whose bodies were made for it: they are dropped when the commit fails.
///
/// # Errors
/// As [`commit_version_with`].
pub fn commit_version(
    ctx: &Context<'_>,
    key: &ObjectKey,
    version: NewVersion,
    decide: &mut Decide<'_>,
) -> Result<ObjectRecord> {
    let pieces = version.detail.pieces.clone();
    let mut decide = |current: Option<&ObjectRecord>, batch: &mut Batch| {
        decide(current)?;
        ctx.service.publish_in(batch, &pieces)
    };
    commit_version_with(ctx, key, version, &mut decide)
        .inspect_err(|error| ctx.service.drop_after(error, &pieces))
}

/// Publishes a version: one atomic commit in which the record appears, the version it replaces moves
/// or goes, and bodies that nothing names any more go on the to-delete list. `decide` is asked about
/// exactly the state that the commit replaces, and may add expectations and writes to it: if another
/// write comes between, it is asked again with a new batch.
///
/// # Errors
/// What `decide` says, `NoSuchBucket`, `OperationAborted`.
pub fn commit_version_with(
    ctx: &Context<'_>,
    key: &ObjectKey,
    version: NewVersion,
    decide: &mut dyn FnMut(Option<&ObjectRecord>, &mut Batch) -> Result<()>,
) -> Result<ObjectRecord> {
    let service = ctx.service;
    let mut record = record_of(&version);
    record.detail = version.detail;
    let own_retention = record.detail.lock.retention;
    for attempt in 0..COMMIT_TRIES_MAX {
        // The first try trusts the bucket that the request began with: the commit expects it unchanged.
        let bucket = match (&ctx.bucket, attempt) {
            (Some(bucket), 0) => bucket.clone(),
            _ => service.bucket(ctx.bucket_name())?,
        };
        let current = read_current(service, &bucket, key)?;
        let mut batch = service.batch_in(&bucket.record);
        batch.expect(keys::bucket(&bucket.name), Some(bucket.stored.clone()));
        decide(current.as_ref().map(|(record, _)| record), &mut batch)?;
        let previous = current.as_ref().map(|(record, _)| &record.head);
        record.head.id = SortedId::new(ctx.now, previous.map(|head| head.id));
        record.head.modified_ms = ctx.now.max(previous.map_or(0, |head| head.modified_ms));
        record.head.null_version = bucket.record.versioning != Versioning::Enabled;
        record.detail.replication_status = replication_status(&bucket, key, &record);
        if !version.delete_marker {
            let default = bucket.record.default_retention.map(|it| it.starting(record.head.modified_ms));
            record.detail.lock.retention = own_retention.or(default);
        }
        let dropped = replace_current(service, &bucket, key, current, record.head.null_version, &mut batch)?;
        for (id, bytes) in &version.inline {
            batch.put(keys::inline_body(id), bytes.clone());
        }
        batch.put(keys::object(&bucket.name, key.as_str()), record.encode());
        let noted = notifications::note(ctx, &bucket, key, &record.head, Stage::Written, &mut batch);
        if service.commit(batch)? == Outcome::Committed {
            service.notifications.committed(noted);
            service.discarded(dropped);
            return Ok(record);
        }
    }
    Err(Code::OperationAborted.into())
}

/// Delete markers are not marked: whether they are replicated shows on nothing.
fn replication_status(bucket: &Bucket, key: &ObjectKey, record: &ObjectRecord) -> Option<String> {
    let replication = bucket.record.replication.as_ref().filter(|_| !record.head.delete_marker)?;
    replication.applies(key.as_str(), &record.detail.tags).then(|| PENDING.to_owned())
}

fn record_of(version: &NewVersion) -> ObjectRecord {
    ObjectRecord {
        head: ObjectHead {
            delete_marker: version.delete_marker,
            null_version: true,
            id: SortedId([0; 16]),
            modified_ms: 0,
            size: version.size,
            etag: version.etag.clone(),
            owner: version.owner.clone(),
            storage_class: version.storage_class.clone(),
            checksum: version.checksum,
        },
        detail: ObjectDetail::default(),
    }
}

/// Makes room for a new newest version: the present one stays as an older version or, when both are
/// null versions, goes; a null version goes from among the older ones too. Returns the bodies that
/// go.
fn replace_current(
    service: &Service,
    bucket: &Bucket,
    key: &ObjectKey,
    current: Option<(ObjectRecord, Vec<u8>)>,
    new_is_null: bool,
    batch: &mut Batch,
) -> Result<Vec<Piece>> {
    let object = keys::object(&bucket.name, key.as_str());
    let Some((record, stored)) = current else {
        batch.expects.push(Expect::Record { key: object, value: None });
        return Ok(Vec::new());
    };
    batch.expect(object, Some(stored.clone()));
    if record.head.null_version && new_is_null {
        service.discard_in(batch, &record.detail.pieces);
        return Ok(record.detail.pieces);
    }
    batch.put(keys::version(&bucket.name, key.as_str(), record.head.id), stored);
    if !new_is_null {
        return Ok(Vec::new());
    }
    let Some((null, null_stored)) = find_older_null(service, bucket, key)? else { return Ok(Vec::new()) };
    let null_key = keys::version(&bucket.name, key.as_str(), null.head.id);
    batch.expect(null_key.clone(), Some(null_stored));
    batch.remove(null_key);
    service.discard_in(batch, &null.detail.pieces);
    Ok(null.detail.pieces)
}

/// The null version among the older versions of a key.
///
/// # Errors
/// `InternalError` when the store fails.
pub fn find_older_null(
    service: &Service,
    bucket: &Bucket,
    key: &ObjectKey,
) -> Result<Option<(ObjectRecord, Vec<u8>)>> {
    let range = keys::versions(&bucket.name, key.as_str());
    let mut found = None;
    service
        .meta
        .scan_few(&range.start..&range.end, 16, &mut |_, value| match ObjectRecord::decode_head(value) {
            Ok(head) if !head.null_version => Visit::Next,
            Ok(_) => {
                found = Some(value.to_vec());
                Visit::Stop
            }
            Err(_) => Visit::Next,
        })
        .map_err(store_error)?;
    found.map(|stored| Ok((ObjectRecord::decode(&stored).map_err(store_error)?, stored))).transpose()
}
