//! The binary as it is shipped, with a library between it and its files (`interposer.c`): writes that take less
//! than they were given and are interrupted, syncs that hang, syncs and closes that fail.
//!
//! The library is compiled here and comes into the process by `LD_PRELOAD`. Without a C compiler, elsewhere than
//! on Linux, or with a static binary the tests say SKIPPED and why.

use super::wire::Connection;
use super::writer::{PLAIN, Random, VERSIONED, Writer};
use super::{
    DEADLINE, Folder, LOAD_MS_MAX, Server, WRITERS, check, end_in_order, make_buckets, serving, verify,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/interposer.c");
const KILLS: u64 = 3;
/// What bodies that are files, and what commits sync: parts of their paths.
const BODIES: &str = "/blobs/";
const JOURNAL: &str = "/s3pail.journal";

/// A store, and the library with its folder of flags.
struct Interposer {
    folder: Folder,
    library: PathBuf,
    flags: PathBuf,
}

impl Interposer {
    /// Compiles the library.
    ///
    /// # Errors
    /// Why it cannot be used here.
    fn make(name: &str) -> Result<Interposer, String> {
        if !cfg!(target_os = "linux") {
            return Err("LD_PRELOAD as it is used here is Linux's".to_owned());
        }
        let folder = format!("crash-interposed-{name}-{}", std::process::id());
        let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
        let (library, flags) = (folder.0.join("interposer.so"), folder.0.join("flags"));
        fs::create_dir_all(&flags).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(&compiler);
        command.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).args([SOURCE, "-ldl"]);
        let output = command.output().map_err(|error| format!("{compiler}: {error}"))?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let interposer = Interposer { folder, library, flags };
        let server = interposer.start();
        make_buckets(&server);
        match interposer.flags.join("loaded").exists() {
            true => Ok(interposer),
            false => Err("the binary loads no libraries".to_owned()),
        }
    }

    fn start(&self) -> Server {
        let mut command = serving(&self.folder.0, "strict");
        command.env("LD_PRELOAD", &self.library).env("INTERPOSER_FLAGS", &self.flags);
        Server::of(command.spawn().unwrap())
    }

    /// Asks for something, for files whose paths have this part.
    fn set(&self, flag: &str, part: &str) {
        // In one step: half a text would mean other files.
        let written = self.flags.join("new");
        fs::write(&written, part).unwrap();
        fs::rename(written, self.flags.join(flag)).unwrap();
    }

    fn has(&self, name: &str) -> bool {
        self.flags.join(name).exists()
    }

    fn take_away(&self, flag: &str) {
        fs::remove_file(self.flags.join(flag)).unwrap();
    }

    fn wait_for(&self, name: &str) {
        let begun = Instant::now();
        while !self.has(name) {
            assert!(begun.elapsed() < DEADLINE, "{name} never comes");
            std::thread::yield_now();
        }
    }
}

/// Runs a test with the library, or says why not.
fn with_interposer(name: &str, test: impl FnOnce(&Interposer)) {
    match Interposer::make(name) {
        Ok(interposer) => test(&interposer),
        Err(reason) => eprintln!("SKIPPED: the binary with a library before its files: {reason}"),
    }
}

fn object(name: &str, length: usize) -> (String, Vec<u8>) {
    (format!("/{PLAIN}/{name}"), name.bytes().cycle().take(length).collect())
}

/// A body that is a file, and one that is a record.
fn large_and_small() -> [(String, Vec<u8>); 2] {
    [object("large", 600_000), object("small", 500)]
}

fn put(connection: &mut Connection, (key, body): &(String, Vec<u8>)) -> u16 {
    connection.send("PUT", key, &[], body).unwrap().status
}

fn expect_all(connection: &mut Connection, objects: &[(String, Vec<u8>)]) {
    for (key, body) in objects {
        let found = connection.send("GET", key, &[], b"").unwrap();
        assert!(found.status == 200 && found.body == *body, "{key}: {}", found.status);
        assert_eq!(connection.send("HEAD", key, &[], b"").unwrap().status, 200);
    }
    let listed = connection.send("GET", &format!("/{PLAIN}"), &[], b"").unwrap();
    let keys = listed.elements("Key");
    assert!(objects.iter().all(|(key, _)| keys.contains(&key[PLAIN.len() + 2..].to_owned())), "{keys:?}");
}

/// CR-09: writes of at most 1000 bytes each, some of them interrupted, leave whole objects, also after kills.
#[test]
fn short_and_interrupted_writes_lose_and_mix_nothing() {
    with_interposer("short", |interposer| {
        let folder = &interposer.folder.0;
        interposer.set("short-writes", &folder.to_string_lossy());
        let seed = std::process::id().into();
        let mut random = Random(seed);
        let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();
        for kill in 0..KILLS {
            let mut server = interposer.start();
            let address = server.address;
            verify(address, &mut writers);
            std::thread::scope(|scope| {
                for writer in &mut writers {
                    scope.spawn(move || writer.run(&mut Connection::new(address)));
                }
                // The moment of the kill is chosen, not waited for.
                std::thread::sleep(Duration::from_millis(LOAD_MS_MAX / 2 + random.below(LOAD_MS_MAX)));
                server.child.kill().unwrap();
            });
            server.child.wait().unwrap();
            let (code, found) = check(folder, "strict");
            let orphans = found.iter().all(|kind| kind == "orphan-body");
            assert!(code != Some(2) && orphans, "after kill {kill}: {code:?} {found:?}");
        }
        assert!(interposer.has("done-short-writes"));
        let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
        assert!(acknowledged > KILLS, "hardly any load");
        end_in_order(folder, "strict", &mut writers, false);
    });
}

/// CR-09, CC-11: while a sync hangs, of a body or of a commit, everything else is read; a body's holds up no write of
/// a record either. By order: all of it ends while the write has not.
#[test]
fn a_sync_that_hangs_in_the_system_holds_up_nobody_else() {
    with_interposer("hang", |interposer| {
        let objects = large_and_small();
        let server = interposer.start();
        let mut connection = Connection::new(server.address);
        objects.iter().for_each(|object| assert_eq!(put(&mut connection, object), 200));
        for (path, new) in [(BODIES, object("new-large", 600_000)), (JOURNAL, object("new-small", 500))] {
            interposer.set("hang-fdatasync", path);
            std::thread::scope(|scope| {
                let (address, written) = (server.address, &new);
                let write = scope.spawn(move || put(&mut Connection::new(address), written));
                interposer.wait_for("done-hang-fdatasync");
                // Should any of this fail, the sync goes on by itself after a while.
                let mut connection = Connection::new(address);
                for _ in 0..20 {
                    expect_all(&mut connection, &objects);
                    // Not durable, so not there.
                    assert_eq!(connection.send("GET", &written.0, &[], b"").unwrap().status, 404);
                }
                if path == BODIES {
                    assert_eq!(put(&mut connection, &objects[1]), 200);
                }
                assert!(!write.is_finished(), "nothing hung");
                interposer.take_away("hang-fdatasync");
                assert_eq!(write.join().unwrap(), 200);
            });
            interposer.take_away("done-hang-fdatasync");
            expect_all(&mut connection, std::slice::from_ref(&new));
        }
    });
}

/// CR-09: a failed sync of a body fails that write alone, one of the journal ends all writes and no read until a start;
/// a failed close says nothing new of what has been synced. Nothing acknowledged is lost.
#[test]
fn a_sync_or_close_that_fails_in_the_system_loses_nothing_acknowledged() {
    with_interposer("fail", |interposer| {
        let [large, small] = large_and_small();
        let other = |of: &(String, Vec<u8>)| (of.0.clone(), vec![b'-'; of.1.len()]);
        let mut server = interposer.start();
        let mut connection = Connection::new(server.address);
        for object in [&large, &small] {
            assert_eq!(put(&mut connection, object), 200);
        }
        interposer.set("fail-fdatasync", BODIES);
        assert_eq!(put(&mut connection, &other(&large)), 500);
        assert!(!interposer.has("fail-fdatasync"), "no body was synced");
        expect_all(&mut connection, &[large.clone(), small.clone()]);
        // The next try is another file.
        assert_eq!(put(&mut connection, &other(&large)), 200);
        let large = other(&large);

        interposer.set("fail-close", BODIES);
        let closed = object("closed", 600_000);
        assert_eq!(put(&mut connection, &closed), 200);
        assert!(!interposer.has("fail-close"), "no body was closed");

        interposer.set("fail-fdatasync", JOURNAL);
        assert_eq!(put(&mut connection, &other(&small)), 503);
        assert!(!interposer.has("fail-fdatasync"), "no commit was synced");
        let kept = [large.clone(), closed];
        for refused in [object("later", 500), object("later", 600_000), other(&large)] {
            assert_eq!(put(&mut connection, &refused), 503);
            expect_all(&mut connection, &kept);
            expect_all(&mut connection, std::slice::from_ref(&small));
        }
        assert_eq!(connection.send("DELETE", &large.0, &[], b"").unwrap().status, 503);

        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let server = Server::start(&interposer.folder.0, "strict");
        let mut connection = Connection::new(server.address);
        expect_all(&mut connection, &kept);
        // Nobody knows of the write whose sync failed.
        let found = connection.send("GET", &small.0, &[], b"").unwrap();
        assert!(found.body == small.1 || found.body == other(&small).1, "{}", found.status);
        assert_eq!(put(&mut connection, &other(&large)), 200);
        let target = format!("/{VERSIONED}/after");
        assert_eq!(connection.send("PUT", &target, &[], b"x").unwrap().status, 200);
    });
}
