//! The entries of a journal, read by the drawing in `src/storage/journal.rs` and not by its code.

const HEADER_BYTES: usize = 32;
const BOOT: std::ops::Range<usize> = 16..24;
const SUM: std::ops::Range<usize> = 28..32;
/// The number of a boot that no machine has.
const OTHER_BOOT: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];

/// Where each whole entry begins and ends, also behind gaps.
pub fn all(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEADER_BYTES <= bytes.len() {
        // Most of the file is zeros.
        if bytes[at..].starts_with(&[0; 1024]) {
            at += 1024;
            continue;
        }
        let head = &bytes[at..at + HEADER_BYTES];
        let length = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        let end = at.saturating_add(HEADER_BYTES).saturating_add(length);
        if head.starts_with(b"s3jl") && end <= bytes.len() && head[SUM] == sum(&bytes[at..end]) {
            found.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// Whether an entry was synced when it was written.
pub fn is_synced(entry: &[u8]) -> bool {
    entry[BOOT] == [0; 8]
}

/// Lets every whole entry that was not synced be of another boot.
pub fn of_another_boot(bytes: &mut [u8]) {
    for range in all(bytes) {
        let entry = &mut bytes[range];
        if !is_synced(entry) {
            entry[BOOT].copy_from_slice(&OTHER_BOOT);
            let sum = sum(entry);
            entry[SUM].copy_from_slice(&sum);
        }
    }
}

fn sum(entry: &[u8]) -> [u8; 4] {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&entry[..SUM.start]);
    digest.update(&entry[HEADER_BYTES..]);
    (digest.finalize() as u32).to_le_bytes()
}
