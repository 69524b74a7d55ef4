//! Uploads whose parts a store takes as pieces of one body and puts together itself
//! ([`crate::storage::drafts`]): another S3 store does, which then has one upload and afterwards one object.
//!
//! ```text
//! create     the draft's name is reserved, the draft begun; the upload's record names it, the reservation ends
//! part       the piece is written; the part's record has its tag
//! complete   the upload's record says of which parts (`Draft::chosen`); the store is asked for the body;
//!            the object's record names it, the upload and its parts go
//! abort      the upload and its parts go, the draft goes on the to-delete list
//! ```
//!
//! As long as the record of the upload is there it owns the draft, whatever the store has made of it: a crash
//! or a lost answer leaves an upload that can be completed or aborted. Because the choice of parts is recorded
//! before the store is asked, the body that is found afterwards can only be the one that was chosen, and
//! everybody who completes the upload with the same parts joins in; who wants others has to wait until the store
//! refuses the choice. Which completion or abort wins is decided as always, by who removes the record.
//!
//! Two writers of one part number are put in order by the store, and their records by commits. Where another
//! record came between a writer's beginning and its commit, the store is asked whose piece it has.

use super::Context;
use super::multipart::{OpenPart, expect_parts, find_upload};
use super::object_put::hint;
use super::service::store_error;
use crate::error::{Code, Error, Result};
use crate::model::SortedId;
use crate::model::multipart::{Draft, DraftPart, PartRecord, UploadRecord};
use crate::model::object::Piece;
use crate::storage::drafts::{DraftError, Drafts, Refusal};
use crate::storage::{BlobId, BlobStore, Outcome};
use std::io::Read;

/// A draft that was begun and belongs to nobody yet.
pub struct Begun {
    /// What the upload's record is to have.
    pub draft: Draft,
    /// The reservation that ends when it is published.
    pub reserved: Piece,
}

/// Begins the draft of a new upload, where the location's store has such.
///
/// # Errors
/// What the stores say. Nothing is kept then.
pub fn begin(ctx: &Context<'_>, location: &str) -> Result<Option<Begun>> {
    let Some(drafts) = ctx.service.blobs_of(location)?.drafts() else { return Ok(None) };
    let reserved = Piece::whole(drafts.reserve(&hint(ctx, None)), 0, location);
    ctx.service.reserve(&reserved)?;
    match drafts.begin(&reserved.id) {
        Ok(id) => Ok(Some(Begun { draft: Draft { id, chosen: Vec::new() }, reserved })),
        Err(error) => {
            ctx.service.drop_unnamed(&[reserved]);
            Err(store_error(error))
        }
    }
}

/// Writes a part as a piece of a draft; `None` for an empty one.
///
/// # Errors
/// What the reader fails with, and what the store says.
pub fn write_part(
    blobs: &dyn BlobStore,
    (draft, number): (&BlobId, u16),
    body: &mut dyn Read,
    length: Option<u64>,
) -> Result<Option<DraftPart>> {
    match drafts_in(blobs)?.write_piece(draft, number, body, length) {
        Ok(piece) => Ok((piece.size > 0).then_some(DraftPart { tag: piece.tag, salt: None })),
        Err(DraftError::Body(error)) => Err(Error::from_body(error)),
        Err(error) => Err(failure(error).close()),
    }
}

fn drafts_in(blobs: &dyn BlobStore) -> Result<&dyn Drafts> {
    blobs.drafts().ok_or_else(|| Error::internal("the location is not of the type any more that it was"))
}

fn drafts_of<'c>(ctx: &'c Context<'_>, location: &str) -> Result<&'c dyn Drafts> {
    drafts_in(ctx.service.blobs_of(location)?.as_ref())
}

/// The S3 error of a draft's.
fn failure(error: DraftError) -> Error {
    match error {
        DraftError::Store(error) => store_error(error),
        DraftError::Body(error) => Error::internal(error),
        DraftError::Gone => {
            Error::new(Code::ServiceUnavailable).cause("the store has no such draft any more")
        }
        DraftError::Refused(Refusal::Missing) => Code::InvalidPart.into(),
        DraftError::Refused(Refusal::Disordered) => Code::InvalidPartOrder.into(),
        DraftError::Refused(Refusal::TooSmall) => Code::EntityTooSmall.into(),
    }
}

/// What the client is told whose part was not stored: that the upload is over, when that is the reason.
pub fn part_failed(ctx: &Context<'_>, open: &OpenPart, error: Error) -> Error {
    if open.upload.draft.is_none() || error.code() != Code::ServiceUnavailable {
        return error;
    }
    match find_upload(ctx).and_then(|(_, upload, _)| require_undecided(&upload)) {
        Ok(()) => error,
        Err(over) => over.close(),
    }
}

/// Refuses to change an upload that is being completed.
///
/// # Errors
/// `OperationAborted`.
pub fn require_undecided(upload: &UploadRecord) -> Result<()> {
    match upload.draft.as_ref().is_none_or(|draft| draft.chosen.is_empty()) {
        true => Ok(()),
        false => Err(Code::OperationAborted.into()),
    }
}

/// Whether a part that was written is not the one any more that its draft has, because somebody else has
/// written one of the same number.
///
/// # Errors
/// `OperationAborted` when the draft has no such part, and what the store says.
pub fn is_overwritten(
    ctx: &Context<'_>,
    upload: &UploadRecord,
    number: u16,
    part: &PartRecord,
) -> Result<bool> {
    let (Some(draft), Some(own)) = (&upload.draft, &part.drafted) else { return Ok(false) };
    let tag = drafts_of(ctx, &upload.location)?.tag_of(&draft.id, number).map_err(store_error)?;
    tag.map(|tag| tag != own.tag).ok_or_else(|| Code::OperationAborted.into())
}

/// Removes a part that arrived when its upload was over.
pub fn drop_late(ctx: &Context<'_>, open: &OpenPart, error: &Error) {
    let Some(draft) = open.upload.draft.as_ref().filter(|_| error.code() == Code::NoSuchUpload) else {
        return;
    };
    if let Ok(drafts) = drafts_of(ctx, &open.upload.location) {
        // S3 takes no parts of an upload that has ended, unless they were under way: it costs room if this fails.
        let _ = drafts.drop_late(&draft.id);
    }
}

/// What is to be put on the to-delete list when an upload ends without an object.
pub fn pieces_of(upload: &UploadRecord) -> Vec<Piece> {
    let draft = upload.draft.iter();
    draft.map(|draft| Piece::whole(draft.id.clone(), 0, &upload.location)).collect()
}

/// The parts of an upload that is to be completed.
pub struct Parts<'p> {
    /// The upload's id.
    pub id: SortedId,
    /// The key of the upload's record.
    pub upload_key: &'p [u8],
    /// The records of all of them.
    pub stored: &'p [(u16, Vec<u8>)],
    /// Those that the object is to be made of.
    pub chosen: &'p [(u16, PartRecord)],
}

/// What an object is to be made of.
pub struct Assembled {
    /// The stored form of the upload's record, which the commit is to find unchanged.
    pub upload_stored: Vec<u8>,
    /// Where the object's bytes are.
    pub pieces: Vec<Piece>,
    /// What is not needed any more.
    pub unused: Vec<Piece>,
}

/// Has the store put the chosen parts together. `Ok(None)` when the upload has changed meanwhile.
///
/// # Errors
/// `InvalidPart`, `InvalidPartOrder`, `EntityTooSmall` as the store says, `OperationAborted` when it has put
/// other parts together, and what else the stores say. The upload is still open then.
pub fn assemble(
    ctx: &Context<'_>,
    mut upload: UploadRecord,
    upload_stored: Vec<u8>,
    parts: &Parts<'_>,
) -> Result<Option<Assembled>> {
    let unused = pieces_of(&upload);
    let Some(draft) = &mut upload.draft else { return Ok(None) };
    let wanted: Vec<(u16, String)> = parts.chosen.iter().filter_map(tag_of).collect();
    if wanted.is_empty() {
        return Ok(Some(Assembled { upload_stored, pieces: Vec::new(), unused }));
    }
    let mut upload_stored = upload_stored;
    if draft.chosen.is_empty() {
        draft.chosen.clone_from(&wanted);
        match decide(ctx, &upload, upload_stored, parts)? {
            Some(stored) => upload_stored = stored,
            None => return Ok(None),
        }
    }
    let Some(draft) = &upload.draft else { return Ok(None) };
    let is_own = draft.chosen == wanted;
    let size = stored_size(&draft.chosen, parts)?;
    match drafts_of(ctx, &upload.location)?.assemble(&draft.id, &draft.chosen, size) {
        Ok(body) if is_own => {
            let pieces = pieces_in(&body, &upload.location, parts.chosen);
            Ok(Some(Assembled { upload_stored, pieces, unused: Vec::new() }))
        }
        Ok(_) if is_changed(ctx, parts.upload_key, &upload_stored)? => Ok(None),
        Ok(_) => Err(others_chosen()),
        Err(error @ DraftError::Refused(_)) => {
            undecide(ctx, upload, upload_stored, parts.upload_key)?;
            if is_own { Err(failure(error)) } else { Ok(None) }
        }
        Err(_) if is_changed(ctx, parts.upload_key, &upload_stored)? => Ok(None),
        Err(error) => Err(failure(error)),
    }
}

fn others_chosen() -> Error {
    let message = "Another request has completed this upload with other parts, and its outcome is not known. \
                   List the same parts, or abort the upload.";
    Error::with_message(Code::OperationAborted, message)
}

fn tag_of((number, part): &(u16, PartRecord)) -> Option<(u16, String)> {
    part.drafted.as_ref().map(|drafted| (*number, drafted.tag.clone()))
}

/// Writes down which parts the store is going to be asked for, if nothing has changed since they were read.
/// Returns the stored form of the record.
fn decide(
    ctx: &Context<'_>,
    upload: &UploadRecord,
    upload_stored: Vec<u8>,
    parts: &Parts<'_>,
) -> Result<Option<Vec<u8>>> {
    let decided = upload.encode();
    let mut batch = ctx.service.batch_in(&ctx.bucket().record);
    batch.expect(parts.upload_key, Some(upload_stored));
    expect_parts(&mut batch, parts.id, parts.stored);
    batch.put(parts.upload_key, decided.clone());
    Ok((ctx.service.commit(batch)? == Outcome::Committed).then_some(decided))
}

/// Takes a choice back that the store has refused, unless somebody else has done so.
fn undecide(
    ctx: &Context<'_>,
    mut upload: UploadRecord,
    upload_stored: Vec<u8>,
    upload_key: &[u8],
) -> Result<()> {
    if let Some(draft) = &mut upload.draft {
        draft.chosen.clear();
    }
    let mut batch = ctx.service.batch_in(&ctx.bucket().record);
    batch.expect(upload_key, Some(upload_stored));
    batch.put(upload_key, upload.encode());
    ctx.service.commit(batch).map(|_| ())
}

fn is_changed(ctx: &Context<'_>, upload_key: &[u8], upload_stored: &[u8]) -> Result<bool> {
    let now = ctx.service.meta.get(upload_key).map_err(store_error)?;
    Ok(now.as_deref() != Some(upload_stored))
}

/// How many bytes the body of these parts has.
fn stored_size(chosen: &[(u16, String)], parts: &Parts<'_>) -> Result<u64> {
    let mut size = 0;
    for (number, stored) in parts.stored {
        if chosen.binary_search_by_key(number, |(number, _)| *number).is_ok() {
            let part = PartRecord::decode(stored).map_err(store_error)?;
            size += piece_of(&BlobId(String::new()), "", &part).stored_size();
        }
    }
    Ok(size)
}

fn piece_of(body: &BlobId, location: &str, part: &PartRecord) -> Piece {
    let salt = part.drafted.as_ref().and_then(|drafted| drafted.salt.clone());
    Piece { salt, ..Piece::whole(body.clone(), part.size, location) }
}

/// Where the bytes of the parts are in the body that they have become. Plain parts are one run of bytes,
/// encrypted ones stand behind each other as they were sealed, each with its salt.
fn pieces_in(body: &BlobId, location: &str, chosen: &[(u16, PartRecord)]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut offset = 0;
    for (_, part) in chosen.iter().filter(|(_, part)| part.drafted.is_some()) {
        let piece = Piece { offset, ..piece_of(body, location, part) };
        offset += piece.stored_size();
        match pieces.last_mut() {
            Some(last) if last.salt.is_none() && piece.salt.is_none() => last.size += piece.size,
            _ => pieces.push(piece),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sealed::sealed_size;

    fn part(size: u64, salt: Option<&str>) -> PartRecord {
        let drafted = DraftPart { tag: "t".to_owned(), salt: salt.map(str::to_owned) };
        PartRecord {
            modified_ms: 0,
            size,
            etag: String::new(),
            checksum: None,
            pieces: Vec::new(),
            drafted: (size > 0).then_some(drafted),
        }
    }

    #[test]
    fn plain_parts_are_one_run_and_sealed_ones_begin_where_the_last_ended() {
        let body = BlobId("k".to_owned());
        let plain = [(1, part(5, None)), (2, part(0, None)), (7, part(6, None))];
        assert_eq!(pieces_in(&body, "far", &plain), [Piece::whole(body.clone(), 11, "far")]);
        let sealed = [(1, part(70_000, Some("a"))), (2, part(0, None)), (3, part(1, Some("b")))];
        let pieces = pieces_in(&body, "far", &sealed);
        let shown: Vec<_> =
            pieces.iter().map(|piece| (piece.size, piece.offset, piece.salt.as_deref())).collect();
        assert_eq!(shown, [(70_000, 0, Some("a")), (1, sealed_size(70_000), Some("b"))]);
        assert!(pieces_in(&body, "far", &[(1, part(0, None))]).is_empty());
    }
}
