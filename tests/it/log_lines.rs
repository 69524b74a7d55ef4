//! The log: what a line says of a request, and that no line in any mode holds a secret.

use super::harness::{Client, DEADLINE, Reply, now, wait_until};
use s3pail::auth::Head;
use s3pail::auth::sigv4::Signer;
use s3pail::codec::{base64, hex};
use s3pail::config::Config;
use s3pail::http::{Headers, Method};
use s3pail::log::{Level, Log};
use s3pail::server::Server;
use serde_json::Value;
use std::io::Write;
use std::sync::{Arc, Mutex};

const SECRET_KEY: &str = "verySecretKey1";

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A server whose log is kept.
struct Logged {
    server: Server,
    client: Client,
    memory: Memory,
}

impl Logged {
    fn start(level: Level, log_headers: bool) -> Logged {
        let memory = Memory::default();
        let log = Arc::new(Log::to_writer(level, Box::new(memory.clone())));
        let server = Server::start(Config { log_headers, ..Config::in_memory() }, log).unwrap();
        let client = Client::new(server.addresses()[0], Some(("accessKey1", SECRET_KEY)));
        Logged { server, client, memory }
    }

    fn text(&self) -> String {
        String::from_utf8(self.memory.0.lock().unwrap().clone()).unwrap()
    }

    /// The line of a request, once it is there: it is written when the answer has left.
    fn line(&self, id: &str) -> Value {
        wait_until("a line", || self.text().contains(id));
        let text = self.text();
        let of_request = |line: &Value| line["req_id"] == id;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).find(of_request).unwrap()
    }

    /// Everything that was logged, once the server has ended.
    fn end(self) -> String {
        self.server.stop(DEADLINE).unwrap();
        String::from_utf8(self.memory.0.lock().unwrap().clone()).unwrap()
    }
}

fn id_of(reply: &Reply) -> String {
    reply.header("x-amz-request-id").expect("every answer has an id").to_owned()
}

#[test]
fn a_line_has_the_fields_of_an_access_log() {
    let logged = Logged::start(Level::Info, false);
    logged.client.put("/lines", b"").expect(200);
    let fields = [("user-agent", "tester/1"), ("referer", "http://here/")];
    let reply = logged.client.send("PUT", "/lines/a%20key?x-id=PutObject", &fields, b"12345").expect(200);
    let line = logged.line(&id_of(&reply));
    for (field, value) in [
        ("message", "request"),
        ("httpMethod", "PUT"),
        ("httpURL", "/lines/a%20key"),
        ("httpQuery", "x-id=PutObject"),
        ("action", "PutObject"),
        ("bucketName", "lines"),
        ("objectKey", "a key"),
        ("accessKey", "accessKey1"),
        ("signatureVersion", "SigV4"),
        ("authenticationType", "AuthHeader"),
        ("userAgent", "tester/1"),
        ("referer", "http://here/"),
        ("clientIP", "127.0.0.1"),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert_eq!((line["httpCode"].as_u64(), line["objectSize"].as_u64()), (Some(200), Some(5)));
    assert!(line["requester"].is_string() && line["host"].is_string(), "{line}");
    assert!(line["turnAround_us"].as_u64() <= line["elapsed_us"].as_u64(), "{line}");
    assert!(line.get("headers").is_none(), "{line}");
    logged.end();
}

#[test]
fn every_answer_has_the_id_of_its_line() {
    let logged = Logged::start(Level::Trace, false);
    let anonymous = Client::new(logged.client.address, None);
    for reply in [
        logged.client.get("/"),
        anonymous.get("/nobody"),
        anonymous.get("/live"),
        anonymous.get("/metrics"),
        anonymous.get("/_/healthcheck"),
        anonymous.get("/_/unknown"),
        anonymous.send("PATCH", "/a/b", &[], b""),
        anonymous.send("OPTIONS", "/a/b", &[], b""),
        anonymous.get("/%zz"),
    ] {
        logged.line(&id_of(&reply));
    }
    logged.end();
}

#[test]
fn header_fields_are_logged_on_request_only() {
    let logged = Logged::start(Level::Info, true);
    let reply = logged.client.send("GET", "/", &[("x-custom", "shown")], b"");
    let line = logged.line(&id_of(&reply));
    let headers = line["headers"].as_str().unwrap();
    assert!(headers.contains("x-custom: shown\n") && headers.contains("authorization: ...\n"), "{headers}");
    logged.end();
}

/// A presigned GET, and the signature in it.
fn presigned(client: &Client, path: &str, extra: &str) -> (String, String) {
    let mut headers = Headers::new();
    headers.push("host", &client.address.to_string());
    let head = Head { method: Method::Get, path, query: extra, headers: &headers };
    let signer = Signer { access_key: "accessKey1", secret: SECRET_KEY, region: "us-east-1" };
    let signed = signer.presign(now(), 60, &head);
    let signature = signed.rsplit_once("X-Amz-Signature=").unwrap().1.split('&').next().unwrap().to_owned();
    (format!("{path}?{signed}"), signature)
}

#[test]
fn no_secret_stands_in_any_line_in_any_mode() {
    for level in [Level::Trace, Level::Debug, Level::Info, Level::Error] {
        for log_headers in [false, true] {
            let logged = Logged::start(level, log_headers);
            let secrets = provoke(&logged);
            let text = logged.end();
            assert!(level > Level::Info || text.contains("CANARY-shown"), "the requests were logged");
            for secret in secrets {
                assert!(!text.contains(&secret), "{level:?}, headers {log_headers}: {secret} in\n{text}");
            }
        }
    }
}

/// Sends secrets wherever a request may have some, well and badly formed. Returns what must not be logged.
fn provoke(logged: &Logged) -> Vec<String> {
    let client = &logged.client;
    let anonymous = Client::new(client.address, None);
    let mut secrets = vec![SECRET_KEY.to_owned()];
    let mut canary = |name: &str| {
        let secret = format!("CANARY-{name}-{}", secrets.len());
        secrets.push(secret.clone());
        secret
    };
    client.put("/canary", b"").expect(200);
    let agent = ("user-agent", "CANARY-shown");
    client.send("PUT", "/canary/key", &[agent], b"x").expect(200);

    let token = canary("token");
    client.send("GET", "/canary/key", &[("x-amz-security-token", &token)], b"");
    for authorization in [
        canary("authorization"),
        format!("AWS accessKey1:{}", canary("v2")),
        format!("AWS4-HMAC-SHA256 Credential=accessKey1/x, SignedHeaders=host, Signature={}", canary("v4")),
        format!("AWS4-HMAC-SHA256 {}", canary("malformed")),
        format!("Bearer {}", canary("bearer")),
    ] {
        anonymous.send("GET", "/canary/key", &[("authorization", &authorization)], b"");
    }
    for name in ["cookie", "proxy-authorization", "x-scal-report-token"] {
        let secret = canary(name);
        client.send("GET", "/canary/key", &[(name, &secret)], b"");
    }
    let parameters = ["X-Amz-Signature", "x-amz-signatur%65", "Signature", "X-Amz-Security-Token"];
    for name in parameters {
        let secret = canary("parameter");
        anonymous.get(&format!("/canary/key?AWSAccessKeyId=accessKey1&{name}={secret}&Expires=1"));
        anonymous.send("GET", "/canary", &[("referer", &format!("http://h/?{name}={secret}"))], b"");
        anonymous.get(&format!("/canary/key?%zz&{name}={secret}"));
    }
    let sse = canary("sse");
    let parameter = format!("x-amz-server-side-encryption-customer-key={sse}");
    anonymous.get(&format!("/canary/key?X-Amz-Signature=a&{parameter}"));
    for prefix in ["x-amz-server-side-encryption", "x-amz-copy-source-server-side-encryption"] {
        for key in [canary("raw"), base64(&[0x5a; 32])] {
            let md5 = base64(b"0123456789abcdef");
            let fields = [
                (format!("{prefix}-customer-algorithm"), "AES256".to_owned()),
                (format!("{prefix}-customer-key"), key.clone()),
                (format!("{prefix}-customer-key-md5"), md5),
            ];
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            client.send("PUT", "/canary/sse", &fields, b"x");
            let copy: Vec<_> = fields.iter().copied().chain([("x-amz-copy-source", "/canary/key")]).collect();
            client.send("PUT", "/canary/copy", &copy, b"");
        }
    }
    let form = canary("form");
    let body = format!(
        "--b\r\ncontent-disposition: form-data; name=\"x-amz-signature\"\r\n\r\n{form}\r\n--b\r\n\
         content-disposition: form-data; name=\"policy\"\r\n\r\n{form}\r\n--b--\r\n"
    );
    let kind = [("content-type", "multipart/form-data; boundary=b")];
    anonymous.send("POST", "/canary", &kind, body.as_bytes());
    let (url, good) = presigned(client, "/canary/key", "");
    anonymous.get(&url).expect(200);
    let (url, other) = presigned(client, "/canary/key", "X-Amz-Security-Token=t");
    anonymous.get(&url);
    secrets.extend([good, other, base64(&[0x5a; 32]), hex(&[0x5a; 32])]);
    secrets
}
