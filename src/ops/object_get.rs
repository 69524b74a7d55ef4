//! GetObject, HeadObject and what is left of GetObjectTorrent, and finding a version of a key.
//!
//! Source: S3 API reference, GetObject and HeadObject.

use super::encryption::Sealing;
use super::object_put::{push_checksum, push_found_version_id};
use super::object_update::locate;
use super::range::{self, Selection};
use super::service::{Bucket, Service, store_error};
use super::{Context, access, checksum, conditions, lifecycle, metadata, object_lock, restore};
use crate::codec::{read_buffered, time, unhex};
use crate::crypto::key::{Key, SALT_BYTES};
use crate::crypto::sealed::{OpeningReader, piece_cipher, sealed_range};
use crate::damage::Damage;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Method, Response, ResponseBody};
use crate::model::lock::ObjectLock;
use crate::model::object::{ObjectRecord, Piece};
use crate::model::{ObjectKey, SortedId, inline_body, keys};
use crate::storage::{BlobStore, MetaStore};
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

/// How often a read starts over because the object was replaced under it.
const READ_TRIES_MAX: u32 = 10;

/// Query parameters that replace a header of the answer.
const OVERRIDES: [(&str, &str); 6] = [
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

/// GetObject.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    requested_part(ctx)?;
    let mut record = find(ctx)?;
    for attempt in 0..READ_TRIES_MAX {
        if attempt > 0 {
            record = find(ctx)?;
        }
        restore::require_readable(&record, ctx.now)?;
        let sealing = Sealing::of_read(ctx, &record)?;
        let wanted = Wanted::read(ctx, &record)?;
        let mut response = answer(ctx, &record, &wanted)?;
        if let Some(sealing) = &sealing {
            sealing.push(&mut response);
        }
        // `None`: the body was deleted between the look-up and the opening. Look again.
        let key = sealing.as_ref().map(|sealing| &sealing.key);
        if let Some(body) = open(ctx.service, &record, wanted.range.clone(), key)? {
            response.body = body;
            return Ok(response);
        }
    }
    ctx.service.damage.note_missing();
    Err(missing_body(ctx, &record))
}

/// Never "no such key": the record is there, and somebody will want to know what became of its body.
fn missing_body(ctx: &Context<'_>, record: &ObjectRecord) -> Error {
    let ids: Vec<&str> = record.detail.pieces.iter().take(1).map(|piece| piece.id.0.as_str()).collect();
    Error::internal(format!("a body of {:?} is missing; the first is {ids:?}", ctx.key().as_str()))
}

/// HeadObject.
pub fn head(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    requested_part(ctx)?;
    let record = find(ctx)?;
    let sealing = Sealing::of_read(ctx, &record)?;
    let wanted = Wanted::read(ctx, &record)?;
    let mut response = answer(ctx, &record, &wanted)?;
    if let Some(sealing) = &sealing {
        sealing.push(&mut response);
    }
    Ok(response.body(ResponseBody::Head(wanted.range.end - wanted.range.start)))
}

/// GetObjectTorrent, which S3 has ended: no object has a torrent, whether it is there or not.
pub fn torrent(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    Err(missing(ctx.key(), None))
}

/// Finds the version that a read names, and checks that the requester may read it.
///
/// # Errors
/// `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed` for a delete marker by its id, `AccessDenied`.
pub fn find(ctx: &Context<'_>) -> Result<ObjectRecord> {
    find_or_refuse(ctx, ctx.param("versionId").is_some())
}

/// As [`find`], for a request that changes the version: a delete marker that is the newest version is
/// refused as one named by its id.
///
/// # Errors
/// As [`find`].
pub fn find_to_change(ctx: &Context<'_>) -> Result<ObjectRecord> {
    find_or_refuse(ctx, true)
}

fn find_or_refuse(ctx: &Context<'_>, refuses_marker: bool) -> Result<ObjectRecord> {
    let bucket = ctx.bucket();
    let version = ctx.param("versionId");
    let found = find_version(ctx.service, bucket, ctx.key(), version)?;
    let Some(record) = found else {
        return Err(if access::may_list(ctx, bucket, ctx.key())? {
            missing(ctx.key(), version)
        } else {
            Code::AccessDenied.into()
        });
    };
    if record.head.delete_marker {
        return Err(delete_marker_error(ctx, &record, refuses_marker)?);
    }
    access::may_read(ctx, &record)?;
    Ok(record)
}

/// What is said of a key, or of a version of it, that is not there.
pub fn missing(key: &ObjectKey, version: Option<&str>) -> Error {
    match version {
        Some(version) => {
            Error::new(Code::NoSuchVersion).field("Key", key.as_str()).field("VersionId", version)
        }
        None => Error::new(Code::NoSuchKey).field("Key", key.as_str()),
    }
}

/// What a read is told that found a delete marker: by its id, or as the newest version.
///
/// # Errors
/// `InternalError` when the bucket's policy cannot be read.
pub fn delete_marker_error(ctx: &Context<'_>, marker: &ObjectRecord, by_id: bool) -> Result<Error> {
    if by_id {
        return Ok(delete_marker_refused(ctx, marker));
    }
    let error = if access::may_list(ctx, ctx.bucket(), ctx.key())? {
        missing(ctx.key(), None)
    } else {
        Code::AccessDenied.into()
    };
    Ok(error.header("x-amz-delete-marker", "true").header("x-amz-version-id", marker.head.version_id()))
}

/// A delete marker has nothing to read and nothing to change.
pub fn delete_marker_refused(ctx: &Context<'_>, marker: &ObjectRecord) -> Error {
    Error::new(Code::MethodNotAllowed)
        .field("Method", ctx.operation.method.as_str())
        .field("ResourceType", "DeleteMarker")
        .header("Allow", "DELETE")
        .header("Last-Modified", time::http_date(marker.head.modified_ms))
        .header("x-amz-delete-marker", "true")
        .header("x-amz-version-id", marker.head.version_id())
}

/// Finds a version of a key: the newest, or the one named (which may be a delete marker).
///
/// # Errors
/// `InvalidArgument` for an id that cannot be one.
pub fn find_version(
    service: &Service,
    bucket: &Bucket,
    key: &ObjectKey,
    version: Option<&str>,
) -> Result<Option<ObjectRecord>> {
    Ok(locate(service, bucket, key, version)?.map(|located| located.record))
}

/// Reads a version id that is not `null`.
///
/// # Errors
/// `InvalidArgument`.
pub fn parse_version_id(version: &str) -> Result<SortedId> {
    let message = match version {
        "" => "Version id cannot be the empty string",
        _ => "Invalid version id specified",
    };
    SortedId::parse(version).ok_or_else(|| Error::invalid_argument("versionId", version, message))
}

/// The part that a read asks for. A number that no part can have is refused whatever the key holds.
fn requested_part(ctx: &Context<'_>) -> Result<Option<u16>> {
    ctx.param("partNumber").map(parse_part_number).transpose()
}

/// Which bytes of the object the answer carries.
struct Wanted {
    range: Range<u64>,
    /// Answer 206 with `Content-Range`.
    partial: bool,
    /// The index into the object's parts, for a read by part number.
    part: Option<usize>,
}

impl Wanted {
    fn read(ctx: &Context<'_>, record: &ObjectRecord) -> Result<Wanted> {
        let size = record.head.size;
        if let Some(number) = requested_part(ctx)? {
            if ctx.headers.has("range") {
                let message = "Cannot specify both Range header and partNumber query parameter";
                return Err(Error::with_message(Code::InvalidRequest, message));
            }
            return Wanted::part(record, number);
        }
        if conditions::range_applies(ctx.headers, &conditions::Target::of(&record.head))
            && let Selection::Part(range) = range::requested(ctx.headers, size)?
        {
            return Ok(Wanted { range, partial: true, part: None });
        }
        Ok(Wanted { range: 0..size, partial: false, part: None })
    }

    fn part(record: &ObjectRecord, number: u16) -> Result<Wanted> {
        let parts = &record.detail.parts;
        if parts.is_empty() && number == 1 {
            return Ok(Wanted { range: 0..record.head.size, partial: record.head.size > 0, part: None });
        }
        let index = usize::from(number) - 1;
        let Some(part) = parts.get(index) else {
            return Err(Error::new(Code::InvalidPartNumber)
                .field("PartNumberRequested", number.to_string())
                .field("ActualPartCount", parts.len().max(1).to_string()));
        };
        let start: u64 = parts[..index].iter().map(|part| part.size).sum();
        Ok(Wanted { range: start..start + part.size, partial: part.size > 0, part: Some(index) })
    }
}

/// Reads a part number, 1 to 10000.
///
/// # Errors
/// `InvalidArgument`.
pub fn parse_part_number(text: &str) -> Result<u16> {
    match text.parse::<u16>() {
        Ok(number @ 1..=10_000) if !text.starts_with('+') => Ok(number),
        _ => Err(Error::invalid_argument(
            "partNumber",
            text,
            "Part number must be an integer between 1 and 10000, inclusive",
        )),
    }
}

/// The head of the answer to a read.
fn answer(ctx: &Context<'_>, record: &ObjectRecord, wanted: &Wanted) -> Result<Response> {
    let head = &record.head;
    conditions::check_read(ctx.headers, &conditions::Target::of(head), ctx.now)?;
    let mut response = Response::new(if wanted.partial { 206 } else { 200 });
    response.push_header("Last-Modified", time::http_date(head.modified_ms));
    response.push_header("ETag", format!("\"{}\"", head.etag));
    response.push_header("Accept-Ranges", "bytes");
    if wanted.partial {
        let Range { start, end } = wanted.range;
        response.push_header("Content-Range", format!("bytes {start}-{}/{}", end - 1, head.size));
    }
    metadata::push(&mut response, &record.detail);
    push_lock(ctx, record, &mut response)?;
    push_found_version_id(&mut response, ctx.bucket(), head);
    if !head.storage_class.is_empty() {
        response.push_header("x-amz-storage-class", head.storage_class.clone());
    }
    restore::push(&mut response, record, ctx.now);
    if !record.detail.tags.is_empty() && access::may_also(ctx, record, "s3:GetObjectTagging")? {
        response.push_header("x-amz-tagging-count", record.detail.tags.len().to_string());
    }
    if ctx.query.has("partNumber") && !record.detail.parts.is_empty() {
        response.push_header("x-amz-mp-parts-count", record.detail.parts.len().to_string());
    }
    // Rules that expire objects speak of the newest version only.
    if ctx.param("versionId").is_none() {
        lifecycle::push_expiration(ctx, &mut response, ctx.key(), record);
    }
    push_asked_checksum(ctx, record, wanted, &mut response);
    apply_overrides(ctx, &mut response)?;
    Ok(response)
}

/// The locks are sent to who may ask for them by themselves (S3 API reference, HeadObject, the response
/// headers `x-amz-object-lock-*`).
fn push_lock(ctx: &Context<'_>, record: &ObjectRecord, response: &mut Response) -> Result<()> {
    let ObjectLock { retention, legal_hold } = record.detail.lock;
    let shown = ObjectLock {
        retention: match retention {
            Some(_) if access::may_also(ctx, record, "s3:GetObjectRetention")? => retention,
            _ => None,
        },
        legal_hold: match legal_hold {
            Some(_) if access::may_also(ctx, record, "s3:GetObjectLegalHold")? => legal_hold,
            _ => None,
        },
    };
    object_lock::push(response, &shown);
    Ok(())
}

/// The checksum is sent when asked for and when it is that of the bytes sent.
fn push_asked_checksum(ctx: &Context<'_>, record: &ObjectRecord, wanted: &Wanted, response: &mut Response) {
    if !checksum::is_requested(ctx.headers) {
        return;
    }
    match wanted.part {
        None if !wanted.partial || wanted.range == (0..record.head.size) => push_checksum(response, record),
        Some(index) => {
            let value = record.detail.parts[index].checksum.clone();
            if let (Some((algorithm, kind)), Some(value)) = (record.head.checksum, value) {
                response.push_header(algorithm.header(), value);
                response.push_header("x-amz-checksum-type", kind.as_str());
            }
        }
        None => {}
    }
}

fn apply_overrides(ctx: &Context<'_>, response: &mut Response) -> Result<()> {
    for (parameter, header) in OVERRIDES {
        let Some(value) = ctx.param(parameter) else { continue };
        if ctx.identity.account().is_none() {
            let message = "Request specific response headers cannot be used for anonymous GET requests.";
            return Err(Error::with_message(Code::InvalidRequest, message));
        }
        if value.chars().any(char::is_control) {
            return Err(Error::invalid_argument(
                parameter,
                value,
                "Header value must not contain control characters.",
            ));
        }
        response.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header));
        response.push_header(header, value.to_owned());
    }
    debug_assert!(matches!(ctx.operation.method, Method::Get | Method::Head));
    Ok(())
}

/// Opens a range of an object's bytes, with its data key ([`Sealing::of_read`]) if it is encrypted.
/// `Ok(None)` when a body is not there (any more).
///
/// # Errors
/// `InternalError` when the store fails.
pub fn open(
    service: &Service,
    record: &ObjectRecord,
    range: Range<u64>,
    key: Option<&Key>,
) -> Result<Option<ResponseBody>> {
    let length = range.end - range.start;
    if length == 0 {
        return Ok(Some(ResponseBody::Empty));
    }
    if let [piece] = record.detail.pieces.as_slice()
        && piece.inline
        && piece.salt.is_none()
    {
        return Ok(
            read_inline(service.meta.as_ref(), &service.damage, piece, &range)?.map(ResponseBody::Bytes)
        );
    }
    let reader = PieceReader::open(service, &record.detail.pieces, range, key)?;
    Ok(reader.map(|reader| ResponseBody::Stream { length, reader: Box::new(reader) }))
}

fn read_inline(
    meta: &dyn MetaStore,
    damage: &Damage,
    piece: &Piece,
    range: &Range<u64>,
) -> Result<Option<Vec<u8>>> {
    let Some(value) = meta.get(&keys::inline_body(&piece.id)).map_err(store_error)? else {
        return Ok(None);
    };
    let opened = inline_body::open(&piece.id, value, piece.stored_size());
    let mut bytes = opened.map_err(|error| store_error(damage.note(error)))?;
    let (start, end) = (range.start as usize, range.end as usize);
    if end > bytes.len() {
        return Err(Error::internal(format!("body {} does not have the bytes {range:?}", piece.id.0)));
    }
    bytes.truncate(end);
    bytes.drain(..start);
    Ok(Some(bytes))
}

/// Opens the stored form of one body. `Ok(None)` when it is not there (any more).
///
/// # Errors
/// `InternalError` when the store fails.
pub fn open_stored(service: &Service, piece: &Piece) -> Result<Option<Box<dyn BufRead + Send>>> {
    Slice::new(service, piece, 0..0)?.open_stored(0..piece.stored_size())
}

/// A run of bytes inside one piece, and where to get it.
struct Slice {
    piece: Piece,
    range: Range<u64>,
    source: Source,
    damage: Arc<Damage>,
}

enum Source {
    Records(Arc<dyn MetaStore>),
    Blobs(Arc<dyn BlobStore>),
}

impl Slice {
    fn new(service: &Service, piece: &Piece, range: Range<u64>) -> Result<Slice> {
        let source = if piece.inline {
            Source::Records(service.meta.clone())
        } else {
            Source::Blobs(service.blobs_of(&piece.location)?.clone())
        };
        Ok(Slice { piece: piece.clone(), range, source, damage: service.damage.clone() })
    }

    fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn open(&self, key: Option<&Key>) -> Result<Option<Box<dyn BufRead + Send>>> {
        let Some(salt) = &self.piece.salt else { return self.open_stored(self.range.clone()) };
        let key = key.ok_or_else(|| Error::internal("an encrypted body is read without its key"))?;
        let salt: Option<[u8; SALT_BYTES]> = unhex(salt).and_then(|salt| salt.try_into().ok());
        let salt = salt.ok_or_else(|| Error::internal("the salt of a body is malformed"))?;
        let Some(sealed) = self.open_stored(sealed_range(self.piece.size, &self.range))? else {
            return Ok(None);
        };
        let cipher = piece_cipher(key, &salt);
        let opened = OpeningReader::open(sealed, cipher, self.piece.size, self.range.clone());
        Ok(Some(Box::new(opened.map_err(|error| Error::from_stored(self.damage.note_read(error)))?)))
    }

    /// Opens a range of the stored form.
    fn open_stored(&self, range: Range<u64>) -> Result<Option<Box<dyn BufRead + Send>>> {
        match &self.source {
            Source::Blobs(blobs) => {
                let range = self.piece.offset + range.start..self.piece.offset + range.end;
                blobs.read(&self.piece.id, range).map_err(|error| store_error(self.damage.note(error)))
            }
            Source::Records(meta) => {
                let bytes = read_inline(meta.as_ref(), &self.damage, &self.piece, &range)?;
                Ok(bytes.map(|bytes| Box::new(io::Cursor::new(bytes)) as Box<dyn BufRead + Send>))
            }
        }
    }
}

/// Reads a range that may span pieces. The first piece is open before the answer begins; the rest are
/// opened as they are reached, so an object of ten thousand parts holds one file open.
pub struct PieceReader {
    current: Box<dyn BufRead + Send>,
    left: u64,
    rest: VecDeque<Slice>,
    key: Option<Key>,
    damage: Arc<Damage>,
}

impl PieceReader {
    /// Opens the first piece that the range touches, with the object's data key if it is encrypted.
    /// `Ok(None)` when it is not there (any more).
    ///
    /// # Errors
    /// `InternalError` when the store fails, or when an encrypted body is not what was stored.
    pub fn open(
        service: &Service,
        pieces: &[Piece],
        range: Range<u64>,
        key: Option<&Key>,
    ) -> Result<Option<PieceReader>> {
        let mut rest = VecDeque::new();
        let mut offset = 0;
        for piece in pieces {
            let (start, end) = (range.start.max(offset), range.end.min(offset + piece.size));
            if start < end {
                rest.push_back(Slice::new(service, piece, start - offset..end - offset)?);
            }
            offset += piece.size;
        }
        let (key, damage) = (key.cloned(), service.damage.clone());
        let Some(first) = rest.pop_front() else {
            return Ok(Some(PieceReader { current: Box::new(io::empty()), left: 0, rest, key, damage }));
        };
        let left = first.length();
        Ok(first.open(key.as_ref())?.map(|current| PieceReader { current, left, rest, key, damage }))
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl BufRead for PieceReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.left == 0 {
            let Some(next) = self.rest.pop_front() else { return Ok(&[]) };
            self.left = next.length();
            self.current = next.open(self.key.as_ref()).map_err(io::Error::other)?.ok_or_else(|| {
                self.damage.note_missing();
                io::Error::new(io::ErrorKind::NotFound, format!("body {} is missing", next.piece.id.0))
            })?;
        }
        let ready = self.current.fill_buf().map_err(|error| self.damage.note_read(error))?;
        if ready.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&ready[..ready.len().min(left)])
    }

    fn consume(&mut self, count: usize) {
        self.left -= count as u64;
        self.current.consume(count);
    }
}
