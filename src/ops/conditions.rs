//! Conditional requests: whether the object that is there now is one that the client wants to read,
//! replace or delete.
//!
//! Reads follow RFC 9110 section 13 with the two combinations that the S3 API reference spells out;
//! writes follow "Conditional writes" and deletes follow "Conditional deletes" of the S3 User Guide.
//! Conditions of writes and deletes are parsed once and checked as often as a commit is tried, because
//! only what is true at the moment of the commit counts.

use crate::codec::clock::Millis;
use crate::codec::time;
use crate::error::{Code, Error, Result};
use crate::http::Headers;
use crate::model::object::{ObjectHead, ObjectRecord};

/// What conditions look at in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The ETag, without quotes.
    pub etag: &'a str,
    /// When it was written. Compared to the second, which is all that HTTP dates have.
    pub modified: Millis,
    /// Its length in bytes.
    pub size: u64,
}

impl<'a> Target<'a> {
    /// What conditions look at in a version.
    pub fn of(head: &'a ObjectHead) -> Target<'a> {
        Target { etag: &head.etag, modified: head.modified_ms, size: head.size }
    }

    fn modified_second(&self) -> Millis {
        self.modified - self.modified % 1_000
    }
}

/// What stands under a key when something is about to be written or deleted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current<'a> {
    /// Nothing.
    Absent,
    /// A delete marker is the current version.
    DeleteMarker,
    /// An object.
    Object(Target<'a>),
}

impl<'a> Current<'a> {
    /// What the newest version of a key amounts to.
    pub fn of(newest: Option<&'a ObjectRecord>) -> Current<'a> {
        match newest {
            None => Current::Absent,
            Some(record) if record.head.delete_marker => Current::DeleteMarker,
            Some(record) => Current::Object(Target::of(&record.head)),
        }
    }
}

/// The names of the four conditions, in one place for reads and in another for copy sources.
struct Names {
    if_match: &'static str,
    if_none_match: &'static str,
    if_modified_since: &'static str,
    if_unmodified_since: &'static str,
}

const READ: Names = Names {
    if_match: "If-Match",
    if_none_match: "If-None-Match",
    if_modified_since: "If-Modified-Since",
    if_unmodified_since: "If-Unmodified-Since",
};

const COPY_SOURCE: Names = Names {
    if_match: "x-amz-copy-source-If-Match",
    if_none_match: "x-amz-copy-source-If-None-Match",
    if_modified_since: "x-amz-copy-source-If-Modified-Since",
    if_unmodified_since: "x-amz-copy-source-If-Unmodified-Since",
};

/// Checks the conditions of GetObject and HeadObject. Errors: `PreconditionFailed` (412), and
/// `NotModified` (304) with the header fields that RFC 9110 section 15.4.5 asks for.
pub fn check_read(headers: &Headers, target: &Target<'_>, now: Millis) -> Result<()> {
    match failed_read(headers, target, &READ, now) {
        None => Ok(()),
        Some(name) if name == READ.if_match || name == READ.if_unmodified_since => Err(failed(name)),
        Some(_) => Err(Error::new(Code::NotModified)
            .header("ETag", format!("\"{}\"", target.etag))
            .header("Last-Modified", time::http_date(target.modified))),
    }
}

/// Checks the `x-amz-copy-source-if-*` conditions of CopyObject and UploadPartCopy against the source.
/// Whatever fails is `PreconditionFailed` (412).
pub fn check_copy_source(headers: &Headers, source: &Target<'_>, now: Millis) -> Result<()> {
    match failed_read(headers, source, &COPY_SOURCE, now) {
        None => Ok(()),
        Some(name) => Err(failed(name)),
    }
}

/// The condition that does not hold. The date of a pair counts only where its ETag is not given; a date
/// that cannot be read does not count at all, nor does one in the future after which nothing can have been
/// modified yet.
fn failed_read(headers: &Headers, target: &Target<'_>, names: &Names, now: Millis) -> Option<&'static str> {
    if let Some(tags) = tags(headers, names.if_match) {
        if !tags.includes(target.etag, Comparison::Strong) {
            return Some(names.if_match);
        }
    } else if date(headers, names.if_unmodified_since).is_some_and(|at| target.modified_second() > at) {
        return Some(names.if_unmodified_since);
    }
    if let Some(tags) = tags(headers, names.if_none_match) {
        if tags.includes(target.etag, Comparison::Weak) {
            return Some(names.if_none_match);
        }
    } else if date(headers, names.if_modified_since)
        .is_some_and(|at| at <= now && target.modified_second() <= at)
    {
        return Some(names.if_modified_since);
    }
    None
}

/// The conditions of PutObject, CopyObject and CompleteMultipartUpload on what they replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// `If-None-Match`: what is replaced must not be this; with `*`, there must be nothing to replace.
    /// S3 takes only `*`; ETags are taken here too, as RFC 9110 section 13.1.2 means them.
    pub none_match: Option<Tags>,
    /// `If-Match`: what is replaced must be this.
    pub matches: Option<Tags>,
}

impl WriteConditions {
    /// Reads the conditions. Those that S3 does not take on writes are `NotImplemented` (501).
    pub fn from_headers(headers: &Headers) -> Result<WriteConditions> {
        for name in [READ.if_modified_since, READ.if_unmodified_since] {
            if headers.has(&name.to_ascii_lowercase()) {
                return Err(Error::new(Code::NotImplemented).field("Header", name));
            }
        }
        let none_match = tags(headers, READ.if_none_match);
        let matches = tags(headers, READ.if_match);
        if none_match.is_some() && matches.is_some() {
            return Err(Error::new(Code::NotImplemented)
                .field("Header", "If-Match,If-None-Match")
                .field("additionalMessage", "Multiple conditional request headers present in the request"));
        }
        Ok(WriteConditions { none_match, matches })
    }

    /// Checks the conditions against what is there now. Errors: `PreconditionFailed` (412), and
    /// `NoSuchKey` (404) where there should be something to match.
    pub fn check(&self, current: &Current<'_>) -> Result<()> {
        if let (Some(tags), Current::Object(target)) = (&self.none_match, current)
            && tags.includes(target.etag, Comparison::Weak)
        {
            return Err(failed(READ.if_none_match));
        }
        match (&self.matches, current) {
            (None, _) => Ok(()),
            (Some(tags), Current::Object(target)) if tags.includes(target.etag, Comparison::Strong) => Ok(()),
            (Some(_), Current::Object(_)) => Err(failed(READ.if_match)),
            (Some(_), Current::Absent | Current::DeleteMarker) => Err(Error::new(Code::NoSuchKey)),
        }
    }

    /// Checks the conditions of CompleteMultipartUpload, which speak of the time since the upload was
    /// created too. Errors: as [`WriteConditions::check`]; `ConditionalRequestConflict` (409) when they
    /// hold now, but the object that should be absent was deleted meanwhile, or the one that should match
    /// was written meanwhile. Only a new upload can then succeed.
    pub fn check_upload(&self, current: &Current<'_>, created: Millis, replaces: bool) -> Result<()> {
        self.check(current)?;
        let conflict = match (current, &self.none_match, &self.matches) {
            (Current::Absent | Current::DeleteMarker, Some(Tags::Any), _) if replaces => READ.if_none_match,
            (Current::Object(target), _, Some(_)) if target.modified > created => READ.if_match,
            _ => return Ok(()),
        };
        Err(Error::new(Code::ConditionalRequestConflict).field("Condition", conflict))
    }

    /// What is said instead of `OperationAborted`, when other writes came between every try.
    pub fn contended(&self, error: Error) -> Error {
        if self.is_empty() || error.code() != Code::OperationAborted {
            return error;
        }
        Error::new(Code::ConditionalRequestConflict)
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        *self == WriteConditions::default()
    }
}

/// The conditions of DeleteObject, and of an object in DeleteObjects, on what they delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteConditions {
    /// `If-Match`, or the element `ETag`.
    pub matches: Option<Tags>,
    /// `x-amz-if-match-last-modified-time`, or the element `LastModifiedTime`; to the second.
    pub modified: Option<Millis>,
    /// `x-amz-if-match-size`, or the element `Size`; in bytes.
    pub size: Option<u64>,
}

impl DeleteConditions {
    const MODIFIED: &'static str = "x-amz-if-match-last-modified-time";
    const SIZE: &'static str = "x-amz-if-match-size";

    /// Reads the conditions of DeleteObject. Unlike the standard ones, conditions in `x-amz-` fields that
    /// cannot be read are errors (`InvalidArgument`): ignoring them would delete what should stay.
    pub fn from_headers(headers: &Headers) -> Result<DeleteConditions> {
        let invalid = |name: &str, value: &str| {
            Error::invalid_argument(name, value, format!("Value for {name} header is invalid."))
        };
        let modified = match headers.get(Self::MODIFIED) {
            None => None,
            Some(text) => Some(any_date(text).ok_or_else(|| invalid(Self::MODIFIED, text))?),
        };
        let size = match headers.get(Self::SIZE) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| invalid(Self::SIZE, text))?),
        };
        Ok(DeleteConditions { matches: tags(headers, READ.if_match), modified, size })
    }

    /// Reads the conditions of an entry of DeleteObjects. A date or size that cannot be read is
    /// `MalformedXML`.
    pub fn of_entry(
        etag: Option<&str>,
        modified: Option<&str>,
        size: Option<&str>,
    ) -> Result<DeleteConditions> {
        let malformed = || Error::new(Code::MalformedXML);
        Ok(DeleteConditions {
            matches: etag.map(Tags::parse),
            modified: modified.map(|text| any_date(text).ok_or_else(malformed)).transpose()?,
            size: size.map(|text| text.parse().map_err(|_| malformed())).transpose()?,
        })
    }

    /// Checks the conditions against what is there now. Errors: `PreconditionFailed` (412), and
    /// `NoSuchKey` (404) where an ETag is to match and there never was an object. Time and size alone do
    /// not hinder the deletion of nothing; a delete marker fails every condition, as it is not what the
    /// client saw.
    pub fn check(&self, current: &Current<'_>) -> Result<()> {
        let target = match (current, &self.matches) {
            (Current::Object(target), _) => target,
            (Current::Absent, None) => return Ok(()),
            (Current::Absent, Some(_)) => return Err(Error::new(Code::NoSuchKey)),
            (Current::DeleteMarker, _) => return self.first_name().map_or(Ok(()), |name| Err(failed(name))),
        };
        if self.matches.as_ref().is_some_and(|tags| !tags.includes(target.etag, Comparison::Strong)) {
            return Err(failed(READ.if_match));
        }
        if self.modified.is_some_and(|at| at - at % 1_000 != target.modified_second()) {
            return Err(failed(Self::MODIFIED));
        }
        if self.size.is_some_and(|size| size != target.size) {
            return Err(failed(Self::SIZE));
        }
        Ok(())
    }

    /// The name of the first condition that there is.
    fn first_name(&self) -> Option<&'static str> {
        let given = [
            (self.matches.is_some(), READ.if_match),
            (self.modified.is_some(), Self::MODIFIED),
            (self.size.is_some(), Self::SIZE),
        ];
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        *self == DeleteConditions::default()
    }
}

/// Whether `If-Range` (RFC 9110 section 13.1.5) lets a range be answered: it names this very object, or
/// there is none.
pub fn range_applies(headers: &Headers, target: &Target<'_>) -> bool {
    let Some(text) = headers.get("if-range") else { return true };
    match time::parse_http_date(text) {
        Some(at) => at == target.modified_second(),
        None => Tags::parse(text).is_exactly(target.etag),
    }
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`
    Any,
    /// A list of ETags as sent, separated by commas, with or without quotes.
    List(String),
}

/// RFC 9110 section 8.8.3.2. S3's own ETags are all strong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

impl Tags {
    /// Reads a value. Anything that is not `*` is a list, if perhaps of ETags that no object has.
    pub fn parse(text: &str) -> Tags {
        if text.trim() == "*" { Tags::Any } else { Tags::List(text.to_owned()) }
    }

    fn includes(&self, etag: &str, comparison: Comparison) -> bool {
        let Tags::List(list) = self else { return true };
        list.split(',').map(str::trim).any(|tag| match tag.strip_prefix("W/") {
            Some(weak) => comparison == Comparison::Weak && unquoted(weak) == etag,
            None => unquoted(tag) == etag,
        })
    }

    fn is_exactly(&self, etag: &str) -> bool {
        *self != Tags::Any && self.includes(etag, Comparison::Strong)
    }
}

fn unquoted(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

/// All values of a field as one list, as RFC 9110 section 5.3 lets a sender split it.
fn tags(headers: &Headers, name: &str) -> Option<Tags> {
    let name = name.to_ascii_lowercase();
    let values: Vec<&str> = headers.get_all(&name).collect();
    (!values.is_empty()).then(|| Tags::parse(&values.join(",")))
}

fn date(headers: &Headers, name: &str) -> Option<Millis> {
    time::parse_http_date(headers.get(&name.to_ascii_lowercase())?)
}

fn any_date(text: &str) -> Option<Millis> {
    time::parse_http_date(text).or_else(|| time::parse_iso8601(text))
}

fn failed(condition: &'static str) -> Error {
    Error::new(Code::PreconditionFailed).field("Condition", condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    /// 2026-01-02T00:00:00.500Z
    const TARGET: Target<'static> = Target { etag: "abc", modified: 1_767_312_000_500, size: 7 };
    const BEFORE: &str = "Thu, 01 Jan 2026 23:59:59 GMT";
    const SAME: &str = "Fri, 02 Jan 2026 00:00:00 GMT";
    const AFTER: &str = "Fri, 02 Jan 2026 00:00:01 GMT";
    const FUTURE: &str = "Fri, 02 Jan 2026 00:00:03 GMT";
    const NOW: Millis = TARGET.modified + 2_000;

    fn headers(fields: Fields<'_>) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name, value);
        }
        headers
    }

    /// Status and `Condition` of a result.
    fn outcome(result: Result<()>) -> (u16, String) {
        match result {
            Ok(()) => (200, String::new()),
            Err(error) => {
                let condition = error.fields().iter().find(|(name, _)| *name == "Condition");
                (error.code().status, condition.map(|(_, value)| value.clone()).unwrap_or_default())
            }
        }
    }

    #[test]
    fn reads_follow_the_order_of_rfc_9110_and_the_combinations_of_s3() {
        let cases: &[(Fields<'_>, u16, &str)] = &[
            (&[], 200, ""),
            (&[("If-Match", "\"abc\"")], 200, ""),
            (&[("If-Match", "abc")], 200, ""),
            (&[("If-Match", "*")], 200, ""),
            (&[("If-Match", "\"x\", \"abc\"")], 200, ""),
            (&[("If-Match", "\"x\""), ("If-Match", "\"abc\"")], 200, ""),
            (&[("If-Match", "\"x\"")], 412, "If-Match"),
            (&[("If-Match", "")], 412, "If-Match"),
            (&[("If-Match", "\"abc")], 412, "If-Match"),
            (&[("If-Match", "W/\"abc\"")], 412, "If-Match"),
            (&[("If-Unmodified-Since", AFTER)], 200, ""),
            (&[("If-Unmodified-Since", SAME)], 200, ""),
            (&[("If-Unmodified-Since", BEFORE)], 412, "If-Unmodified-Since"),
            (&[("If-Unmodified-Since", "garbage")], 200, ""),
            (&[("If-Match", "\"abc\""), ("If-Unmodified-Since", BEFORE)], 200, ""),
            (&[("If-Match", "\"x\""), ("If-Unmodified-Since", AFTER)], 412, "If-Match"),
            (&[("If-None-Match", "\"x\"")], 200, ""),
            (&[("If-None-Match", "\"abc\"")], 304, ""),
            (&[("If-None-Match", "W/\"abc\"")], 304, ""),
            (&[("If-None-Match", "*")], 304, ""),
            (&[("If-Modified-Since", BEFORE)], 200, ""),
            (&[("If-Modified-Since", SAME)], 304, ""),
            (&[("If-Modified-Since", AFTER)], 304, ""),
            (&[("If-Modified-Since", FUTURE)], 200, ""),
            (&[("If-Modified-Since", "Fri, 99 Jan 2026 00:00:00 GMT")], 200, ""),
            (&[("If-None-Match", "\"abc\""), ("If-Modified-Since", BEFORE)], 304, ""),
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", AFTER)], 200, ""),
            (&[("If-Match", "\"x\""), ("If-None-Match", "\"abc\"")], 412, "If-Match"),
        ];
        for (fields, status, condition) in cases {
            let found = outcome(check_read(&headers(fields), &TARGET, NOW));
            assert_eq!(found, (*status, (*condition).to_owned()), "{fields:?}");
        }
    }

    #[test]
    fn not_modified_tells_which_object_it_speaks_of() {
        let error = check_read(&headers(&[("If-None-Match", "*")]), &TARGET, NOW).expect_err("304");
        assert_eq!(
            error.headers(),
            [("ETag", "\"abc\"".to_owned()), ("Last-Modified", "Fri, 02 Jan 2026 00:00:00 GMT".to_owned())]
        );
    }

    #[test]
    fn whatever_fails_of_a_copy_source_is_412() {
        let cases: &[(Fields<'_>, u16, &str)] = &[
            (&[("If-None-Match", "*")], 200, ""),
            (&[("x-amz-copy-source-if-match", "abc")], 200, ""),
            (&[("x-amz-copy-source-if-match", "x")], 412, "x-amz-copy-source-If-Match"),
            (&[("x-amz-copy-source-if-none-match", "abc")], 412, "x-amz-copy-source-If-None-Match"),
            (&[("x-amz-copy-source-if-modified-since", SAME)], 412, "x-amz-copy-source-If-Modified-Since"),
            (&[("x-amz-copy-source-if-modified-since", FUTURE)], 200, ""),
            (
                &[("x-amz-copy-source-if-unmodified-since", BEFORE)],
                412,
                "x-amz-copy-source-If-Unmodified-Since",
            ),
            (
                &[("x-amz-copy-source-if-match", "abc"), ("x-amz-copy-source-if-unmodified-since", BEFORE)],
                200,
                "",
            ),
            (
                &[
                    ("x-amz-copy-source-if-none-match", "abc"),
                    ("x-amz-copy-source-if-modified-since", BEFORE),
                ],
                412,
                "x-amz-copy-source-If-None-Match",
            ),
        ];
        for (fields, status, condition) in cases {
            let found = outcome(check_copy_source(&headers(fields), &TARGET, NOW));
            assert_eq!(found, (*status, (*condition).to_owned()), "{fields:?}");
        }
    }

    #[test]
    fn writes_create_or_replace_only_what_they_mean_to() {
        let object = Current::Object(TARGET);
        let cases: &[(Fields<'_>, Current<'_>, u16, &str)] = &[
            (&[], object, 200, ""),
            (&[("If-None-Match", "*")], Current::Absent, 200, ""),
            (&[("If-None-Match", "*")], Current::DeleteMarker, 200, ""),
            (&[("If-None-Match", "*")], object, 412, "If-None-Match"),
            (&[("If-None-Match", "\"abc\"")], Current::Absent, 200, ""),
            (&[("If-None-Match", "\"abc\"")], object, 412, "If-None-Match"),
            (&[("If-None-Match", "\"x\"")], object, 200, ""),
            (&[("If-None-Match", "*"), ("If-Match", "\"abc\"")], object, 501, ""),
            (&[("If-Match", "\"abc\"")], object, 200, ""),
            (&[("If-Match", "*")], object, 200, ""),
            (&[("If-Match", "\"x\"")], object, 412, "If-Match"),
            (&[("If-Match", "\"abc\"")], Current::Absent, 404, ""),
            (&[("If-Match", "*")], Current::Absent, 404, ""),
            (&[("If-Match", "*")], Current::DeleteMarker, 404, ""),
            (&[("If-Modified-Since", BEFORE)], object, 501, ""),
            (&[("If-Unmodified-Since", AFTER)], object, 501, ""),
        ];
        for (fields, current, status, condition) in cases {
            let found = outcome(
                WriteConditions::from_headers(&headers(fields))
                    .and_then(|conditions| conditions.check(current)),
            );
            assert_eq!(found, (*status, (*condition).to_owned()), "{fields:?} {current:?}");
        }
        assert!(WriteConditions::from_headers(&Headers::new()).expect("none").is_empty());
    }

    #[test]
    fn deletes_remove_only_what_they_mean_to() {
        let object = Current::Object(TARGET);
        let (time, size) = ("x-amz-if-match-last-modified-time", "x-amz-if-match-size");
        let cases: &[(Fields<'_>, Current<'_>, u16, &str)] = &[
            (&[], Current::Absent, 200, ""),
            (&[("If-Match", "\"abc\"")], object, 200, ""),
            (&[("If-Match", "*")], object, 200, ""),
            (&[("If-Match", "\"x\"")], object, 412, "If-Match"),
            (&[("If-Match", "*")], Current::Absent, 404, ""),
            (&[("If-Match", "*")], Current::DeleteMarker, 412, "If-Match"),
            (&[], Current::DeleteMarker, 200, ""),
            (&[(size, "0")], Current::DeleteMarker, 412, size),
            (&[(time, SAME)], Current::DeleteMarker, 412, time),
            (&[(size, "7")], object, 200, ""),
            (&[(size, "8")], object, 412, size),
            (&[(size, "8")], Current::Absent, 200, ""),
            (&[(size, "x")], object, 400, ""),
            (&[(time, SAME)], object, 200, ""),
            (&[(time, "2026-01-02T00:00:00.500Z")], object, 200, ""),
            (&[(time, AFTER)], object, 412, time),
            (&[(time, "yesterday")], object, 400, ""),
            (&[("If-Match", "\"abc\""), (size, "7"), (time, BEFORE)], object, 412, time),
        ];
        for (fields, current, status, condition) in cases {
            let found = outcome(
                DeleteConditions::from_headers(&headers(fields))
                    .and_then(|conditions| conditions.check(current)),
            );
            assert_eq!(found, (*status, (*condition).to_owned()), "{fields:?} {current:?}");
        }
    }

    #[test]
    fn a_range_applies_only_to_the_object_that_if_range_names() {
        for (value, applies) in [
            ("\"abc\"", true),
            ("\"x\"", false),
            ("W/\"abc\"", false),
            ("*", false),
            (SAME, true),
            (BEFORE, false),
            (AFTER, false),
            ("", false),
        ] {
            assert_eq!(range_applies(&headers(&[("If-Range", value)]), &TARGET), applies, "{value}");
        }
        assert!(range_applies(&Headers::new(), &TARGET));
    }
}
