//! A folder with a quota: it is full while the file system that it is on has room. Where the free space that the
//! system tells of is that of the file system (btrfs), only a write finds out, with `EDQUOT`.

use super::image::Image;
use super::wire::{Connection, Reply};
use super::writer::PLAIN;
use super::{DEADLINE, Server, check, make_buckets};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Room for the reserve, which takes 16 of them, and for some bodies.
const LIMIT_MIB: u32 = 24;
/// Files until no more fits, then smaller ones, then records.
const SIZES: [usize; 4] = [1 << 20, 100_000, 20_000, 5_000];

/// A connection, and what was acknowledged: the length of the body of each key.
struct Filled {
    connection: Connection,
    kept: Vec<(String, usize)>,
}

fn body(key: &str, length: usize) -> Vec<u8> {
    key.bytes().cycle().take(length).collect()
}

fn is_refusal(reply: &Reply) -> bool {
    reply.status == 507 && reply.elements("Code") == ["InsufficientStorage"]
}

impl Filled {
    fn put(&mut self, key: &str, length: usize) -> Reply {
        self.connection.send("PUT", key, &[], &body(key, length)).unwrap()
    }

    /// Writes until nothing of any size is taken.
    fn fill(&mut self) {
        for length in SIZES {
            loop {
                let key = format!("/{PLAIN}/{length}-{}", self.kept.len());
                let reply = self.put(&key, length);
                if reply.status != 200 {
                    assert!(is_refusal(&reply), "{key}: {} {}", reply.status, reply.text());
                    break;
                }
                self.kept.push((key, length));
                assert!(self.kept.len() < 100_000, "it never gets full");
            }
        }
    }

    fn verify(&mut self, when: &str) {
        for (key, length) in &self.kept {
            let found = self.connection.send("GET", key, &[], b"").unwrap();
            assert!(
                found.status == 200 && found.body == body(key, *length),
                "{when}: {key}: {}",
                found.status
            );
        }
        let listed = self.connection.send("GET", &format!("/{PLAIN}"), &[], b"").unwrap();
        assert_eq!(listed.elements("Key").len(), self.kept.len().min(1000), "{when}");
    }

    /// One delete makes room for a write of half its size, without a start.
    fn make_room(&mut self) {
        let (key, length) = self.kept.remove(0);
        assert_eq!(self.connection.send("DELETE", &key, &[], b"").unwrap().status, 204);
        assert_eq!(self.connection.send("GET", &key, &[], b"").unwrap().status, 404);
        let (again, begun) = (format!("/{PLAIN}/again"), Instant::now());
        loop {
            let reply = self.put(&again, length / 2);
            if reply.status == 200 {
                break;
            }
            assert!(is_refusal(&reply), "{} {}", reply.status, reply.text());
            assert!(begun.elapsed() < DEADLINE, "a delete gives no room back");
        }
        self.kept.push((again, length / 2));
    }
}

/// Takes what the server has left of the quota: the reserve's room, once that is given up.
fn take_the_rest(folder: &Path) {
    let mut file = File::options().create(true).append(true).open(folder.join("ballast")).unwrap();
    for block in [1 << 20, 4096].map(|length| vec![0; length]) {
        while file.write_all(&block).and_then(|()| file.sync_data()).is_ok() {}
    }
}

fn end(server: &mut Server, signal: &str) {
    let process = server.child.id().to_string();
    assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    let status = server.child.wait().unwrap();
    assert!(signal != "-TERM" || status.success(), "{status}");
}

/// How a server ends that is full, and whether somebody else takes the rest before the next start.
const ENDS: [(&str, bool); 3] = [("-KILL", false), ("-TERM", true), ("-KILL", true)];

fn fill_and_free(folder: &Path) {
    let mut server = Server::start(folder, "strict");
    make_buckets(&server);
    let mut filled = Filled { connection: Connection::new(server.address), kept: Vec::new() };
    filled.fill();
    filled.verify("full");
    for (signal, no_byte_is_left) in ENDS {
        end(&mut server, signal);
        if no_byte_is_left {
            take_the_rest(folder);
        }
        server = Server::start(folder, "strict");
        filled.connection = Connection::new(server.address);
        let when = format!("after {signal}, all bytes taken: {no_byte_is_left}");
        filled.verify(&when);
        let reply = filled.put(&format!("/{PLAIN}/no-room"), SIZES[0]);
        assert!(is_refusal(&reply), "{when}: {} {}", reply.status, reply.text());
    }
    fs::remove_file(folder.join("ballast")).unwrap();
    filled.make_room();
    filled.verify("after a delete");
    end(&mut server, "-TERM");
    assert_eq!(check(folder, "strict"), (Some(0), Vec::new()));
}

/// CR-07: a full quota refuses writes with the answer of a full disk, keeps what it has over kills and starts, and
/// takes writes again after one delete.
#[test]
fn a_full_quota_refuses_writes_loses_nothing_and_gives_way_to_a_delete() {
    for kind in ["xfs", "btrfs"] {
        match Image::with_quota(kind, LIMIT_MIB) {
            Ok((_image, folder)) => fill_and_free(&folder),
            Err(reason) => eprintln!("SKIPPED: a folder with a quota on {kind}: {reason}"),
        }
    }
}
