//! The process and what it leaves on disk: file modes, an umask that lets everybody in, signals, process 1.
#![cfg(unix)]

use super::config::{Folder, Server, output, s3pail, stderr_of};
use super::harness::Client;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command of the system that may run this one, or `None` where it is not there.
fn through(launcher: &[&str], folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(launcher[0]);
    command.args(&launcher[1..]).arg(env!("CARGO_BIN_EXE_s3pail")).args(args);
    command.current_dir(folder).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn client(server: &Server) -> Client {
    let address = server.start_line.split("http://").nth(1).expect("an address");
    let address = address.split([' ', ',']).next().expect("an address").parse().expect("an address");
    Client::new(address, Some(("accessKey1", "verySecretKey1")))
}

/// Everything below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

const SERVE: [&str; 6] =
    ["--listen", "127.0.0.1:0", "--data-path", "x/data", "--metadata-path", "x/metadata"];

/// OP-05: whatever the umask.
#[test]
fn op_05_nobody_else_may_look_into_what_is_written_whatever_the_umask() {
    let folder = Folder::new(&[]);
    for umask in ["000", "022", "077"] {
        let script = format!("umask {umask}; exec \"$@\"");
        let server = Server::start(through(&["sh", "-c", &script, "sh"], &folder.0, &SERVE));
        let client = client(&server);
        client.put("/modes", b"").expect(200);
        client.put("/modes/small", b"x").expect(200);
        client.put("/modes/large", &[1; 300_000]).expect(200);
        let sealed = [("x-amz-server-side-encryption", "AES256")];
        client.send("PUT", "/modes/sealed", &sealed, &[1; 300_000]).expect(200);
        let found = walk(&folder.0.join("x"));
        assert!(found.len() > 10, "{found:?}");
        for path in found {
            let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "umask {umask}: {} has {mode:o}", path.display());
        }
        drop(server);
        fs::remove_dir_all(folder.0.join("x")).unwrap();
    }
}

/// OP-06, OP-09, OP-21: two folders are all that is written to, wherever temporary files are meant to be, and they
/// belong to one process.
#[test]
fn op_09_nothing_is_written_outside_of_the_two_folders() {
    let folder = Folder::new(&[]);
    let nowhere = folder.0.join("nowhere").to_string_lossy().into_owned();
    let variables = ["TMPDIR", "HOME", "XDG_CACHE_HOME"].map(|name| (name, nowhere.as_str()));
    let server = Server::start(s3pail(&folder.0, &SERVE, &variables));
    let client = client(&server);
    client.put("/only", b"").expect(200);
    client.put("/only/key", &[1; 300_000]).expect(200);
    let id = client.post("/only/parts?uploads", b"").expect(200).element("UploadId").unwrap();
    client.put(&format!("/only/parts?partNumber=1&uploadId={id}"), &[2; 300_000]).expect(200);
    let second = output(s3pail(&folder.0, &SERVE, &[]));
    let sentence = stderr_of(&second);
    assert!(!second.status.success(), "{sentence}");
    assert!(
        sentence.contains("another process") && sentence.contains(&server.id().to_string()),
        "{sentence}"
    );
    assert_eq!(client.get("/only/key").expect(200).body, [1; 300_000]);
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&folder.0), ["conf", "x"]);
    assert_eq!(names(&folder.0.join("x")), ["data", "metadata"]);
    assert!(names(&folder.0.join("conf")).is_empty());
}

/// As the first process of a container: without a default for signals, and the parent of every orphan.
#[test]
fn as_process_1_it_serves_and_ends_in_order_when_asked() {
    let launcher = ["unshare", "--pid", "--fork", "--kill-child=KILL"];
    let probe = Command::new(launcher[0]).args(&launcher[1..]).arg("true").output();
    if !probe.as_ref().is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: no process namespaces here: {probe:?}");
        return;
    }
    let folder = Folder::new(&[]);
    for signal in ["TERM", "INT"] {
        let server = Server::start(through(&launcher, &folder.0, &SERVE));
        client(&server).put("/init", b"").expect(200);
        // The launcher waits for its only child, which is process 1 of the namespace.
        let launcher_id = server.id();
        let children =
            fs::read_to_string(format!("/proc/{launcher_id}/task/{launcher_id}/children")).unwrap();
        let child = children.split_whitespace().next().expect("a child");
        assert!(Command::new("kill").args(["-s", signal, child]).status().unwrap().success());
        let (status, log) = server.wait();
        assert_eq!(status, Some(0), "{signal}: {log}");
        assert!(log.contains("\"stopped\""), "{signal}: {log}");
    }
}
