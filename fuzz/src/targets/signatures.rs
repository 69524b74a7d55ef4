//! Who is let in: signatures of every kind, bucket policies, policies of forms.

use super::{choice, independent, outcome, texts};
use s3pail::auth::keys::SigningKeyCache;
use s3pail::auth::policy::{Decision, Policy, Principal, Request};
use s3pail::auth::post_policy::PostPolicy;
use s3pail::auth::sigv4::Signer;
use s3pail::auth::{Head, Settings, authenticate};
use s3pail::codec::base64;
use s3pail::config::Config;
use s3pail::http::{Body, Headers, Method};
use std::sync::OnceLock;

const NOW: u64 = 1_700_000_000_000;
const SIGNER: Signer<'static> =
    Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" };

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(Config::in_memory)
}

/// Authenticates a request; its error code, or whether somebody was recognised.
fn verdict(head: &Head<'_>) -> Result<bool, &'static str> {
    let settings = Settings { allow_sigv2: true, ..Settings::default() };
    let outcome =
        authenticate(&config().accounts, &settings, &SigningKeyCache::new(), NOW, head, None, Body::empty());
    outcome.map(|found| found.identity.access_key().is_some()).map_err(|error| error.code().name)
}

pub fn requests() -> Vec<Vec<u8>> {
    let mut headers = Headers::new();
    headers.push("host", "h");
    let head = Head { method: Method::Get, path: "/b/k", query: "", headers: &headers };
    let signed = SIGNER.sign(NOW, &head, "UNSIGNED-PAYLOAD");
    let fields: Vec<String> = signed.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let query = SIGNER.presign(NOW, 60, &head);
    texts(&[
        &format!("/b/k?\nhost: h\n{}", fields.join("\n")),
        &format!("/b/k?{query}\nhost: h"),
        "/b/k?\nauthorization: AWS accessKey1:AAAAAAAAAAAAAAAAAAAAAAAAAAA=\ndate: Tue, 14 Nov 2023 22:13:20 GMT",
        "/b/k?AWSAccessKeyId=accessKey1&Signature=AAAA%3D&Expires=1700000060\nhost: h",
        "/b?acl\nauthorization: AWS4-HMAC-SHA256 Credential=accessKey1/20231114/us-east-1/s3/aws4_request",
    ])
}

/// FZ-05, FZ-06: no request but those that our signer made lets anybody in. The input is a request target
/// and header lines.
pub fn verify(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let (path, query) = lines.next().unwrap_or("/").split_once('?').unwrap_or(("/", ""));
    let mut headers = Headers::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        headers.push(name.trim(), value.trim());
    }
    let found = verdict(&Head { method: Method::Get, path, query, headers: &headers });
    if found == Ok(true) {
        // The seeds are signed for this path with these keys; a change of what is signed must not go through.
        assert!(path == "/b/k" || path.contains("b/k") || path.contains('%'), "{path} was let in");
    }
    outcome(found)
}

pub fn queries() -> Vec<Vec<u8>> {
    texts(&[
        "\0/b/a%20b/../c?list-type=2&prefix=a%2Fb+c&x&y==\0v",
        "\x01//b//k?\0  spaced   out ",
        "\x02/b/é?=&&a=%C3%A9\0",
    ])
}

/// FZ-05: what our own signer signs is let in, in the header and in the query: both sides see one request, and
/// it is the one that another implementation sees.
pub fn agree(input: &[u8]) -> u64 {
    let (kind, rest) = choice(input);
    let text = String::from_utf8_lossy(rest);
    let (target, value) = text.split_once('\0').unwrap_or((&text, ""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // A head with other characters never reaches a signature; the parameters of signatures are the signer's.
    let clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let lower = query.to_ascii_lowercase();
    let own = ["amz", "signature", "awsaccesskeyid", "expires", "%"].iter().any(|word| lower.contains(word));
    if !path.starts_with('/') || !clean(path) || !clean(query) || own {
        return 0;
    }
    let mut headers = Headers::new();
    headers.push("host", "h");
    let value: String = value.chars().filter(|character| !character.is_control()).collect();
    headers.push("x-amz-meta-fuzz", value.trim());
    let method = [Method::Get, Method::Put, Method::Delete][kind % 3];
    let head = Head { method, path, query, headers: &headers };
    let presigned = SIGNER.presign(NOW, 60, &head);
    let in_query = verdict(&Head { query: &presigned, ..head });
    assert_ne!(in_query, Err("SignatureDoesNotMatch"), "{method:?} {path}?{presigned}");
    let signed = SIGNER.sign(NOW, &head, "UNSIGNED-PAYLOAD");
    let with = with_fields(&headers, &signed.fields);
    let time = &signed.fields[0].1;
    let [.., (_, authorization)] = &signed.fields;
    let ours = authorization.rsplit_once("Signature=").map(|(_, signature)| signature);
    let all = Head { headers: &with_fields(&headers, &signed.fields[..2]), ..head };
    if let Some(other) = independent::signature(&all, time, SIGNER.secret, SIGNER.region, "UNSIGNED-PAYLOAD")
    {
        assert_eq!(ours, Some(other.as_str()), "{method:?} {path}?{query} {value:?}");
    }
    let in_header = verdict(&Head { headers: &with, ..head });
    assert_ne!(in_header, Err("SignatureDoesNotMatch"), "{method:?} {path}?{query} {value:?}");
    outcome((in_query, in_header))
}

fn with_fields(headers: &Headers, fields: &[(&'static str, String)]) -> Headers {
    let mut all = headers.clone();
    fields.iter().for_each(|(name, value)| all.push(name, value));
    all
}

pub fn policies() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#,
        r#"{"Statement":{"Sid":"a","Effect":"Allow","Principal":{"AWS":["123456789012"]},"NotAction":["s3:Put*"],"NotResource":"arn:aws:s3:::b/a?b*","Condition":{"StringLike":{"aws:Referer":["http://*"]},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"NumericLessThan":{"s3:max-keys":"10"},"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"},"Null":{"aws:TokenIssueTime":"true"},"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["a"]}}}}"#,
        r#"{"Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"arn:aws:s3:::b/a*a*a*a*a*a*a*a*a*"}]}"#,
    ])
}

/// FZ-11: deny wins: with a statement that denies everything nothing is allowed, and nothing takes long.
pub fn policy(input: &[u8]) -> u64 {
    let Ok(policy) = Policy::parse(input, "b") else { return 0 };
    let long = format!("arn:aws:s3:::b/{}", "a".repeat(1000));
    let decide = |policy: &Policy| {
        let mut seen = Vec::new();
        for action in ["s3:GetObject", "s3:PutObject", "s3:ListBucket"] {
            for resource in ["arn:aws:s3:::b/a", "arn:aws:s3:::b", &long] {
                let context: &dyn Fn(&str) -> Vec<String> =
                    &|key| vec![format!("{key}-value"), "10.1.2.3".to_owned()];
                let request = Request { principal: Principal::Anonymous, action, resource, context };
                seen.push(policy.evaluate(&request));
            }
        }
        seen
    };
    let before = decide(&policy);
    let denying = with_denial(input).and_then(|document| Policy::parse(&document, "b").ok());
    if let Some(denying) = denying {
        assert!(
            decide(&denying).iter().all(|decision| *decision == Decision::Deny),
            "a denial was passed over"
        );
    }
    let before: Vec<u8> = before.iter().map(|decision| *decision as u8).collect();
    outcome((before, policy.is_public()))
}

/// The document with one more statement, which denies everything.
fn with_denial(document: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(document).ok()?;
    let denial = r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}"#;
    let (before, after) = text.split_once("\"Statement\":[")?;
    Some(format!("{before}\"Statement\":[{denial},{after}").into_bytes())
}

pub fn post_policies() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"expiration":"2030-01-01T00:00:00.000Z","conditions":[{"bucket":"b"},["starts-with","$key","a/"],["content-length-range",1,10],["eq","$x-amz-meta-a","b"]]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["content-length-range","0","18446744073709551615"],{"acl":"private"}]}"#,
    ])
}

/// FZ-08: a form that lacks what a condition names is refused, whatever the condition looks like.
pub fn post_policy(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let policy = match PostPolicy::parse(&base64(input)) {
        Ok(policy) => policy,
        Err(error) => return outcome(error.message().split('\'').next()),
    };
    let fields = [("bucket", "b"), ("key", "a/b"), ("x-amz-meta-a", "b"), ("acl", "private")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let checked = policy.check(NOW, &fields).map(|range| (*range.start(), *range.end()));
    let later = policy.check(u64::MAX, &fields);
    assert!(later.is_err(), "a policy outlived its end: {text}");
    outcome(checked.map_err(|error| error.code().name))
}
