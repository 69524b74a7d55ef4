//! The bad-input table and the list of vulnerabilities of other servers, row by row.
//!
//! `BI-...` and `SE-...` are the ids of the rows; `index.rs` says where each is tested, or why it cannot
//! apply, and a test compares it with the sources. Every refused row is followed by three questions: is
//! every record what it was, is the object that was there still read byte by byte, and is the file beside
//! the data folder untouched?

mod bodies; // section 7.10 and 7.11: XML, JSON, copies, multipart
mod framing; // sections 7.2 to 7.5 as the whole server sees them
mod index; // where each row is tested
mod names; // section 7.6 and 7.7: buckets, keys, parameters, ranges
mod signatures; // section 7.8: who asks
mod vulnerabilities; // section 8: what happened to others

use crate::harness::{Folder, Reply, TestServer};
use s3pail::config::{Backend, Config};
use s3pail::storage::Visit;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Anybody may do anything in this bucket.
const OPEN: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::open","arn:aws:s3:::open/*"]}]}"#;

/// What the object holds that must stay as it is.
const KEPT: &[u8] = b"kept";

const CANARY: &[u8] = b"a file beside the data folder";

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// One signed request and the answer that it must get: id, method and target, fields, body, status, code.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

/// A server on files with the buckets `shut` and `open`, an object `k` in each, an upload, and a file that
/// no request may reach.
struct Scene {
    server: TestServer,
    canary: PathBuf,
    /// The id of an upload of `/shut/up`.
    upload: String,
    records: Records,
}

impl Scene {
    fn new() -> Scene {
        let folder = Folder::new();
        let canary = folder.0.join("canary");
        std::fs::write(&canary, CANARY).unwrap();
        let config = Config {
            data: Backend::File,
            metadata: Backend::File,
            data_path: folder.0.join("data"),
            metadata_path: folder.0.join("metadata"),
            sync: s3pail::storage::SyncMode::None,
            ..Config::in_memory()
        };
        let server = TestServer::start("file", config, Some(folder));
        for bucket in ["/shut", "/open"] {
            server.put(bucket, b"").expect(200);
            server.put(&format!("{bucket}/k"), KEPT).expect(200);
        }
        server.put("/open?policy", OPEN.as_bytes()).expect(204);
        let upload = server.post("/shut/up?uploads", b"").expect(200).element("UploadId").unwrap();
        let records = records(&server);
        Scene { server, canary, upload, records }
    }

    /// Sends signed rows, of which none may change anything.
    #[track_caller]
    fn refuse(&self, rows: &[Row<'_>]) {
        for (id, line, fields, body, status, code) in rows {
            let (method, target) = line.split_once(' ').unwrap();
            let target = target.replace("{upload}", &self.upload);
            let reply = self.server.send(method, &target, fields, body.as_bytes());
            self.judge(&format!("{id} {line} {fields:?}"), &reply, *status, code, method == "HEAD");
            self.is_unharmed(id);
        }
    }

    /// Checks an answer. An empty code is an answer without an error body.
    #[track_caller]
    fn judge(&self, what: &str, reply: &Reply, status: u16, code: &str, is_head: bool) {
        let what: String = what.chars().take(300).collect();
        let got = if is_head { None } else { reply.element("Code") };
        assert_eq!((reply.status, got.as_deref().unwrap_or("")), (status, code), "{what}: {}", reply.text());
        assert!(reply.header("x-amz-request-id").is_some(), "{what}");
        assert!(reply.header("date").is_some(), "{what}");
        // OP-12: nothing of the machine in an answer.
        let folder = self.canary.parent().unwrap().to_string_lossy().into_owned();
        assert!(
            !reply.text().contains(&folder) && !reply.text().contains("src/"),
            "{what}: {}",
            reply.text()
        );
    }

    /// Nothing was stored, changed or lost, and the server serves.
    #[track_caller]
    fn is_unharmed(&self, what: &str) {
        assert!(records(&self.server) == self.records, "{what}: a record has changed");
        self.lives(what);
    }

    #[track_caller]
    fn lives(&self, what: &str) {
        for bucket in ["shut", "open"] {
            assert_eq!(self.server.get(&format!("/{bucket}/k")).expect(200).body, KEPT, "{what}");
        }
        assert_eq!(std::fs::read(&self.canary).unwrap(), CANARY, "{what}");
    }

    /// Sends bytes as they are, on a connection of their own.
    #[track_caller]
    fn raw(&self, id: &str, request: impl AsRef<[u8]>, status: u16, code: &str) -> Reply {
        let request = request.as_ref();
        let is_head = request.starts_with(b"HEAD");
        let reply = self.server.raw(request, is_head);
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        self.judge(&format!("{id} {shown:?}"), &reply, status, code, is_head);
        reply
    }
}

/// Every record that users can tell: all but those of writes on their way and of the server itself, which
/// renews its leases.
fn records(server: &TestServer) -> Records {
    let mut records = Records::new();
    let everything = [].as_slice()..[0xff; 8].as_slice();
    let mut visit = |key: &[u8], value: &[u8]| {
        if !key.starts_with(b"g") && !key.starts_with(b"s") {
            records.insert(key.to_vec(), value.to_vec());
        }
        Visit::Next
    };
    server.service().meta.scan(everything, &mut visit).unwrap();
    records
}
