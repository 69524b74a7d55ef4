//! Bodies that are written in pieces, in any order and by several writers at once, and become whole in one
//! step: what a store may offer beside [`BlobStore::write`].
//!
//! ```text
//! reserve ── begin ── write_piece, write_piece, ... ── assemble ── a body like any other
//!    └─────────┴──────────────┴──────────────────────────┴──────── BlobStore::delete: nothing
//! ```
//!
//! A draft has a name of its own, and so has the body that it becomes. [`BlobStore::delete`] of a draft's name
//! removes whatever there is of it: what a beginning made whose answer was lost, its pieces, the body that it
//! has become meanwhile. So one entry of the to-delete list stands for all of it, and must be written only by
//! who knows that no record names the body.
//!
//! [`BlobStore::write`]: super::BlobStore::write
//! [`BlobStore::delete`]: super::BlobStore::delete

use super::{BlobHint, BlobId, Result, StorageError};
use std::io::{self, Read};

/// A piece that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenPiece {
    /// What the store calls its content; empty for one without bytes, which is not stored at all.
    pub tag: String,
    /// Its length in bytes.
    pub size: u64,
}

/// What a store does not take of a list of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A piece is not there, or has another tag.
    Missing,
    /// The numbers do not ascend.
    Disordered,
    /// A piece other than the last is smaller than the store wants them.
    TooSmall,
}

/// Why something could not be done with a draft.
#[derive(Debug)]
pub enum DraftError {
    /// The reader failed. Nothing is kept.
    Body(io::Error),
    /// The draft is not there any more: it was deleted, or has become a body.
    Gone,
    /// The list of pieces was refused. The draft is as it was.
    Refused(Refusal),
    /// The store failed. A piece may or may not have been stored, the draft may or may not have become a body.
    Store(StorageError),
}

impl From<StorageError> for DraftError {
    fn from(error: StorageError) -> DraftError {
        DraftError::Store(error)
    }
}

/// Bodies that are written in pieces.
pub trait Drafts: Send + Sync {
    /// Chooses the name of a draft that is about to be begun, to be made durable first.
    fn reserve(&self, hint: &BlobHint<'_>) -> BlobId;

    /// Begins a draft, and returns the name that it has from now on.
    ///
    /// # Errors
    /// What the store says. The draft may have been begun: the reserved name is to be deleted.
    fn begin(&self, reserved: &BlobId) -> Result<BlobId>;

    /// Stores everything `body` yields as the piece of a number, 1 to 10000, in the place of one that has this
    /// number. `length` is the declared length: a claim.
    ///
    /// # Errors
    /// [`DraftError`], but [`DraftError::Refused`].
    fn write_piece(
        &self,
        draft: &BlobId,
        number: u16,
        body: &mut dyn Read,
        length: Option<u64>,
    ) -> std::result::Result<WrittenPiece, DraftError>;

    /// The tag of the piece that has a number now; `None` when there is none, or no draft.
    ///
    /// # Errors
    /// What the store says.
    fn tag_of(&self, draft: &BlobId, number: u16) -> Result<Option<String>>;

    /// Makes these pieces, by number and tag, a body of `size` bytes, durable as [`BlobStore::write`] makes
    /// one, and returns its name. The draft and its other pieces are gone then. May be asked for again with
    /// the same list, whatever became of it before.
    ///
    /// # Errors
    /// [`DraftError::Refused`], [`DraftError::Store`].
    ///
    /// [`BlobStore::write`]: super::BlobStore::write
    fn assemble(
        &self,
        draft: &BlobId,
        pieces: &[(u16, String)],
        size: u64,
    ) -> std::result::Result<BlobId, DraftError>;

    /// Removes pieces that were written after the draft had been deleted or had become a body; the body stays.
    ///
    /// # Errors
    /// What the store says.
    fn drop_late(&self, draft: &BlobId) -> Result<()>;
}
