//! Byte ranges: which part of an object a request asks for.
//!
//! `Range` follows RFC 9110 section 14 the way S3 does: one range of bytes is honoured, anything else
//! (several ranges, another unit, nonsense) is answered with the whole object.
//! `x-amz-copy-source-range` is S3's own and strict.

use std::ops::Range;

use crate::error::{Code, Error, Result};
use crate::http::Headers;

/// What to send of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it, with status 200.
    Whole,
    /// These bytes, with status 206. Never empty, and within the object.
    Part(Range<u64>),
}

/// Reads the `Range` field against an object of `size` bytes. `InvalidRange` (416) where it is well-formed
/// and no byte of the object lies in it.
pub fn requested(headers: &Headers, size: u64) -> Result<Selection> {
    let mut values = headers.get_all("range");
    let (Some(text), None) = (values.next(), values.next()) else { return Ok(Selection::Whole) };
    match parse(text) {
        None => Ok(Selection::Whole),
        // The last bytes of nothing are all of it (RFC 9110 section 14.1.2), and no range can say so.
        Some(Spec::Last(1..)) if size == 0 => Ok(Selection::Whole),
        Some(spec) => match spec.within(size) {
            Some(part) => Ok(Selection::Part(part)),
            None => Err(not_satisfiable(text, size)),
        },
    }
}

/// Reads `x-amz-copy-source-range` against a source of `size` bytes; without it all of the source.
/// `InvalidArgument` for anything but two offsets, in order, within the source.
pub fn copy_source(headers: &Headers, size: u64) -> Result<Range<u64>> {
    const FIELD: &str = "x-amz-copy-source-range";
    let Some(text) = headers.get(FIELD) else { return Ok(0..size) };
    let Some(Spec::Between(first, last)) = text.strip_prefix("bytes=").and_then(parse_spec) else {
        return Err(Error::invalid_argument(
            FIELD,
            text,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
             the zero-based offsets of the first and last bytes to copy",
        ));
    };
    if first >= size {
        let message = "The specified copy range is invalid for the source object size";
        return Err(Error::with_message(Code::InvalidRequest, message));
    }
    if last >= size {
        return Err(Error::invalid_argument(
            FIELD,
            text,
            format!("Range specified is not valid for source object of size: {size}"),
        ));
    }
    Ok(first..last + 1)
}

/// `InvalidRange` in the shape that S3 gives it.
pub fn not_satisfiable(requested: &str, size: u64) -> Error {
    Error::new(Code::InvalidRange)
        .field("RangeRequested", requested)
        .field("ActualObjectSize", size.to_string())
        .header("Content-Range", format!("bytes */{size}"))
}

/// One range as it is written. Offsets too large to count are as good as the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// `first-last`, in this order.
    Between(u64, u64),
    /// `first-`
    From(u64),
    /// `-count`
    Last(u64),
}

impl Spec {
    fn within(self, size: u64) -> Option<Range<u64>> {
        let part = match self {
            Spec::Between(first, last) => first..last.saturating_add(1).min(size),
            Spec::From(first) => first..size,
            Spec::Last(count) => size.saturating_sub(count)..size,
        };
        (!part.is_empty()).then_some(part)
    }
}

fn parse(text: &str) -> Option<Spec> {
    let (unit, spec) = text.split_once('=')?;
    unit.eq_ignore_ascii_case("bytes").then(|| parse_spec(spec)).flatten()
}

fn parse_spec(text: &str) -> Option<Spec> {
    let (first, last) = text.split_once('-')?;
    match (first, last) {
        ("", count) => Some(Spec::Last(offset(count)?)),
        (first, "") => Some(Spec::From(offset(first)?)),
        (first, last) => {
            let (first, last) = (offset(first)?, offset(last)?);
            (first <= last).then_some(Spec::Between(first, last))
        }
    }
}

fn offset(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // What is all digits can only fail to parse by being too large.
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &str, value: &str) -> Headers {
        let mut headers = Headers::new();
        headers.push(name, value);
        headers
    }

    #[test]
    fn one_satisfiable_range_is_honoured() {
        for (text, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("bytes=2-", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-10", 0..10),
            ("bytes=-11", 0..10),
            ("bytes=9-9", 9..10),
            ("bytes=0-9", 0..10),
            ("bytes=0-10", 0..10),
            ("BYTES=1-2", 1..3),
            ("bytes=00001-00002", 1..3),
            ("bytes=0-18446744073709551615", 0..10),
            ("bytes=0-99999999999999999999", 0..10),
            ("bytes=-99999999999999999999", 0..10),
        ] {
            let found = requested(&headers("Range", text), 10).expect("satisfiable");
            assert_eq!(found, Selection::Part(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_range_of_bytes_is_ignored() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes= -1",
            "bytes=0 -1",
            "bytes = 1-2",
            "bytes=a-b",
            "bytes=--1",
            "bytes=1--2",
            "bytes=+1-2",
            "bytes=1-2-3",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "bytes=1.5-2",
            "bytes=0x1-2",
            "bytes=٣-٤",
            "0-1",
        ] {
            assert_eq!(requested(&headers("Range", text), 10).ok(), Some(Selection::Whole), "{text}");
        }
        let mut twice = headers("Range", "bytes=0-1");
        twice.push("Range", "bytes=2-3");
        assert_eq!(requested(&twice, 10).ok(), Some(Selection::Whole));
        assert_eq!(requested(&Headers::new(), 10).ok(), Some(Selection::Whole));
        let many = format!("bytes={}", vec!["0-9"; 1_000].join(","));
        assert_eq!(requested(&headers("Range", &many), 10).ok(), Some(Selection::Whole));
    }

    #[test]
    fn a_range_without_a_byte_in_it_is_not_satisfiable() {
        for (text, size) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=99999999999999999999-", 10),
            ("bytes=18446744073709551615-18446744073709551615", 10),
            ("bytes=0-", 0),
            ("bytes=0-0", 0),
            ("bytes=-0", 0),
        ] {
            let error = requested(&headers("Range", text), size).expect_err("not satisfiable");
            assert_eq!(error.code(), Code::InvalidRange, "{text}");
            let fields = [("RangeRequested", text.to_owned()), ("ActualObjectSize", size.to_string())];
            assert_eq!(error.fields(), fields);
        }
    }

    #[test]
    fn the_last_bytes_of_an_empty_object_are_all_of_it() {
        assert_eq!(requested(&headers("Range", "bytes=-1"), 0).ok(), Some(Selection::Whole));
    }

    #[test]
    fn the_range_of_a_copy_source_is_strict() {
        const FIELD: &str = "x-amz-copy-source-range";
        assert_eq!(copy_source(&Headers::new(), 10).ok(), Some(0..10));
        assert_eq!(copy_source(&headers(FIELD, "bytes=0-9"), 10).ok(), Some(0..10));
        assert_eq!(copy_source(&headers(FIELD, "bytes=3-3"), 10).ok(), Some(3..4));
        for text in [
            "",
            "0-1",
            "bytes=",
            "bytes=1-",
            "bytes=-1",
            "bytes=5-2",
            "bytes=0-1,2-3",
            "items=0-1",
            "bytes=a-b",
        ] {
            let error = copy_source(&headers(FIELD, text), 10).expect_err("malformed");
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().starts_with("The x-amz-copy-source-range value must be"), "{text}");
        }
        let error = copy_source(&headers(FIELD, "bytes=10-10"), 10).expect_err("behind the end");
        assert_eq!(error.code(), Code::InvalidRequest);
        for text in ["bytes=0-10", "bytes=0-99999999999999999999"] {
            let error = copy_source(&headers(FIELD, text), 10).expect_err("beyond the end");
            assert_eq!(
                error.message(),
                "Range specified is not valid for source object of size: 10",
                "{text}"
            );
        }
    }
}
