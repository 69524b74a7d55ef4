//! A file that can be written to without being changed: what is written stays in memory.
//!
//! redb has to write when it opens a database that was not closed, and a check must not. It writes a few
//! pages then, so that is how much memory this takes.
//!
//! Who looks at the file of a store that goes on lays its first page over it, as it was at some checkpoint
//! ([`Overlay::of_checkpoint`]), and is told how much is read ([`Pace`]).

use redb::StorageBackend;
use redb::backends::FileBackend;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const PAGE_BYTES: u64 = 4096;

/// Is told how many bytes are about to be read. May wait, and may end the reading with an error.
#[derive(Clone)]
pub struct Pace(Arc<dyn Fn(usize) -> io::Result<()> + Send + Sync>);

impl Pace {
    /// One that calls `told`.
    pub fn new(told: impl Fn(usize) -> io::Result<()> + Send + Sync + 'static) -> Pace {
        Pace(Arc::new(told))
    }

    /// Tells it.
    ///
    /// # Errors
    /// Why the reading shall end.
    pub fn before(&self, bytes: usize) -> io::Result<()> {
        (self.0)(bytes)
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pace")
    }
}

/// A file below, and what was written to it on top.
#[derive(Debug)]
pub struct Overlay {
    file: FileBackend,
    file_bytes: u64,
    written: RwLock<Written>,
    pace: Option<Pace>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// Whole pages by number.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// Lays an empty sheet over a file that is open for reading.
    pub fn new(file: File) -> io::Result<Overlay> {
        let file_bytes = file.metadata()?.len();
        let file = FileBackend::new(file).map_err(io::Error::other)?;
        let written = RwLock::new(Written { length: file_bytes, pages: BTreeMap::new() });
        Ok(Overlay { file, file_bytes, written, pace: None })
    }

    /// The same for a file whose first page is written to meanwhile, with that page as it was.
    pub fn of_checkpoint(file: File, first_page: &[u8], pace: Pace) -> io::Result<Overlay> {
        let overlay = Overlay::new(file)?;
        overlay.write(0, first_page)?;
        Ok(overlay.told_to(pace))
    }

    /// The same, with somebody who is told of every read.
    pub fn told_to(self, pace: Pace) -> Overlay {
        Overlay { pace: Some(pace), ..self }
    }

    /// Reads from below; what lies behind the file's end is zero.
    fn read_below(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(pace) = &self.pace {
            pace.before(out.len())?;
        }
        let there = self.file_bytes.saturating_sub(offset).min(out.len() as u64) as usize;
        out[there..].fill(0);
        if there == 0 { Ok(()) } else { self.file.read(offset, &mut out[..there]) }
    }

    // What the lock guards is whole whenever a panic could happen.
    fn reading(&self) -> RwLockReadGuard<'_, Written> {
        self.written.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, Written> {
        self.written.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a page and a range of bytes meet: in the page, and in the range.
fn meet(page: u64, offset: u64, length: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let (start, end) = (page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    let (from, to) = (offset.max(start), (offset + length as u64).min(end));
    ((from - start) as usize..(to - start) as usize, (from - offset) as usize..(to - offset) as usize)
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.reading().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.reading();
        let end = offset + out.len() as u64;
        if end > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_below(offset, out)?;
        for (page, bytes) in written.pages.range(offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)) {
            let (in_page, in_out) = meet(*page, offset, out.len());
            out[in_out].copy_from_slice(&bytes[in_page]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.writing();
        // What is cut off reads as zeros should the file grow again.
        for page in length / PAGE_BYTES..written.length.div_ceil(PAGE_BYTES) {
            let mut bytes = vec![0; PAGE_BYTES as usize];
            if page * PAGE_BYTES < length {
                match written.pages.get(&page) {
                    Some(there) => bytes.copy_from_slice(there),
                    None => self.read_below(page * PAGE_BYTES, &mut bytes)?,
                }
                bytes[(length - page * PAGE_BYTES) as usize..].fill(0);
            }
            written.pages.insert(page, bytes);
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.writing();
        let end = offset + data.len() as u64;
        written.length = written.length.max(end);
        for page in offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let (in_page, in_data) = meet(page, offset, data.len());
            let mut bytes = match written.pages.remove(&page) {
                Some(bytes) => bytes,
                None => {
                    let mut bytes = vec![0; PAGE_BYTES as usize];
                    self.read_below(page * PAGE_BYTES, &mut bytes)?;
                    bytes
                }
            };
            bytes[in_page].copy_from_slice(&data[in_data]);
            written.pages.insert(page, bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_file_stays_as_it_was() {
        let path = std::env::temp_dir().join(format!("s3pail-overlay-{}", std::process::id()));
        let before: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
        std::fs::write(&path, &before).unwrap();
        let overlay = Overlay::new(File::open(&path).unwrap()).unwrap();
        let mut expected = before.clone();
        for (offset, length) in [(0_usize, 1), (4095, 2), (9_000, 3_000), (12_000, 100), (1, 9_999)] {
            let data = vec![offset as u8 ^ 0x5a; length];
            overlay.write(offset as u64, &data).unwrap();
            expected.resize(expected.len().max(offset + length), 0);
            expected[offset..offset + length].copy_from_slice(&data);
            let mut found = vec![0; expected.len()];
            overlay.read(0, &mut found).unwrap();
            assert_eq!(found, expected, "{offset}");
        }
        overlay.set_len(5_000).unwrap();
        overlay.set_len(20_000).unwrap();
        expected.truncate(5_000);
        expected.resize(20_000, 0);
        let mut found = vec![0; 20_000];
        overlay.read(0, &mut found).unwrap();
        assert!(found == expected && overlay.read(1, &mut found).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::remove_file(&path).unwrap();
    }
}
