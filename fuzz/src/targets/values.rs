//! Small texts with a meaning: targets, ranges, dates, tags, names.

use super::{outcome, texts};
use s3pail::codec::digest::{Checksum, ChecksumAlgorithm};
use s3pail::codec::time::{iso8601, parse_basic, parse_http_date, parse_iso8601, parse_mail_date};
use s3pail::codec::uri::{Query, decode, encode, encode_path};
use s3pail::http::Headers;
use s3pail::ops::checksum::content_md5;
use s3pail::ops::metadata::parse_tagging_header;
use s3pail::ops::range::{Selection, copy_source, requested};
use s3pail::ops::target::{Hosts, Target};
use s3pail::redact;

pub fn targets() -> Vec<Vec<u8>> {
    texts(&[
        "h/bucket/a%20key/..%2f?x=y&z",
        "bucket.localhost:8000/k%C3%A9y//",
        "b.eu.s3.example.com/%2e%2e/",
        "[::1]:8000/b/k",
    ])
}

/// FZ-04: a name that was understood is understood again when it is printed, by host and by path alike.
pub fn uri(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    if let Some(decoded) = decode(&text) {
        assert_eq!(decode(&encode(&decoded)).as_ref(), Some(&decoded));
        assert_eq!(decode(&encode_path(&decoded)).as_ref(), Some(&decoded));
    }
    let (host, rest) = text.split_at(text.find('/').unwrap_or(text.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let shown = redact::query(query);
    assert_eq!(redact::query(&shown), shown, "what is hidden stays hidden");
    let parsed = Query::parse(query).map(|query| query.iter().count().min(4));
    let known = ["s3.example.com".to_owned(), "eu.s3.example.com".to_owned()];
    let hosts = Hosts { known: &known, strict: false };
    let target = match Target::resolve(Some(host), path, &hosts) {
        Ok(target) => target,
        Err(error) => return outcome((error.code().name, parsed)),
    };
    if let (Some(bucket), Some(key)) = (&target.bucket, &target.key) {
        let by_path = format!("/{bucket}/{}", encode_path(key.as_str()));
        let again = Target::resolve(Some("127.0.0.1"), &by_path, &hosts).expect("it was understood before");
        assert_eq!((again.bucket.as_ref(), again.key.as_ref()), (Some(bucket), Some(key)));
    }
    outcome((target.virtual_host, target.bucket.is_some(), target.key.is_some(), parsed))
}

pub fn texts_of_values() -> &'static [&'static str] {
    &[
        "bytes=0-9",
        "bytes=-5",
        "bytes=18446744073709551615-",
        "Tue, 14 Nov 2023 22:13:20 GMT",
        "Tuesday, 14-Nov-23 22:13:20 GMT",
        "Tue Nov 14 22:13:20 2023",
        "2023-11-14T22:13:20.123Z",
        "20231114T221320Z",
        "a=b&c=d%20e&f=",
        "2023-11-14T22:13:20+02:00",
        "9999-12-31T23:59:60Z",
        "DUoRhQ==",
        "kAFQmDzST7DWlj99KOF/cg==",
        "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
    ]
}

pub fn texts_seed() -> Vec<Vec<u8>> {
    texts(texts_of_values())
}

/// FZ-12, FZ-13, FZ-20, FZ-21: ranges lie within their object, dates are printed as they are read, and a
/// checksum has the length of its algorithm.
pub fn value(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let mut headers = Headers::new();
    headers.push("range", &text);
    headers.push("x-amz-copy-source-range", &text);
    let mut kinds = Vec::new();
    for size in [0, 1, 1000, u64::MAX] {
        match requested(&headers, size) {
            Ok(Selection::Part(part)) => {
                assert!(part.start < part.end && part.end <= size, "{part:?} of {size}");
                kinds.push(1);
            }
            Ok(Selection::Whole) => kinds.push(2),
            Err(_) => kinds.push(3),
        }
        if let Ok(range) = copy_source(&headers, size) {
            assert!(range.start <= range.end && range.end <= size, "{range:?} of {size}");
        }
    }
    let dates = [parse_http_date(&text), parse_mail_date(&text), parse_basic(&text), parse_iso8601(&text)];
    for date in dates.into_iter().flatten() {
        assert_eq!(parse_iso8601(&iso8601(date)), Some(date), "{text:?} is {date}");
    }
    for algorithm in ChecksumAlgorithm::ALL {
        if let Some(checksum) = Checksum::from_base64(algorithm, &text) {
            assert_eq!(checksum.bytes.len(), algorithm.digest_bytes(), "{algorithm:?} {text:?}");
            let again = Checksum::from_base64(algorithm, &checksum.to_base64());
            assert_eq!(again.map(|again| again.bytes), Some(checksum.bytes), "{algorithm:?} {text:?}");
            kinds.push(10 + algorithm.digest_bytes());
        }
    }
    headers.push("content-md5", &text);
    kinds.push(content_md5(&headers).is_ok().into());
    let tags = parse_tagging_header(&text).map(|tags| tags.len().min(4)).map_err(|error| error.code().name);
    outcome((kinds, dates.map(|date| date.is_some()), tags))
}
