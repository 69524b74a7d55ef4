//! Published signatures of "Signing and authenticating REST requests", and every way to be refused.

use super::*;
use crate::auth::tests::{Attempt, KEY, SECRET, value};
use crate::auth::{Settings, SigningKeyCache};
use crate::codec::uri;
use crate::http::Method;

/// A request of AWS's page, sent when it was signed.
fn published(method: Method, path: &str, query: &str, date: &str, signature: &str) -> Attempt {
    let mut attempt = Attempt::new(method, path, query)
        .with("host", "johnsmith.s3.amazonaws.com")
        .field("date", date)
        .field("authorization", &format!("AWS {KEY}:{signature}"));
    attempt.host_bucket = Some("johnsmith");
    attempt.now = parse_date(date).expect("a date");
    attempt
}

#[test]
fn signatures_published_by_aws_are_accepted() {
    let list =
        published(Method::Get, "/", "", "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s=");
    let unicode = published(
        Method::Get,
        "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
        "",
        "Wed, 28 Mar 2007 01:49:49 +0000",
        "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
    );
    let upload = published(
        Method::Put,
        "/db-backup.dat.gz",
        "",
        "Tue, 27 Mar 2007 21:06:08 +0000",
        "ilyl83RwaSoYIEdixDQcA4OnAnc=",
    )
    .field("x-amz-acl", "public-read")
    .field("content-type", "application/x-download")
    .field("content-md5", "4gJE4saaMU4BqNR0kLY+lw==")
    .field("x-amz-meta-reviewedby", "joe@johnsmith.net")
    .field("x-amz-meta-reviewedby", "jane@johnsmith.net")
    .field("x-amz-meta-filechecksum", "0x02661779")
    .field("x-amz-meta-checksumalgorithm", "crc32");
    for attempt in [
        published(
            Method::Get,
            "/photos/puppy.jpg",
            "",
            "Tue, 27 Mar 2007 19:36:42 +0000",
            "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
        ),
        published(
            Method::Put,
            "/photos/puppy.jpg",
            "",
            "Tue, 27 Mar 2007 21:15:45 +0000",
            "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
        )
        .field("content-type", "image/jpeg"),
        published(
            Method::Get,
            "/",
            "prefix=photos&max-keys=50&marker=puppy",
            "Tue, 27 Mar 2007 19:42:41 +0000",
            "htDYFYduRNen8P9ZfE/s9SuKy0U=",
        ),
        published(Method::Get, "/", "acl", "Tue, 27 Mar 2007 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM="),
        Attempt { host_bucket: Some("static.johnsmith.net"), ..upload },
        Attempt { host_bucket: None, ..list },
        Attempt { host_bucket: None, ..unicode },
    ] {
        let passed = attempt.pass().unwrap();
        assert_eq!(passed.access_key.as_deref(), Some(KEY));
        assert_eq!((passed.version, passed.signed_query), (Some(SignatureVersion::V2), false));
    }
}

/// A request signed over the text given.
fn signed(attempt: Attempt, text: &str) -> Attempt {
    attempt.field("authorization", &format!("AWS {KEY}:{}", signature(SECRET, text)))
}

const DATE: &str = "Fri, 24 May 2013 00:00:00 GMT";

#[test]
fn an_empty_value_is_signed_with_or_without_the_sign_before_it() {
    for query in ["location=", "uploads=&response-content-type=", "location"] {
        let bare = query.replace('=', "");
        let sorted = |text: &str| {
            let mut parts: Vec<&str> = text.split('&').collect();
            parts.sort_unstable();
            parts.join("&")
        };
        for resource in [sorted(query), sorted(&bare)] {
            let attempt = Attempt::new(Method::Get, "/b/k", query).field("date", DATE);
            signed(attempt.clone(), &format!("GET\n\n\n{DATE}\n/b/k?{resource}")).pass().unwrap();
            signed(attempt, &format!("GET\n\n\n{DATE}\n/b/k?{resource}x"))
                .refused(Code::SignatureDoesNotMatch);
        }
    }
    // A value that is not empty is part of what is signed.
    let attempt = Attempt::new(Method::Get, "/b/k", "versionId=1").field("date", DATE);
    signed(attempt, &format!("GET\n\n\n{DATE}\n/b/k?versionId")).refused(Code::SignatureDoesNotMatch);
}

#[test]
fn a_bucket_is_signed_with_or_without_its_last_slash() {
    let attempt = |path: &'static str| Attempt::new(Method::Get, path, "location").field("date", DATE);
    let text = |path: &str| format!("GET\n\n\n{DATE}\n{path}?location");
    signed(attempt("/b"), &text("/b")).pass().unwrap();
    signed(attempt("/b"), &text("/b/")).pass().unwrap();
    signed(attempt("/b/"), &text("/b/")).pass().unwrap();
    signed(attempt("/b/"), &text("/b")).refused(Code::SignatureDoesNotMatch);
    signed(attempt("/b/k"), &text("/b/k/")).refused(Code::SignatureDoesNotMatch);
    signed(attempt("/"), &text("//")).refused(Code::SignatureDoesNotMatch);
    let hosted = Attempt { host_bucket: Some("b"), ..attempt("/k") };
    signed(hosted, &text("/b/k/")).refused(Code::SignatureDoesNotMatch);
}

#[test]
fn the_string_to_sign_has_the_parts_that_aws_documents() {
    let attempt = || Attempt::new(Method::Put, "/b/k", "");
    let cases = [
        // With x-amz-date the date line is empty, whatever the date field says.
        (
            attempt().field("date", "whenever").field("x-amz-date", DATE),
            format!("PUT\n\n\n\nx-amz-date:{DATE}\n/b/k"),
        ),
        (attempt().field("date", DATE), format!("PUT\n\n\n{DATE}\n/b/k")),
        (
            Attempt::new(Method::Put, "/b/k", "uploadId=a%2Bb&x=1&partNumber=2&versionId")
                .field("date", DATE),
            format!("PUT\n\n\n{DATE}\n/b/k?partNumber=2&uploadId=a+b&versionId"),
        ),
        (
            Attempt::new(Method::Get, "/b/k", "response-expires=a%20b&acl").field("date", DATE),
            format!("GET\n\n\n{DATE}\n/b/k?acl&response-expires=a b"),
        ),
        (
            Attempt::new(Method::Put, "/b/k", "x-amz-acl=private")
                .field("date", DATE)
                .field("x-amz-meta-a", "1"),
            format!("PUT\n\n\n{DATE}\nx-amz-acl:private\nx-amz-meta-a:1\n/b/k"),
        ),
    ];
    for (attempt, text) in cases {
        signed(attempt.clone(), &text).pass().unwrap_or_else(|error| panic!("{error} for {text}"));
        let hash = base64(hmac_sha256(SECRET.as_bytes()).chain_update(&text).finalize().as_ref());
        attempt.field("authorization", &format!("AWS {KEY}:{hash}")).pass().expect("HMAC-SHA256");
    }
}

/// BI-185, BI-187: what is added to or changed in a signed request is noticed.
#[test]
fn a_change_anywhere_in_a_signed_request_is_noticed() {
    let text = format!("PUT\nbWQ1\ntext/plain\n{DATE}\nx-amz-meta-a:1\n/b/k");
    let good = || {
        let attempt = Attempt::new(Method::Put, "/b/k", "x=1").field("content-md5", "bWQ1");
        signed(
            attempt.field("content-type", "text/plain").field("date", DATE).field("x-amz-meta-a", "1"),
            &text,
        )
    };
    good().pass().unwrap();
    let refused = |attempt: Attempt| {
        let error = attempt.refused(Code::SignatureDoesNotMatch);
        assert!(value(&error, "StringToSign").ends_with(attempt.path.as_str()) || !attempt.query.is_empty());
        assert_eq!(value(&error, "AWSAccessKeyId"), KEY);
    };
    refused(Attempt { method: Method::Get, ..good() });
    refused(Attempt { path: "/b/l".to_owned(), ..good() });
    refused(Attempt { host_bucket: Some("b"), ..good() });
    for name in ["content-md5", "content-type", "x-amz-meta-a"] {
        refused(good().with(name, "other"));
        refused(good().without(name));
    }
    refused(good().field("x-amz-acl", "public-read"));
    refused(good().field("x-amz-copy-source", "/b/c"));
    refused(good().with("date", "Fri, 24 May 2013 00:00:01 GMT"));
    for added in SUBRESOURCES.iter().copied().chain(["response-content-type=a", "x-amz-acl=public-read"]) {
        refused(Attempt { query: added.to_owned(), ..good() });
    }
}

/// BI-171, BI-173, BI-174, BI-185.
#[test]
fn broken_headers_and_dates_are_refused() {
    let good = || {
        signed(Attempt::new(Method::Get, "/b/k", "").field("date", DATE), &format!("GET\n\n\n{DATE}\n/b/k"))
    };
    good().pass().unwrap();
    let error = good().without("date").refused(Code::AccessDenied);
    assert_eq!(error.message(), "AWS authentication requires a valid Date or x-amz-date header");
    good().with("date", "24 May").refused(Code::AccessDenied);
    good().with("date", "Fri, 24 May 2013 00:15:01 GMT").refused(Code::RequestTimeTooSkewed);
    good().with("date", "Thu, 01 Jan 1970 00:00:00 GMT").refused(Code::RequestTimeTooSkewed);
    for (authorization, code) in [
        ("AWS NOBODY:qGdzdERIC03wnaRNKh6OqZehG9s=", Code::InvalidAccessKeyId),
        ("AWS AKIAIOSFODNN7EXAMPLE:", Code::InvalidArgument),
        ("AWS AKIAIOSFODNN7EXAMPLE:not base64", Code::SignatureDoesNotMatch),
        ("AWS AKIAIOSFODNN7EXAMPLE:AAAA", Code::SignatureDoesNotMatch),
        ("AWS AKIAIOSFODNN7EXAMPLE:qGdzdERIC03wnaRNKh6OqZehG9s=", Code::SignatureDoesNotMatch),
    ] {
        good().with("authorization", authorization).refused(code);
    }
    let allowed = Settings { allow_sigv2: false, ..Settings::default() };
    let error = good().pass_with(&allowed, &SigningKeyCache::new()).unwrap_err();
    assert_eq!(error.code(), Code::InvalidRequest);
}

#[test]
fn the_presigned_url_published_by_aws_is_accepted_until_it_expires() {
    let query = format!("AWSAccessKeyId={KEY}&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620");
    let mut attempt = Attempt::new(Method::Get, "/photos/puppy.jpg", &query);
    attempt.host_bucket = Some("johnsmith");
    attempt.now = 1_175_139_620_000;
    let passed = attempt.pass().unwrap();
    assert_eq!((passed.version, passed.signed_query), (Some(SignatureVersion::V2), true));
    attempt.now += 1;
    let error = attempt.refused(Code::AccessDenied);
    assert_eq!(error.message(), "Request has expired");
    assert_eq!(value(&error, "Expires"), "2007-03-29T03:40:20Z");
    attempt.now = 0;
    let other = |query: String| Attempt { query, ..attempt.clone() };
    other(format!("{query}&acl")).refused(Code::SignatureDoesNotMatch);
    other(format!("{query}&x-amz-acl=public-read")).refused(Code::SignatureDoesNotMatch);
    attempt.clone().field("x-amz-acl", "public-read").refused(Code::SignatureDoesNotMatch);
    for (index, parameter) in query.split('&').enumerate() {
        let mut without: Vec<&str> = query.split('&').collect();
        without.remove(index);
        let error = other(without.join("&")).refused(Code::AccessDenied);
        assert!(error.message().starts_with("Query-string authentication requires the Signature"));
        other(format!("{query}&{parameter}")).refused(Code::AccessDenied);
    }
    for expires in ["abc", "-1", "+1", "99999999999999999999", "18446744073709551615"] {
        let error = other(query.replace("1175139620", &uri::encode(expires))).refused(Code::AccessDenied);
        assert_eq!(error.message(), format!("Invalid date (should be seconds since epoch): {expires}"));
    }
}

#[test]
fn the_list_of_subresources_is_sorted_and_has_no_repeats() {
    assert!(SUBRESOURCES.windows(2).all(|pair| pair[0] < pair[1]));
}
