//! Server-side encryption: what clients see of it, and what lies on disk.

use crate::harness::{Folder, Reply, TestServer, for_each_backend};
use s3pail::codec::digest::md5;
use s3pail::codec::{base64, hex, unbase64};
use s3pail::config::{Backend, Config};
use s3pail::model::object::{ObjectRecord, Piece};
use s3pail::model::{BucketName, inline_body, keys};
use s3pail::storage::{Batch, BlobHint, Outcome};
use std::io::Read;
use std::path::Path;

const SSE: &str = "x-amz-server-side-encryption";
const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CONTEXT: &str = "x-amz-server-side-encryption-context";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
const KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";

/// What must never be found on disk, and is longer than an inline body's first block.
const MARK: &str = "this text is a secret. ";

/// The header fields of a client's key.
struct ClientKey {
    key: String,
    md5: String,
}

impl ClientKey {
    fn new(byte: u8) -> ClientKey {
        ClientKey { key: base64(&[byte; 32]), md5: base64(&md5(&[byte; 32])) }
    }

    fn own(&self) -> [(&str, &str); 3] {
        [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-server-side-encryption-customer-key", &self.key),
            (KEY_MD5, &self.md5),
        ]
    }

    fn source(&self) -> [(&str, &str); 3] {
        [
            ("x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-copy-source-server-side-encryption-customer-key", &self.key),
            ("x-amz-copy-source-server-side-encryption-customer-key-md5", &self.md5),
        ]
    }
}

fn put_with(server: &TestServer, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
    server.send("PUT", target, fields, body)
}

fn get_with(server: &TestServer, target: &str, fields: &[(&str, &str)]) -> Reply {
    server.send("GET", target, fields, b"")
}

fn set_default(server: &TestServer, bucket: &str, rule: &str) -> Reply {
    let body =
        format!("<ServerSideEncryptionConfiguration><Rule>{rule}</Rule></ServerSideEncryptionConfiguration>");
    let digest = base64(&md5(body.as_bytes()));
    put_with(server, &format!("{bucket}?encryption"), &[("content-md5", &digest)], body.as_bytes())
}

fn default_rule(inner: &str) -> String {
    format!("<ApplyServerSideEncryptionByDefault>{inner}</ApplyServerSideEncryptionByDefault>")
}

fn body(length: usize) -> Vec<u8> {
    MARK.bytes().cycle().take(length).collect()
}

fn record(server: &TestServer, bucket: &str, key: &str) -> ObjectRecord {
    let stored = server.service().meta.get(&keys::object(&BucketName::parse(bucket).unwrap(), key)).unwrap();
    ObjectRecord::decode(&stored.unwrap()).unwrap()
}

fn replace(server: &TestServer, bucket: &str, key: &str, record: &ObjectRecord) {
    let mut batch = Batch::new();
    batch.put(keys::object(&BucketName::parse(bucket).unwrap(), key), record.encode());
    assert_eq!(server.service().meta.commit(batch).unwrap(), Outcome::Committed);
}

/// The bytes of a piece as they are stored.
fn stored(server: &TestServer, piece: &Piece) -> Vec<u8> {
    if piece.inline {
        let value = server.service().meta.get(&keys::inline_body(&piece.id)).unwrap().unwrap();
        return inline_body::open(&piece.id, value, piece.stored_size()).unwrap();
    }
    let mut bytes = Vec::new();
    let blobs = server.service().blobs_of(&piece.location).unwrap();
    let mut reader = blobs.read(&piece.id, 0..piece.stored_size()).unwrap().unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Stores other bytes in the place of a piece.
fn overwrite(server: &TestServer, (bucket, key): (&str, &str), bytes: &[u8]) {
    let mut record = record(server, bucket, key);
    let piece = &mut record.detail.pieces[0];
    if piece.inline {
        let mut batch = Batch::new();
        batch.put(keys::inline_body(&piece.id), inline_body::seal(&piece.id, bytes.to_vec()));
        assert_eq!(server.service().meta.commit(batch).unwrap(), Outcome::Committed);
        return;
    }
    let hint = BlobHint { bucket, key, owner: "", length: None, sync: None };
    let blobs = server.service().blobs_of(&piece.location).unwrap();
    piece.id = blobs.write(&mut &*bytes, &hint).unwrap().id;
    replace(server, bucket, key, &record);
}

/// Whether any file below a folder contains the text.
fn is_on_disk(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return is_on_disk(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// Header fields.
type Fields<'k> = Vec<(&'k str, &'k str)>;

/// How a write asks for each kind of encryption, and what a read of the result has to bring.
fn kinds(client: &ClientKey) -> [(&'static str, Fields<'_>, Fields<'_>); 3] {
    [
        ("sse-s3", vec![(SSE, "AES256")], vec![]),
        ("sse-kms", vec![(SSE, "aws:kms"), (KMS_KEY, "testkey-1")], vec![]),
        ("sse-c", client.own().to_vec(), client.own().to_vec()),
    ]
}

/// SE-118.
#[test]
fn what_lies_on_disk_is_not_what_was_sent() {
    let folder = Folder::new();
    let config = Config {
        data: Backend::File,
        metadata: Backend::File,
        data_path: folder.0.join("data"),
        metadata_path: folder.0.join("metadata"),
        ..Config::in_memory()
    };
    let server = TestServer::start("file", config, None);
    server.bucket("abc");
    let client = ClientKey::new(0x41);
    for (kind, write, read) in kinds(&client) {
        for length in [100, 200_000] {
            let (target, plain) = (format!("/abc/{kind}-{length}"), body(length));
            put_with(&server, &target, &write, &plain).expect(200);
            assert!(get_with(&server, &target, &read).expect(200).body == plain, "{target}");
        }
    }
    assert!(!is_on_disk(&folder.0, MARK), "a body is on disk as it was sent");
    assert!(!is_on_disk(&folder.0, &client.key) && !is_on_disk(&folder.0, "AAAAAAAAAAAAAAAA"));
    // The search finds what is there.
    server.put("/abc/plain", &body(200_000)).expect(200);
    server.put("/abc/small", &body(100)).expect(200);
    assert!(is_on_disk(&folder.0.join("data"), MARK));
}

#[test]
fn sizes_etags_and_headers_are_those_of_s3() {
    for_each_backend(|server| {
        server.bucket("abc");
        let client = ClientKey::new(1);
        let digest = hex(&md5(b"hello"));
        for (kind, write, read) in kinds(&client) {
            let put = put_with(server, "/abc/k", &write, b"hello").expect(200);
            let etag = put.header("etag").unwrap().trim_matches('"').to_owned();
            assert_eq!(etag == digest, kind == "sse-s3", "{kind}");
            assert_eq!(etag.len(), 32);
            let get = get_with(server, "/abc/k", &read).expect(200);
            let head = server.send("HEAD", "/abc/k", &read, b"").expect(200);
            for reply in [&put, &get, &head] {
                let field = |name| reply.header(name);
                let expected = match kind {
                    "sse-s3" => (Some("AES256"), None, None),
                    "sse-kms" => (Some("aws:kms"), Some("testkey-1"), None),
                    _ => (None, None, Some(client.md5.as_str())),
                };
                assert_eq!((field(SSE), field(KMS_KEY), field(KEY_MD5)), expected, "{kind}");
                assert_eq!(field(BUCKET_KEY), None);
            }
            assert_eq!((get.header("content-length"), head.header("content-length")), (Some("5"), Some("5")));
            assert_eq!(server.get("/abc?list-type=2").element("Size").as_deref(), Some("5"));
        }
        // An empty body is stored as nothing, and is as well protected.
        put_with(server, "/abc/empty", &client.own(), b"").expect(200);
        server.get("/abc/empty").expect_error(400, "InvalidRequest");
        assert!(get_with(server, "/abc/empty", &client.own()).expect(200).body.is_empty());
    });
}

#[test]
fn every_range_of_an_encrypted_object_is_the_range_of_its_bytes() {
    for_each_backend(|server| {
        server.bucket("abc");
        // Three chunks on the large one; every single range of the small one.
        let (large, small): (Vec<u8>, Vec<u8>) =
            ((0..2 * 65_536 + 10_u32).map(|at| (at * 7 + at / 256) as u8).collect(), (0..24).collect());
        put_with(server, "/abc/large", &[(SSE, "AES256")], &large).expect(200);
        put_with(server, "/abc/small", &[(SSE, "AES256")], &small).expect(200);
        let check = |target: &str, plain: &[u8], first: usize, last: usize| {
            let range = format!("bytes={first}-{last}");
            let reply = get_with(server, target, &[("range", &range)]).expect(206);
            assert!(reply.body == plain[first..=last], "{target} {range}");
            let expected = format!("bytes {first}-{last}/{}", plain.len());
            assert_eq!(reply.header("content-range"), Some(expected.as_str()));
        };
        for first in 0..small.len() {
            (first..small.len()).for_each(|last| check("/abc/small", &small, first, last));
        }
        let borders = [0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, large.len() - 1];
        for first in borders {
            borders.into_iter().filter(|last| *last >= first).for_each(|last| {
                check("/abc/large", &large, first, last);
            });
        }
        let suffix = get_with(server, "/abc/large", &[("range", "bytes=-5")]).expect(206);
        assert_eq!(suffix.body, large[large.len() - 5..]);
    });
}

#[test]
fn stored_bytes_that_were_changed_are_an_error_and_never_other_bytes() {
    for_each_backend(|server| {
        server.bucket("abc");
        for length in [20, 150_000] {
            put_with(server, "/abc/k", &[(SSE, "AES256")], &body(length)).expect(200);
            let good = stored(server, &record(server, "abc", "k").detail.pieces[0]);
            assert_eq!(good.len() as u64, length as u64 + 16 * (length as u64).div_ceil(65_536));
            for at in [0, length / 2, good.len() - 1] {
                let mut bad = good.clone();
                bad[at] ^= 1;
                overwrite(server, ("abc", "k"), &bad);
                // The first chunk that a read touches is checked before the answer begins.
                let range = format!("bytes={}-{}", at.min(length - 1), length - 1);
                get_with(server, "/abc/k", &[("range", &range)]).expect_error(500, "InternalError");
                if at >= 65_536 {
                    let before = get_with(server, "/abc/k", &[("range", "bytes=0-65535")]).expect(206);
                    assert!(before.body == body(65_536), "what was not changed can be read");
                }
                server.send("PUT", "/abc/copy", &[("x-amz-copy-source", "/abc/k")], b"").expect(500);
            }
            overwrite(server, ("abc", "k"), &good);
            assert!(server.get("/abc/k").expect(200).body == body(length));
        }
        server.get("/abc/copy").expect_error(404, "NoSuchKey");
    });
}

/// SE-117: bodies and records only open where they belong.
#[test]
fn swapped_bodies_and_records_do_not_open() {
    for_each_backend(|server| {
        let client = ClientKey::new(7);
        for (bucket, length) in [("small", 30), ("large", 100_000)] {
            server.bucket(bucket);
            for (kind, write, read) in kinds(&client) {
                let (one, two) = (format!("{kind}-1"), format!("{kind}-2"));
                let target = |key: &str| format!("/{bucket}/{key}");
                for key in [&one, &two] {
                    put_with(server, &target(key), &write, &body(length)).expect(200);
                }
                let (first, second) = (record(server, bucket, &one), record(server, bucket, &two));
                // The bodies change places on disk, as the files of two blobs would.
                let mut swapped = first.clone();
                swapped.detail.pieces[0].id = second.detail.pieces[0].id.clone();
                replace(server, bucket, &one, &swapped);
                get_with(server, &target(&one), &read).expect_error(500, "InternalError");
                // The body brings its salt along.
                swapped.detail.pieces = second.detail.pieces.clone();
                replace(server, bucket, &one, &swapped);
                get_with(server, &target(&one), &read).expect_error(500, "InternalError");
                // The whole record of another key.
                replace(server, bucket, &one, &second);
                let status = if kind == "sse-c" { 403 } else { 500 };
                get_with(server, &target(&one), &read).expect(status);
                replace(server, bucket, &one, &first);
                assert!(get_with(server, &target(&one), &read).expect(200).body == body(length));
            }
        }
    });
}

#[test]
fn a_clients_key_is_asked_for_and_must_be_the_right_one() {
    for_each_backend(|server| {
        server.bucket("abc");
        let (right, wrong) = (ClientKey::new(1), ClientKey::new(2));
        put_with(server, "/abc/k", &right.own(), b"hello").expect(200);
        server.put("/abc/plain", b"hello").expect(200);
        server.get("/abc/k").expect_error(400, "InvalidRequest");
        server.head("/abc/k").expect(400);
        get_with(server, "/abc/k", &wrong.own()).expect_error(403, "AccessDenied");
        server.send("HEAD", "/abc/k", &wrong.own(), b"").expect(403);
        get_with(server, "/abc/plain", &right.own()).expect_error(400, "InvalidRequest");
        let attributes = [("x-amz-object-attributes", "ETag,ObjectSize")];
        get_with(server, "/abc/k?attributes", &attributes).expect_error(400, "InvalidRequest");
        let with_key = [attributes.as_slice(), &right.own()].concat();
        let reply = get_with(server, "/abc/k?attributes", &with_key).expect(200);
        assert_eq!(reply.element("ObjectSize").as_deref(), Some("5"));
        // A read goes without the MD5, a write does not.
        assert_eq!(
            get_with(server, "/abc/k", &right.own()[..2]).expect(200).header(KEY_MD5),
            Some(&*right.md5)
        );
        put_with(server, "/abc/k", &right.own()[..2], b"x").expect_error(400, "InvalidArgument");
        put_with(server, "/abc/k", &[(right.own()[0].0, "AES128")], b"x")
            .expect_error(400, "InvalidEncryptionAlgorithmError");
        // Nothing of a refused write is kept, and deleting needs no key.
        assert_eq!(get_with(server, "/abc/k", &right.own()).expect(200).body, b"hello");
        server.delete("/abc/k").expect(204);
    });
}

#[test]
fn a_read_cannot_choose_an_encryption() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"hello").expect(200);
        get_with(server, "/abc/k", &[(SSE, "AES256")]).expect_error(400, "InvalidArgument");
        server.send("HEAD", "/abc/k", &[(SSE, "aws:kms"), (KMS_KEY, "k")], b"").expect(400);
    });
}

#[test]
fn a_copy_opens_its_source_and_is_encrypted_anew() {
    for_each_backend(|server| {
        server.bucket("abc");
        let (old, new) = (ClientKey::new(1), ClientKey::new(2));
        let plain = body(70_000);
        put_with(server, "/abc/source", &old.own(), &plain).expect(200);
        let copy = |target: &str, fields: &[(&str, &str)]| {
            put_with(server, target, &[&[("x-amz-copy-source", "/abc/source")], fields].concat(), b"")
        };
        copy("/abc/copy", &[]).expect_error(400, "InvalidRequest");
        copy("/abc/copy", &new.source()).expect_error(403, "AccessDenied");
        let to_client = copy("/abc/copy", &[old.source(), new.own()].concat()).expect(200);
        assert_eq!(to_client.header(KEY_MD5), Some(&*new.md5));
        assert!(get_with(server, "/abc/copy", &new.own()).expect(200).body == plain);
        get_with(server, "/abc/copy", &old.own()).expect_error(403, "AccessDenied");
        let to_service =
            copy("/abc/copy", &[old.source().as_slice(), &[(SSE, "AES256")]].concat()).expect(200);
        assert_eq!(to_service.header(SSE), Some("AES256"));
        assert_eq!(
            server.get("/abc/copy").expect(200).header("etag"),
            Some(&*format!("\"{}\"", hex(&md5(&plain))))
        );
        copy("/abc/copy", &old.source()).expect(200);
        assert_eq!(server.get("/abc/copy").expect(200).header(SSE), None);
        // A new key for the same object.
        copy("/abc/source", &[old.source(), new.own()].concat()).expect(200);
        assert!(get_with(server, "/abc/source", &new.own()).expect(200).body == plain);
    });
}

#[test]
fn the_default_encryption_of_a_bucket_applies_to_what_names_none() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.get("/abc?encryption").expect_error(404, "ServerSideEncryptionConfigurationNotFoundError");
        server.put("/abc/before", b"hello").expect(200);
        let kms = "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>alias/mine</KMSMasterKeyID>";
        set_default(server, "/abc", &(default_rule(kms) + "<BucketKeyEnabled>true</BucketKeyEnabled>"))
            .expect(200);
        let shown = server.get("/abc?encryption").expect(200);
        assert_eq!(shown.element("SSEAlgorithm").as_deref(), Some("aws:kms"));
        assert_eq!(shown.element("KMSMasterKeyID").as_deref(), Some("alias/mine"));
        assert_eq!(shown.element("BucketKeyEnabled").as_deref(), Some("true"));
        let put = server.put("/abc/k", b"hello").expect(200);
        assert_eq!((put.header(SSE), put.header(BUCKET_KEY)), (Some("aws:kms"), Some("true")));
        assert!(put.header(KMS_KEY).unwrap().starts_with("arn:aws:kms:us-east-1:"), "an alias is resolved");
        let without = put_with(server, "/abc/k", &[(BUCKET_KEY, "false")], b"hello").expect(200);
        assert_eq!((without.header(SSE), without.header(BUCKET_KEY)), (Some("aws:kms"), None));
        let copied = put_with(server, "/abc/copy", &[("x-amz-copy-source", "/abc/before")], b"").expect(200);
        assert_eq!(copied.header(SSE), Some("aws:kms"));
        // Copied onto itself: the default is a change.
        put_with(server, "/abc/before", &[("x-amz-copy-source", "/abc/before")], b"").expect(200);
        let own = put_with(server, "/abc/k", &[(SSE, "AES256")], b"hello").expect(200);
        assert_eq!((own.header(SSE), own.header(KMS_KEY)), (Some("AES256"), None));
        server.delete("/abc?encryption").expect(204);
        server.delete("/abc?encryption").expect(204);
        server.get("/abc?encryption").expect_error(404, "ServerSideEncryptionConfigurationNotFoundError");
        assert_eq!(server.put("/abc/after", b"hello").expect(200).header(SSE), None);
        assert_eq!(server.get("/abc/copy").expect(200).body, b"hello");
        set_default(server, "/abc", "").expect_error(400, "MalformedXML");
        put_with(server, "/scal", &[("x-amz-scal-server-side-encryption", "AES256")], b"").expect(200);
        assert_eq!(server.put("/scal/k", b"x").expect(200).header(SSE), Some("AES256"));
    });
}

#[test]
fn a_bucket_can_refuse_clients_keys() {
    for_each_backend(|server| {
        server.bucket("abc");
        let client = ClientKey::new(1);
        put_with(server, "/abc/old", &client.own(), b"hello").expect(200);
        let started = server.send("POST", "/abc/multi?uploads", &client.own(), b"").expect(200);
        let blocked =
            "<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>";
        set_default(server, "/abc", blocked).expect(200);
        assert_eq!(server.get("/abc?encryption").element("EncryptionType").as_deref(), Some("SSE-C"));
        put_with(server, "/abc/k", &client.own(), b"x").expect_error(403, "AccessDenied");
        server.send("POST", "/abc/k?uploads", &client.own(), b"").expect_error(403, "AccessDenied");
        let part = format!("/abc/multi?partNumber=1&uploadId={}", started.element("UploadId").unwrap());
        put_with(server, &part, &client.own(), b"x").expect_error(403, "AccessDenied");
        assert_eq!(get_with(server, "/abc/old", &client.own()).expect(200).body, b"hello");
        // Saying nothing of it leaves it blocked.
        set_default(server, "/abc", &default_rule("<SSEAlgorithm>AES256</SSEAlgorithm>")).expect(200);
        put_with(server, "/abc/k", &client.own(), b"x").expect_error(403, "AccessDenied");
        set_default(server, "/abc", &blocked.replace("SSE-C", "NONE")).expect(200);
        put_with(server, "/abc/k", &client.own(), b"x").expect(200);
    });
}

#[test]
fn kms_keys_go_by_their_names_and_contexts_are_kept() {
    for_each_backend(|server| {
        server.bucket("abc");
        let default = put_with(server, "/abc/default", &[(SSE, "aws:kms")], b"hello").expect(200);
        assert!(default.header(KMS_KEY).unwrap().contains(":key/"), "the key of aws/s3 has an ARN");
        let context = base64(br#"{"project":"x"}"#);
        let fields = [(SSE, "aws:kms:dsse"), (KMS_KEY, "testkey-1"), (CONTEXT, context.as_str())];
        let put = put_with(server, "/abc/k", &fields, b"hello").expect(200);
        assert_eq!((put.header(SSE), put.header(CONTEXT)), (Some("aws:kms:dsse"), Some(&*context)));
        let get = server.get("/abc/k").expect(200);
        assert_eq!((get.body.as_slice(), get.header(CONTEXT)), (b"hello".as_slice(), None));
        // The context is authenticated.
        let mut changed = record(server, "abc", "k");
        changed.detail.encryption.as_mut().unwrap().context = Some(base64(br#"{"project":"y"}"#));
        replace(server, "abc", "k", &changed);
        server.get("/abc/k").expect_error(500, "InternalError");
        put_with(server, "/abc/k", &[(SSE, "aws:kms"), (KMS_KEY, "no key")], b"x")
            .expect_error(400, "KMS.NotFoundException");
        put_with(server, "/abc/k", &[(KMS_KEY, "testkey-1")], b"x").expect_error(400, "InvalidArgument");
    });
}

#[test]
fn encrypted_objects_outlive_a_restart() {
    let server = TestServer::file();
    server.bucket("abc");
    let client = ClientKey::new(9);
    for (kind, write, _) in kinds(&client) {
        put_with(&server, &format!("/abc/{kind}"), &write, &body(1_000)).expect(200);
    }
    let server = server.restart();
    for (kind, _, read) in kinds(&client) {
        assert!(get_with(&server, &format!("/abc/{kind}"), &read).expect(200).body == body(1_000), "{kind}");
    }
}

fn complete(server: &TestServer, target: &str, fields: &[(&str, &str)], etags: &[String]) -> Reply {
    let parts: String = (1..)
        .zip(etags)
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    server.send("POST", target, fields, body.as_bytes())
}

#[test]
fn an_upload_in_parts_is_encrypted_part_by_part() {
    let config = Config { part_bytes_min: 0, ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    server.bucket("abc");
    let client = ClientKey::new(3);
    let bodies = [body(70_000), body(65_536), body(10)];
    for (kind, write, read) in kinds(&client) {
        let target = format!("/abc/{kind}");
        let created = server.send("POST", &format!("{target}?uploads"), &write, b"").expect(200);
        let id = created.element("UploadId").unwrap();
        let part = |number: usize, fields: &[(&str, &str)]| {
            let target = format!("{target}?partNumber={number}&uploadId={id}");
            put_with(&server, &target, fields, &bodies[number - 1])
        };
        let etags: Vec<String> = (1..=3)
            .map(|number| part(number, &read).expect(200).header("etag").unwrap().to_owned())
            .collect();
        // A part that is sent again is the same part.
        assert_eq!(part(2, &read).expect(200).header("etag"), Some(&*etags[1]));
        let done = complete(&server, &format!("{target}?uploadId={id}"), &[], &etags).expect(200);
        assert_eq!(done.header(SSE), created.header(SSE));
        assert!(done.element("ETag").unwrap().contains("-3"));
        let whole = bodies.concat();
        assert!(get_with(&server, &target, &read).expect(200).body == whole, "{kind}");
        for number in 1..=3 {
            let reply = get_with(&server, &format!("{target}?partNumber={number}"), &read).expect(206);
            assert!(reply.body == bodies[number - 1], "{kind} part {number}");
        }
        let across = [read.as_slice(), &[("range", "bytes=69990-135540")]].concat();
        assert!(get_with(&server, &target, &across).expect(206).body == whole[69_990..=135_540]);
        // Parts of one object share its data key, and yet do not open in each other's place.
        let good = record(&server, "abc", kind);
        let mut swapped = good.clone();
        let pieces = &mut swapped.detail.pieces;
        let (first, second) = (pieces[0].id.clone(), pieces[1].id.clone());
        (pieces[0].id, pieces[1].id) = (second, first);
        replace(&server, "abc", kind, &swapped);
        get_with(&server, &target, &read).expect_error(500, "InternalError");
    }
}

#[test]
fn parts_bring_the_key_that_the_upload_began_with() {
    let server = TestServer::memory();
    server.bucket("abc");
    let (right, wrong) = (ClientKey::new(1), ClientKey::new(2));
    server.put("/abc/source", b"hello").expect(200);
    let begin = |fields: &[(&str, &str)]| {
        server.send("POST", "/abc/k?uploads", fields, b"").expect(200).element("UploadId").unwrap()
    };
    let part = |id: &str, fields: &[(&str, &str)]| {
        put_with(&server, &format!("/abc/k?partNumber=1&uploadId={id}"), fields, b"hello")
    };
    let id = begin(&right.own());
    part(&id, &[]).expect_error(400, "InvalidRequest");
    part(&id, &wrong.own()).expect_error(400, "InvalidRequest");
    part(&id, &[("x-amz-copy-source", "/abc/source")]).expect_error(400, "InvalidRequest");
    let copied = part(&id, &[&[("x-amz-copy-source", "/abc/source")], right.own().as_slice()].concat());
    assert_eq!(copied.expect(200).header(KEY_MD5), Some(&*right.md5));
    let plain = begin(&[]);
    part(&plain, &right.own()).expect_error(400, "InvalidRequest");
    part(&plain, &[]).expect(200);
    // With checksums the completion needs the key again.
    let checked = [right.own().as_slice(), &[("x-amz-checksum-algorithm", "CRC32")]].concat();
    let id = begin(&checked);
    let crc = base64(&crc32(b"hello"));
    let with_crc = [right.own().as_slice(), &[("x-amz-checksum-crc32", crc.as_str())]].concat();
    let etag = part(&id, &with_crc).expect(200).header("etag").unwrap().to_owned();
    let target = format!("/abc/k?uploadId={id}");
    let listed = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>\
         <ChecksumCRC32>{crc}</ChecksumCRC32></Part></CompleteMultipartUpload>"
    );
    let complete = |fields: &[(&str, &str)]| server.send("POST", &target, fields, listed.as_bytes());
    complete(&[]).expect_error(400, "InvalidArgument");
    complete(&wrong.own()).expect_error(400, "InvalidRequest");
    assert_eq!(complete(&right.own()).expect(200).header(KEY_MD5), Some(&*right.md5));
    assert_eq!(get_with(&server, "/abc/k", &right.own()).expect(200).body, b"hello");
}

fn crc32(bytes: &[u8]) -> Vec<u8> {
    use s3pail::codec::digest::{Checksum, ChecksumAlgorithm};
    unbase64(&Checksum::of(ChecksumAlgorithm::Crc32, bytes).to_base64()).unwrap()
}

/// As every bucket on AWS since January 2023: what no request and no configuration encrypts is sealed under
/// SSE-S3, and every answer says so.
#[test]
fn with_a_default_encryption_of_all_buckets_everything_is_sealed() {
    let folder = Folder::new();
    let config = Config {
        data: Backend::File,
        metadata: Backend::File,
        data_path: folder.0.join("data"),
        metadata_path: folder.0.join("metadata"),
        default_encryption: true,
        part_bytes_min: 0,
        ..Config::in_memory()
    };
    let server = TestServer::start("file", config, None);
    server.bucket("abc");
    let shown = server.get("/abc?encryption").expect(200);
    assert_eq!(shown.element("SSEAlgorithm").as_deref(), Some("AES256"));
    assert_eq!(shown.element("BucketKeyEnabled").as_deref(), Some("false"));
    for length in [100, 200_000] {
        let put = server.put("/abc/k", &body(length)).expect(200);
        let expected = format!("\"{}\"", hex(&md5(&body(length))));
        assert_eq!((put.header(SSE), put.header("etag")), (Some("AES256"), Some(expected.as_str())));
        let copy = put_with(&server, "/abc/copy", &[("x-amz-copy-source", "abc/k")], b"").expect(200);
        let id = server.post("/abc/parts?uploads", b"").expect(200);
        assert_eq!((copy.header(SSE), id.header(SSE)), (Some("AES256"), Some("AES256")));
        let id = id.element("UploadId").unwrap();
        let part = server.put(&format!("/abc/parts?partNumber=1&uploadId={id}"), &body(length)).expect(200);
        assert_eq!(part.header(SSE), Some("AES256"));
        let etag = part.header("etag").unwrap();
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        let done = server.post(&format!("/abc/parts?uploadId={id}"), list.as_bytes()).expect(200);
        assert_eq!(done.header(SSE), Some("AES256"));
        for key in ["k", "copy", "parts"] {
            let reply = server.get(&format!("/abc/{key}")).expect(200);
            assert_eq!(reply.header(SSE), Some("AES256"), "{key}");
            assert!(reply.body == body(length), "{key}");
        }
    }
    assert!(!is_on_disk(&folder.0, MARK), "a body is on disk as it was sent");
}

#[test]
fn the_default_encryption_of_all_buckets_yields_to_any_other() {
    let server =
        TestServer::start("memory", Config { default_encryption: true, ..Config::in_memory() }, None);
    server.bucket("abc");
    let client = ClientKey::new(1);
    let kms = put_with(&server, "/abc/kms", &[(SSE, "aws:kms")], b"x").expect(200);
    assert_eq!(kms.header(SSE), Some("aws:kms"));
    let own = put_with(&server, "/abc/own", &client.own(), b"x").expect(200);
    assert_eq!((own.header(SSE), own.header(KEY_MD5)), (None, Some(client.md5.as_str())));
    set_default(&server, "/abc", &default_rule("<SSEAlgorithm>aws:kms</SSEAlgorithm>")).expect(200);
    assert_eq!(server.put("/abc/k", b"x").expect(200).header(SSE), Some("aws:kms"));
    server.delete("/abc?encryption").expect(204);
    assert_eq!(server.get("/abc?encryption").expect(200).element("SSEAlgorithm").as_deref(), Some("AES256"));
    assert_eq!(server.put("/abc/k", b"x").expect(200).header(SSE), Some("AES256"));
    // A bucket's own default makes a copy onto itself a change; that of all buckets does not.
    let itself = [("x-amz-copy-source", "abc/k")];
    put_with(&server, "/abc/k", &itself, b"").expect_error(400, "InvalidRequest");
    set_default(&server, "/abc", &default_rule("<SSEAlgorithm>AES256</SSEAlgorithm>")).expect(200);
    put_with(&server, "/abc/k", &itself, b"").expect(200);
}

#[test]
fn a_copy_onto_itself_may_give_up_the_clients_key() {
    for_each_backend(|server| {
        server.bucket("abc");
        let client = ClientKey::new(1);
        put_with(server, "/abc/k", &client.own(), b"secret").expect(200);
        let itself = [&[("x-amz-copy-source", "abc/k")][..], &client.source()].concat();
        let copied = put_with(server, "/abc/k", &itself, b"").expect(200);
        assert_eq!(copied.header(KEY_MD5), None);
        assert_eq!(server.get("/abc/k").expect(200).body, b"secret");
        // Once it is gone, there is nothing more to change.
        put_with(server, "/abc/k", &[("x-amz-copy-source", "abc/k")], b"")
            .expect_error(400, "InvalidRequest");
    });
}

/// The condition key is the header field of the request: a default does not stand for it.
#[test]
fn a_policy_that_demands_the_header_is_not_met_by_a_default() {
    let server =
        TestServer::start("memory", Config { default_encryption: true, ..Config::in_memory() }, None);
    server.bucket("abc");
    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*",
        "Action": "s3:PutObject", "Resource": "arn:aws:s3:::abc/*",
        "Condition": {"Null": {"s3:x-amz-server-side-encryption": "true"}}}]}"#;
    server.put("/abc?policy", policy.as_bytes()).expect(204);
    server.put("/abc/k", b"x").expect_error(403, "AccessDenied");
    put_with(&server, "/abc/k", &[(SSE, "AES256")], b"x").expect(200);
}
