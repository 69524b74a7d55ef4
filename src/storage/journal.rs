//! The journal of the record store: what has been committed since the database was last made durable.
//!
//! A group of commits is one entry, appended with one write and, if one is strict, one `fdatasync`. The
//! database itself is made durable only at checkpoints; after each the journal starts again at its
//! first byte, in place, so that the file neither grows nor changes its metadata and the sync stays
//! cheap. When the store is opened, the entries behind the last checkpoint are applied again. They
//! set and remove whole records, so applying one twice is the same as once.
//!
//! ```text
//! entry  := header payload
//! header := magic u32 | payload bytes u32 | sequence u64 | boot u64 | run u32 | CRC-32C u32
//! payload := ( key bytes u32 | value bytes u32, or u32::MAX for a removal | key | value )*
//! ```
//!
//! All numbers are little-endian; the checksum covers the header before it and the payload. Reading
//! ends at the first entry that is not whole, not the next in sequence, or not of the same run as the
//! first one: a torn tail, or what an earlier round left behind. `run` is a random number of the
//! process's opening of the store, so that a leftover is never taken for the next entry.
//!
//! An entry is whole before the next one is begun. So a whole one further on, of the same run and with a later
//! number, says that what is between was not torn but damaged afterwards ([`Journal::has_entry`]). (That
//! clients cannot know `run` keeps them from writing a body that looks like such an entry.)
//!
//! `boot` is 0 for an entry that was synced before anybody was told of it. Otherwise it names the boot
//! of the machine during which it was written: after the *process* ended, the entry is whole in the
//! page cache and is applied. After the *machine* ended, any part of the journal and any of the
//! bodies that its records name may be missing, so such entries are ignored and the store is what it
//! was at the last checkpoint: some writes lost, none torn, none without their bodies.
//!
//! Both kinds may follow each other. Before an entry of boot 0 is written, everything in front of it is synced,
//! and so are the bodies that it names and that are ever to be ([`super::journals`], `file_meta`). So an entry of
//! another boot counts as well when one of boot 0 follows.

use super::buffers::fill;
use super::fault::{DiskFaults, DiskStep};
use super::layout::{named, private_file, write_at};
use super::{Result, StorageError};
use crate::codec::random;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Entries beyond this many bytes make the store take a checkpoint. Smaller means more checkpoints
/// (each costs two syncs and the writing of all changed pages); larger means longer ones, more memory,
/// a larger file and a longer start after a crash.
pub const JOURNAL_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The file is extended by this much at a time, filled with zeros, so that most syncs need not wait
/// for the file system's own journal.
const EXTEND_BYTES: usize = 256 * 1024;
const MAGIC: u32 = 0x6c6a_3373;
const HEADER_BYTES: usize = 32;
/// The part of the header that its checksum covers.
const SUMMED_BYTES: usize = 28;
const REMOVED: u32 = u32::MAX;
/// The boot of an entry that was not synced, on a system that does not tell.
const UNKNOWN_BOOT: u64 = u64::MAX;
/// How much of the file is looked through at a time.
const LOOK_BYTES: usize = 64 * 1024;
/// The payload of an entry is not longer than this (see `GROUP_BYTES_MAX` and `BATCH_BYTES_MAX`).
const ENTRY_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// A change to one record: its key and its new value, or `None` for its removal.
pub type Write1 = (Vec<u8>, Option<Vec<u8>>);

/// The journal file, open for appending.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Where the next entry goes.
    end: u64,
    /// How far the file has been filled.
    extended: u64,
    /// The sequence number of the last entry.
    sequence: u64,
    /// A random number of this opening of the store.
    run: u32,
    /// The run of the entries that were replayed.
    replayed_run: Option<u32>,
    /// Whether there are entries that have not been synced, as far as is known.
    unsynced: bool,
    /// Where the entries end that an earlier run has left: an error of theirs may have been reported to it, so that
    /// a sync does not tell whether they are on the disk unless they are written once more.
    inherited: u64,
    faults: Option<Arc<DiskFaults>>,
}

/// Entries of another boot that have been read, with their numbers. They count when an entry of boot 0 follows.
#[derive(Default)]
pub struct Doubtful {
    entries: Vec<(u64, Vec<Write1>)>,
}

/// The numbers of a header.
struct Head {
    sequence: u64,
    boot: u64,
    run: u32,
}

impl Head {
    /// Reads the numbers of a header, which has at least [`SUMMED_BYTES`].
    fn of(header: &[u8]) -> Head {
        Head { sequence: word(header, 8), boot: word(header, 16), run: half(header, 24) }
    }

    /// Whether it is of an entry of the run that was there whole before the next was begun: synced, or written
    /// during this boot.
    fn is_of(&self, sequences: &RangeInclusive<u64>, run: u32) -> bool {
        let in_order = self.boot == 0 || self.boot == boot_number();
        in_order && self.run == run && sequences.contains(&self.sequence)
    }
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// An entry under construction.
#[derive(Default)]
pub struct Entry {
    /// Room for the header, then the payload.
    bytes: Vec<u8>,
}

impl Entry {
    /// Empties the entry and keeps its memory, unless that is much.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(EXTEND_BYTES);
        self.bytes.resize(HEADER_BYTES, 0);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= HEADER_BYTES
    }

    /// Adds a change. Keys and values are within `BATCH_BYTES_MAX`, so their lengths fit.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.bytes.extend((key.len() as u32).to_le_bytes());
        self.bytes.extend(value.map_or(REMOVED, |value| value.len() as u32).to_le_bytes());
        self.bytes.extend(key);
        self.bytes.extend(value.unwrap_or_default());
    }

    fn seal(&mut self, head: &Head) {
        let length = (self.bytes.len() - HEADER_BYTES) as u32;
        self.bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&head.sequence.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&head.boot.to_le_bytes());
        self.bytes[24..28].copy_from_slice(&head.run.to_le_bytes());
        let sum = checksum(&self.bytes[..SUMMED_BYTES], &self.bytes[HEADER_BYTES..]);
        self.bytes[SUMMED_BYTES..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(head);
    digest.update(payload);
    digest.finalize() as u32
}

impl Journal {
    /// Opens or creates the file. What is in it is read by [`Journal::replay`].
    pub fn open(path: &Path, faults: Option<Arc<DiskFaults>>) -> Result<Journal> {
        let options = &mut private_file();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| named(path, error))?;
        Journal::over(path, file, faults)
    }

    /// Opens the file to [`Journal::replay`] it, and changes nothing. `None` if there is no file.
    pub fn open_to_read(path: &Path) -> Result<Option<Journal>> {
        let file = match private_file().read(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(path, error)),
        };
        Journal::over(path, file, None).map(Some)
    }

    fn over(path: &Path, file: File, faults: Option<Arc<DiskFaults>>) -> Result<Journal> {
        let extended = file.metadata().map_err(|error| named(path, error))?.len();
        Ok(Journal {
            path: path.to_path_buf(),
            file,
            end: 0,
            extended,
            sequence: 0,
            run: u32::from_le_bytes(random()),
            replayed_run: None,
            unsynced: false,
            inherited: 0,
            faults,
        })
    }

    /// Hands every entry behind `checkpoint` (the sequence number that the database holds) to `apply`,
    /// in order. `doubtful` has what was read before in another file and does not count unless an entry of
    /// boot 0 follows, and is left with what must be followed by one elsewhere.
    pub fn replay(
        &mut self,
        checkpoint: u64,
        doubtful: &mut Doubtful,
        apply: &mut dyn FnMut(Vec<Write1>) -> Result<()>,
    ) -> Result<()> {
        self.sequence = checkpoint;
        self.end = 0;
        self.file.seek(SeekFrom::Start(0)).map_err(|error| named(&self.path, error))?;
        let mut reader = BufReader::new(&self.file);
        let mut last = None;
        let mut at = 0;
        loop {
            let found = next_entry(&mut reader, self.extended - at);
            let Some((head, payload)) = found.map_err(|error| named(&self.path, error))? else {
                break;
            };
            let next = match last {
                // An older round may begin anywhere up to the checkpoint; a gap behind it means that
                // the entries in between are gone.
                None => {
                    // This file may have been begun before the other one had entries of these numbers: then those
                    // are what an earlier boot has left behind the end.
                    doubtful.entries.retain(|(sequence, _)| *sequence < head.sequence);
                    head.sequence <= checkpoint + doubtful.entries.len() as u64 + 1
                }
                Some((run, sequence)) => head.run == run && head.sequence == sequence + 1,
            };
            if !next {
                break;
            }
            last = Some((head.run, head.sequence));
            at += (HEADER_BYTES + payload.len()) as u64;
            if head.sequence > checkpoint {
                let corrupt = || StorageError::Corrupt(format!("an entry of {}", self.path.display()));
                doubtful.entries.push((head.sequence, decode(&payload).ok_or_else(corrupt)?));
            }
            if of_another_boot(head.boot) {
                continue;
            }
            doubtful.entries.drain(..).try_for_each(|(_, writes)| apply(writes))?;
            self.sequence = self.sequence.max(head.sequence);
            self.end = at;
            self.replayed_run = Some(head.run);
        }
        Ok(())
    }

    /// The sequence number and the run of the first entry; `None` if there is no whole one.
    ///
    /// # Errors
    /// What the system says.
    pub fn beginning(&mut self) -> Result<Option<(u64, u32)>> {
        self.file.seek(SeekFrom::Start(0)).map_err(|error| named(&self.path, error))?;
        let found = next_entry(&mut BufReader::new(&self.file), self.extended);
        Ok(found.map_err(|error| named(&self.path, error))?.map(|(head, _)| (head.sequence, head.run)))
    }

    /// The run of the entries that were replayed, or left behind by an earlier round; `None` if there are none.
    pub fn replayed_run(&self) -> Option<u32> {
        self.replayed_run
    }

    /// The run that the header at the beginning of the file names, whether or not that entry is whole. No client
    /// decides what stands there.
    ///
    /// # Errors
    /// What the system says.
    pub fn first_run(&mut self) -> Result<Option<u32>> {
        let mut header = [0; HEADER_BYTES];
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| fill(&mut self.file, &mut header));
        let read = read.map_err(|error| named(&self.path, error))?;
        Ok((read == HEADER_BYTES).then(|| Head::of(&header).run))
    }

    /// How many entries there is room for.
    pub fn entries_max(&self) -> u64 {
        self.extended / HEADER_BYTES as u64
    }

    /// Whether the file has, anywhere, a whole entry of this run and this boot with one of these numbers.
    ///
    /// # Errors
    /// What the system says.
    pub fn has_entry(&mut self, sequences: &RangeInclusive<u64>, run: u32) -> Result<bool> {
        self.find_entry(sequences, run).map_err(|error| named(&self.path, error))
    }

    fn find_entry(&mut self, sequences: &RangeInclusive<u64>, run: u32) -> io::Result<bool> {
        let magic = MAGIC.to_le_bytes();
        let mut chunk = vec![0; LOOK_BYTES];
        let mut at = 0;
        while at + HEADER_BYTES as u64 <= self.extended {
            self.file.seek(SeekFrom::Start(at))?;
            let filled = fill(&mut self.file, &mut chunk)?;
            for (offset, header) in chunk[..filled].windows(HEADER_BYTES).enumerate() {
                if header[..4] != magic || !Head::of(header).is_of(sequences, run) {
                    continue;
                }
                let at = at + offset as u64;
                self.file.seek(SeekFrom::Start(at))?;
                if next_entry(&mut BufReader::new(&self.file), self.extended - at)?.is_some() {
                    return Ok(true);
                }
            }
            match filled == LOOK_BYTES {
                // A header may lie across the end of the chunk.
                true => at += (LOOK_BYTES - HEADER_BYTES + 1) as u64,
                false => break,
            }
        }
        Ok(false)
    }

    /// Appends an entry and, with `synced`, makes it durable. Then everything in front of it has to be durable.
    pub fn append(&mut self, entry: &mut Entry, synced: bool) -> std::result::Result<(), AppendError> {
        let boot = match (synced, boot_number()) {
            (true, _) => 0,
            (false, 0) => UNKNOWN_BOOT,
            (false, boot) => boot,
        };
        entry.seal(&Head { sequence: self.sequence + 1, boot, run: self.run });
        let length = entry.bytes.len() as u64;
        self.write(entry).map_err(AppendError::Write)?;
        self.unsynced = true;
        if synced {
            self.settle().map_err(AppendError::Sync)?;
        }
        self.end += length;
        self.sequence += 1;
        Ok(())
    }

    /// Whether there are entries that have not been synced, as far as is known.
    pub fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// What the system says; it is unknown what is durable then.
    pub fn settle(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.write_again()?;
            DiskFaults::before(&self.faults, DiskStep::SyncFile(&self.path))?;
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Writes what an earlier run has left once more, in its place.
    fn write_again(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; LOOK_BYTES];
        let mut at = 0;
        while at < self.inherited {
            let wanted = (self.inherited - at).min(LOOK_BYTES as u64) as usize;
            self.file.seek(SeekFrom::Start(at))?;
            let filled = fill(&mut self.file, &mut chunk[..wanted])?;
            if filled == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let bytes = &chunk[..filled];
            DiskFaults::before_in_place(&self.faults, DiskStep::Write(&self.path, at, bytes))?;
            write_at(&self.file, bytes, at)?;
            at += filled as u64;
        }
        self.inherited = 0;
        Ok(())
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let end = self.end + entry.bytes.len() as u64;
        self.extend_to(end)?;
        DiskFaults::before(&self.faults, DiskStep::Write(&self.path, self.end, &entry.bytes))?;
        write_at(&self.file, &entry.bytes, self.end)?;
        self.extended = self.extended.max(end);
        Ok(())
    }

    fn extend_to(&mut self, end: u64) -> io::Result<()> {
        static ZEROS: [u8; EXTEND_BYTES] = [0; EXTEND_BYTES];
        if end > JOURNAL_BYTES_MAX {
            // A group that is larger than the journal: it will be followed by a checkpoint at once.
            return Ok(());
        }
        while self.extended < end {
            DiskFaults::before(&self.faults, DiskStep::Write(&self.path, self.extended, &ZEROS))?;
            write_at(&self.file, &ZEROS, self.extended)?;
            self.extended += EXTEND_BYTES as u64;
        }
        Ok(())
    }

    /// Whether this is the file.
    pub fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }

    /// The sequence number of the last entry.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the database ought to be made durable before the next entry.
    pub fn is_long(&self) -> bool {
        self.end >= JOURNAL_BYTES_MAX
    }

    /// Whether every entry has been followed by a [`Journal::restart`].
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Goes on behind the entries that were replayed, as the same run, when the database has no room to take
    /// them in. They are read again, with what follows, at the next start.
    pub fn resume(&mut self) {
        self.run = self.replayed_run.unwrap_or(self.run);
        // The run that wrote them may have been killed before their sync, whatever they say.
        self.unsynced = !self.is_empty();
        self.inherited = self.end;
    }

    /// Starts again at the first byte, after the database has become durable with
    /// [`Journal::sequence`].
    pub fn restart(&mut self) {
        self.end = 0;
        self.unsynced = false;
        self.inherited = 0;
    }

    /// Takes the run of the other journal, which has been resumed, for its own.
    pub fn share_run(&mut self, other: &Journal) {
        if !other.is_empty() {
            self.run = other.run;
        }
    }

    /// Gives the next entry the number behind this one.
    pub fn number_behind(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// Starts at the first byte with the entry that follows the other journal's last.
    pub fn go_on_from(&mut self, other: &Journal) {
        self.restart();
        self.sequence = other.sequence;
        self.run = other.run;
    }
}

/// Why an entry was not appended.
#[derive(Debug)]
pub enum AppendError {
    /// Nobody will read what was written, if anything: the next entry overwrites it.
    Write(io::Error),
    /// It is unknown whether the entry is on the disk. The store must not go on.
    Sync(io::Error),
}

/// Reads an entry of at most `room` bytes; `None` if there is no whole one.
fn next_entry(reader: &mut impl Read, room: u64) -> io::Result<Option<(Head, Vec<u8>)>> {
    let mut head = [0; HEADER_BYTES];
    if room < HEADER_BYTES as u64 {
        return Ok(None);
    }
    reader.read_exact(&mut head)?;
    let length = half(&head, 4);
    if half(&head, 0) != MAGIC || length > ENTRY_BYTES_MAX || u64::from(length) > room - HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload)?;
    let whole = checksum(&head[..SUMMED_BYTES], &payload) == half(&head, SUMMED_BYTES);
    Ok(whole.then(|| (Head::of(&head), payload)))
}

fn decode(mut payload: &[u8]) -> Option<Vec<Write1>> {
    let mut writes = Vec::new();
    while !payload.is_empty() {
        let key_length = take_length(&mut payload)?;
        let value_length = take_length(&mut payload)?;
        let key = payload.split_off(..key_length as usize)?.to_vec();
        let value = match value_length {
            REMOVED => None,
            length => Some(payload.split_off(..length as usize)?.to_vec()),
        };
        writes.push((key, value));
    }
    Some(writes)
}

fn take_length(payload: &mut &[u8]) -> Option<u32> {
    let bytes = payload.split_off(..4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn of_another_boot(boot: u64) -> bool {
    boot != 0 && boot != UNKNOWN_BOOT && boot_number() != 0 && boot != boot_number()
}

/// A number that differs from boot to boot of this machine; 0 where the system does not tell. There
/// an unsynced entry is applied even after a power cut, and a body that is missing then shows as an
/// error when it is read.
fn boot_number() -> u64 {
    static NUMBER: OnceLock<u64> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).unwrap_or(0)
    })
}
