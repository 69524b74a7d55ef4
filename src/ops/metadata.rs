//! What a client says of an object besides its bytes: system metadata, user metadata, tags, storage
//! class.
//!
//! Sources: S3 user guide, "Working with object metadata" and "Categorizing your storage using tags".

use super::{Context, acl, object_lock};
use crate::codec::encoded_word;
use crate::codec::uri::Query;
use crate::error::{Code, Error, Result};
use crate::http::{Headers, Response};
use crate::model::object::{ObjectDetail, STANDARD, STORAGE_CLASSES};

/// The most bytes of user metadata: names (without `x-amz-meta-`) and values together.
pub const USER_METADATA_BYTES_MAX: usize = 2 * 1024;

/// The most tags of an object.
pub const OBJECT_TAGS_MAX: usize = 10;

/// The longest redirect location, in bytes.
const REDIRECT_BYTES_MAX: usize = 2 * 1024;

/// What S3 says of an object that was stored without a content type.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// The prefix of user metadata headers.
pub const USER_PREFIX: &str = "x-amz-meta-";

/// The header of a website redirect.
pub const REDIRECT_HEADER: &str = "x-amz-website-redirect-location";

/// System metadata that a client sets and gets back unchanged.
const SYSTEM_HEADERS: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    REDIRECT_HEADER,
];

/// Reads everything that a write request says of the object to be.
///
/// # Errors
/// `MetadataTooLarge`, `InvalidRedirectLocation`, `InvalidTag`, `InvalidArgument`.
pub fn read(ctx: &Context<'_>) -> Result<ObjectDetail> {
    Ok(ObjectDetail {
        headers: read_system(ctx.headers)?,
        metadata: read_user(ctx.headers)?,
        tags: ctx.header("x-amz-tagging").map_or(Ok(Vec::new()), parse_tagging_header)?,
        acl: acl::of_new_object(ctx)?,
        lock: object_lock::of_new_object(ctx)?,
        ..ObjectDetail::default()
    })
}

/// Reads system metadata.
///
/// # Errors
/// `InvalidRedirectLocation`.
pub fn read_system(headers: &Headers) -> Result<Vec<(String, String)>> {
    let mut system = Vec::new();
    for name in SYSTEM_HEADERS {
        let Some(value) = joined(headers, name) else { continue };
        let value = if name == "content-encoding" { without_aws_chunked(&value) } else { value };
        if name == REDIRECT_HEADER {
            check_redirect(&value)?;
        }
        if !value.is_empty() {
            system.push((name.to_owned(), value));
        }
    }
    Ok(system)
}

/// Reads user metadata. As at S3, bytes beyond ASCII are taken for ISO-8859-1, and encoded words are decoded.
///
/// # Errors
/// `MetadataTooLarge`, `InvalidArgument` for a name that is empty.
pub fn read_user(headers: &Headers) -> Result<Vec<(String, String)>> {
    let mut user: Vec<(String, String)> = Vec::new();
    for (name, value) in headers.iter() {
        let Some(name) = name.strip_prefix(USER_PREFIX) else { continue };
        if name.is_empty() {
            return Err(Error::invalid_argument(USER_PREFIX, value, "A metadata name must not be empty."));
        }
        let value = encoded_word::decode(&encoded_word::from_latin1(value.as_bytes()));
        match user.iter_mut().find(|(known, _)| known == name) {
            Some((_, joined)) => *joined = format!("{joined},{value}"),
            None => user.push((name.to_owned(), value)),
        }
    }
    let size: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > USER_METADATA_BYTES_MAX {
        return Err(Error::new(Code::MetadataTooLarge)
            .field("Size", size.to_string())
            .field("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string()));
    }
    Ok(user)
}

/// All values of a header as one, as RFC 9110 section 5.3 joins them.
fn joined(headers: &Headers, name: &str) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).collect();
    if values.is_empty() { None } else { Some(values.join(",")) }
}

/// `aws-chunked` describes the transfer, not the object, and is never stored.
fn without_aws_chunked(value: &str) -> String {
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    if kept.len() == value.split(',').count() { value.to_owned() } else { kept.join(",") }
}

fn check_redirect(value: &str) -> Result<()> {
    let allowed = ["/", "http://", "https://"].iter().any(|prefix| value.starts_with(prefix));
    if allowed && value.len() <= REDIRECT_BYTES_MAX {
        Ok(())
    } else {
        Err(Code::InvalidRedirectLocation.into())
    }
}

/// Reads `x-amz-storage-class`; `STANDARD` is the empty string.
///
/// # Errors
/// `InvalidStorageClass`.
pub fn storage_class(ctx: &Context<'_>) -> Result<String> {
    match ctx.header("x-amz-storage-class") {
        None | Some(STANDARD) => Ok(String::new()),
        Some(class) if STORAGE_CLASSES.contains(&class) => Ok(class.to_owned()),
        Some(class) => Err(Error::new(Code::InvalidStorageClass).field("StorageClassRequested", class)),
    }
}

/// Reads `x-amz-tagging`: tags in the form of a query string, whose order S3 does not keep.
///
/// # Errors
/// `InvalidArgument` when it is not of that form, otherwise as [`check_tags`].
pub fn parse_tagging_header(text: &str) -> Result<Vec<(String, String)>> {
    let malformed = || {
        let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.";
        Error::invalid_argument("x-amz-tagging", text, message)
    };
    let query = Query::parse(text).ok_or_else(malformed)?;
    if text.split('&').any(|pair| pair.matches('=').count() > 1) {
        return Err(malformed());
    }
    let mut tags: Vec<(String, String)> =
        query.iter().map(|(name, value)| (name.to_owned(), value.unwrap_or("").to_owned())).collect();
    let duplicate =
        tags.iter().enumerate().any(|(at, (name, _))| tags[..at].iter().any(|(seen, _)| seen == name));
    if duplicate || tags.iter().any(|(name, _)| name.is_empty()) {
        return Err(malformed());
    }
    check_tags(&tags, OBJECT_TAGS_MAX)?;
    tags.sort();
    Ok(tags)
}

/// Checks a set of tags.
///
/// # Errors
/// `BadRequest` for too many, `InvalidTag` for a bad or repeated name or value.
pub fn check_tags(tags: &[(String, String)], most: usize) -> Result<()> {
    if tags.len() > most {
        let message = if most == OBJECT_TAGS_MAX {
            "Object tags cannot be greater than 10"
        } else {
            "Bucket tag count cannot be greater than 50"
        };
        return Err(Error::with_message(Code::BadRequest, message));
    }
    for (at, (name, value)) in tags.iter().enumerate() {
        if name.is_empty() || name.chars().count() > 128 || !tag_text(name) {
            return Err(Error::with_message(Code::InvalidTag, "The TagKey you have provided is invalid")
                .field("TagKey", name.clone()));
        }
        if value.chars().count() > 256 || !tag_text(value) {
            return Err(Error::with_message(Code::InvalidTag, "The TagValue you have provided is invalid")
                .field("TagKey", name.clone())
                .field("TagValue", value.clone()));
        }
        if name.starts_with("aws:") {
            let message = if most == OBJECT_TAGS_MAX {
                "Your TagKey cannot be prefixed with aws:"
            } else {
                "System tags cannot be added/updated by requester"
            };
            return Err(Error::with_message(Code::InvalidTag, message).field("TagKey", name.clone()));
        }
        if tags[..at].iter().any(|(seen, _)| seen == name) {
            let message = "Cannot provide multiple Tags with the same key";
            return Err(Error::with_message(Code::InvalidTag, message).field("TagKey", name.clone()));
        }
    }
    Ok(())
}

/// Letters, digits and white space of any script, and `+ - = . _ : / @`.
fn tag_text(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "+-=._:/@".contains(c) || is_mark(c))
}

/// Combining marks, which `char::is_alphanumeric` leaves out although they belong to letters.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

/// Puts an object's metadata on a response.
pub fn push(response: &mut Response, detail: &ObjectDetail) {
    if !detail.headers.iter().any(|(name, _)| name == "content-type") {
        response.push_header("Content-Type", DEFAULT_CONTENT_TYPE);
    }
    for (name, value) in &detail.headers {
        response.push_header(name.clone(), value.clone());
    }
    if let Some(status) = &detail.replication_status {
        response.push_header("x-amz-replication-status", status.clone());
    }
    for (name, value) in &detail.metadata {
        response.push_header(format!("{USER_PREFIX}{name}"), encoded_word::encode(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        fields.iter().for_each(|(name, value)| headers.push(name, value));
        headers
    }

    #[test]
    fn aws_chunked_is_not_part_of_the_stored_encoding() {
        for (sent, stored) in [
            ("gzip,aws-chunked", "gzip"),
            ("aws-chunked", ""),
            ("gzip, br", "gzip, br"),
            ("aws-chunked, gzip", "gzip"),
        ] {
            let system = read_system(&headers(&[("Content-Encoding", sent)])).expect("valid");
            assert_eq!(system.first().map_or("", |(_, value)| value.as_str()), stored, "{sent}");
        }
    }

    #[test]
    fn user_metadata_is_bounded_and_joined() {
        let two = headers(&[("x-amz-meta-A", "1"), ("x-amz-meta-a", "2")]);
        assert_eq!(read_user(&two).expect("valid"), [("a".to_owned(), "1,2".to_owned())]);
        let at_limit = "v".repeat(USER_METADATA_BYTES_MAX - 1);
        assert!(read_user(&headers(&[("x-amz-meta-a", &at_limit)])).is_ok());
        assert!(read_user(&headers(&[("x-amz-meta-ab", &at_limit)])).is_err());
        assert!(read_user(&headers(&[("x-amz-meta-", "x")])).is_err());
    }

    #[test]
    fn tags_follow_the_rules() {
        let tags = parse_tagging_header("b=1&a").expect("valid");
        assert_eq!(tags, [("a".to_owned(), String::new()), ("b".to_owned(), "1".to_owned())]);
        for bad in ["a=1&a=2", "a=%zz", "=x", "aws:x=1", "a=|", "a=1,b=2"] {
            assert!(parse_tagging_header(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_tagging_header("=").expect_err("no name").code(), Code::InvalidArgument);
        let eleven: Vec<String> = (0..11).map(|i| format!("k{i}=v")).collect();
        assert_eq!(parse_tagging_header(&eleven.join("&")).expect_err("too many").code(), Code::BadRequest);
    }
}
