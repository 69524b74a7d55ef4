//! One client of a crash run: writes to keys of its own and remembers what was acknowledged.
//!
//! After the server has died, at most one request is unanswered. Its key may be as before or as after; any
//! other state, and any other key that is not as it was acknowledged, is a failure.

use super::wire::{Connection, Reply};
use s3pail::codec::digest::md5;
use s3pail::codec::hex;
use std::collections::BTreeMap;

/// Keys of each sort that a writer has.
const KEYS: u64 = 8;
/// The bucket without versions.
pub const PLAIN: &str = "plain";
/// The bucket with versions.
pub const VERSIONED: &str = "versioned";
/// The most versions that a key gets before some go.
const VERSIONS_MAX: usize = 6;
/// Nothing, inline, the last inline size and the first of a file, one block and more.
const SIZES: [usize; 9] = [0, 1, 1000, 4096, 16_384, 16_385, 100_000, 262_145, 700_000];

/// Numbers that a seed decides (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// An object: bytes and metadata all follow from its seed, so that no mixture of two goes unnoticed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    seed: u64,
    bytes: usize,
    /// Uploaded in two parts, the first of this many bytes.
    split: Option<usize>,
}

impl Object {
    fn random(random: &mut Random) -> Object {
        let bytes = SIZES[random.below(SIZES.len() as u64) as usize];
        Object { seed: random.below(u64::MAX), bytes, split: None }
    }

    fn body(&self) -> Vec<u8> {
        let mut random = Random(self.seed);
        let mut bytes = Vec::with_capacity(self.bytes + 8);
        while bytes.len() < self.bytes {
            bytes.extend(random.below(u64::MAX).to_le_bytes());
        }
        bytes.truncate(self.bytes);
        bytes
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("x-amz-meta-seed", self.seed.to_string()),
            ("content-type", format!("test/{}", self.seed % 1000)),
            ("x-amz-tagging", format!("seed={}", self.seed)),
        ]
    }

    fn etag(&self) -> String {
        let body = self.body();
        match self.split {
            None => format!("\"{}\"", hex(&md5(&body))),
            Some(at) => {
                let digests = [md5(&body[..at]), md5(&body[at..])].concat();
                format!("\"{}-2\"", hex(&md5(&digests)))
            }
        }
    }

    /// Whether an answer shows this object and nothing else.
    fn is(&self, reply: &Reply) -> bool {
        let fields = self.fields();
        reply.status == 200
            && reply.header("etag") == Some(&self.etag())
            && fields[..2].iter().all(|(name, value)| reply.header(name) == Some(value))
            && reply.header("x-amz-tagging-count") == Some("1")
            && reply.body == self.body()
    }
}

/// A version in the versioned bucket: its id (unknown if nobody heard it), and its object, or `None` for a
/// delete marker.
type Version = (Option<String>, Option<Object>);

/// What a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Plain(Option<Object>),
    /// Newest first.
    Versioned(Vec<Version>),
}

/// One client.
pub struct Writer {
    number: u64,
    random: Random,
    keys: BTreeMap<String, State>,
    /// The key whose last write was not answered, and what it is if that write happened.
    pending: Option<(String, State)>,
    /// An upload with one acknowledged part: key, id, object to be.
    open: Option<(String, String, Object)>,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
}

/// Why a writer stops: the server is gone.
struct Gone;

type Step = Result<(), Gone>;

impl Writer {
    /// A writer whose keys do not exist.
    pub fn new(number: u64, seed: u64) -> Writer {
        let mut keys = BTreeMap::new();
        for key in 0..KEYS {
            keys.insert(format!("/{PLAIN}/w{number}/{key}"), State::Plain(None));
            keys.insert(format!("/{VERSIONED}/w{number}/{key}"), State::Versioned(Vec::new()));
        }
        let random = Random(seed ^ number.wrapping_mul(0x5851_f42d_4c95_7f2d));
        Writer { number, random, keys, pending: None, open: None, acknowledged: 0 }
    }

    /// Writes until the server is gone.
    pub fn run(&mut self, connection: &mut Connection) {
        while self.step(connection).is_ok() {
            self.acknowledged += 1;
        }
    }

    fn step(&mut self, connection: &mut Connection) -> Step {
        let key = self.random.below(KEYS);
        let plain = format!("/{PLAIN}/w{}/{key}", self.number);
        let versioned = format!("/{VERSIONED}/w{}/{key}", self.number);
        match self.random.below(12) {
            0..=2 => self.put(connection, plain),
            3 => self.delete(connection, plain),
            4 => self.copy(connection, plain),
            5 | 6 => self.put_if(connection, plain),
            7 | 8 => self.upload(connection, plain),
            9 => self.delete(connection, versioned),
            10 => self.delete_version(connection, versioned),
            _ => self.put(connection, versioned),
        }
    }

    /// Sends a write that makes `key` what `after` says, unless no answer comes.
    fn write(
        &mut self,
        connection: &mut Connection,
        request: (&str, &str, &[(&str, String)], &[u8]),
        key: &str,
        after: State,
    ) -> Result<Reply, Gone> {
        self.pending = Some((key.to_owned(), after.clone()));
        let (method, target, fields, body) = request;
        let reply = connection.send(method, target, fields, body).ok_or(Gone)?;
        assert!([200, 204].contains(&reply.status), "{method} {target}: {} {}", reply.status, reply.text());
        self.pending = None;
        self.keys.insert(key.to_owned(), after);
        Ok(reply)
    }

    fn put(&mut self, connection: &mut Connection, key: String) -> Step {
        let object = Object::random(&mut self.random);
        let (body, fields) = (object.body(), object.fields());
        let after = self.with_newest(&key, Some(object));
        let reply = self.write(connection, ("PUT", &key, &fields, &body), &key, after)?;
        self.learn_version(&key, &reply);
        Ok(())
    }

    fn delete(&mut self, connection: &mut Connection, key: String) -> Step {
        let after = self.with_newest(&key, None);
        let reply = self.write(connection, ("DELETE", &key, &[], b""), &key, after)?;
        self.learn_version(&key, &reply);
        Ok(())
    }

    fn with_newest(&self, key: &str, object: Option<Object>) -> State {
        match &self.keys[key] {
            State::Plain(_) => State::Plain(object),
            State::Versioned(versions) => {
                let newest = std::iter::once((None, object));
                State::Versioned(newest.chain(versions.iter().cloned()).collect())
            }
        }
    }

    fn learn_version(&mut self, key: &str, reply: &Reply) {
        if let Some(State::Versioned(versions)) = self.keys.get_mut(key) {
            versions[0].0 = Some(reply.header("x-amz-version-id").expect("a version id").to_owned());
        }
    }

    fn delete_version(&mut self, connection: &mut Connection, key: String) -> Step {
        let State::Versioned(versions) = &self.keys[&key] else { unreachable!("a versioned key") };
        if versions.is_empty() {
            return self.put(connection, key);
        }
        let mut left = versions.clone();
        loop {
            let at = self.random.below(left.len() as u64) as usize;
            let (id, _) = left.remove(at);
            let target = format!("{key}?versionId={}", id.expect("every version is known"));
            let after = State::Versioned(left.clone());
            self.write(connection, ("DELETE", &target, &[], b""), &key, after)?;
            if left.len() < VERSIONS_MAX {
                return Ok(());
            }
        }
    }

    fn copy(&mut self, connection: &mut Connection, key: String) -> Step {
        let from = format!("/{PLAIN}/w{}/{}", self.number, self.random.below(KEYS));
        let State::Plain(Some(source)) = &self.keys[&from] else { return self.put(connection, key) };
        if from == key {
            return self.put(connection, key);
        }
        let after = State::Plain(Some(Object { split: None, ..source.clone() }));
        let fields = [("x-amz-copy-source", from)];
        self.write(connection, ("PUT", &key, &fields, b""), &key, after).map(|_| ())
    }

    /// A conditional write that must succeed, after one that must not.
    fn put_if(&mut self, connection: &mut Connection, key: String) -> Step {
        let object = Object::random(&mut self.random);
        let (body, mut fields) = (object.body(), object.fields());
        let (holds, fails) = match &self.keys[&key] {
            State::Plain(Some(present)) => (("if-match", present.etag()), ("if-none-match", "*".to_owned())),
            _ => (("if-none-match", "*".to_owned()), ("if-match", "\"0\"".to_owned())),
        };
        fields.push(fails);
        let reply = connection.send("PUT", &key, &fields, &body).ok_or(Gone)?;
        assert!([404, 412].contains(&reply.status), "{key}: {} {}", reply.status, reply.text());
        fields.pop();
        fields.push(holds);
        self.write(connection, ("PUT", &key, &fields, &body), &key, State::Plain(Some(object))).map(|_| ())
    }

    /// Begins an upload, or completes the one that is open.
    fn upload(&mut self, connection: &mut Connection, key: String) -> Step {
        let Some((key, id, object)) = self.open.take() else {
            let mut object = Object::random(&mut self.random);
            object.bytes += 2;
            let at = 1 + self.random.below(object.bytes as u64 - 1) as usize;
            object.split = Some(at);
            let reply =
                connection.send("POST", &format!("{key}?uploads"), &object.fields(), b"").ok_or(Gone)?;
            let id = reply.elements("UploadId").pop().expect("an upload id");
            let target = format!("{key}?partNumber=1&uploadId={id}");
            let reply = connection.send("PUT", &target, &[], &object.body()[..at]).ok_or(Gone)?;
            assert_eq!(reply.status, 200, "{}", reply.text());
            self.open = Some((key, id, object));
            return Ok(());
        };
        let (body, at) = (object.body(), object.split.expect("two parts"));
        // Kept until the last moment: the part that was acknowledged must survive.
        self.open = Some((key.clone(), id.clone(), object.clone()));
        let target = format!("{key}?partNumber=2&uploadId={id}");
        let reply = connection.send("PUT", &target, &[], &body[at..]).ok_or(Gone)?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let part = |number: u8, bytes: &[u8]| {
            let etag = hex(&md5(bytes));
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        };
        let parts = part(1, &body[..at]) + &part(2, &body[at..]);
        let list = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let target = format!("{key}?uploadId={id}");
        self.open = None;
        let after = State::Plain(Some(object));
        self.write(connection, ("POST", &target, &[], list.as_bytes()), &key, after).map(|_| ())
    }

    /// Compares every key with what was acknowledged, and settles what was not answered.
    pub fn verify(&mut self, connection: &mut Connection) {
        let pending = self.pending.take();
        for (key, state) in &mut self.keys {
            let after = pending.as_ref().filter(|(it, _)| it == key).map(|(_, after)| after);
            let candidates = std::iter::once(&*state).chain(after);
            let found = candidates.filter_map(|candidate| observe(connection, key, candidate)).next();
            *state = found.unwrap_or_else(|| {
                let reply = connection.send("GET", key, &[], b"").expect("an answer");
                let (status, bytes) = (reply.status, reply.body.len());
                panic!("{key} is neither {state:?} nor {after:?}, but {status} with {bytes} bytes")
            });
        }
        if let Some((key, id, object)) = &self.open {
            let reply = connection.send("GET", &format!("{key}?uploadId={id}"), &[], b"").expect("an answer");
            let etag = hex(&md5(&object.body()[..object.split.expect("two parts")]));
            assert!(reply.status == 200 && reply.text().contains(&etag), "a part is lost: {}", reply.text());
        }
    }

    /// The keys that a listing of the bucket without versions must show, with their sizes.
    pub fn listed(&self) -> impl Iterator<Item = (String, usize)> {
        self.keys.iter().filter_map(|(key, state)| match state {
            State::Plain(Some(object)) => {
                Some((key.trim_start_matches(&format!("/{PLAIN}/")).to_owned(), object.bytes))
            }
            _ => None,
        })
    }
}

/// What the server has under a key, if that is what `expected` says.
fn observe(connection: &mut Connection, key: &str, expected: &State) -> Option<State> {
    match expected {
        State::Plain(None) => {
            let reply = connection.send("GET", key, &[], b"").expect("an answer");
            (reply.status == 404).then(|| expected.clone())
        }
        State::Plain(Some(object)) => {
            let reply = connection.send("GET", key, &[], b"").expect("an answer");
            object.is(&reply).then(|| expected.clone())
        }
        State::Versioned(versions) => {
            let prefix = key.trim_start_matches(&format!("/{VERSIONED}/")).replace('/', "%2F");
            let target = format!("/{VERSIONED}?prefix={prefix}&versions=");
            let reply = connection.send("GET", &target, &[], b"").expect("an answer");
            let ids = reply.elements("VersionId");
            let same = |((known, _), id): (&Version, &String)| known.as_ref().is_none_or(|known| known == id);
            if ids.len() != versions.len() || !versions.iter().zip(&ids).all(same) {
                return None;
            }
            let settled = versions.iter().zip(&ids).map(|((_, object), id)| {
                let target = format!("{key}?versionId={id}");
                let reply = connection.send("GET", &target, &[], b"").expect("an answer");
                let whole = match object {
                    Some(object) => object.is(&reply),
                    None => reply.status == 405,
                };
                whole.then(|| (Some(id.clone()), object.clone()))
            });
            settled.collect::<Option<_>>().map(State::Versioned)
        }
    }
}
