//! Bodies that no record names, and bodies that two records name.

use super::Stores;
use super::progress::Progress;
use super::repair::{Orphan, Repairable};
use super::report::{Kind, Report};
use crate::housekeeping::{Named, named_in};
use crate::model::keys;
use crate::storage::ids::is_id;
use crate::storage::sweep::prefixes;
use crate::storage::{BlobId, BlobStore, Result, Visit};
use std::collections::HashMap;

/// Ids that are compared at a time; about 100 bytes each. More bodies take more passes over the records.
pub const IDS_TOGETHER_MAX: usize = 500_000;

/// Compares the bodies that are stored with those that are named.
///
/// # Errors
/// What the stores say when they cannot be read.
pub fn find(
    stores: &Stores<'_>,
    report: &mut Report,
    progress: &mut Progress,
    found: &mut Repairable,
) -> Result<()> {
    let mut total = 0_usize;
    each_stored(stores, &mut |_| total += 1)?;
    progress.phase("orphans", total as u64);
    for prefix in prefixes(total, IDS_TOGETHER_MAX) {
        let mut stored: HashMap<Orphan, bool> = HashMap::new();
        each_stored(stores, &mut |body| {
            if body.id().0.starts_with(&prefix) {
                stored.insert(body, false);
            }
        })?;
        each_named(stores, &mut |body, record| {
            if let Some(named) = stored.get_mut(&body)
                && std::mem::replace(named, true)
            {
                let detail = format!("is named a second time, by record {}", record.escape_ascii());
                report.add(Kind::BodyShared, &format!("body {}", body.id().0), &detail);
            }
        })?;
        let mut orphans = Vec::new();
        for (body, named) in stored {
            progress.step();
            if !named {
                orphans.push(body);
            }
        }
        orphans.sort();
        for orphan in orphans {
            report.orphans += 1;
            report.add(Kind::OrphanBody, &format!("body {}", orphan.id().0), "no record names it");
            found.orphans.push(orphan);
        }
    }
    Ok(())
}

/// Visits every body that is stored: files and records.
fn each_stored(stores: &Stores<'_>, visit: &mut dyn FnMut(Orphan)) -> Result<()> {
    if let Some(blobs) = stores.blobs {
        blobs.list(&mut |id| visit(Orphan::File(id)))?;
    }
    stores.meta.scan(b"i/".as_slice()..b"i0".as_slice(), &mut |key, _| {
        // What has another name has been reported with the records.
        if let Some(id) = std::str::from_utf8(&key[2..]).ok().filter(|id| is_id(id)) {
            visit(Orphan::Inline(BlobId(id.to_owned())));
        }
        Visit::Next
    })
}

/// Visits every body that a record names, and the record's key. Records that cannot be decoded have been
/// reported before.
fn each_named(stores: &Stores<'_>, visit: &mut dyn FnMut(Orphan, &[u8])) -> Result<()> {
    stores.meta.scan(b"g/".as_slice()..b"w".as_slice(), &mut |key, value| {
        match named_in(key, value) {
            Ok(Named::InlineBodies) => return Visit::Seek(b"i0".to_vec()),
            Ok(Named::Body(id)) if key.starts_with(b"g/") => {
                let here = keys::split_garbage(key).is_some_and(|(it, _)| stores.folder_of(&it).is_some());
                if here {
                    visit(Orphan::File(id), key);
                }
            }
            Ok(Named::Body(id)) => visit(Orphan::File(id), key),
            Ok(Named::Pieces(pieces)) => {
                for piece in pieces {
                    if piece.inline {
                        visit(Orphan::Inline(piece.id), key);
                    } else if stores.folder_of(&piece.location).is_some() {
                        visit(Orphan::File(piece.id), key);
                    }
                }
            }
            Ok(Named::Nothing) | Err(_) => {}
        }
        Visit::Next
    })
}
