//! Bodies that are written in pieces, as multipart uploads of another S3 store ([`super::s3_upstream`]).
//!
//! ```text
//! <key>?uploads           a draft that is about to be begun: whatever uploads the remote has for the key
//! <key>?uploadId=<id>     a draft: this upload, or the object that it has become
//! <key>                   the body
//! ```
//!
//! A key is never used twice, so everything that the remote has under one belongs to one draft. That is what
//! makes a lost answer harmless: a creation that was sent twice leaves an upload that is found by its key, and
//! a completion whose answer did not come is over when the upload is gone and the object is there.

use super::drafts::{DraftError, Drafts, Refusal, WrittenPiece};
use super::remote::{Failure, Outgoing, text_of};
use super::s3_upstream::{Call, Upstream, code_of, gone, is_key, refused, stored_tag};
use super::{BlobHint, BlobId, Result, StorageError, WriteError};
use crate::codec::xml_writer::XmlWriter;
use crate::codec::{uri, xml_reader};
use crate::http::Method;
use std::io::Read;

/// The longest upload id that is taken from a remote, in bytes: it becomes part of the name of a body.
const UPLOAD_ID_BYTES_MAX: usize = 1024;
/// The code that says that an upload is not there.
const NO_SUCH_UPLOAD: &str = "NoSuchUpload";

/// What the name of a draft says.
pub(super) struct Draft<'n> {
    key: &'n str,
    /// The id of the upload, unless that is not known (yet).
    upload_id: Option<&'n str>,
}

impl<'n> Draft<'n> {
    /// Reads a name; `None` for one that is not a draft's. Keys end in digits, so the last question mark is
    /// the one that was put behind the key.
    pub(super) fn of(id: &'n BlobId) -> Option<Draft<'n>> {
        let (key, rest) = id.0.rsplit_once('?').filter(|(key, _)| is_key(key))?;
        match rest.strip_prefix("uploadId=") {
            Some(upload_id) => Some(Draft { key, upload_id: Some(upload_id) }),
            None => (rest == "uploads").then_some(Draft { key, upload_id: None }),
        }
    }

    /// Reads the name of a draft that was begun.
    fn begun(id: &'n BlobId) -> Result<(&'n str, String)> {
        match Draft::of(id) {
            Some(Draft { key, upload_id: Some(upload_id) }) => Ok((key, upload_query(upload_id))),
            _ => Err(StorageError::Corrupt(format!("{:?} is not the name of a draft", id.0))),
        }
    }
}

fn upload_query(upload_id: &str) -> String {
    format!("uploadId={}", uri::encode(upload_id))
}

/// An answer that cannot be read.
fn unreadable(what: &str, why: impl std::fmt::Display) -> StorageError {
    StorageError::Unavailable(format!("the remote store answered {what} with what cannot be read: {why}"))
}

impl Upstream {
    /// Removes whatever there is of a draft.
    pub(super) fn remove_draft(&self, draft: &Draft<'_>) -> std::result::Result<(), Failure> {
        let Some(upload_id) = draft.upload_id else { return self.abort_all(draft.key, None) };
        self.abort(draft.key, upload_id)?;
        // Whether the upload was there says little: some stores take an abort of what is completed. Deleting what
        // is not there leaves a marker in a versioned bucket, so it is looked for first; where looking is not
        // allowed it is deleted all the same.
        match self.size_of(draft.key) {
            Ok(None) => Ok(()),
            _ => super::remote::Client::remove(self, &BlobId(draft.key.to_owned())),
        }
    }

    /// Aborts an upload; one that is gone is aborted.
    fn abort(&self, key: &str, upload_id: &str) -> std::result::Result<(), Failure> {
        let query = upload_query(upload_id);
        let answer = self.send(&Call { query: &query, ..Call::new(Method::Delete, key) })?;
        match answer.status().as_u16() {
            200 | 204 => {
                text_of(answer);
                Ok(())
            }
            404 => Ok(gone(answer, "AbortMultipartUpload", NO_SUCH_UPLOAD)?),
            _ => Err(refused("AbortMultipartUpload", answer).into()),
        }
    }

    /// Aborts all uploads of a key but one.
    fn abort_all(&self, key: &str, but: Option<&str>) -> std::result::Result<(), Failure> {
        let query = format!("prefix={}&uploads=", uri::encode(key));
        let answer = self.send(&Call { query: &query, ..Call::new(Method::Get, "") })?;
        if answer.status().as_u16() != 200 {
            return Err(refused("ListMultipartUploads", answer).into());
        }
        let text = text_of(answer);
        let found = uploads_in(&text, key).map_err(|error| unreadable("ListMultipartUploads", error))?;
        let others = found.iter().filter(|upload_id| Some(upload_id.as_str()) != but);
        others.into_iter().try_for_each(|upload_id| self.abort(key, upload_id))
    }

    /// The size of an object, if it is there.
    fn size_of(&self, key: &str) -> std::result::Result<Option<u64>, Failure> {
        let answer = self.send(&Call::new(Method::Head, key))?;
        match answer.status().as_u16() {
            200 => {
                let length = answer.headers().get("content-length").and_then(|length| length.to_str().ok());
                let length = length.and_then(|length| length.parse().ok());
                let length = length.ok_or_else(|| unreadable("HEAD", "it has no length"))?;
                Ok(Some(length))
            }
            404 => Ok(None),
            _ => Err(refused("HEAD", answer).into()),
        }
    }
}

/// The ids of a key's uploads in a ListMultipartUploadsResult. Roots are not compared: there are stores that call
/// theirs otherwise.
fn uploads_in(text: &str, key: &str) -> crate::error::Result<Vec<String>> {
    let document = xml_reader::parse(text.as_bytes())?;
    let mut found = Vec::new();
    for upload in document.any_root().children("Upload") {
        if upload.required_text("Key")? == key {
            found.push(upload.required_text("UploadId")?.into_owned());
        }
    }
    Ok(found)
}

/// The id in an InitiateMultipartUploadResult.
fn upload_id_in(text: &str) -> crate::error::Result<String> {
    let document = xml_reader::parse(text.as_bytes())?;
    let id = document.any_root().required_text("UploadId")?;
    match id.len() {
        1..=UPLOAD_ID_BYTES_MAX if !id.chars().any(char::is_control) => Ok(id.into_owned()),
        length => Err(xml_reader::malformed(format_args!("an upload id of {length} bytes"))),
    }
}

/// The ETag of a part in a ListPartsResult.
fn tag_in(text: &str, number: u16) -> crate::error::Result<Option<String>> {
    let document = xml_reader::parse(text.as_bytes())?;
    for part in document.any_root().children("Part") {
        if part.number("PartNumber")? == Some(u64::from(number)) {
            return Ok(Some(part.required_text("ETag")?.trim_matches('"').to_owned()));
        }
    }
    Ok(None)
}

/// The body of CompleteMultipartUpload.
fn completion(pieces: &[(u16, String)]) -> Vec<u8> {
    let mut xml = XmlWriter::document("CompleteMultipartUpload");
    for (number, tag) in pieces {
        xml.open("Part");
        xml.number("PartNumber", u64::from(*number));
        xml.element("ETag", &format!("\"{tag}\""));
        xml.close("Part");
    }
    xml.end("CompleteMultipartUpload")
}

/// What an answer to CompleteMultipartUpload means.
#[derive(Debug, PartialEq, Eq)]
enum Completed {
    /// The object is there.
    Whole,
    /// The upload is not: it was aborted, or completed before.
    Gone,
    /// The parts were refused.
    Refused(Refusal),
}

/// Reads an answer to CompleteMultipartUpload. S3 may begin to answer 200 before it knows (S3 API reference,
/// CompleteMultipartUpload): the outcome is in the body.
fn outcome(status: u16, text: &str) -> std::result::Result<Completed, Failure> {
    let document = xml_reader::parse(text.trim_start().as_bytes());
    let is_result = document.is_ok_and(|document| document.any_root().required("ETag").is_ok());
    let code = code_of(text);
    let shown = || format!("the remote store answered CompleteMultipartUpload with {status} {code}");
    match (status, code) {
        (200, _) if is_result => Ok(Completed::Whole),
        (_, NO_SUCH_UPLOAD) => Ok(Completed::Gone),
        (_, "InvalidPart") => Ok(Completed::Refused(Refusal::Missing)),
        (_, "InvalidPartOrder") => Ok(Completed::Refused(Refusal::Disordered)),
        (_, "EntityTooSmall") => Ok(Completed::Refused(Refusal::TooSmall)),
        // Nobody knows what became of it; asking again finds out.
        (200 | 500 | 502 | 503, _) => Err(Failure::NoAnswer(shown())),
        _ => Err(StorageError::Unavailable(shown()).into()),
    }
}

impl Drafts for Upstream {
    fn reserve(&self, hint: &BlobHint<'_>) -> BlobId {
        BlobId(format!("{}?uploads", self.new_key(hint).0))
    }

    fn begin(&self, reserved: &BlobId) -> Result<BlobId> {
        let Some(Draft { key, upload_id: None }) = Draft::of(reserved) else {
            return Err(StorageError::Corrupt(format!("{:?} is not a reserved name", reserved.0)));
        };
        let fields = self.creation_fields();
        let call = Call { query: "uploads=", fields, ..Call::new(Method::Post, key) };
        let mut tries = 0;
        let answer = self.send_counted(&call, &mut tries).map_err(Failure::into_storage)?;
        if answer.status().as_u16() != 200 {
            return Err(refused("CreateMultipartUpload", answer));
        }
        let id =
            upload_id_in(&text_of(answer)).map_err(|error| unreadable("CreateMultipartUpload", error))?;
        if tries > 1 {
            // A try without an answer may have created one as well.
            self.abort_all(key, Some(&id)).map_err(Failure::into_storage)?;
        }
        Ok(BlobId(format!("{key}?uploadId={id}")))
    }

    fn write_piece(
        &self,
        draft: &BlobId,
        number: u16,
        body: &mut dyn Read,
        length: Option<u64>,
    ) -> std::result::Result<WrittenPiece, DraftError> {
        let (key, upload) = Draft::begun(draft)?;
        let mut outgoing = Outgoing::new(body, length).map_err(draft_error)?;
        let size = outgoing.length;
        if size == 0 {
            return Ok(WrittenPiece { tag: String::new(), size });
        }
        let query = format!("partNumber={number}&{upload}");
        let call = Call { query: &query, ..Call::new(Method::Put, key) };
        let answer = self.send_body(&call, &mut outgoing, &mut Ok);
        let answer = answer.map_err(|failure| draft_error(failure.into_write()))?;
        match answer.status().as_u16() {
            200 => {}
            404 => {
                gone(answer, "UploadPart", NO_SUCH_UPLOAD)?;
                return Err(DraftError::Gone);
            }
            _ => return Err(refused("UploadPart", answer).into()),
        }
        let tag = stored_tag(answer, &mut outgoing)?;
        match tag.is_empty() {
            true => Err(unreadable("UploadPart", "it has no ETag").into()),
            false => Ok(WrittenPiece { tag, size }),
        }
    }

    fn tag_of(&self, draft: &BlobId, number: u16) -> Result<Option<String>> {
        let (key, upload) = Draft::begun(draft)?;
        let query = format!("max-parts=1&part-number-marker={}&{upload}", number.saturating_sub(1));
        let answer = self.send(&Call { query: &query, ..Call::new(Method::Get, key) });
        let answer = answer.map_err(Failure::into_storage)?;
        match answer.status().as_u16() {
            200 => tag_in(&text_of(answer), number).map_err(|error| unreadable("ListParts", error)),
            404 => gone(answer, "ListParts", NO_SUCH_UPLOAD).map(|()| None),
            _ => Err(refused("ListParts", answer)),
        }
    }

    fn assemble(
        &self,
        draft: &BlobId,
        pieces: &[(u16, String)],
        size: u64,
    ) -> std::result::Result<BlobId, DraftError> {
        let (key, upload) = Draft::begun(draft)?;
        let call = Call { query: &upload, ..Call::new(Method::Post, key) };
        let mut outgoing = Outgoing::whole(completion(pieces));
        let completed = self.send_body(&call, &mut outgoing, &mut |answer| {
            let status = answer.status().as_u16();
            outcome(status, &text_of(answer))
        });
        match completed.map_err(Failure::into_storage)? {
            Completed::Whole => {}
            Completed::Refused(refusal) => return Err(DraftError::Refused(refusal)),
            Completed::Gone => {
                let found = self.size_of(key).map_err(Failure::into_storage)?;
                if found != Some(size) {
                    let text =
                        format!("the upload of {key:?} is gone, and {found:?} bytes are there of {size}");
                    return Err(StorageError::Unavailable(text).into());
                }
            }
        }
        Ok(BlobId(key.to_owned()))
    }

    fn drop_late(&self, draft: &BlobId) -> Result<()> {
        match Draft::of(draft) {
            Some(Draft { key, upload_id: Some(upload_id) }) => {
                self.abort(key, upload_id).map_err(Failure::into_storage)
            }
            _ => Ok(()),
        }
    }
}

fn draft_error(error: WriteError) -> DraftError {
    match error {
        WriteError::Body(error) => DraftError::Body(error),
        WriteError::Store(error) => DraftError::Store(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_draft_is_told_from_that_of_a_body() {
        let key = format!("bucket/a?uploads/{}", "0".repeat(32));
        let read = |name: String| {
            Draft::of(&BlobId(name)).map(|draft| (draft.key.to_owned(), draft.upload_id.map(str::to_owned)))
        };
        assert_eq!(read(key.clone()), None);
        assert_eq!(read(format!("{key}?uploads")), Some((key.clone(), None)));
        let named = Some((key.clone(), Some("2~a/b=".to_owned())));
        assert_eq!(read(format!("{key}?uploadId=2~a/b=")), named);
        for other in ["", "?uploads", "bucket?uploads", "bucket/key?uploadId=x", &format!("{key}?acl")] {
            assert_eq!(read(other.to_owned()), None, "{other}");
        }
    }

    #[test]
    fn the_outcome_of_a_completion_is_in_its_body() {
        let result = "<CompleteMultipartUploadResult><ETag>\"x-1\"</ETag></CompleteMultipartUploadResult>";
        let declared = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n  \n{result}");
        let error = |code: &str| format!("<Error><Code>{code}</Code></Error>");
        for (status, text, expected) in [
            (200, result.to_owned(), Some(Completed::Whole)),
            (200, format!(" \n{declared}"), Some(Completed::Whole)),
            (200, error("InvalidPart"), Some(Completed::Refused(Refusal::Missing))),
            (400, error("InvalidPartOrder"), Some(Completed::Refused(Refusal::Disordered))),
            (400, error("EntityTooSmall"), Some(Completed::Refused(Refusal::TooSmall))),
            (404, error("NoSuchUpload"), Some(Completed::Gone)),
        ] {
            assert_eq!(outcome(status, &text).ok(), expected, "{status} {text}");
        }
        for (status, text, may_pass) in [
            (200, error("InternalError"), true),
            (200, String::new(), true),
            (200, result[..30].to_owned(), true),
            (503, error("SlowDown"), true),
            (403, error("AccessDenied"), false),
            (404, error("NoSuchBucket"), false),
        ] {
            let failure = outcome(status, &text).expect_err("no outcome");
            assert_eq!(matches!(failure, Failure::NoAnswer(_)), may_pass, "{status} {text}");
        }
    }

    #[test]
    fn upload_ids_that_could_not_be_kept_are_refused() {
        let answer = |id: &str| {
            format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            )
        };
        assert_eq!(upload_id_in(&answer("a&amp;b")).ok().as_deref(), Some("a&b"));
        for id in ["", "a\nb", &"x".repeat(UPLOAD_ID_BYTES_MAX + 1)] {
            assert!(upload_id_in(&answer(id)).is_err(), "{id:?}");
        }
    }
}
