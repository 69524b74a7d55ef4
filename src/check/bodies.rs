//! The bodies that a record names: there, as long as it says, and with the checksums it says.

use super::Stores;
use super::report::{Kind, Report};
use crate::codec::digest::{ChecksumType, Hasher, Md5Hasher};
use crate::codec::{base64, hex};
use crate::model::multipart::PartRecord;
use crate::model::object::{ObjectRecord, Piece};
use crate::model::{inline_body, keys};
use crate::storage::buffers::fill;
use crate::storage::{BlobStore, StorageError};

/// How much of a body is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// Reads the bodies of a version and compares them with its record.
pub fn of_object(stores: &Stores<'_>, record: &ObjectRecord, subject: &str, report: &mut Report) {
    let (head, detail) = (&record.head, &record.detail);
    let encrypted = detail.encryption.is_some() || detail.pieces.iter().any(|piece| piece.salt.is_some());
    let mut sums = match (&head.checksum, &detail.checksum) {
        // What a client sees of an encrypted body cannot be computed without its key.
        _ if encrypted || head.delete_marker => Sums::none(),
        (Some((algorithm, ChecksumType::FullObject)), Some(value)) => {
            Sums { checksum: Some((Hasher::new(*algorithm), value.clone())), ..Sums::none() }
        }
        _ if detail.parts.is_empty() && detail.upload_id.is_empty() => Sums::md5(&head.etag),
        _ => Sums::none(),
    };
    if sizes_differ(&detail.pieces, head.size, subject, report) {
        return;
    }
    if read_pieces(stores, &detail.pieces, subject, report, &mut sums) {
        sums.compare(subject, report);
    }
}

/// Reads the bodies of a part and compares them with its record.
pub fn of_part(stores: &Stores<'_>, part: &PartRecord, subject: &str, report: &mut Report) {
    if part.drafted.is_some() {
        report.bodies_elsewhere += 1;
        return;
    }
    // The ETag of an encrypted part may be of something else.
    let encrypted = part.pieces.iter().any(|piece| piece.salt.is_some());
    let mut sums = if encrypted { Sums::none() } else { Sums::md5(&part.etag) };
    if !sizes_differ(&part.pieces, part.size, subject, report)
        && read_pieces(stores, &part.pieces, subject, report, &mut sums)
    {
        sums.compare(subject, report);
    }
}

fn sizes_differ(pieces: &[Piece], size: u64, subject: &str, report: &mut Report) -> bool {
    let sum = pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.size));
    if sum != size {
        let detail = format!("has {size} bytes, but its bodies have {sum}");
        report.add(Kind::BodyLength, subject, &detail);
    }
    sum != size
}

/// Digests of what is read, and what they must be.
struct Sums {
    checksum: Option<(Hasher, String)>,
    md5: Option<(Md5Hasher, String)>,
}

impl Sums {
    fn none() -> Sums {
        Sums { checksum: None, md5: None }
    }

    fn md5(etag: &str) -> Sums {
        let plain = etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        Sums { checksum: None, md5: plain.then(|| (Md5Hasher::new(), etag.to_owned())) }
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some((hasher, _)) = &mut self.checksum {
            hasher.update(bytes);
        }
        if let Some((hasher, _)) = &mut self.md5 {
            hasher.update(bytes);
        }
    }

    fn compare(self, subject: &str, report: &mut Report) {
        let checksum = self.checksum.map(|(hasher, recorded)| (base64(&hasher.finish()), recorded));
        let md5 = self.md5.map(|(hasher, recorded)| (hex(&hasher.finish()), recorded));
        for (found, recorded) in checksum.into_iter().chain(md5) {
            if found != recorded {
                let detail = format!("its bytes have the checksum {found}, but its record says {recorded}");
                report.add(Kind::BodyDamaged, subject, &detail);
            }
        }
    }
}

/// Reads pieces in order. False if they were not all read, so that `sums` mean nothing.
fn read_pieces(
    stores: &Stores<'_>,
    pieces: &[Piece],
    subject: &str,
    report: &mut Report,
    sums: &mut Sums,
) -> bool {
    let mut whole = true;
    for piece in pieces {
        let read = if piece.inline {
            read_inline(stores, piece, sums)
        } else if stores.folder_of(&piece.location).is_some() {
            read_file(stores, piece, sums)
        } else {
            report.bodies_elsewhere += 1;
            whole = false;
            continue;
        };
        match read {
            Ok(()) => {
                report.bodies += 1;
                report.body_bytes += piece.stored_size();
            }
            Err((kind, detail)) => {
                report.add(kind, subject, &format!("body {}: {detail}", piece.id.0));
                whole = false;
            }
        }
    }
    whole
}

type Read = Result<(), (Kind, String)>;

fn failed(error: StorageError) -> (Kind, String) {
    (Kind::BodyDamaged, error.to_string())
}

fn read_inline(stores: &Stores<'_>, piece: &Piece, sums: &mut Sums) -> Read {
    let stored = stores.meta.get(&keys::inline_body(&piece.id)).map_err(failed)?;
    let value = stored.ok_or_else(|| (Kind::BodyMissing, "is not among the records".to_owned()))?;
    length_is(value.len().saturating_sub(inline_body::CHECKSUM_BYTES) as u64, piece)?;
    sums.update(&inline_body::open(&piece.id, value, piece.stored_size()).map_err(failed)?);
    Ok(())
}

fn read_file(stores: &Stores<'_>, piece: &Piece, sums: &mut Sums) -> Read {
    let Some(blobs) = stores.folder_of(&piece.location) else { return Ok(()) };
    let missing = || (Kind::BodyMissing, "there is no such file".to_owned());
    length_is(blobs.size(&piece.id).map_err(failed)?.ok_or_else(missing)?, piece)?;
    let mut reader = blobs.read(&piece.id, 0..piece.stored_size()).map_err(failed)?.ok_or_else(missing)?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let filled = fill(&mut *reader, &mut buffer).map_err(|error| failed(error.into()))?;
        sums.update(&buffer[..filled]);
        if filled < buffer.len() {
            break;
        }
    }
    let doomed = stores.meta.get(&keys::garbage(&piece.location, &piece.id)).map_err(failed)?;
    match doomed {
        None => Ok(()),
        Some(_) => Err((Kind::BodyShared, "is on the to-delete list as well".to_owned())),
    }
}

fn length_is(found: u64, piece: &Piece) -> Read {
    let recorded = piece.stored_size();
    if found == recorded {
        return Ok(());
    }
    Err((Kind::BodyLength, format!("has {found} bytes, but the record says {recorded}")))
}
