//! One huge object, up and down: what it costs the server in memory is what this asks.

use crate::arguments::Arguments;
use crate::compare::random_bytes;
use crate::connection::Connection;
use crate::process;
use crate::signer::{Signer, UNSIGNED_PAYLOAD, sha256_hex};
use crate::target::BUCKET;
use std::io;
use std::time::Instant;

/// The content is this block repeated. A prime, so that no buffer of the server's fits it.
const BLOCK_BYTES: usize = 1_048_583;

/// Uploads and downloads one object of `--size` bytes; prints a line of JSON.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let [target] = &arguments.targets[..] else { return Err("big needs one --target".to_owned()) };
    let mut client = Client {
        connection: Connection::new(target.address),
        signer: Signer::for_target(target),
        block: random_bytes(BLOCK_BYTES),
    };
    let memory = || target.pid.map(process::usage).unwrap_or_default();
    let before = memory();
    client.make_bucket().map_err(|e| format!("bucket: {e}"))?;
    let begin = Instant::now();
    client.upload(arguments.size_bytes).map_err(|e| format!("upload: {e}"))?;
    let (up, after_upload) = (begin.elapsed(), memory());
    let begin = Instant::now();
    client.download(arguments.size_bytes).map_err(|e| format!("download: {e}"))?;
    let (down, after_download) = (begin.elapsed(), memory());
    let mb = arguments.size_bytes as f64 / 1e6;
    let line = serde_json::json!({
        "target": target.name,
        "bytes": arguments.size_bytes,
        "upload_mb_per_s": (mb / up.as_secs_f64()).round(),
        "download_mb_per_s": (mb / down.as_secs_f64()).round(),
        "peak_kib_before": before.peak_kib,
        "peak_kib_after_upload": after_upload.peak_kib,
        "peak_kib_after_download": after_download.peak_kib,
    });
    println!("{line}");
    Ok(())
}

struct Client {
    connection: Connection,
    signer: Signer,
    block: Vec<u8>,
}

impl Client {
    fn path() -> String {
        format!("/{BUCKET}/big")
    }

    fn make_bucket(&mut self) -> io::Result<()> {
        let path = format!("/{BUCKET}");
        let headers = self.signer.headers("PUT", &path, "", &sha256_hex(b""));
        let answer = self.connection.call(("PUT", &path), &headers, b"", &mut |_| {})?;
        // 409: the comparison has made it before.
        if answer.status == 409 { Ok(()) } else { answer.check().map(drop) }
    }

    fn upload(&mut self, length: u64) -> io::Result<()> {
        let headers = self.signer.headers("PUT", &Self::path(), "", UNSIGNED_PAYLOAD);
        self.connection.put_repeated(&Self::path(), &headers, &self.block, length)?.check().map(drop)
    }

    fn download(&mut self, length: u64) -> io::Result<()> {
        let headers = self.signer.headers("GET", &Self::path(), "", &sha256_hex(b""));
        let (block, mut at, mut same) = (&self.block, 0, true);
        let answer = self.connection.call(("GET", &Self::path()), &headers, b"", &mut |mut piece| {
            while !piece.is_empty() {
                let here = piece.len().min(block.len() - at);
                same &= piece[..here] == block[at..at + here];
                (piece, at) = (&piece[here..], (at + here) % block.len());
            }
        })?;
        if answer.check()?.body_bytes != length || !same {
            return Err(io::Error::other("the object came back different"));
        }
        Ok(())
    }
}
