//! Multipart uploads: create, upload a part, complete, abort.
//!
//! Source: S3 user guide, "Uploading and copying objects using multipart upload"; S3 API reference, the
//! operations of those names. Completing is one commit: the upload must still be open and its parts
//! unchanged, the object appears, the upload and all its parts go.

use super::checksum::{BodyChecksums, Completion, MultipartChecksum, missing_part_checksum, part_algorithm};
use super::conditions::{Current, WriteConditions};
use super::encryption::{self, Sealing};
use super::list::parse_upload_id;
use super::object_get::parse_part_number;
use super::object_put::{
    Destination, NewVersion, Received, commit_version_with, owner_of_new, push_version_id, read_current,
    receive, require_length,
};
use super::service::{COMMIT_TRIES_MAX, store_error};
use super::{
    Context, access, condition_keys, draft, lifecycle, location, metadata, read_small_body, xml_response,
};
use crate::auth::Identity;
use crate::codec::digest::{self, Checksum, ChecksumAlgorithm, ChecksumType};
use crate::codec::xml_writer::XmlWriter;
use crate::codec::{hex, unbase64, unhex, uri, xml_reader};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::multipart::{PartRecord, UploadRecord};
use crate::model::object::{ObjectDetail, ObjectPart, ObjectRecord, Piece};
use crate::model::{BucketName, SortedId, keys};
use crate::storage::{Batch, Outcome, Visit};

/// The most parts of an upload, and the largest part number.
pub const PARTS_MAX: usize = 10_000;

/// The largest body of CompleteMultipartUpload: 4 MiB.
const COMPLETE_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The largest object: 5 TiB (50 TB since December 2025 at AWS; nothing here depends on the number).
const OBJECT_BYTES_MAX: u64 = 50 * 1_000_000_000_000;

/// CreateMultipartUpload.
pub fn create(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let checksum = MultipartChecksum::from_headers(ctx.headers)?;
    let detail = metadata::read(ctx)?;
    let storage_class = metadata::storage_class(ctx)?;
    let (initiator, initiator_name) = initiator(ctx.identity);
    let sealing = Sealing::of_new_object(ctx)?;
    let encryption = sealing.as_ref().map(|sealing| sealing.encryption.clone());
    let upload = UploadRecord {
        created_ms: ctx.now,
        owner: owner_of_new(ctx),
        initiator,
        initiator_name,
        location: location::of_new_object(ctx, &detail.metadata, &storage_class)?,
        storage_class,
        checksum: checksum.map(|checksum| (checksum.algorithm, checksum.kind)),
        asked: condition_keys::of_creation(ctx),
        replaces: read_current(ctx.service, ctx.bucket(), ctx.key())?
            .is_some_and(|(record, _)| !record.head.delete_marker),
        detail: ObjectDetail { encryption, ..detail },
        draft: None,
    };
    let begun = draft::begin(ctx, &upload.location)?;
    let reserved: Vec<Piece> = begun.iter().map(|begun| begun.reserved.clone()).collect();
    let upload = UploadRecord { draft: begun.map(|begun| begun.draft), ..upload };
    let id = SortedId::new(ctx.now, None);
    open(ctx, id, &upload, &reserved).inspect_err(|error| ctx.service.drop_after(error, &reserved))?;
    let mut response = created(ctx, id, checksum);
    if let Some(sealing) = &sealing {
        sealing.push_written(&mut response);
    }
    Ok(response)
}

/// Publishes an upload and what was reserved for it.
fn open(ctx: &Context<'_>, id: SortedId, upload: &UploadRecord, reserved: &[Piece]) -> Result<()> {
    let mut bucket = ctx.bucket.clone();
    for _ in 0..COMMIT_TRIES_MAX {
        let current = bucket.take().map_or_else(|| ctx.service.bucket(ctx.bucket_name()), Ok)?;
        let mut batch = ctx.service.batch_in(&current.record);
        batch.expect(keys::bucket(&current.name), Some(current.stored.clone()));
        batch.put(keys::upload(&current.name, ctx.key().as_str(), id), upload.encode());
        ctx.service.publish_in(&mut batch, reserved)?;
        if ctx.service.commit(batch)? == Outcome::Committed {
            return Ok(());
        }
    }
    Err(Code::OperationAborted.into())
}

fn created(ctx: &Context<'_>, id: SortedId, checksum: Option<MultipartChecksum>) -> Response {
    let mut xml = XmlWriter::document("InitiateMultipartUploadResult");
    xml.element("Bucket", ctx.bucket_name().as_str());
    xml.element("Key", ctx.key().as_str());
    xml.element("UploadId", &id.to_string());
    let mut response = xml_response(200, xml.end("InitiateMultipartUploadResult"));
    if let Some(checksum) = checksum {
        response.push_header("x-amz-checksum-algorithm", checksum.algorithm.name());
        response.push_header("x-amz-checksum-type", checksum.kind.as_str());
    }
    lifecycle::push_abort(ctx, &mut response, ctx.now);
    response
}

/// Who is shown as the initiator: the user where the key is a user's, else the account.
fn initiator(identity: &Identity) -> (String, String) {
    match identity {
        Identity::Key { user: Some(user), .. } => (user.arn.clone(), user.name.clone()),
        Identity::Key { account, .. } => (account.canonical_id.clone(), account.name.clone()),
        Identity::Anonymous => (identity.canonical_id().to_owned(), "anonymous".to_owned()),
    }
}

/// The open upload that a request names, with its stored form.
///
/// # Errors
/// `NoSuchUpload`.
pub fn find_upload(ctx: &Context<'_>) -> Result<(SortedId, UploadRecord, Vec<u8>)> {
    let text = ctx.param("uploadId").unwrap_or("");
    let id = parse_upload_id(text)?;
    let key = keys::upload(ctx.bucket_name(), ctx.key().as_str(), id);
    let stored = ctx.service.meta.get(&key).map_err(store_error)?.ok_or_else(|| no_such_upload(text))?;
    Ok((id, UploadRecord::decode(&stored).map_err(store_error)?, stored))
}

fn no_such_upload(id: &str) -> Error {
    Error::new(Code::NoSuchUpload).field("UploadId", id)
}

/// The checksum that an upload was created with.
pub fn checksum_of(upload: &UploadRecord) -> Option<MultipartChecksum> {
    upload.checksum.map(|(algorithm, kind)| MultipartChecksum { algorithm, kind })
}

/// The part of an open upload that a request writes.
pub struct OpenPart {
    /// The upload's id.
    pub id: SortedId,
    /// The part's number.
    pub number: u16,
    /// The upload.
    pub upload: UploadRecord,
    /// The stored form of the part that had this number when the request began, in uploads that have a draft.
    before: Option<Vec<u8>>,
}

impl OpenPart {
    /// Finds what a request names, if the requester may go on with it.
    ///
    /// # Errors
    /// `InvalidArgument`, `NoSuchUpload`, `AccessDenied`.
    pub fn find(ctx: &Context<'_>) -> Result<OpenPart> {
        let number = parse_part_number(ctx.param("partNumber").unwrap_or(""))?;
        let (id, upload, _) = find_upload(ctx)?;
        access::may_continue(ctx, &upload)?;
        draft::require_undecided(&upload)?;
        let before = match upload.draft {
            Some(_) => ctx.service.meta.get(&keys::part(id, number)).map_err(store_error)?,
            None => None,
        };
        Ok(OpenPart { id, number, upload, before })
    }

    /// Where its body goes.
    pub fn destination<'p>(&'p self, sealing: Option<&'p Sealing>) -> Destination<'p> {
        let piece_of = self.upload.draft.as_ref().map(|draft| (&draft.id, self.number));
        Destination { piece_of, ..Destination::of(&self.upload.location, sealing) }
    }
}

/// UploadPart.
pub fn upload_part(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    require_length(ctx)?;
    let open = OpenPart::find(ctx)?;
    let sealing = Sealing::of_part(ctx, &open.upload)?;
    let checks = BodyChecksums::from_headers(ctx.headers)?;
    let algorithm = part_algorithm(checksum_of(&open.upload), checks.algorithm())?;
    let received = receive(ctx, body, checks, algorithm, &open.destination(sealing.as_ref()));
    let told = received.as_ref().ok().and_then(|it| it.sent.clone().or_else(|| it.checksum.clone()));
    let part = commit_part(ctx, &open, received)?;
    let mut response = Response::new(200).header("ETag", format!("\"{}\"", part.etag));
    if let Some(checksum) = told {
        response.push_header(checksum.algorithm.header(), checksum.to_base64());
    }
    if let Some(sealing) = &sealing {
        sealing.push(&mut response);
    }
    Ok(response)
}

/// Publishes a part that was received, if the upload is still open.
///
/// # Errors
/// What receiving it failed with, `NoSuchUpload`, `OperationAborted`. The part's body is then dropped.
pub fn commit_part(ctx: &Context<'_>, open: &OpenPart, received: Result<Received>) -> Result<PartRecord> {
    let received = match received {
        Ok(received) => received,
        Err(error) => return Err(draft::part_failed(ctx, open, error)),
    };
    try_commit_part(ctx, open, &received).inspect_err(|error| {
        ctx.service.drop_after(error, &received.pieces());
        draft::drop_late(ctx, open, error);
    })
}

fn try_commit_part(ctx: &Context<'_>, open: &OpenPart, received: &Received) -> Result<PartRecord> {
    let part = PartRecord {
        modified_ms: ctx.now,
        size: received.size,
        etag: received.etag.clone(),
        checksum: received.checksum.as_ref().map(|checksum| (checksum.algorithm, checksum.to_base64())),
        pieces: received.pieces(),
        drafted: received.stored.drafted.clone(),
    };
    let (id, number) = (open.id, open.number);
    let part_key = keys::part(id, number);
    for _ in 0..COMMIT_TRIES_MAX {
        let (_, upload, upload_stored) = find_upload(ctx)?;
        draft::require_undecided(&upload)?;
        let previous = ctx.service.meta.get(&part_key).map_err(store_error)?;
        if previous != open.before && draft::is_overwritten(ctx, &upload, number, &part)? {
            return Ok(part);
        }
        let replaced = match &previous {
            Some(stored) => PartRecord::decode(stored).map_err(store_error)?.pieces,
            None => Vec::new(),
        };
        let mut batch = ctx.service.batch_in(&ctx.bucket().record);
        batch.expect(keys::upload(ctx.bucket_name(), ctx.key().as_str(), id), Some(upload_stored));
        batch.expect(part_key.clone(), previous);
        batch.put(part_key.clone(), part.encode());
        for (id, bytes) in &received.stored.inline {
            batch.put(keys::inline_body(id), bytes.clone());
        }
        ctx.service.publish_in(&mut batch, &part.pieces)?;
        ctx.service.discard_in(&mut batch, &replaced);
        if ctx.service.commit(batch)? == Outcome::Committed {
            ctx.service.discarded(replaced);
            return Ok(part);
        }
    }
    Err(Code::OperationAborted.into())
}

/// A part as CompleteMultipartUpload lists it.
struct ListedPart {
    number: u16,
    etag: String,
    checksum: Option<(ChecksumAlgorithm, String)>,
}

/// CompleteMultipartUpload.
pub fn complete(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let bytes = read_small_body(body, COMPLETE_BODY_BYTES_MAX)?;
    let listed = parse_completion(&bytes).map_err(|error| {
        // Of an upload that is not there nothing else is said.
        if let Err(missing) = find_upload(ctx) {
            return missing;
        }
        let disordered = error.code() == Code::InvalidPartOrder;
        if disordered { error.field("UploadId", ctx.param("uploadId").unwrap_or("")) } else { error }
    })?;
    let condition = WriteConditions::from_headers(ctx.headers)?;
    for _ in 0..COMMIT_TRIES_MAX {
        let (id, upload, upload_stored) = match find_upload(ctx) {
            Ok(found) => found,
            Err(error) => return completed_before(ctx, &listed, error),
        };
        access::may_continue(ctx, &upload)?;
        let customer_key_md5 = Sealing::check_completion(ctx, &upload)?;
        let stored = read_parts(ctx, id)?;
        // The parts count only if the upload was open when they were read.
        let upload_key = keys::upload(ctx.bucket_name(), ctx.key().as_str(), id);
        if ctx.service.meta.get(&upload_key).map_err(store_error)?.as_ref() != Some(&upload_stored) {
            continue;
        }
        let chosen = choose(ctx, &listed, &stored, checksum_of(&upload))?;
        let (created, replaces) = (upload.created_ms, upload.replaces);
        let mut version = assemble(ctx, &upload, &chosen)?;
        let mut unused = unused_pieces(&stored, &chosen);
        let mut upload_stored = upload_stored;
        if upload.draft.is_some() {
            // Decided again at the commit, but then the store has put the parts together.
            let current = read_current(ctx.service, ctx.bucket(), ctx.key())?;
            let current = current.as_ref().map(|(record, _)| record);
            condition.check_upload(&Current::of(current), created, replaces)?;
            let parts = draft::Parts { id, upload_key: &upload_key, stored: &stored, chosen: &chosen };
            let Some(assembled) = draft::assemble(ctx, upload, upload_stored, &parts)? else { continue };
            upload_stored = assembled.upload_stored;
            version.detail.pieces = assembled.pieces;
            unused.extend(assembled.unused);
        }
        let outcome = commit_version_with(ctx, ctx.key(), version, &mut |current, batch| {
            condition.check_upload(&Current::of(current), created, replaces)?;
            batch.expect(upload_key.clone(), Some(upload_stored.clone()));
            batch.remove(upload_key.clone());
            expect_parts(batch, id, &stored);
            stored.iter().for_each(|(number, _)| batch.remove(keys::part(id, *number)));
            ctx.service.discard_in(batch, &unused);
            // Somebody else may have completed, aborted or changed the upload meanwhile.
            match ctx.service.meta.get(&upload_key).map_err(store_error)? {
                Some(now) if now == upload_stored => parts_unchanged(ctx, id, &stored),
                _ => Err(Code::OperationAborted.into()),
            }
        });
        match outcome {
            Err(error) if error.code() == Code::OperationAborted => continue,
            Err(error) => return Err(error),
            Ok(record) => {
                ctx.service.discarded(unused);
                let mut response = completed(ctx, &record);
                if let Some(md5) = customer_key_md5 {
                    encryption::push_customer(&mut response, &md5);
                }
                return Ok(response);
            }
        }
    }
    Err(condition.contended(Code::OperationAborted.into()))
}

/// A client that did not hear the answer completes again, and is told the same once more: while the
/// object of that upload is the newest version, and if it was made of the parts that are listed now.
fn completed_before(ctx: &Context<'_>, listed: &[ListedPart], error: Error) -> Result<Response> {
    let current = read_current(ctx.service, ctx.bucket(), ctx.key())?.map(|(record, _)| record);
    let id = ctx.param("uploadId").unwrap_or("");
    match current {
        Some(record)
            if error.code() == Code::NoSuchUpload
                && !id.is_empty()
                && record.detail.upload_id == id
                && etag_of_listed(listed).is_some_and(|etag| etag == record.head.etag) =>
        {
            Ok(completed(ctx, &record))
        }
        _ => Err(error),
    }
}

fn etag_of_listed(listed: &[ListedPart]) -> Option<String> {
    let md5 = |part: &ListedPart| unhex(&part.etag).or_else(|| unbase64(&part.etag))?.try_into().ok();
    let md5s: Vec<[u8; 16]> = listed.iter().map(md5).collect::<Option<_>>()?;
    Some(digest::multipart_etag(&md5s))
}

/// A part that was uploaded again while the completion ran makes it start over.
fn parts_unchanged(ctx: &Context<'_>, id: SortedId, stored: &[(u16, Vec<u8>)]) -> Result<()> {
    if read_parts(ctx, id)?.as_slice() == stored { Ok(()) } else { Err(Code::OperationAborted.into()) }
}

fn completed(ctx: &Context<'_>, record: &ObjectRecord) -> Response {
    let mut xml = XmlWriter::document("CompleteMultipartUploadResult");
    let scheme = if ctx.secure { "https" } else { "http" };
    let host = ctx.header("host").unwrap_or("localhost");
    let key = uri::encode_path(ctx.key().as_str());
    let location = if ctx.target.virtual_host {
        format!("{scheme}://{host}/{key}")
    } else {
        format!("{scheme}://{host}/{}/{key}", ctx.bucket_name())
    };
    xml.element("Location", &location);
    xml.element("Bucket", ctx.bucket_name().as_str());
    xml.element("Key", ctx.key().as_str());
    xml.element("ETag", &format!("\"{}\"", record.head.etag));
    if let (Some((algorithm, kind)), Some(value)) = (record.head.checksum, &record.detail.checksum) {
        xml.element(algorithm.element(), value);
        xml.element("ChecksumType", kind.as_str());
    }
    let mut response = xml_response(200, xml.end("CompleteMultipartUploadResult"));
    push_version_id(&mut response, ctx.bucket(), &record.head);
    if let Some(encryption) = &record.detail.encryption {
        encryption::push(&mut response, encryption);
    }
    lifecycle::push_expiration(ctx, &mut response, ctx.key(), record);
    response
}

fn read_parts(ctx: &Context<'_>, id: SortedId) -> Result<Vec<(u16, Vec<u8>)>> {
    let range = keys::parts(id);
    let mut parts = Vec::new();
    ctx.service
        .meta
        .scan(&range.start..&range.end, &mut |key, value| {
            if let Some(number) = keys::part_number_of(key) {
                parts.push((number, value.to_vec()));
            }
            Visit::Next
        })
        .map_err(store_error)?;
    Ok(parts)
}

/// Demands that an upload has exactly these parts. Ranges without parts stay without: a part that came after
/// they were read would outlive its upload.
pub fn expect_parts(batch: &mut Batch, id: SortedId, parts: &[(u16, Vec<u8>)]) {
    let mut next = 0;
    for (number, stored) in parts {
        if *number > next {
            batch.expect_empty(keys::part(id, next)..keys::part(id, *number));
        }
        batch.expect(keys::part(id, *number), Some(stored.clone()));
        next = number.saturating_add(1);
    }
    batch.expect_empty(keys::part(id, next)..keys::parts(id).end);
}

fn parse_completion(bytes: &[u8]) -> Result<Vec<ListedPart>> {
    if bytes.is_empty() {
        return Err(Error::with_message(Code::InvalidRequest, "You must specify at least one part"));
    }
    let document = xml_reader::parse(bytes)?;
    let root = document.root("CompleteMultipartUpload")?;
    let mut listed: Vec<ListedPart> = Vec::new();
    for part in root.children("Part") {
        if listed.len() >= PARTS_MAX {
            return Err(xml_reader::malformed("too many parts"));
        }
        let number = xml_reader::required(part.integer("PartNumber")?, "PartNumber")?;
        let number =
            u16::try_from(number).ok().filter(|number| (1..=10_000).contains(number)).ok_or_else(|| {
                let message = match number {
                    ..1 => "PartNumber must be >= 1",
                    1.. => "Part number must be an integer between 1 and 10000, inclusive",
                };
                Error::invalid_argument("PartNumber", &number.to_string(), message)
            })?;
        if listed.last().is_some_and(|last| last.number >= number) {
            return Err(Code::InvalidPartOrder.into());
        }
        let etag = part.required_text("ETag")?.trim().trim_matches('"').to_owned();
        let mut checksum = None;
        for algorithm in ChecksumAlgorithm::ALL {
            if let Some(value) = part.text(algorithm.element())? {
                checksum = Some((algorithm, value.trim().to_owned()));
            }
        }
        listed.push(ListedPart { number, etag, checksum });
    }
    if listed.is_empty() {
        return Err(xml_reader::malformed("no parts"));
    }
    Ok(listed)
}

/// The stored parts that a completion lists, checked against what it says of them.
fn choose(
    ctx: &Context<'_>,
    listed: &[ListedPart],
    stored: &[(u16, Vec<u8>)],
    upload: Option<MultipartChecksum>,
) -> Result<Vec<(u16, PartRecord)>> {
    let mut chosen = Vec::with_capacity(listed.len().min(stored.len()));
    for (index, wanted) in listed.iter().enumerate() {
        let found = stored.binary_search_by_key(&wanted.number, |(number, _)| *number);
        let part = match found {
            Ok(at) => PartRecord::decode(&stored[at].1).map_err(store_error)?,
            Err(_) => return Err(invalid_part(ctx, wanted)),
        };
        if !same_etag(&wanted.etag, &part.etag) {
            return Err(invalid_part(ctx, wanted));
        }
        check_part_checksum(ctx, wanted, &part, upload)?;
        let smallest = ctx.service.config.part_bytes_min;
        if index + 1 < listed.len() && part.size < smallest {
            return Err(Error::new(Code::EntityTooSmall)
                .field("ProposedSize", part.size.to_string())
                .field("MinSizeAllowed", smallest.to_string())
                .field("PartNumber", wanted.number.to_string())
                .field("ETag", part.etag));
        }
        chosen.push((wanted.number, part));
    }
    Ok(chosen)
}

/// ETags are compared without quotes; some clients send the digest in base64.
fn same_etag(sent: &str, stored: &str) -> bool {
    sent.eq_ignore_ascii_case(stored) || unbase64(sent).is_some_and(|bytes| hex(&bytes) == stored)
}

fn check_part_checksum(
    ctx: &Context<'_>,
    wanted: &ListedPart,
    part: &PartRecord,
    upload: Option<MultipartChecksum>,
) -> Result<()> {
    match (&wanted.checksum, &part.checksum) {
        // As recorded of S3: another algorithm is a wrong digest, another value a part that is not there.
        (Some((sent, _)), Some((kept, _))) if upload.is_some() && sent != kept => {
            let name = sent.name().to_lowercase();
            let number = wanted.number;
            let message =
                format!("The {name} you specified for part {number} did not match what we received.");
            Err(Error::with_message(Code::BadDigest, message))
        }
        (Some(sent), Some(stored)) if sent != stored => Err(invalid_part(ctx, wanted)),
        (Some(_), None) => Err(invalid_part(ctx, wanted)),
        (None, _) => match upload {
            Some(upload) if upload.kind == ChecksumType::Composite => {
                Err(missing_part_checksum(upload.algorithm, u32::from(wanted.number)))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn invalid_part(ctx: &Context<'_>, part: &ListedPart) -> Error {
    Error::new(Code::InvalidPart)
        .field("UploadId", ctx.param("uploadId").unwrap_or(""))
        .field("PartNumber", part.number.to_string())
        .field("ETag", part.etag.clone())
}

/// Builds the object that the chosen parts make.
fn assemble(ctx: &Context<'_>, upload: &UploadRecord, chosen: &[(u16, PartRecord)]) -> Result<NewVersion> {
    let wanted = checksum_of(upload);
    let completion = Completion::from_headers(ctx.headers, wanted)?;
    let size = chosen.iter().map(|(_, part)| part.size).sum();
    completion.verify_size(size)?;
    if size > OBJECT_BYTES_MAX {
        return Err(Code::EntityTooLarge.into());
    }
    let checksum = object_checksum(wanted, chosen)?;
    if let Some((algorithm, _, value)) = &checksum {
        completion.verify(*algorithm, value)?;
    }
    let mut detail = upload.detail.clone();
    detail.upload_id = ctx.param("uploadId").unwrap_or("").to_owned();
    detail.pieces = chosen.iter().flat_map(|(_, part)| part.pieces.iter().cloned()).collect();
    detail.parts = chosen
        .iter()
        .map(|(number, part)| ObjectPart {
            number: *number,
            size: part.size,
            checksum: part.checksum.as_ref().map(|(_, value)| value.clone()),
        })
        .collect();
    detail.checksum = checksum.as_ref().map(|(_, _, value)| value.clone());
    Ok(NewVersion {
        size,
        etag: etag_of(chosen)?,
        owner: upload.owner.clone(),
        storage_class: upload.storage_class.clone(),
        checksum: checksum.map(|(algorithm, kind, _)| (algorithm, kind)),
        detail,
        inline: Vec::new(),
        delete_marker: false,
    })
}

fn etag_of(chosen: &[(u16, PartRecord)]) -> Result<String> {
    let corrupt = || Error::internal("the ETag of a part is not an MD5");
    let md5s = chosen
        .iter()
        .map(|(_, part)| unhex(&part.etag).and_then(|bytes| bytes.try_into().ok()).ok_or_else(corrupt))
        .collect::<Result<Vec<[u8; 16]>>>()?;
    Ok(digest::multipart_etag(&md5s))
}

/// The checksum of the object: of the algorithm and type that the upload chose, or the full-object
/// CRC64NVME that S3 computes on its own when it chose none.
fn object_checksum(
    wanted: Option<MultipartChecksum>,
    chosen: &[(u16, PartRecord)],
) -> Result<Option<(ChecksumAlgorithm, ChecksumType, String)>> {
    let default = MultipartChecksum { algorithm: ChecksumAlgorithm::DEFAULT, kind: ChecksumType::FullObject };
    let MultipartChecksum { algorithm, kind } = wanted.unwrap_or(default);
    let mut digests = Vec::with_capacity(chosen.len());
    for (_, part) in chosen {
        match &part.checksum {
            Some((of, value)) if *of == algorithm => {
                let bytes = Checksum::from_base64(algorithm, value)
                    .ok_or_else(|| Error::internal("the checksum of a part is malformed"))?
                    .bytes;
                digests.push((bytes, part.size));
            }
            _ if wanted.is_none() => return Ok(None),
            _ => return Err(Code::InvalidPart.into()),
        }
    }
    let value = match kind {
        ChecksumType::Composite => {
            digest::composite(algorithm, digests.iter().map(|(bytes, _)| bytes.as_slice()))
        }
        ChecksumType::FullObject => {
            let parts = digests.iter().map(|(bytes, size)| (bytes.as_slice(), *size));
            digest::full_object(algorithm, parts)
                .ok_or_else(|| Error::internal("part checksums cannot be combined"))?
                .to_base64()
        }
    };
    Ok(Some((algorithm, kind, value)))
}

/// The bodies of parts that were uploaded but not listed.
fn unused_pieces(stored: &[(u16, Vec<u8>)], chosen: &[(u16, PartRecord)]) -> Vec<Piece> {
    stored
        .iter()
        .filter(|(number, _)| chosen.binary_search_by_key(number, |(number, _)| *number).is_err())
        .filter_map(|(_, stored)| PartRecord::decode(stored).ok())
        .flat_map(|part| part.pieces)
        .collect()
}

/// AbortMultipartUpload. An unknown upload is `NoSuchUpload`, as at S3, but fine in a bucket whose
/// location has `legacyAwsBehavior` off, as it is at Scality S3 Server.
pub fn abort(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let ended = find_upload(ctx).and_then(|(id, _, _)| {
        match abort_upload(ctx, ctx.bucket_name(), ctx.key().as_str(), id)? {
            true => Ok(()),
            // Somebody else has just ended it, perhaps with an object.
            false => Err(no_such_upload(&id.to_string())),
        }
    });
    match ended {
        Err(error)
            if error.code() != Code::NoSuchUpload
                || !location::is_not_legacy(&ctx.service.config, &ctx.bucket().record.location) =>
        {
            Err(error)
        }
        _ => Ok(Response::new(204)),
    }
}

/// Ends an upload: its record and its parts go in one commit. Whether it was there.
///
/// # Errors
/// `OperationAborted`, `InternalError`.
pub fn abort_upload(ctx: &Context<'_>, bucket: &BucketName, key: &str, id: SortedId) -> Result<bool> {
    let upload_key = keys::upload(bucket, key, id);
    for _ in 0..COMMIT_TRIES_MAX {
        let Some(stored) = ctx.service.meta.get(&upload_key).map_err(store_error)? else { return Ok(false) };
        let upload = UploadRecord::decode(&stored).map_err(store_error)?;
        let mut batch = ctx.service.batch_in(&ctx.bucket().record);
        batch.expect(upload_key.clone(), Some(stored));
        batch.remove(upload_key.clone());
        let parts = read_parts(ctx, id)?;
        expect_parts(&mut batch, id, &parts);
        let mut pieces = draft::pieces_of(&upload);
        for (number, stored) in &parts {
            pieces.extend(PartRecord::decode(stored).map_err(store_error)?.pieces);
            batch.remove(keys::part(id, *number));
        }
        ctx.service.discard_in(&mut batch, &pieces);
        if ctx.service.commit(batch)? == Outcome::Committed {
            ctx.service.discarded(pieces);
            return Ok(true);
        }
    }
    Err(Code::OperationAborted.into())
}

/// Ends every upload of a bucket that is about to go.
///
/// # Errors
/// As [`abort_upload`].
pub fn abort_all(ctx: &Context<'_>, bucket: &BucketName) -> Result<()> {
    let range = keys::uploads(bucket);
    let mut uploads: Vec<(String, SortedId)> = Vec::new();
    ctx.service
        .meta
        .scan(&range.start..&range.end, &mut |key, _| {
            if let Some((key, id)) = keys::upload_of(bucket, key) {
                uploads.push((key.to_owned(), id));
            }
            Visit::Next
        })
        .map_err(store_error)?;
    uploads.into_iter().try_for_each(|(key, id)| abort_upload(ctx, bucket, &key, id).map(|_| ()))
}
