//! Published signatures of "Authenticating Requests (AWS Signature Version 4)", and every way to be
//! refused.

use super::*;
use crate::auth::SigningKeyCache;
use crate::auth::chunked::EMPTY_HASH;
use crate::auth::tests::{Attempt, KEY, NOW, SIGNER, value};
use crate::auth::{Settings, SignatureVersion};
use crate::http::Method;

const MINUTE_MS: u64 = 60_000;

/// A request with the header that AWS's page shows for it.
fn published(attempt: Attempt, payload: &str, signed_headers: &str, signature: &str) -> Attempt {
    attempt.field("x-amz-content-sha256", payload).field("x-amz-date", "20130524T000000Z").field(
        "authorization",
        &format!(
            "AWS4-HMAC-SHA256 Credential={KEY}/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders={signed_headers},Signature={signature}"
        ),
    )
}

#[test]
fn signatures_published_by_aws_are_accepted() {
    let get = |query| Attempt::new(Method::Get, "/", query);
    for attempt in [
        published(
            Attempt::new(Method::Get, "/test.txt", "").field("range", "bytes=0-9"),
            EMPTY_HASH,
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        published(
            Attempt::new(Method::Put, "/test$file.text", "")
                .field("date", "Fri, 24 May 2013 00:00:00 GMT")
                .field("x-amz-storage-class", "REDUCED_REDUNDANCY")
                .body(b"Welcome to Amazon S3."),
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        published(
            get("lifecycle"),
            EMPTY_HASH,
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        published(
            get("max-keys=2&prefix=J"),
            EMPTY_HASH,
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let passed = attempt.pass().unwrap();
        assert_eq!(passed.access_key.as_deref(), Some(KEY));
        assert_eq!((passed.version, passed.signed_query), (Some(SignatureVersion::V4), false));
        assert_eq!(passed.body, attempt.body);
    }
}

const PUBLISHED_URL: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
    &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
    &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn the_presigned_url_published_by_aws_is_accepted() {
    let attempt = Attempt::new(Method::Get, "/test.txt", PUBLISHED_URL);
    let passed = attempt.pass().unwrap();
    assert_eq!((passed.version, passed.signed_query), (Some(SignatureVersion::V4), true));
    let same = Attempt::new(Method::Get, "/test.txt", "").presign(86_400);
    assert_eq!(same.query, PUBLISHED_URL);
}

#[test]
fn what_the_signer_signs_is_accepted() {
    let put = Attempt::new(Method::Put, "/b/a%20b+c/%C3%A9%c3%a9~", "b=2&a=%2F+x&a&tagging")
        .field("content-type", "text/plain")
        .field("x-amz-meta-a", "one   two")
        .field("x-amz-meta-a", "three");
    put.clone().sign("UNSIGNED-PAYLOAD").body(b"anything").pass().unwrap();
    put.clone().presign(1).pass().unwrap();
    put.clone().sign(EMPTY_HASH).pass().unwrap();
    put.sign(EMPTY_HASH).body(b"x").refused(Code::XAmzContentSHA256Mismatch);
}

/// As the AWS SDK for JavaScript v2 signs an upload with an ACL: named in `SignedHeaders`, sent in the URL.
#[test]
fn a_presigned_parameter_may_stand_for_the_signed_field_of_its_name() {
    let url = Attempt::new(Method::Put, "/k", "x-amz-acl=public-read&content-type=a")
        .field("x-amz-acl", "public-read")
        .presign(60);
    url.clone().pass().unwrap();
    url.clone().without("x-amz-acl").pass().unwrap();
    url.clone().with("x-amz-acl", "private").refused(Code::SignatureDoesNotMatch);
    let mut other = url.without("x-amz-acl");
    other.query = other.query.replace("public-read", "private");
    other.refused(Code::SignatureDoesNotMatch);
    let plain = Attempt::new(Method::Put, "/k", "content-type=a").field("content-type", "a").presign(60);
    plain.without("content-type").refused(Code::SignatureDoesNotMatch);
    let header = Attempt::new(Method::Put, "/k", "x-amz-acl=private").field("x-amz-acl", "private");
    header.sign("UNSIGNED-PAYLOAD").without("x-amz-acl").refused(Code::SignatureDoesNotMatch);
}

/// AWS's command line tool and others sign the path as they send it; BI-188.
#[test]
fn a_path_may_be_signed_as_it_was_sent_and_is_not_normalised_otherwise() {
    let path = "/b/a(1)+c%c3%a9";
    let attempt = Attempt::new(Method::Get, path, "")
        .field("x-amz-date", "20130524T000000Z")
        .field("x-amz-content-sha256", EMPTY_HASH);
    let names = "host;x-amz-content-sha256;x-amz-date";
    let sign_raw = |path: &str| {
        let request = format!(
            "GET\n{path}\n\nhost:examplebucket.s3.amazonaws.com\nx-amz-content-sha256:{EMPTY_HASH}\n\
             x-amz-date:20130524T000000Z\n\n{names}\n{EMPTY_HASH}"
        );
        let text = string_to_sign("20130524T000000Z", &scope_text("20130524", "us-east-1"), &request);
        let signature = signature(&derive(SIGNER.secret, "20130524", "us-east-1"), &text);
        format!(
            "AWS4-HMAC-SHA256 Credential={KEY}/20130524/us-east-1/s3/aws4_request, SignedHeaders={names}, \
             Signature={signature}"
        )
    };
    for (signed, sent, accepted) in [
        (path, path, true),
        ("/b/a%281%29%2Bc%C3%A9", path, true),
        ("/a/../b", "/a/../b", true),
        ("/a/../b", "/b", false),
        ("/a/b", "/a%2Fb", false),
        ("/a%2Fb", "/a/b", false),
        ("/a%20b", "/a%2520b", false),
        ("/a%2520b", "/a%20b", false),
        ("//a", "/a", false),
    ] {
        let mut attempt = attempt.clone().field("authorization", &sign_raw(signed));
        attempt.path = sent.to_owned();
        assert_eq!(attempt.pass().is_ok(), accepted, "{signed} sent as {sent}");
    }
}

/// BI-171, BI-175.
#[test]
fn a_malformed_header_is_told_what_is_wrong_with_it() {
    let good = "Credential=K/20130524/us-east-1/s3/aws4_request";
    let rest = "SignedHeaders=host, Signature=00";
    for (components, expected) in [
        (good.to_owned(), "requires three components"),
        (rest.to_owned(), "requires three components"),
        (format!("{good}, {good}, {rest}"), "is malformed."),
        (format!("{good}, {rest}, Extra=1"), "component \"Extra=1\" is malformed."),
        (format!("{good}; {rest}"), "requires three components"),
        ("x".repeat(8192), "is malformed."),
        (format!("Credential=K, {rest}"), "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/"),
        (format!("Credential=/20130524/r/s3/aws4_request, {rest}"), "a non-empty Access Key"),
        (format!("Credential=K/2013052/r/s3/aws4_request, {rest}"), "incorrect date format \"2013052\""),
        (format!("Credential=K/20130524/r/ec2/aws4_request, {rest}"), "incorrect service \"ec2\""),
        (format!("Credential=K/20130524/r/s3/aws4, {rest}"), "incorrect terminal \"aws4\""),
        (format!("Credential=K/x/r/ec2/aws4, {rest}"), "incorrect terminal \"aws4\""),
        (format!("Credential=K/x/r/ec2/aws4_request, {rest}"), "incorrect service \"ec2\""),
        (format!("Credential=K/20130525/r/s3/aws4_request, {rest}"), "Invalid credential date \"20130525\""),
    ] {
        let error = Attempt::new(Method::Get, "/b", "")
            .field("x-amz-date", "20130524T000000Z")
            .field("x-amz-content-sha256", EMPTY_HASH)
            .field("authorization", &format!("AWS4-HMAC-SHA256 {components}"))
            .refused(Code::AuthorizationHeaderMalformed);
        assert!(error.message().starts_with("The authorization header is malformed; "), "{error}");
        assert!(error.message().contains(expected), "{error}, expected {expected}");
    }
}

#[test]
fn only_a_pinned_region_is_asked_for() {
    let signed = Attempt::new(Method::Get, "/b", "").sign(EMPTY_HASH);
    let presigned = Attempt::new(Method::Get, "/b", "").presign(60);
    let keys = SigningKeyCache::new();
    let pinned =
        |region: &str| Settings { region: Some(region.to_owned()), allow_sigv2: true, ..Settings::default() };
    for attempt in [&signed, &presigned] {
        attempt.pass_with(&pinned("us-east-1"), &keys).unwrap();
        let error = attempt.pass_with(&pinned("eu-west-3"), &keys).unwrap_err();
        assert!(
            error.message().ends_with("the region 'us-east-1' is wrong; expecting 'eu-west-3'"),
            "{error}"
        );
        assert_eq!(value(&error, "Region"), "eu-west-3");
    }
}

/// BI-173, SE-11.
#[test]
fn an_unknown_key_is_refused_with_its_name() {
    let mut attempt = Attempt::new(Method::Get, "/b", "").sign(EMPTY_HASH);
    let authorization = attempt.get_mut("authorization");
    *authorization = authorization.replace(KEY, "NOBODY");
    let keys = SigningKeyCache::new();
    let settings = Settings::default();
    for _ in 0..2 {
        let error = attempt.pass_with(&settings, &keys).unwrap_err();
        assert_eq!(error.code(), Code::InvalidAccessKeyId);
        assert_eq!(value(&error, "AWSAccessKeyId"), "NOBODY");
    }
    assert!(keys.get("NOBODY", "20130524", "us-east-1").is_none(), "strangers do not fill the cache");
}

/// Strangers are measured against a known (empty) secret; signing with it must not let anyone in.
#[test]
fn the_secret_of_nobody_opens_nothing() {
    let mut attempt = Attempt::new(Method::Get, "/b", "");
    let headers = attempt.headers();
    let head = Head { method: Method::Get, path: "/b", query: "", headers: &headers };
    for access_key in ["NOBODY", ""] {
        let signer = crate::auth::sigv4::Signer { access_key, secret: NOBODY, region: "us-east-1" };
        let signed = signer.sign(NOW, &head, EMPTY_HASH);
        attempt.fields = vec![("host".to_owned(), "examplebucket.s3.amazonaws.com".to_owned())];
        attempt.fields.extend(signed.fields.map(|(name, value)| (name.to_owned(), value)));
        assert!(attempt.pass().is_err());
    }
}

#[test]
fn a_cached_key_verifies_and_refuses_like_a_derived_one() {
    let keys = SigningKeyCache::new();
    let attempt = Attempt::new(Method::Get, "/b", "").sign(EMPTY_HASH);
    let mut forged = attempt.clone();
    forged.path = "/c".to_owned();
    assert!(forged.pass_with(&Settings::default(), &keys).is_err());
    assert!(keys.get(KEY, "20130524", "us-east-1").is_none());
    for _ in 0..3 {
        attempt.pass_with(&Settings::default(), &keys).unwrap();
        assert_eq!(
            forged.pass_with(&Settings::default(), &keys).unwrap_err().code(),
            Code::SignatureDoesNotMatch
        );
    }
    assert!(keys.get(KEY, "20130524", "us-east-1").is_some());
}

#[test]
fn a_wrong_signature_is_answered_with_everything_that_was_signed() {
    let mut attempt = Attempt::new(Method::Get, "/b", "").sign(EMPTY_HASH);
    attempt.path = "/c".to_owned();
    let error = attempt.refused(Code::SignatureDoesNotMatch);
    let request = value(&error, "CanonicalRequest");
    assert!(request.starts_with("GET\n/c\n\nhost:examplebucket"), "{request}");
    assert!(value(&error, "CanonicalRequestBytes").starts_with("47 45 54 0a 2f 63 0a"));
    let text = value(&error, "StringToSign");
    assert!(text.starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"));
    assert!(text.ends_with(&hex(&sha256(request.as_bytes()))));
    assert!(value(&error, "StringToSignBytes").starts_with("41 57 53 34"));
    assert_eq!(value(&error, "AWSAccessKeyId"), KEY);
    assert_eq!(value(&error, "SignatureProvided").len(), 64);
}

/// BI-174, BI-186, SE-13.
#[test]
fn a_request_far_from_now_is_refused() {
    let mut attempt = Attempt::new(Method::Get, "/b", "").sign(EMPTY_HASH);
    for (now, accepted) in [
        (NOW - 15 * MINUTE_MS, true),
        (NOW + 15 * MINUTE_MS, true),
        (NOW - 15 * MINUTE_MS - 1, false),
        (NOW + 15 * MINUTE_MS + 1, false),
        (0, false),
    ] {
        attempt.now = now;
        match accepted {
            true => assert!(attempt.pass().is_ok(), "{now}"),
            false => drop(attempt.refused(Code::RequestTimeTooSkewed)),
        }
    }
    attempt.now = NOW + 16 * MINUTE_MS;
    let error = attempt.refused(Code::RequestTimeTooSkewed);
    assert_eq!(value(&error, "RequestTime"), "20130524T000000Z");
    assert_eq!(value(&error, "ServerTime"), "2013-05-24T00:16:00Z");
    assert_eq!(value(&error, "MaxAllowedSkewMilliseconds"), "900000");
    for (date, code) in [
        ("19700101T000000Z", Code::RequestTimeTooSkewed),
        ("99991231T235959Z", Code::RequestTimeTooSkewed),
        ("yesterday", Code::AccessDenied),
        ("", Code::AccessDenied),
    ] {
        Attempt::new(Method::Get, "/b", "").sign(EMPTY_HASH).with("x-amz-date", date).refused(code);
    }
    let error = attempt.without("x-amz-date").refused(Code::AccessDenied);
    assert_eq!(error.message(), "AWS authentication requires a valid Date or x-amz-date header");
}

/// BI-179.
#[test]
fn a_header_signature_needs_a_payload_hash() {
    let attempt = Attempt::new(Method::Get, "/b", "").sign(EMPTY_HASH);
    let error = attempt.clone().without("x-amz-content-sha256").refused(Code::InvalidRequest);
    assert_eq!(error.message(), "Missing required header for this request: x-amz-content-sha256");
    attempt.clone().with("x-amz-content-sha256", "STREAMING-FOO").refused(Code::InvalidArgument);
    attempt.with("x-amz-content-sha256", "UNSIGNED-PAYLOAD").refused(Code::SignatureDoesNotMatch);
}

/// BI-176, BI-177, BI-183, SE-08.
#[test]
fn every_amz_field_and_the_host_must_be_signed() {
    for name in [
        "x-amz-acl",
        "x-amz-copy-source",
        "x-amz-tagging",
        "x-amz-meta-a",
        "x-amz-storage-class",
        "x-amz-object-lock-mode",
        "x-amz-website-redirect-location",
        "x-amz-security-token",
    ] {
        let attempt = Attempt::new(Method::Put, "/b/k", "");
        for signed in [attempt.clone().sign(EMPTY_HASH), attempt.presign(60)] {
            let error = signed.field(name, "v").refused(Code::AccessDenied);
            assert_eq!(error.message(), "There were headers present in the request which were not signed");
            assert_eq!(value(&error, "HeadersNotSigned"), name);
        }
    }
    for attempt in [
        Attempt::new(Method::Get, "/b", "").without("host").sign(EMPTY_HASH),
        Attempt::new(Method::Get, "/b", "").without("host").field("x", "y").presign(60),
    ] {
        let error = attempt.field("host", "examplebucket.s3.amazonaws.com").refused(Code::AccessDenied);
        assert_eq!(value(&error, "HeadersNotSigned"), "host");
    }
}

#[test]
fn the_hash_of_the_body_is_bound_whether_its_field_is_signed_or_not() {
    let attempt = Attempt::new(Method::Put, "/b/k", "").field("x-amz-date", &time::basic(NOW));
    let (headers, names) = (attempt.headers(), "host;x-amz-date");
    let head = Head { method: Method::Put, path: "/b/k", query: "", headers: &headers };
    let (scope, signature, _) = SIGNER.signature(&time::basic(NOW), &head, "", names, EMPTY_HASH);
    let authorization =
        format!("{ALGORITHM} Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}");
    let attempt = attempt.field("authorization", &authorization);
    let attempt = |hash: &str| attempt.clone().field("x-amz-content-sha256", hash);
    attempt(EMPTY_HASH).pass().unwrap();
    attempt(EMPTY_HASH).body(b"x").refused(Code::XAmzContentSHA256Mismatch);
    attempt("UNSIGNED-PAYLOAD").refused(Code::SignatureDoesNotMatch);
    // A URL is bound to no body, and whoever has it cannot bind it to another.
    let presigned = Attempt::new(Method::Put, "/b/k", "").presign(60);
    presigned.clone().field("x-amz-content-sha256", "UNSIGNED-PAYLOAD").body(b"x").pass().unwrap();
    presigned.field("x-amz-content-sha256", EMPTY_HASH).refused(Code::SignatureDoesNotMatch);
}

/// BI-171, BI-178.
#[test]
fn signed_headers_must_be_sorted_lower_case_and_present() {
    let good = Attempt::new(Method::Get, "/b", "").sign(EMPTY_HASH);
    for names in [
        "x-amz-content-sha256;host;x-amz-date",
        "Host;x-amz-content-sha256;x-amz-date",
        "host;host;x-amz-content-sha256;x-amz-date",
        "absent;host;x-amz-content-sha256;x-amz-date",
    ] {
        let headers = good.headers();
        let head = Head { method: Method::Get, path: "/b", query: "", headers: &headers };
        let (_, signature, _) = SIGNER.signature("20130524T000000Z", &head, "", names, EMPTY_HASH);
        let mut attempt = good.clone();
        *attempt.get_mut("authorization") = format!(
            "AWS4-HMAC-SHA256 Credential={KEY}/20130524/us-east-1/s3/aws4_request, SignedHeaders={names}, \
             Signature={signature}"
        );
        attempt.refused(Code::SignatureDoesNotMatch);
    }
    let mut attempt = good.clone();
    let authorization = attempt.get_mut("authorization");
    let at = authorization.len() - 64;
    let upper = authorization[at..].to_uppercase();
    authorization.replace_range(at.., &upper);
    attempt.refused(Code::SignatureDoesNotMatch);
    let many = vec!["host"; SIGNED_HEADERS_MAX + 1].join(";");
    let mut attempt = good;
    let authorization = attempt.get_mut("authorization");
    *authorization = authorization.replace("SignedHeaders=host", &format!("SignedHeaders={many}"));
    attempt.refused(Code::AuthorizationHeaderMalformed);
}

/// BI-187: one change for each component.
#[test]
fn a_change_anywhere_in_a_signed_request_is_noticed() {
    let good = || {
        Attempt::new(Method::Put, "/b/k", "a=1&b")
            .field("content-type", "text/plain")
            .field("x-amz-meta-a", "1")
            .body(b"hello")
            .sign(&hex(&sha256(b"hello")))
    };
    good().pass().unwrap();
    let refused = |change: fn(&mut Attempt)| {
        let mut attempt = good();
        change(&mut attempt);
        attempt.refused(Code::SignatureDoesNotMatch);
    };
    refused(|attempt| attempt.method = Method::Post);
    refused(|attempt| attempt.path = "/b/K".to_owned());
    refused(|attempt| attempt.query = "a=2&b".to_owned());
    refused(|attempt| attempt.query = "a=1&b&c".to_owned());
    refused(|attempt| attempt.query = "a=1".to_owned());
    refused(|attempt| attempt.get_mut("host").push('x'));
    refused(|attempt| attempt.get_mut("content-type").push('x'));
    refused(|attempt| attempt.get_mut("x-amz-meta-a").push('2'));
    refused(|attempt| attempt.get_mut("x-amz-date").replace_range(14..15, "1"));
    refused(|attempt| attempt.fields.push(("x-amz-meta-a".to_owned(), "2".to_owned())));
    refused(|attempt| {
        let authorization = attempt.get_mut("authorization");
        *authorization = authorization.replace("us-east-1", "us-east-2");
    });
    good().body(b"hellO").refused(Code::XAmzContentSHA256Mismatch);
    good().body(b"hello!").refused(Code::XAmzContentSHA256Mismatch);
}

/// BI-181, SE-14, SE-17.
#[test]
fn a_presigned_url_holds_for_its_time_only() {
    let mut attempt = Attempt::new(Method::Get, "/b/k", "").presign(60);
    for (now, message) in [
        (NOW, None),
        (NOW + 60_000, None),
        (NOW - 15 * MINUTE_MS, None),
        (NOW + 61_000, Some("Request has expired")),
        (NOW - 15 * MINUTE_MS - 1, Some("Request is not yet valid")),
    ] {
        attempt.now = now;
        match message {
            None => assert!(attempt.pass().is_ok(), "{now}"),
            Some(message) => assert_eq!(attempt.refused(Code::AccessDenied).message(), message),
        }
    }
    attempt.now = NOW + 61_000;
    let error = attempt.refused(Code::AccessDenied);
    assert_eq!(value(&error, "X-Amz-Expires"), "60");
    assert_eq!(value(&error, "Expires"), "2013-05-24T00:01:00Z");
    assert_eq!(value(&error, "ServerTime"), "2013-05-24T00:01:01Z");

    let mut longest = Attempt::new(Method::Get, "/b/k", "").presign(EXPIRES_S_MAX);
    longest.now = NOW + EXPIRES_S_MAX * 1000;
    longest.pass().unwrap();
    for (expires, message) in [
        ("604801", "less than a week"),
        ("9223372036854775808", "less than a week"),
        ("99999999999999999999", "less than a week"),
        ("abc", "should be a number"),
        ("+60", "should be a number"),
        ("6 0", "should be a number"),
        ("-", "should be a number"),
    ] {
        let query = PUBLISHED_URL.replace("=86400", &format!("={}", uri::encode(expires)));
        let error = Attempt::new(Method::Get, "/t", &query).refused(Code::AuthorizationQueryParametersError);
        assert!(error.message().contains(message), "{expires}: {error}");
    }
    for expires in ["0", "-1", "-99999999999999999999"] {
        let query = PUBLISHED_URL.replace("=86400", &format!("={expires}"));
        let error = Attempt::new(Method::Get, "/t", &query).refused(Code::AccessDenied);
        assert!(error.message().contains("has expired"), "{expires}: {error}");
    }
}

/// BI-175, BI-184.
#[test]
fn each_parameter_of_a_presigned_url_is_needed_once_and_well_formed() {
    let code = Code::AuthorizationQueryParametersError;
    let parameters: Vec<&str> = PUBLISHED_URL.split('&').collect();
    let refused = |query: &str| Attempt::new(Method::Get, "/test.txt", query).refused(code);
    for (index, parameter) in parameters.iter().enumerate() {
        let mut without = parameters.clone();
        without.remove(index);
        refused(&without.join("&"));
        refused(&format!("{PUBLISHED_URL}&{parameter}"));
        let mut lower = parameters.clone();
        let lowered = parameter.to_lowercase();
        lower[index] = &lowered;
        refused(&lower.join("&"));
        let mut empty = parameters.clone();
        empty[index] = parameter.split('=').next().unwrap();
        refused(&empty.join("&"));
    }
    for (from, to, expected) in [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", "X-Amz-Algorithm only supports"),
        ("20130524T000000Z", "2013-05-24", "X-Amz-Date must be in the ISO8601 Long Format"),
        ("%2F20130524", "%2F20130525", "Invalid credential date"),
        ("%2Fs3%2F", "%2Fsqs%2F", "incorrect service \"sqs\""),
        ("aws4_request", "aws4", "incorrect terminal \"aws4\""),
    ] {
        let error = refused(&PUBLISHED_URL.replace(from, to));
        assert!(error.message().contains(expected), "{error}");
    }
    let other_day = refused(&PUBLISHED_URL.replace("%2F20130524", "%2F20130525"));
    assert!(other_day.message().starts_with("Invalid credential date"), "{other_day}");
    let asymmetric = PUBLISHED_URL.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
    Attempt::new(Method::Get, "/test.txt", &asymmetric).refused(Code::NotImplemented);
}

/// BI-182, BI-183.
#[test]
fn a_presigned_url_is_good_for_nothing_else() {
    let good = Attempt::new(Method::Get, "/b/k", "").presign(60);
    good.pass().unwrap();
    for method in [Method::Head, Method::Put, Method::Delete, Method::Post] {
        Attempt { method, ..good.clone() }.refused(Code::SignatureDoesNotMatch);
    }
    Attempt { path: "/b/l".to_owned(), ..good.clone() }.refused(Code::SignatureDoesNotMatch);
    for added in ["acl", "versionId=1", "uploadId=1", "a=b", "X-Amz-Foo=1"] {
        let query = format!("{}&{added}", good.query);
        Attempt { query, ..good.clone() }.refused(Code::SignatureDoesNotMatch);
    }
}

#[test]
fn a_presigned_url_can_promise_a_payload_hash() {
    let hash = hex(&sha256(b"hello"));
    let query = format!("X-Amz-Content-Sha256={hash}");
    for attempt in [
        Attempt::new(Method::Put, "/b/k", "").field("x-amz-content-sha256", &hash).presign(60),
        Attempt::new(Method::Put, "/b/k", &query).presign(60),
    ] {
        attempt.clone().body(b"hello").pass().unwrap();
        attempt.body(b"hellO").refused(Code::XAmzContentSHA256Mismatch);
    }
}
