//! Random histories compared with a model: whatever is done in whatever order, every answer is the one that
//! a `BTreeMap` of versions gives.
//!
//! `S3PAIL_MODEL_RUNS` is how many histories are tried on each backend, `S3PAIL_MODEL_SEED` repeats one. A
//! history that fails is made shorter, operation by operation, while it still fails, and then printed.

use super::harness::{Folder, Reply, TestServer, file_config};
use s3pail::codec::digest::{Checksum, ChecksumAlgorithm, ChecksumType, md5};
use s3pail::codec::{base64, hex, uri};
use s3pail::config::Config;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

const RUNS: u64 = 30;
const OPERATIONS: usize = 80;
/// Prefixes of one another, neighbours of `/` in byte order, names that mean something to file systems.
const KEYS: [&str; 12] = ["a", "a/", "a//", "a/b", "a/b/c", "a-", "a.", "a0", "..", "b b", "é/x", "a%2Fb"];
const PREFIXES: [&str; 6] = ["", "a", "a/", "a/b", "é", "zz"];
const DELIMITERS: [&str; 4] = ["", "/", "b", "//"];
/// What an upload may choose; without a choice it has the full-object CRC-64/NVME.
const CHECKSUMS: [Option<(ChecksumAlgorithm, ChecksumType)>; 6] = [
    None,
    Some((ChecksumAlgorithm::Crc32, ChecksumType::Composite)),
    Some((ChecksumAlgorithm::Crc32c, ChecksumType::FullObject)),
    Some((ChecksumAlgorithm::Sha1, ChecksumType::Composite)),
    Some((ChecksumAlgorithm::Sha256, ChecksumType::Composite)),
    Some((ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject)),
];
const SIZES: [usize; 7] = [0, 1, 700, 16_384, 16_385, 70_000, 262_145];

/// What is done. Numbers choose among what there is at that moment, so that a history stays one when any
/// of its operations is left out.
#[derive(Clone, Debug)]
enum Operation {
    Put(usize, usize, Condition),
    Get(usize),
    GetRange(usize, usize, usize),
    GetVersion(usize, usize),
    Delete(usize),
    DeleteVersion(usize, usize),
    DeleteMany(usize, usize),
    Copy(usize, usize, bool),
    Tag(usize),
    Versioning(bool),
    Create(usize, usize),
    Part(usize, u16, usize),
    Complete(usize, usize),
    Abort(usize),
    List(usize, usize, usize, bool),
    ListVersions(usize, usize),
    ListUploads,
    DeleteBucket,
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    None,
    Absent,
    Same,
    Other,
}

/// Numbers that a seed decides (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn operation(&mut self) -> Operation {
        // Few keys, so that operations meet.
        let key = self.below(KEYS.len());
        let other = self.below(KEYS.len());
        let number = self.below(1000);
        match self.below(38) {
            0..=8 => Operation::Put(key, self.below(SIZES.len()), self.condition()),
            9 | 10 => Operation::Get(key),
            11 => Operation::GetRange(key, number, self.below(1000)),
            12 => Operation::GetVersion(key, number),
            13..=15 => Operation::Delete(key),
            16 | 17 => Operation::DeleteVersion(key, number),
            18 => Operation::DeleteMany(key, other),
            19 | 20 => Operation::Copy(key, other, self.below(2) == 0),
            21 => Operation::Tag(key),
            22 => Operation::Versioning(self.below(3) > 0),
            23 => Operation::Create(key, self.below(CHECKSUMS.len())),
            24..=26 => Operation::Part(number, 1 + self.below(4) as u16, self.below(SIZES.len())),
            27 | 28 => Operation::Complete(number, self.below(16)),
            29 => Operation::Abort(number),
            30..=32 => Operation::List(
                self.below(PREFIXES.len()),
                self.below(DELIMITERS.len()),
                1 + self.below(5),
                self.below(2) == 0,
            ),
            33 | 34 => Operation::ListVersions(self.below(PREFIXES.len()), 1 + self.below(5)),
            35 => Operation::ListUploads,
            36 => Operation::DeleteBucket,
            _ => Operation::Restart,
        }
    }

    fn condition(&mut self) -> Condition {
        match self.below(8) {
            0 => Condition::Absent,
            1 => Condition::Same,
            2 => Condition::Other,
            _ => Condition::None,
        }
    }
}

/// A version as the model knows it.
#[derive(Clone, Debug)]
struct Version {
    /// `null` for the null version.
    id: String,
    /// The body, or `None` for a delete marker.
    body: Option<Vec<u8>>,
    etag: String,
    checksum: Sum,
    meta: String,
    tag: Option<String>,
}

/// A checksum as the model computes it.
#[derive(Clone, Debug)]
struct Sum {
    algorithm: ChecksumAlgorithm,
    value: String,
    kind: ChecksumType,
}

impl Sum {
    /// That of all bytes together.
    fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Sum {
        let value = Checksum::of(algorithm, bytes).to_base64();
        Sum { algorithm, value, kind: ChecksumType::FullObject }
    }

    /// That of the checksums of the parts, or of all their bytes.
    fn of_parts(choice: Option<(ChecksumAlgorithm, ChecksumType)>, parts: &[(u16, &Vec<u8>)]) -> Sum {
        let bytes: Vec<&[u8]> = parts.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        match choice {
            Some((algorithm, ChecksumType::Composite)) => {
                let sums: Vec<u8> =
                    bytes.iter().flat_map(|bytes| Checksum::of(algorithm, bytes).bytes).collect();
                let value = format!("{}-{}", Checksum::of(algorithm, &sums).to_base64(), parts.len());
                Sum { algorithm, value, kind: ChecksumType::Composite }
            }
            chosen => {
                let algorithm = chosen.map_or(ChecksumAlgorithm::DEFAULT, |(algorithm, _)| algorithm);
                Sum::of(algorithm, &bytes.concat())
            }
        }
    }
}

#[derive(Debug)]
struct Upload {
    key: &'static str,
    id: String,
    meta: String,
    checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    parts: BTreeMap<u16, Vec<u8>>,
}

/// The bucket as it must be.
#[derive(Debug, Default)]
struct Model {
    /// `None` until it is first set.
    versioning: Option<bool>,
    /// Newest first; a key without versions is not there.
    keys: BTreeMap<&'static str, Vec<Version>>,
    uploads: Vec<Upload>,
    written: u64,
}

impl Model {
    /// The newest version, unless it is a delete marker.
    fn current(&self, key: &str) -> Option<&Version> {
        self.keys.get(key)?.first().filter(|version| version.body.is_some())
    }

    /// Adds a newest version, in place of the null version unless versioning is enabled.
    fn add(&mut self, key: &'static str, mut version: Version, reply: &Reply) {
        let versions = self.keys.entry(key).or_default();
        if self.versioning == Some(true) {
            version.id = reply.version();
        } else {
            version.id = "null".to_owned();
            versions.retain(|version| version.id != "null");
        }
        versions.insert(0, version);
    }

    fn delete(&mut self, key: &'static str, reply: &Reply) {
        if self.versioning.is_some() {
            let marker = Version {
                id: String::new(),
                body: None,
                etag: String::new(),
                checksum: Sum::of(ChecksumAlgorithm::DEFAULT, b""),
                meta: String::new(),
                tag: None,
            };
            self.add(key, marker, reply);
        } else {
            self.keys.remove(key);
        }
    }
}

/// A server and the model of it.
struct Comparison {
    server: Option<TestServer>,
    model: Model,
}

const BUCKET: &str = "/model";

fn path(key: &str) -> String {
    format!("{BUCKET}/{}", uri::encode_path(key))
}

fn body(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend((random.below(usize::MAX) as u64).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn quoted_md5(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&md5(bytes)))
}

fn config(folder: Option<&Folder>) -> Config {
    let config = folder.map_or_else(Config::in_memory, file_config);
    Config { part_bytes_min: 0, ..config }
}

impl Comparison {
    fn new(file: bool) -> Comparison {
        let folder = file.then(Folder::new);
        let server = TestServer::start(if file { "file" } else { "memory" }, config(folder.as_ref()), folder);
        server.bucket(&BUCKET[1..]);
        Comparison { server: Some(server), model: Model::default() }
    }

    fn server(&self) -> &TestServer {
        self.server.as_ref().expect("it runs")
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Put(key, size, condition) => self.put(KEYS[key], SIZES[size], condition),
            Operation::Get(key) => self.get(KEYS[key]),
            Operation::GetRange(key, start, length) => self.get_range(KEYS[key], start, length),
            Operation::GetVersion(key, nth) => self.get_version(KEYS[key], nth),
            Operation::Delete(key) => {
                let reply = self.server().delete(&path(KEYS[key])).expect(204);
                self.model.delete(KEYS[key], &reply);
                if self.model.versioning.is_none() {
                    // Once more changes nothing.
                    self.server().delete(&path(KEYS[key])).expect(204);
                }
            }
            Operation::DeleteVersion(key, nth) => self.delete_version(KEYS[key], nth),
            Operation::DeleteMany(first, second) => self.delete_many(KEYS[first], KEYS[second]),
            Operation::Copy(from, to, replace) => self.copy(KEYS[from], KEYS[to], replace),
            Operation::Tag(key) => self.tag(KEYS[key]),
            Operation::Versioning(enabled) => self.set_versioning(enabled),
            Operation::Create(key, checksum) => self.create(KEYS[key], CHECKSUMS[checksum]),
            Operation::Part(nth, number, size) => self.part(nth, number, SIZES[size]),
            Operation::Complete(nth, mask) => self.complete(nth, mask),
            Operation::Abort(nth) => self.abort(nth),
            Operation::List(prefix, delimiter, page, second) => {
                self.list(PREFIXES[prefix], DELIMITERS[delimiter], page, second);
            }
            Operation::ListVersions(prefix, page) => self.list_versions(PREFIXES[prefix], page),
            Operation::ListUploads => self.list_uploads(),
            Operation::DeleteBucket => self.delete_bucket(),
            Operation::Restart => self.restart(),
        }
    }

    /// A body and metadata that no other write has.
    fn fresh(&mut self, size: usize) -> (Vec<u8>, String) {
        self.model.written += 1;
        (body(size, self.model.written), format!("write-{}", self.model.written))
    }

    fn put(&mut self, key: &'static str, size: usize, condition: Condition) {
        let (bytes, meta) = self.fresh(size);
        let current = self.model.current(key).map(|version| version.etag.clone());
        let etag = current.clone().unwrap_or_else(|| "\"0\"".to_owned());
        let mut fields = vec![("x-amz-meta-write", meta.as_str())];
        let expected = match condition {
            Condition::None => 200,
            Condition::Absent => {
                fields.push(("if-none-match", "*"));
                if current.is_some() { 412 } else { 200 }
            }
            Condition::Same => {
                fields.push(("if-match", &etag));
                if current.is_some() { 200 } else { 404 }
            }
            Condition::Other => {
                fields.push(("if-match", "\"00000000000000000000000000000000\""));
                if current.is_some() { 412 } else { 404 }
            }
        };
        let reply = self.server().send("PUT", &path(key), &fields, &bytes).expect(expected);
        if expected == 200 {
            let etag = quoted_md5(&bytes);
            assert_eq!(reply.header("etag"), Some(etag.as_str()));
            let checksum = Sum::of(ChecksumAlgorithm::DEFAULT, &bytes);
            let version = Version { id: String::new(), body: Some(bytes), etag, checksum, meta, tag: None };
            self.model.add(key, version, &reply);
        }
    }

    /// An object with its checksum.
    fn fetch(&self, target: &str) -> Reply {
        self.server().send("GET", target, &[("x-amz-checksum-mode", "ENABLED")], b"")
    }

    fn get(&self, key: &str) {
        match self.model.current(key) {
            None => {
                self.server().get(&path(key)).expect_error(404, "NoSuchKey");
                self.server().head(&path(key)).expect(404);
            }
            Some(version) => {
                same(&self.fetch(&path(key)), version);
                let head = self.server().head(&path(key)).expect(200);
                let length = version.body.as_ref().map_or(0, Vec::len).to_string();
                assert_eq!(head.header("content-length"), Some(length.as_str()));
                assert_eq!(head.header("x-amz-meta-write"), Some(version.meta.as_str()));
            }
        }
    }

    /// PT-06: a range is that slice, and adjacent ranges make the whole.
    fn get_range(&self, key: &str, start: usize, length: usize) {
        let Some(version) = self.model.current(key) else { return self.get(key) };
        let bytes = version.body.as_deref().unwrap_or_default();
        let (start, end) = (start * bytes.len() / 1000, (start * bytes.len() / 1000) + length);
        let range = format!("bytes={start}-{end}");
        let reply = self.server().send("GET", &path(key), &[("range", &range)], b"");
        if bytes.is_empty() {
            reply.expect_error(416, "InvalidRange");
        } else {
            assert_eq!(reply.expect(206).body, bytes[start..bytes.len().min(end + 1)]);
            // What is left of it and what is right of it make the whole.
            let mut joined = Vec::new();
            let halves =
                [start.checked_sub(1).map(|last| format!("bytes=0-{last}")), Some(format!("bytes={start}-"))];
            for range in halves.into_iter().flatten() {
                joined.extend(
                    self.server().send("GET", &path(key), &[("range", &range)], b"").expect(206).body,
                );
            }
            assert!(joined == bytes, "two ranges of {key} are not the whole");
        }
    }

    fn nth_version(&self, key: &str, nth: usize) -> Option<&Version> {
        let versions = self.model.keys.get(key)?;
        versions.get(nth % versions.len())
    }

    fn get_version(&self, key: &str, nth: usize) {
        let Some(version) = self.nth_version(key, nth) else { return };
        let reply = self.fetch(&format!("{}?versionId={}", path(key), version.id));
        match version.body {
            Some(_) => same(&reply, version),
            None => drop(reply.expect_error(405, "MethodNotAllowed")),
        }
    }

    fn delete_version(&mut self, key: &'static str, nth: usize) {
        let Some(id) = self.nth_version(key, nth).map(|version| version.id.clone()) else { return };
        let target = format!("{}?versionId={id}", path(key));
        self.server().delete(&target).expect(204);
        let versions = self.model.keys.get_mut(key).expect("it has versions");
        versions.retain(|version| version.id != id);
        if versions.is_empty() {
            self.model.keys.remove(key);
        }
        self.server().get(&target).expect(404);
    }

    fn delete_many(&mut self, first: &'static str, second: &'static str) {
        if first == second || self.model.versioning.is_some() {
            // What the answer says of delete markers is told apart elsewhere.
            return;
        }
        let body = format!(
            "<Delete><Object><Key>{first}</Key></Object><Object><Key>{second}</Key></Object></Delete>"
        );
        let sum = base64(&md5(body.as_bytes()));
        let target = format!("{BUCKET}?delete");
        let reply =
            self.server().send("POST", &target, &[("content-md5", &sum)], body.as_bytes()).expect(200);
        assert_eq!(reply.elements("Deleted").len(), 2);
        self.model.keys.remove(first);
        self.model.keys.remove(second);
    }

    fn copy(&mut self, from: &'static str, to: &'static str, replace: bool) {
        let meta = self.fresh(0).1;
        let source = path(from);
        let mut fields = vec![("x-amz-copy-source", source.as_str())];
        if replace {
            fields.extend([("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-write", &meta)]);
        }
        let reply = self.server().send("PUT", &path(to), &fields, b"");
        let Some(source) = self.model.current(from).cloned() else { return drop(reply.expect(404)) };
        if from == to && !replace {
            return drop(reply.expect_error(400, "InvalidRequest"));
        }
        let bytes = source.body.as_deref().unwrap_or_default();
        let (etag, checksum) = (quoted_md5(bytes), Sum::of(source.checksum.algorithm, bytes));
        let meta = if replace { meta } else { source.meta.clone() };
        self.model.add(to, Version { etag, checksum, meta, ..source }, &reply.expect(200));
    }

    fn tag(&mut self, key: &'static str) {
        let value = self.fresh(0).1;
        let body =
            format!("<Tagging><TagSet><Tag><Key>k</Key><Value>{value}</Value></Tag></TagSet></Tagging>");
        let reply = self.server().put(&format!("{}?tagging", path(key)), body.as_bytes());
        if self.model.current(key).is_none() {
            assert!([404, 405].contains(&reply.status), "{}", reply.text());
            return;
        }
        reply.expect(200);
        self.model.keys.get_mut(key).expect("there")[0].tag = Some(value.clone());
        let tags = self.server().get(&format!("{}?tagging", path(key))).expect(200);
        assert_eq!(tags.element("Value"), Some(value));
    }

    fn set_versioning(&mut self, enabled: bool) {
        let status = if enabled { "Enabled" } else { "Suspended" };
        let body = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        self.server().put(&format!("{BUCKET}?versioning"), body.as_bytes()).expect(200);
        self.model.versioning = Some(enabled);
    }

    fn create(&mut self, key: &'static str, checksum: Option<(ChecksumAlgorithm, ChecksumType)>) {
        let meta = self.fresh(0).1;
        let target = format!("{}?uploads", path(key));
        let mut fields = vec![("x-amz-meta-write", meta.as_str())];
        if let Some((algorithm, kind)) = checksum {
            fields.push(("x-amz-checksum-algorithm", algorithm.name()));
            fields.push(("x-amz-checksum-type", kind.as_str()));
        }
        let reply = self.server().send("POST", &target, &fields, b"").expect(200);
        let id = reply.element("UploadId").expect("an id");
        self.model.uploads.push(Upload { key, id, meta, checksum, parts: BTreeMap::new() });
    }

    fn part(&mut self, nth: usize, number: u16, size: usize) {
        if self.model.uploads.is_empty() {
            return;
        }
        let (bytes, _) = self.fresh(size);
        let at = nth % self.model.uploads.len();
        let Upload { key, id, checksum, .. } = &self.model.uploads[at];
        let target = format!("{}?partNumber={number}&uploadId={id}", path(key));
        let sum = checksum.map(|(algorithm, _)| (algorithm.header(), Sum::of(algorithm, &bytes).value));
        let fields: Vec<_> = sum.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = self.server().send("PUT", &target, &fields, &bytes).expect(200);
        assert_eq!(reply.header("etag"), Some(quoted_md5(&bytes).as_str()));
        let listed = self.server().get(&format!("{}?uploadId={id}", path(key))).expect(200);
        let upload = &mut self.model.uploads[at];
        upload.parts.insert(number, bytes);
        let numbers: Vec<String> = upload.parts.keys().map(u16::to_string).collect();
        assert_eq!(listed.elements("PartNumber"), numbers);
    }

    /// PT-05: the parts that are named, in their order, with the ETag and the checksum that follow from them.
    fn complete(&mut self, nth: usize, mask: usize) {
        if self.model.uploads.is_empty() {
            return;
        }
        let at = nth % self.model.uploads.len();
        let Upload { key, id, parts, meta, checksum } = &self.model.uploads[at];
        let (key, meta) = (*key, meta.clone());
        let chosen: Vec<(u16, &Vec<u8>)> =
            parts.iter().filter(|(number, _)| mask & 1 << (*number - 1) != 0).map(|(n, b)| (*n, b)).collect();
        let list: String = chosen
            .iter()
            .map(|(number, bytes)| {
                let etag = hex(&md5(bytes));
                let sum = checksum.map_or(String::new(), |(algorithm, _)| {
                    let (name, value) = (algorithm.element(), Sum::of(algorithm, bytes).value);
                    format!("<{name}>{value}</{name}>")
                });
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{sum}</Part>")
            })
            .collect();
        let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let reply = self.server().post(&format!("{}?uploadId={id}", path(key)), list.as_bytes());
        if chosen.is_empty() {
            return drop(reply.expect_error(400, "MalformedXML"));
        }
        let digests: Vec<u8> = chosen.iter().flat_map(|(_, bytes)| md5(bytes)).collect();
        let etag = format!("\"{}-{}\"", hex(&md5(&digests)), chosen.len());
        let bytes = chosen.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let checksum = Sum::of_parts(*checksum, &chosen);
        let version = Version { id: String::new(), body: Some(bytes), etag, checksum, meta, tag: None };
        // Once more is answered alike and changes nothing.
        let again = self.server().post(&format!("{}?uploadId={id}", path(key)), list.as_bytes()).expect(200);
        assert_eq!(again.element("ETag"), reply.element("ETag"));
        let element = version.checksum.algorithm.element();
        assert_eq!(reply.element(element).as_ref(), Some(&version.checksum.value));
        self.model.add(key, version, &reply.expect(200));
        self.model.uploads.remove(at);
    }

    fn abort(&mut self, nth: usize) {
        if self.model.uploads.is_empty() {
            return;
        }
        let Upload { key, id, .. } = self.model.uploads.remove(nth % self.model.uploads.len());
        let target = format!("{}?uploadId={id}", path(key));
        self.server().delete(&target).expect(204);
        assert!([204, 404].contains(&self.server().delete(&target).status));
        self.server().get(&target).expect_error(404, "NoSuchUpload");
    }

    fn list(&self, prefix: &str, delimiter: &str, page: usize, second: bool) {
        let mut expected = Vec::new();
        for (key, versions) in &self.model.keys {
            let Some(bytes) = versions[0].body.as_ref() else { continue };
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            let row = match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => format!("{prefix}{}", &rest[..at + delimiter.len()]) + " ...",
                None => format!("{key} {} {}", bytes.len(), versions[0].etag),
            };
            if expected.last() != Some(&row) {
                expected.push(row);
            }
        }
        let (prefix, delimiter) = (uri::encode(prefix), uri::encode(delimiter));
        let target =
            format!("{BUCKET}?delimiter={delimiter}&encoding-type=url&max-keys={page}&prefix={prefix}");
        let (mut found, mut from) = (Vec::new(), String::new());
        loop {
            let version = if second { "&list-type=2" } else { "" };
            let reply = self.server().get(&format!("{target}{from}{version}")).expect(200);
            let rows = rows(&reply.text(), &["Contents", "CommonPrefixes"]);
            assert!(rows.len() <= page, "a page of {page} has {} rows", rows.len());
            let last_key = reply.elements("Key").pop();
            found.extend(rows.iter().map(|(name, row)| match name.as_str() {
                "Contents" => {
                    let etag = element(row, "ETag").replace("&quot;", "\"");
                    format!("{} {} {etag}", decoded(&element(row, "Key")), element(row, "Size"))
                }
                _ => decoded(&element(row, "Prefix")) + " ...",
            }));
            if reply.element("IsTruncated").as_deref() == Some("false") {
                break;
            }
            from = match second {
                true => {
                    let token = reply.element("NextContinuationToken").expect("a token");
                    format!("&continuation-token={}", uri::encode(&token))
                }
                false => {
                    let marker = reply.element("NextMarker").or(last_key).expect("a marker");
                    format!("&marker={}", uri::encode(&decoded(&marker)))
                }
            };
        }
        // Keys and groups stand in lists of their own on each page, so only the sets are compared.
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "prefix {prefix:?}, delimiter {delimiter:?}");
    }

    fn list_versions(&self, prefix: &str, page: usize) {
        let mut expected = Vec::new();
        for (key, versions) in self.model.keys.iter().filter(|(key, _)| key.starts_with(prefix)) {
            for (at, version) in versions.iter().enumerate() {
                let name = if version.body.is_some() { "Version" } else { "DeleteMarker" };
                expected.push(format!("{name} {key} {} {}", version.id, at == 0));
            }
        }
        let target =
            format!("{BUCKET}?encoding-type=url&max-keys={page}&prefix={}&versions", uri::encode(prefix));
        let (mut found, mut from) = (Vec::new(), String::new());
        loop {
            let reply = self.server().get(&format!("{target}{from}")).expect(200);
            let rows = rows(&reply.text(), &["Version", "DeleteMarker"]);
            assert!(rows.len() <= page, "a page of {page} has {} rows", rows.len());
            found.extend(rows.iter().map(|(name, row)| {
                let (key, id) = (decoded(&element(row, "Key")), element(row, "VersionId"));
                format!("{name} {key} {id} {}", element(row, "IsLatest"))
            }));
            if reply.element("IsTruncated").as_deref() == Some("false") {
                break;
            }
            let key = decoded(&reply.element("NextKeyMarker").expect("a marker"));
            let id = reply.element("NextVersionIdMarker").expect("a marker");
            from = format!("&key-marker={}&version-id-marker={id}", uri::encode(&key));
        }
        assert_eq!(found, expected, "versions under {prefix:?}");
    }

    fn list_uploads(&self) {
        let mut expected: Vec<(usize, &Upload)> = self.model.uploads.iter().enumerate().collect();
        expected.sort_by_key(|(at, upload)| (upload.key, *at));
        let expected: Vec<String> = expected.into_iter().map(|(_, upload)| upload.id.clone()).collect();
        assert_eq!(
            self.server().get(&format!("{BUCKET}?uploads")).expect(200).elements("UploadId"),
            expected
        );
    }

    fn delete_bucket(&mut self) {
        if !self.model.uploads.is_empty() {
            return;
        }
        let reply = self.server().delete(BUCKET);
        if !self.model.keys.is_empty() {
            return drop(reply.expect_error(409, "BucketNotEmpty"));
        }
        reply.expect(204);
        self.server().bucket(&BUCKET[1..]);
        self.model.versioning = None;
    }

    fn restart(&mut self) {
        if self.server().backend == "file" {
            let folder = self.server.take().expect("it runs").stop();
            self.server = Some(TestServer::start("file", config(Some(&folder)), Some(folder)));
        }
    }

    /// Looks at everything once more.
    fn end(mut self) {
        for key in KEYS {
            self.get(key);
            for nth in 0..self.model.keys.get(key).map_or(0, Vec::len) {
                self.get_version(key, nth);
            }
        }
        self.list("", "", 3, true);
        self.list_versions("", 3);
        self.list_uploads();
        if self.server().backend == "file" {
            let folder = self.server.take().expect("it runs").stop();
            let report = s3pail::check::check(&config(Some(&folder)), false).expect("checked");
            assert!(!report.damaged(), "{}", report.to_text());
        }
    }
}

fn same(reply: &Reply, version: &Version) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(Some(&reply.body) == version.body.as_ref(), "another body than that of {}", version.meta);
    assert_eq!(reply.header("etag"), Some(version.etag.as_str()));
    let Sum { algorithm, value, kind } = &version.checksum;
    assert_eq!(reply.header(algorithm.header()), Some(value.as_str()), "{algorithm:?} {kind:?}");
    assert_eq!(reply.header("x-amz-checksum-type"), Some(kind.as_str()));
    assert_eq!(reply.header("x-amz-meta-write"), Some(version.meta.as_str()));
    assert_eq!(reply.header("x-amz-tagging-count").is_some(), version.tag.is_some());
}

/// The elements of these names with what is in them, in the order of the text.
fn rows(text: &str, names: &[&str]) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut rest = text;
    loop {
        let first = names.iter().filter_map(|name| Some((rest.find(&format!("<{name}>"))?, *name))).min();
        let Some((at, name)) = first else { return rows };
        let inner = &rest[at + name.len() + 2..];
        let (row, after) = inner.split_once(&format!("</{name}>")).expect("an end");
        rows.push((name.to_owned(), row.to_owned()));
        rest = after;
    }
}

fn element(row: &str, name: &str) -> String {
    let (_, rest) = row.split_once(&format!("<{name}>")).expect("the element");
    rest.split_once('<').expect("its end").0.to_owned()
}

fn decoded(text: &str) -> String {
    uri::decode(&text.replace('+', "%20")).expect("percent-coded")
}

/// Whether a history goes as the model says; the panic's message if not.
fn run(operations: &[Operation], file: bool) -> Result<(), String> {
    let compare = || {
        let mut comparison = Comparison::new(file);
        operations.iter().for_each(|operation| comparison.apply(operation));
        comparison.end();
    };
    catch_unwind(AssertUnwindSafe(compare)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Leaves out operations while what is left still fails: halves first, single ones last.
fn shrink(mut operations: Vec<Operation>, fails: impl Fn(&[Operation]) -> bool) -> Vec<Operation> {
    let mut length = operations.len().div_ceil(2);
    while length > 0 {
        let mut at = 0;
        while at < operations.len() {
            let mut fewer = operations.clone();
            fewer.drain(at..(at + length).min(operations.len()));
            if fails(&fewer) {
                operations = fewer;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    operations
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn try_histories(file: bool) {
    let backend = if file { "file" } else { "memory" };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seeds: Vec<u64> = match number("S3PAIL_MODEL_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("S3PAIL_MODEL_RUNS").unwrap_or(RUNS)).map(|run| now.wrapping_add(run)).collect(),
    };
    eprintln!("{backend}: {} histories from S3PAIL_MODEL_SEED={}", seeds.len(), seeds[0]);
    for seed in seeds {
        let mut random = Random(seed);
        let operations: Vec<Operation> = (0..OPERATIONS).map(|_| random.operation()).collect();
        if let Err(first) = run(&operations, file) {
            let least = shrink(operations, |fewer| run(fewer, file).is_err());
            panic!("{backend}, S3PAIL_MODEL_SEED={seed}: {first}\nfails with {least:#?}");
        }
    }
}

/// PT-01, PT-04 to PT-07
#[test]
fn memory_answers_as_the_model_does() {
    try_histories(false);
}

/// PT-01, PT-02, PT-04 to PT-07
#[test]
fn files_answer_as_the_model_does() {
    try_histories(true);
}

#[test]
fn a_failing_history_is_made_as_short_as_it_can_be() {
    let mut random = Random(1);
    let mut operations: Vec<Operation> = (0..50).map(|_| random.operation()).collect();
    operations.insert(7, Operation::Abort(4711));
    operations.insert(40, Operation::Create(4711, 0));
    let fails = |tried: &[Operation]| {
        let abort = tried.iter().position(|it| matches!(it, Operation::Abort(4711)));
        let create = tried.iter().position(|it| matches!(it, Operation::Create(4711, _)));
        abort.zip(create).is_some_and(|(abort, create)| abort < create)
    };
    let least = shrink(operations, fails);
    assert!(matches!(least[..], [Operation::Abort(4711), Operation::Create(4711, 0)]), "{least:?}");
}
