//! Whole requests, from the bytes of their heads to the answer.

use super::documents::server;
use super::{choice, outcome, texts};
use s3pail::auth::Head;
use s3pail::auth::sigv4::Signer;
use s3pail::codec::xml_reader;
use s3pail::http::head::{HeadScan, parse};
use s3pail::http::limits::Limits;
use s3pail::http::{Body, Handler, Request, ResponseBody};

/// What follows the first byte, which says whether the request is signed.
pub fn raw() -> Vec<Vec<u8>> {
    let heads = [
        "GET /bucket/key HTTP/1.1\r\nhost: h\r\nrange: bytes=0-1\r\nif-none-match: \"a\"\r\n\r\n",
        "PUT /bucket/k%20 HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\nx-amz-tagging: a=b\r\nx-amz-meta-a: b\r\n\
         content-md5: kAFQmDzST7DWlj99KOF/cg==\r\nx-amz-storage-class: GLACIER\r\n\r\nabc",
        "PUT /bucket/copy HTTP/1.1\r\nhost: h\r\nx-amz-copy-source: /bucket/key?versionId=null\r\n\
         x-amz-metadata-directive: REPLACE\r\nx-amz-copy-source-if-match: *\r\ncontent-length: 0\r\n\r\n",
        "GET /bucket?list-type=2&prefix=a&delimiter=/&max-keys=10&encoding-type=url&continuation-token=x HTTP/1.1\r\n\
         host: h\r\n\r\n",
        "GET /bucket?versions&key-marker=a&version-id-marker=b HTTP/1.1\r\nhost: h\r\n\r\n",
        "OPTIONS /bucket/key HTTP/1.1\r\nhost: h\r\norigin: http://o\r\naccess-control-request-method: GET\r\n\r\n",
        "POST /bucket HTTP/1.1\r\nhost: h\r\ncontent-length: 99\r\ncontent-type: multipart/form-data; boundary=b\r\n\r\n\
         --b\r\ncontent-disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b\r\ncontent-disposition: form-data; \
         name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n",
        "GET / HTTP/1.1\r\nhost: bucket.localhost\r\n\r\n",
        "PUT /bucket/sse HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\nx-amz-server-side-encryption-customer-algorithm: AES256\r\n\
         x-amz-server-side-encryption-customer-key: WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\r\n\
         x-amz-server-side-encryption-customer-key-md5: kAFQmDzST7DWlj99KOF/cg==\r\n\r\n",
        "GET /_/healthcheck/deep HTTP/1.1\r\nhost: h\r\n\r\n",
        "POST /bucket/key?uploads HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\nx-amz-grant-read: id=\"a\", uri=\"b\"\r\n\r\n",
    ];
    let mut seeds = texts(&heads.map(|head| format!("\x01{head}")).each_ref().map(String::as_str));
    seeds.extend(texts(&["\0GET /bucket/key HTTP/1.1\r\nhost: h\r\n\r\n"]));
    seeds
}

/// FZ-04, FZ-12, FZ-20: no request ends in an internal error, and every answer is well-formed.
pub fn handle(input: &[u8]) -> u64 {
    let (signed, bytes) = choice(input);
    let limits = Limits::default();
    let Ok(Some(end)) = HeadScan::default().advance(bytes, &limits) else { return 0 };
    let Ok(mut head) = parse(&bytes[..end], &limits) else { return 1 };
    let (s3, body) = (server(), &bytes[end..]);
    if signed % 2 == 1 && !head.headers.has("authorization") {
        let signer = Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" };
        let unsigned =
            Head { method: head.method, path: &head.path, query: &head.query, headers: &head.headers };
        let signature = signer.sign(s3.service().clock.now(), &unsigned, "UNSIGNED-PAYLOAD");
        signature.fields.iter().for_each(|(name, value)| head.headers.push(name, value));
    }
    let length = head.framing.remaining();
    let response = s3.handle(Request {
        method: head.method,
        path: head.path,
        query: head.query,
        headers: head.headers,
        peer: Some(([127, 0, 0, 1], 1).into()),
        encryption: None,
        body: Body::new(length, Box::new(body)),
    });
    assert!(response.header_value("x-amz-request-id").is_some());
    let text = match &response.body {
        ResponseBody::Bytes(bytes) => bytes.as_slice(),
        _ => &[],
    };
    assert_ne!(response.status, 500, "{}", String::from_utf8_lossy(text));
    if response.header_value("content-type") == Some("application/xml") && !text.is_empty() {
        assert!(xml_reader::parse(text).is_ok(), "{}", String::from_utf8_lossy(text));
    }
    let text = String::from_utf8_lossy(text);
    let code = text.split("<Code>").nth(1).and_then(|rest| rest.split('<').next()).map(str::to_owned);
    outcome((response.status, code))
}
