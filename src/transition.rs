//! Moving the bytes of a version to the location of its new storage class.
//!
//! Bytes go as they are stored, sealed or not: their key does not hang on where they are. Nothing is held
//! whole. The new bodies are named by nobody until the commit that puts the new record in the place of the
//! old one; when that commit loses against an overwrite or a deletion they are dropped, when it wins the old
//! ones go on the to-delete list in the same transaction.

use crate::error::{Error, Result};
use crate::model::lifecycle::StorageClass;
use crate::model::object::{ObjectRecord, Piece};
use crate::ops::object_get::open_stored;
use crate::ops::object_put::{Destination, store};
use crate::ops::service::Service;
use crate::ops::{Context, location};
use crate::storage::{Batch, BlobId};
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// A version as it will be in its new class, with bodies that are there but not named yet.
pub struct Moved {
    /// The new record. Nothing else about it changes, not even its date.
    pub record: ObjectRecord,
    /// Bodies that were written for it.
    fresh: Vec<Piece>,
    /// Small bodies that are to become records.
    inline: Vec<(BlobId, Vec<u8>)>,
    /// Bodies that it does not name any more.
    left: Vec<Piece>,
}

impl Moved {
    /// Brings the bytes of a version to where the class has them, if it has a location. `Ok(None)` when a
    /// body was not there (any more): somebody else was faster.
    ///
    /// # Errors
    /// What the stores say, also when `stop` does. Nothing is kept then.
    pub fn to_class(
        ctx: &Context<'_>,
        record: &ObjectRecord,
        class: StorageClass,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Moved>> {
        let mut moved =
            Moved { record: record.clone(), fresh: Vec::new(), inline: Vec::new(), left: Vec::new() };
        moved.record.head.storage_class = class.as_str().to_owned();
        moved.record.detail.restore = None;
        let Some(location) = location::of_class(&ctx.service.config, class.as_str()) else {
            return Ok(Some(moved));
        };
        for at in 0..record.detail.pieces.len() {
            match moved.bring(ctx, at, location, stop) {
                Ok(true) => {}
                Ok(false) => {
                    moved.drop_fresh(ctx.service);
                    return Ok(None);
                }
                Err(error) => {
                    moved.drop_fresh(ctx.service);
                    return Err(error);
                }
            }
        }
        Ok(Some(moved))
    }

    /// Brings one body; `false` when it is not there.
    fn bring(
        &mut self,
        ctx: &Context<'_>,
        at: usize,
        location: &str,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let piece = &mut self.record.detail.pieces[at];
        if piece.location == location {
            return Ok(true);
        }
        let target = ctx.service.blobs_of(location)?;
        let stays = match piece.inline {
            true => piece.stored_size() <= target.inline_max() as u64,
            // Locations of one type may share a store.
            false => Arc::ptr_eq(target, ctx.service.blobs_of(&piece.location)?),
        };
        if stays {
            location.clone_into(&mut piece.location);
            return Ok(true);
        }
        let Some(bytes) = open_stored(ctx.service, piece)? else { return Ok(false) };
        let length = piece.stored_size();
        let mut bytes = Stoppable { bytes, stop };
        let stored = store(ctx, &mut bytes, Some(length), &Destination::of(location, None))?;
        self.inline.extend(stored.inline);
        let written = stored.piece.ok_or_else(|| cut_short(piece))?;
        let whole = written.size == length;
        let (size, salt) = (piece.size, piece.salt.clone());
        self.fresh.push(written.clone());
        let old = std::mem::replace(piece, Piece { size, salt, ..written });
        if !whole {
            return Err(cut_short(&old));
        }
        self.left.push(old);
        Ok(true)
    }

    /// Adds to the batch that names the new bodies what it takes: their publication, and the removal of the
    /// old ones.
    ///
    /// # Errors
    /// As [`Service::publish_in`].
    pub fn publish_in(&self, service: &Service, batch: &mut Batch) -> Result<()> {
        service.publish_in(batch, &self.fresh)?;
        for (id, bytes) in &self.inline {
            batch.put(crate::model::keys::inline_body(id), bytes.clone());
        }
        service.discard_in(batch, &self.left);
        Ok(())
    }

    /// Tells the deleting threads of the old bodies, after the commit.
    pub fn published(self, service: &Service) {
        service.discarded(self.left);
    }

    /// Drops the new bodies, when there was no commit.
    pub fn drop_fresh(self, service: &Service) {
        service.drop_unnamed(&self.fresh);
    }
}

fn cut_short(piece: &Piece) -> Error {
    Error::internal(format!("body {} is shorter than its record says", piece.id.0))
}

/// Bytes that end with an error when it is time to stop.
struct Stoppable<'s> {
    bytes: Box<dyn BufRead + Send>,
    stop: &'s dyn Fn() -> bool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.stop)() {
            return Err(io::Error::other("the server stops; the move is begun again after the next start"));
        }
        self.bytes.read(buffer)
    }
}
