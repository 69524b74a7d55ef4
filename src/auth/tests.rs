//! Tests of the door itself, and what the tests of both versions share.

use super::*;
use crate::auth::sigv4::Signer;
use std::io::Read;

pub(super) const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2013-05-24T00:00:00Z, the time of AWS's examples.
pub(super) const NOW: Millis = 1_369_353_600_000;
pub(super) const SIGNER: Signer<'static> = Signer { access_key: KEY, secret: SECRET, region: "us-east-1" };

pub(super) fn accounts() -> Accounts {
    let account = Arc::new(Account {
        name: "example".to_owned(),
        email: "example@example.com".to_owned(),
        arn: "arn:aws:iam::123456789012:root".to_owned(),
        canonical_id: "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be".to_owned(),
        short_id: "123456789012".to_owned(),
    });
    let mut accounts = Accounts::default();
    accounts.add(account.clone());
    accounts.add_key(KEY.to_owned(), Credential { secret: SECRET.to_owned(), account, user: None });
    accounts
}

/// A request to try at the door.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub host_bucket: Option<&'static str>,
    pub now: Millis,
}

impl Attempt {
    pub fn new(method: Method, path: &str, query: &str) -> Attempt {
        Attempt {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            fields: vec![("host".to_owned(), "examplebucket.s3.amazonaws.com".to_owned())],
            body: Vec::new(),
            host_bucket: None,
            now: NOW,
        }
    }

    pub fn field(mut self, name: &str, value: &str) -> Attempt {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a field that is there.
    pub fn with(mut self, name: &str, value: &str) -> Attempt {
        self.get_mut(name).replace_range(.., value);
        self
    }

    pub fn without(mut self, name: &str) -> Attempt {
        self.fields.retain(|(n, _)| n != name);
        self
    }

    pub fn body(mut self, body: &[u8]) -> Attempt {
        self.body = body.to_vec();
        self
    }

    pub fn get_mut(&mut self, name: &str) -> &mut String {
        &mut self.fields.iter_mut().find(|(n, _)| n == name).expect("the field is there").1
    }

    pub fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        self.fields.iter().for_each(|(name, value)| headers.push(name, value));
        headers
    }

    /// Signs in the header and returns the chain for signed chunks.
    pub fn sign_chained(mut self, payload: &str) -> (Attempt, ChunkChain) {
        let headers = self.headers();
        let head = Head { method: self.method, path: &self.path, query: &self.query, headers: &headers };
        let signed = SIGNER.sign(NOW, &head, payload);
        self.fields.extend(signed.fields.map(|(name, value)| (name.to_owned(), value)));
        (self, signed.chain)
    }

    pub fn sign(self, payload: &str) -> Attempt {
        self.sign_chained(payload).0
    }

    pub fn presign(mut self, expires_s: u64) -> Attempt {
        let headers = self.headers();
        let head = Head { method: self.method, path: &self.path, query: &self.query, headers: &headers };
        self.query = SIGNER.presign(NOW, expires_s, &head);
        self
    }

    /// Passes the door and reads the body to its end.
    pub fn pass_with(&self, settings: &Settings, keys: &SigningKeyCache) -> Result<Passed> {
        let headers = self.headers();
        let head = Head { method: self.method, path: &self.path, query: &self.query, headers: &headers };
        let body = Body::new(Some(self.body.len() as u64), Box::new(self.body.as_slice()));
        let accounts = accounts();
        let mut found = authenticate(&accounts, settings, keys, self.now, &head, self.host_bucket, body)?;
        let mut body = Vec::new();
        found.body.read_to_end(&mut body).map_err(Error::from_body)?;
        Ok(Passed {
            access_key: found.identity.access_key().map(str::to_owned),
            body,
            trailers: found.trailers,
            signed_query: found.signed_query,
            version: found.signature_version,
            payload: found.payload,
        })
    }

    pub fn pass(&self) -> Result<Passed> {
        self.pass_with(&Settings { allow_sigv2: true, ..Settings::default() }, &SigningKeyCache::new())
    }

    pub fn refused(&self, code: Code) -> Error {
        match self.pass() {
            Ok(_) => panic!("passed, expected {}: {self:?}", code.name),
            Err(error) => {
                assert_eq!(error.code(), code, "{}: {self:?}", error.message());
                error
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Passed {
    pub access_key: Option<String>,
    pub body: Vec<u8>,
    pub trailers: Trailers,
    pub signed_query: bool,
    pub version: Option<SignatureVersion>,
    pub payload: PayloadKind,
}

pub(super) fn value<'e>(error: &'e Error, name: &str) -> &'e str {
    let found = error.fields().iter().find(|(n, _)| *n == name);
    found.map_or_else(|| panic!("no {name} in {error}"), |(_, value)| value)
}

/// Repeatable random numbers (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    /// Seeded by the operating system; the seed is printed so that a failure can be repeated.
    pub fn new() -> Random {
        let seed = u64::from_le_bytes(crate::codec::random()) | 1;
        println!("seed {seed:#x}");
        Random(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

#[test]
fn a_request_without_any_signature_is_anonymous() {
    let passed = Attempt::new(Method::Get, "/b/k", "prefix=a&Expires=1").body(b"x").pass().unwrap();
    assert_eq!((passed.access_key, passed.version, passed.signed_query), (None, None, false));
    assert_eq!((passed.body.as_slice(), passed.payload), (&b"x"[..], PayloadKind::Unsigned));
}

/// BI-171, BI-172, BI-184, SE-03: what has a part of a signature is proven or refused.
#[test]
fn a_broken_signature_is_never_taken_for_none() {
    let attempt = || Attempt::new(Method::Get, "/b/k", "");
    for (authorization, code) in [
        ("", Code::AccessDenied),
        ("Bearer abc", Code::InvalidArgument),
        ("Basic YWJj", Code::InvalidArgument),
        ("AWS5-HMAC-SHA256 Credential=a", Code::InvalidArgument),
        ("aws4-hmac-sha256 Credential=a", Code::InvalidArgument),
        ("AWS4-ECDSA-P256-SHA256 Credential=a", Code::NotImplemented),
        ("AWS4-HMAC-SHA256", Code::AuthorizationHeaderMalformed),
        ("AWS4-HMAC-SHA256 ", Code::AuthorizationHeaderMalformed),
        ("AWS", Code::InvalidArgument),
        ("AWS abc", Code::InvalidArgument),
        ("AWS :", Code::InvalidArgument),
    ] {
        attempt().field("authorization", authorization).refused(code);
    }
    let error = attempt().field("authorization", "Bearer abc").refused(Code::InvalidArgument);
    assert_eq!(error.message(), "Unsupported Authorization Type");
    let error = attempt().field("authorization", "Bearer").refused(Code::InvalidArgument);
    assert!(error.message().contains("one and only one ' ' (space) required"), "{}", error.message());
    for (query, code) in [
        ("X-Amz-Algorithm", Code::AuthorizationQueryParametersError),
        ("X-Amz-Signature=0", Code::AuthorizationQueryParametersError),
        ("X%2DAmz%2DSignature=0", Code::AuthorizationQueryParametersError),
        ("x-amz-credential=a", Code::AuthorizationQueryParametersError),
        ("Signature=0", Code::AccessDenied),
        ("AWSAccessKeyId=a", Code::AccessDenied),
        ("Signature=0&X-Amz-Signature=0", Code::InvalidArgument),
    ] {
        Attempt::new(Method::Get, "/b/k", query).refused(code);
    }
}

#[test]
fn two_signatures_are_one_too_many() {
    let signed = Attempt::new(Method::Get, "/b/k", "").sign(chunked::EMPTY_HASH);
    let mut both = signed.clone();
    both.query = "X-Amz-Signature=0".to_owned();
    assert!(
        both.refused(Code::InvalidArgument).message().starts_with("Only one auth mechanism allowed; only")
    );
    both.query = "Signature=0".to_owned();
    both.refused(Code::InvalidArgument);
    let authorization = signed.clone().get_mut("authorization").clone();
    signed.field("authorization", &authorization).refused(Code::InvalidArgument);
}

/// BI-125, BI-126: framing is decoded for strangers and URL holders too.
#[test]
fn unsigned_chunks_are_decoded_whoever_sends_them() {
    let framed = chunked::encode(&[b"hello world"], None, Some(&[("x-amz-checksum-crc32", "AAAAAA==")]));
    let attempt = Attempt::new(Method::Put, "/b/k", "")
        .field("x-amz-decoded-content-length", "11")
        .field("x-amz-trailer", "x-amz-checksum-crc32")
        .body(&framed);
    let word = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    for attempt in [
        attempt.clone().field("x-amz-content-sha256", word),
        attempt.clone().field("x-amz-content-sha256", word).presign(60),
        attempt.clone().sign(word),
    ] {
        let passed = attempt.pass().unwrap();
        assert_eq!(passed.body, b"hello world");
        assert_eq!(passed.payload, PayloadKind::UnsignedChunksTrailer);
        assert_eq!(passed.trailers.get("x-amz-checksum-crc32").as_deref(), Some("AAAAAA=="));
    }
}

/// BI-124, BI-125, SE-01 to SE-05: the seed signature is verified whatever the payload is said to be.
#[test]
fn a_fabricated_signature_opens_nothing_for_any_payload_kind() {
    let forged = "0".repeat(64);
    for word in [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        chunked::EMPTY_HASH,
    ] {
        for method in [Method::Get, Method::Put, Method::Post, Method::Delete, Method::Head] {
            let attempt = Attempt::new(method, "/b/k", "").field("x-amz-decoded-content-length", "0");
            let mut signed = attempt.clone().body(b"0\r\n\r\n").sign(word);
            let authorization = signed.get_mut("authorization");
            let at = authorization.len() - 64;
            authorization.replace_range(at.., &forged);
            signed.refused(Code::SignatureDoesNotMatch);
            let mut presigned = attempt.field("x-amz-content-sha256", word).presign(60);
            let at = presigned.query.len() - 64;
            presigned.query.replace_range(at.., &forged);
            presigned.refused(Code::SignatureDoesNotMatch);
        }
    }
}

/// BI-189.
#[test]
fn a_security_token_with_a_permanent_key_is_refused() {
    let signed = Attempt::new(Method::Get, "/b/k", "").field("x-amz-security-token", "garbage");
    signed.sign("UNSIGNED-PAYLOAD").refused(Code::InvalidToken);
    Attempt::new(Method::Get, "/b/k", "X-Amz-Security-Token=garbage").presign(60).refused(Code::InvalidToken);
}

#[test]
fn bytes_are_shown_in_hexadecimal_with_spaces() {
    assert_eq!(spaced_hex("AWS"), "41 57 53");
    assert_eq!(spaced_hex(""), "");
}

/// Whatever is changed in a signed request, the door answers: it never panics, and it never lets a
/// request act for a key on another path than was signed.
#[test]
fn random_changes_are_answered_and_open_nothing() {
    let mut random = Random::new();
    let put = || Attempt::new(Method::Put, "/b/k", "a=%2f&b").field("x-amz-meta-a", "1");
    let framed = chunked::encode(&[b"hello"], None, Some(&[]));
    let chunked = put().field("x-amz-decoded-content-length", "5").body(&framed);
    let good = [
        put().sign(chunked::EMPTY_HASH),
        put().presign(60),
        chunked.sign("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        Attempt::new(
            Method::Get,
            "/b/k",
            "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1369353601&Signature=a%3D",
        ),
        put()
            .field("date", "Fri, 24 May 2013 00:00:00 GMT")
            .field("authorization", "AWS AKIAIOSFODNN7EXAMPLE:YQ=="),
    ];
    for round in 0..5_000 {
        let original = &good[round % good.len()];
        let mut attempt = original.clone();
        let index = random.below(attempt.fields.len() + 2);
        let text = match index.checked_sub(2) {
            Some(field) => &mut attempt.fields[field].1,
            None if index == 0 => &mut attempt.query,
            None => &mut attempt.path,
        };
        change(text, &mut random);
        if let Ok(passed) = attempt.pass()
            && passed.access_key.is_some()
        {
            assert_eq!(attempt.path, original.path, "{attempt:?}");
        }
    }
}

/// Replaces, inserts, removes or cuts at a random place.
fn change(text: &mut String, random: &mut Random) {
    const PIECES: [&str; 16] = [
        "",
        "%",
        "/",
        ";",
        ",",
        "=",
        "&",
        "+",
        " ",
        "0",
        "é",
        "\u{0}",
        "Signature=",
        "%ff",
        "-",
        "A/B/C/D/E/",
    ];
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let (one, two) = (places[random.below(places.len())], places[random.below(places.len())]);
    let end = if random.below(4) == 0 { one.max(two) } else { one.min(two) };
    let start = if random.below(2) == 0 { end } else { one.min(two) };
    text.replace_range(start..end, PIECES[random.below(PIECES.len())]);
}
