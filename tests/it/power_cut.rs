//! Power cuts: every step that a write makes on the disk is written down, and then the disk is imagined as it
//! may be after the power has gone between any two of them.
//!
//! What a sync has made durable is there. Of everything else an arbitrary part is: all of it, nothing, some
//! steps and not others in whatever order, single sectors of a write; a name without its bytes, bytes without
//! their name. From each such disk the store must open, hold exactly what was acknowledged (and the write that
//! was under way wholly or not at all), and have nothing damaged. `S3PAIL_CUT_SEED` repeats the choices.

use super::harness::{Folder, TestServer, file_config};
use super::journal_entries;
use s3pail::check::check;
use s3pail::check::report::{Finding, Kind};
use s3pail::config::{Config, Location};
use s3pail::storage::fault::{DiskFaults, DiskStep};
use s3pail::storage::file_meta::{FileMeta, FileMetaOptions};
use s3pail::storage::inspect::RecordView;
use s3pail::storage::{MetaStore, SyncMode, Visit};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a disk writes wholly or not at all.
const SECTOR_BYTES: usize = 512;
/// Random disks for each moment, beside the two extreme ones; `S3PAIL_CUT_DISKS` asks for more.
const RANDOM_DISKS: u64 = 1;

/// A step as it was seen; paths are relative to the store's folder.
#[derive(Clone, Debug)]
enum Step {
    MakeFolder(PathBuf),
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SetLength(PathBuf, u64),
    SyncFile(PathBuf),
    SyncFolder(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    /// A client has been told that its write is done.
    Acknowledged,
    /// Everything so far has been made durable on request.
    Synced,
}

type Steps = Arc<Mutex<Vec<Step>>>;
/// The records that clients can see.
type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// Writes down every step under `root`.
fn watch(root: &Path) -> (Arc<DiskFaults>, Steps) {
    let (faults, steps) = (Arc::new(DiskFaults::default()), Steps::default());
    let (root, log) = (root.to_owned(), steps.clone());
    faults.watch(move |step| {
        let short = |path: &Path| path.strip_prefix(&root).expect("inside the store").to_owned();
        log.lock().unwrap().push(match step {
            DiskStep::MakeFolder(path) => Step::MakeFolder(short(path)),
            DiskStep::Create(path) => Step::Create(short(path)),
            DiskStep::Write(path, at, bytes) => Step::Write(short(path), at, bytes.to_vec()),
            DiskStep::SetLength(path, length) => Step::SetLength(short(path), length),
            DiskStep::SyncFile(path) => Step::SyncFile(short(path)),
            DiskStep::SyncFolder(path) => Step::SyncFolder(short(path)),
            DiskStep::Remove(path) => Step::Remove(short(path)),
            DiskStep::Rename(path, target) => Step::Rename(short(path), short(target)),
        });
        Ok(())
    });
    (faults, steps)
}

/// Numbers that a seed decides (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What becomes of the steps that no sync has made durable.
#[derive(Clone, Copy, Debug)]
enum Volatile {
    Nothing,
    Everything,
    /// Each by itself: kept, lost, or in part.
    Some,
}

/// The disk after the last of `steps`, made in `target` from what was there before the first.
fn cut(before: &Path, steps: &[Step], volatile: Volatile, random: &mut Random, target: &Path) {
    copy(before, target);
    let mut lost: BTreeSet<PathBuf> = BTreeSet::new();
    for (at, step) in steps.iter().enumerate() {
        let later = &steps[at + 1..];
        let keep = durable(step, later)
            || match volatile {
                Volatile::Nothing => false,
                Volatile::Everything => true,
                Volatile::Some => random.below(2) == 0,
            };
        match step {
            Step::MakeFolder(path) | Step::Create(path) => {
                // The first try at a file whose folder is still to be made fails.
                let nameless = path.parent().is_some_and(|above| !target.join(above).is_dir());
                if !keep || nameless {
                    lost.insert(path.clone());
                    continue;
                }
                lost.remove(path);
                if matches!(step, Step::MakeFolder(_)) {
                    fs::create_dir_all(target.join(path)).unwrap();
                } else {
                    fs::write(target.join(path), b"").unwrap();
                }
            }
            Step::Remove(path) if keep => _ = fs::remove_file(target.join(path)),
            Step::Rename(path, new) if keep => _ = fs::rename(target.join(path), target.join(new)),
            Step::Write(path, offset, bytes) if !lost.contains(path) => {
                let torn = !keep && matches!(volatile, Volatile::Some) && random.below(2) == 0;
                if keep {
                    write_at(&target.join(path), *offset, bytes);
                } else if torn {
                    write_sectors(&target.join(path), *offset, bytes, random);
                }
            }
            Step::SetLength(path, length) if keep && !lost.contains(path) => {
                OpenOptions::new().write(true).open(target.join(path)).unwrap().set_len(*length).unwrap();
            }
            _ => {}
        }
    }
}

fn durable(step: &Step, later: &[Step]) -> bool {
    let in_folder = |path: &Path| path.parent().map(Path::to_owned);
    match step {
        Step::MakeFolder(path) | Step::Create(path) | Step::Remove(path) => later
            .iter()
            .any(|it| matches!(it, Step::SyncFolder(folder) if Some(folder.clone()) == in_folder(path))),
        Step::Rename(_, path) => later
            .iter()
            .any(|it| matches!(it, Step::SyncFolder(folder) if Some(folder.clone()) == in_folder(path))),
        Step::Write(path, ..) | Step::SetLength(path, _) => {
            later.iter().any(|it| matches!(it, Step::SyncFile(synced) if synced == path))
        }
        _ => true,
    }
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    // A file whose removal was kept and whose creation was not is not there.
    let Ok(mut file) = OpenOptions::new().write(true).open(path) else { return };
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

fn write_sectors(path: &Path, offset: u64, bytes: &[u8], random: &mut Random) {
    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        if random.below(2) == 0 {
            write_at(path, offset + (number * SECTOR_BYTES) as u64, sector);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_name() == "reserve" {
            // 16 MiB that nobody reads.
            continue;
        }
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => _ = fs::copy(entry.path(), target).unwrap(),
        }
    }
}

fn state(meta: &dyn MetaStore) -> State {
    let mut state = State::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        if [b"b/", b"o/", b"p/", b"u/", b"v/"].iter().any(|family| key.starts_with(*family)) {
            state.insert(key.to_vec(), value.to_vec());
        }
        Visit::Next
    };
    meta.scan(b"".as_slice()..b"\xff".as_slice(), visit).unwrap();
    state
}

/// A folder in memory where the system has one, because thousands of disks are made.
fn scratch() -> Folder {
    let folder = Folder::new();
    let shared = Path::new("/dev/shm");
    let path = shared.join(folder.0.file_name().unwrap());
    if shared.is_dir() && fs::create_dir_all(&path).is_ok() { Folder(path) } else { folder }
}

/// What writes promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Modes {
    usual: SyncMode,
    /// In the location that the bucket `plain` is in, where there is one.
    plain: Option<SyncMode>,
}

impl From<SyncMode> for Modes {
    fn from(usual: SyncMode) -> Modes {
        Modes { usual, plain: None }
    }
}

impl Modes {
    fn of(self, path: &str) -> SyncMode {
        self.plain.filter(|_| path.starts_with("/plain/")).unwrap_or(self.usual)
    }

    fn name(self) -> String {
        let plain = self.plain.map(|mode| format!(" with {}", mode.as_str()));
        format!("{}{}", self.usual.as_str(), plain.unwrap_or_default())
    }
}

fn config(folder: &Folder, modes: Modes) -> Config {
    let mut config = Config { sync: modes.usual, part_bytes_min: 0, ..file_config(folder) };
    if modes.plain.is_some() {
        let location = config.locations["us-east-1"].clone();
        config.locations.insert("other".to_owned(), Location { sync: modes.plain, ..location });
    }
    config
}

/// What happened: the disk before, the steps, and the states that clients were told of.
struct History {
    before: Folder,
    steps: Vec<Step>,
    /// One more than acknowledgements.
    states: Vec<State>,
}

/// Every kind of write, one after the other, each acknowledged before the next.
fn history(modes: Modes) -> History {
    let folder = scratch();
    let first = TestServer::start("file", config(&folder, modes), Some(folder));
    let other = b"<CreateBucketConfiguration><LocationConstraint>other</LocationConstraint></CreateBucketConfiguration>";
    first.put("/plain", modes.plain.map_or(&[][..], |_| other)).expect(200);
    first.bucket("versioned");
    first.put("/plain/old", &[7; 50_000]).expect(200);
    first.put("/plain/small", b"small").expect(200);
    let folder = first.stop();
    let before = scratch();
    copy(&folder.0, &before.0);

    let (faults, steps) = watch(&folder.0);
    let server = TestServer::watched(config(&folder, modes), folder, &faults);
    let mut states = vec![state(server.service().meta.as_ref())];
    let mut acknowledge = |path: &str, synced: bool| {
        states.push(state(server.service().meta.as_ref()));
        steps.lock().unwrap().push(Step::Acknowledged);
        if modes.of(path) == SyncMode::Strict {
            steps.lock().unwrap().push(Step::Synced);
        }
        if synced {
            server.service().meta.sync().unwrap();
            steps.lock().unwrap().push(Step::Synced);
        }
    };
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.put("/versioned?versioning", enabled).expect(200);
    acknowledge("/versioned", false);
    for (path, length) in [
        ("/plain/new", 20_000),
        ("/plain/old", 300_000),
        ("/plain/small", 10),
        ("/versioned/k", 17_000),
        ("/versioned/k", 9),
    ] {
        server.put(path, &vec![length as u8; length]).expect(200);
        acknowledge(path, length == 300_000);
    }
    server.send("PUT", "/plain/copy", &[("x-amz-copy-source", "/plain/old")], b"").expect(200);
    acknowledge("/plain/copy", false);
    let id = server.post("/plain/parts?uploads", b"").expect(200).element("UploadId").unwrap();
    acknowledge("/plain/parts", true);
    let mut list = String::new();
    for number in 1..=2_u8 {
        let target = format!("/plain/parts?partNumber={number}&uploadId={id}");
        let reply = server.put(&target, &vec![number; 18_000]).expect(200);
        acknowledge("/plain/parts", false);
        let etag = reply.header("etag").unwrap();
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    server.post(&format!("/plain/parts?uploadId={id}"), list.as_bytes()).expect(200);
    acknowledge("/plain/parts", false);
    for path in ["/plain/old", "/plain/small", "/versioned/k"] {
        server.delete(path).expect(204);
        acknowledge(path, path == "/plain/small");
    }
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    server.put("/plain/copy?tagging", tags).expect(200);
    acknowledge("/plain/copy", false);
    // The end in order is steps as well.
    server.stop();
    let steps = std::mem::take(&mut *steps.lock().unwrap());
    History { before, steps, states }
}

/// The states that a disk may show after `steps`, if what is lost may go back to the last sync.
fn allowed<'h>(history: &'h History, steps: &[Step]) -> &'h [State] {
    let told = |steps: &[Step]| steps.iter().filter(|it| matches!(it, Step::Acknowledged)).count();
    let last_sync = steps.iter().rposition(|it| matches!(it, Step::Synced)).unwrap_or(0);
    let newest = (told(steps) + 1).min(history.states.len() - 1);
    let oldest = told(&steps[..last_sync]);
    &history.states[oldest..=newest]
}

/// This machine has not been booted since, so the entries of its boot get the number of another one.
fn next_boot(path: &Path) {
    let Ok(mut bytes) = fs::read(path) else { return };
    journal_entries::of_another_boot(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn verify(folder: &Folder, allowed: &[State], modes: Modes, what: &str) {
    next_boot(&folder.0.join("metadata/s3pail.journal"));
    next_boot(&folder.0.join("metadata/s3pail.journal2"));
    let report = check(&config(folder, modes), false).unwrap_or_else(|error| panic!("{what}: {error}"));
    // What is never synced may lose its bodies, where records become durable for the sake of others.
    let never = |subject: &str| modes.plain.is_some() && modes.of(&format!("/{subject}")) == SyncMode::None;
    let harmless = |it: &Finding| it.kind == Kind::OrphanBody || never(&it.subject);
    assert!(report.findings.iter().all(harmless), "{what}: {}", report.to_text());
    let view = RecordView::open(&folder.0.join("metadata")).unwrap();
    assert!(allowed.contains(&state(&view)), "{what}: neither what was acknowledged nor what was under way");
}

/// Recovers for real, and cuts the power once more at a random step of that.
fn verify_recovery(folder: &Folder, allowed: &[State], modes: Modes, random: &mut Random, what: &str) {
    let (before, again) = (scratch(), scratch());
    copy(&folder.0, &before.0);
    let (faults, steps) = watch(&folder.0);
    let mut options = FileMetaOptions::new(config(folder, modes).sync_modes());
    options.faults = Some(faults);
    let meta = FileMeta::open(&folder.0.join("metadata"), options).unwrap();
    assert!(allowed.contains(&state(&meta)), "{what}: the recovery made another state");
    drop(meta);
    let steps = steps.lock().unwrap();
    let end = random.below(steps.len() as u64 + 1) as usize;
    cut(&before.0, &steps[..end], Volatile::Some, random, &again.0);
    verify(&again, allowed, modes, &format!("{what}, and again after step {end} of the recovery"));
}

/// Cuts after every step, or after one in so many.
fn cut_everywhere(modes: Modes, one_in: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("S3PAIL_CUT_SEED").map_or(now, |text| text.parse().expect("a number"));
    let random_disks =
        std::env::var("S3PAIL_CUT_DISKS").map_or(RANDOM_DISKS, |text| text.parse().expect("a number"));
    let history = history(modes);
    let count = history.steps.len();
    eprintln!("{}: a cut after each of {count} steps, S3PAIL_CUT_SEED={seed}", modes.name());
    assert!(count > 60, "the watch sees hardly anything");
    let mut choice = Random(seed | 1);
    for end in (0..=count).filter(|_| choice.below(one_in) == 0) {
        let steps = &history.steps[..end];
        let allowed = allowed(&history, steps);
        let disks = [Volatile::Nothing, Volatile::Everything].into_iter();
        for (number, volatile) in disks.chain((0..random_disks).map(|_| Volatile::Some)).enumerate() {
            let mut random = Random((seed ^ (end as u64) << 8 ^ number as u64) | 1);
            let folder = scratch();
            cut(&history.before.0, steps, volatile, &mut random, &folder.0);
            let last = steps.last().map(|step| format!("{step:?}").chars().take(80).collect::<String>());
            let what = format!("after step {end} ({last:?}), disk {number} ({volatile:?}), seed {seed}");
            verify(&folder, allowed, modes, &what);
            if matches!(volatile, Volatile::Some) {
                verify_recovery(&folder, allowed, modes, &mut random, &what);
            }
        }
    }
}

/// CR-04, CR-05, DL-01, DL-02, PT-02. That all steps so far are kept is what a kill at that step leaves.
#[test]
fn strict_holds_what_it_acknowledged_wherever_the_power_goes() {
    cut_everywhere(SyncMode::Strict.into(), 1);
}

#[test]
fn relaxed_holds_a_state_no_older_than_the_last_sync_wherever_the_power_goes() {
    cut_everywhere(SyncMode::Relaxed.into(), 1);
}

/// What a lax location may lose is no older than the last strict write to another one, and never torn.
#[test]
fn locations_of_different_modes_hold_each_what_it_promises() {
    let one_in = if std::env::var_os("S3PAIL_CUT_DISKS").is_some() { 1 } else { 8 };
    cut_everywhere(Modes { usual: SyncMode::Strict, plain: Some(SyncMode::Relaxed) }, one_in);
    cut_everywhere(Modes { usual: SyncMode::Relaxed, plain: Some(SyncMode::Strict) }, one_in);
    cut_everywhere(Modes { usual: SyncMode::None, plain: Some(SyncMode::Strict) }, one_in);
}

/// Moments at which the first run is killed, beside its end; `S3PAIL_CUT_DISKS` asks for more.
const KILLS: u64 = 2;

/// The first run is killed: the page cache still has all that it wrote. The next one begins with that, and the
/// power goes while it starts or soon after.
fn cut_after_a_kill(first: impl Into<Modes>, second: SyncMode) {
    let first = first.into();
    let second = Modes { usual: second, plain: first.plain.map(|_| second) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("S3PAIL_CUT_SEED").map_or(now, |text| text.parse().expect("a number"));
    let more = std::env::var("S3PAIL_CUT_DISKS").map_or(1, |text| text.parse().expect("a number"));
    let mut random = Random(seed | 1);
    let history = history(first);
    eprintln!("{}, then {}: S3PAIL_CUT_SEED={seed}", first.name(), second.name());
    let told = |(at, step): (usize, &Step)| matches!(step, Step::Acknowledged).then_some(at + 1);
    let told: Vec<usize> = history.steps.iter().enumerate().filter_map(told).collect();
    for round in 0..KILLS * more {
        // When a client has just been told, or at any other moment.
        let kill = match round % 2 {
            0 => told[random.below(told.len() as u64) as usize],
            _ => random.below(history.steps.len() as u64) as usize,
        };
        kill_and_cut(&history, (first, second), kill, &mut random, seed);
    }
    // An end in order is one like others in `none` only.
    if first.usual == SyncMode::None {
        kill_and_cut(&history, (first, second), history.steps.len(), &mut random, seed);
    }
}

fn kill_and_cut(
    history: &History,
    (first, second): (Modes, Modes),
    kill: usize,
    random: &mut Random,
    seed: u64,
) {
    let before_kill = &history.steps[..kill];
    let killed = scratch();
    cut(&history.before.0, before_kill, Volatile::Everything, random, &killed.0);
    let (faults, later) = watch(&killed.0);
    let server = TestServer::watched(config(&killed, second), killed, &faults);
    let served = later.lock().unwrap().len();
    let recovered = state(server.service().meta.as_ref());
    server.put("/plain/next", &[5; 20_000]).expect(200);
    let next = state(server.service().meta.as_ref());
    later.lock().unwrap().push(Step::Acknowledged);
    server.service().meta.sync().unwrap();
    later.lock().unwrap().push(Step::Synced);
    server.stop();
    let steps = [before_kill, &later.lock().unwrap()].concat();
    // Of a run in `none` nothing is promised until the next one has made it durable and serves.
    let begin = if first.usual == SyncMode::None { kill + served } else { kill };
    for end in begin..=steps.len() {
        let later = &steps[kill..end];
        let told = match second.usual {
            SyncMode::Strict => later.iter().any(|step| matches!(step, Step::Acknowledged)),
            _ => later.iter().any(|step| matches!(step, Step::Synced)),
        };
        let mut states = vec![next.clone()];
        if !told {
            states.push(recovered.clone());
        }
        if !told && end < kill + served {
            states.extend_from_slice(allowed(history, before_kill));
        }
        if !told && second.usual == SyncMode::Relaxed && first.usual != SyncMode::None {
            states.extend_from_slice(allowed(history, before_kill));
        }
        for volatile in [Volatile::Nothing, Volatile::Some] {
            let folder = scratch();
            cut(&history.before.0, &steps[..end], volatile, random, &folder.0);
            let what = format!(
                "{}, killed after step {kill}, {} cut after step {} of it ({volatile:?}), seed {seed}",
                first.name(),
                second.name(),
                end - kill
            );
            verify(&folder, &states, second, &what);
        }
    }
}

/// What a killed run left in the page cache becomes durable in the right order after the next start.
#[test]
fn a_power_cut_soon_after_a_kill_leaves_no_record_without_its_body() {
    cut_after_a_kill(SyncMode::Relaxed, SyncMode::Relaxed);
    cut_after_a_kill(SyncMode::Strict, SyncMode::Strict);
}

/// DL-15: what another mode left unsynced is made durable before anything is acknowledged.
#[test]
fn another_sync_mode_makes_durable_what_the_last_one_left() {
    cut_after_a_kill(SyncMode::Relaxed, SyncMode::Strict);
    cut_after_a_kill(SyncMode::Strict, SyncMode::Relaxed);
    cut_after_a_kill(SyncMode::None, SyncMode::Strict);
    cut_after_a_kill(SyncMode::None, SyncMode::Relaxed);
    cut_after_a_kill(Modes { usual: SyncMode::Strict, plain: Some(SyncMode::Relaxed) }, SyncMode::Strict);
    cut_after_a_kill(Modes { usual: SyncMode::None, plain: Some(SyncMode::Strict) }, SyncMode::Strict);
}

/// A folder of bodies whose own name was never synced (the process that made it was killed, or another
/// thread is about to sync it) does not hold a durable body.
#[test]
fn a_body_is_durable_only_when_the_name_of_its_folder_is() {
    use s3pail::storage::file_blobs::FileBlobs;
    use s3pail::storage::{BlobHint, BlobStore};
    for sync in [SyncMode::Strict, SyncMode::Relaxed] {
        let folder = scratch();
        drop(FileBlobs::open(&folder.0, sync).unwrap());
        (0..=255).for_each(|name| fs::create_dir(folder.0.join(format!("blobs/{name:02x}"))).unwrap());
        let (faults, steps) = watch(&folder.0);
        let blobs = FileBlobs::open_watched(&folder.0, sync, Some(faults)).unwrap();
        let hint = BlobHint { bucket: "b", key: "k", owner: "o", length: None, sync: None };
        blobs.write(&mut b"body".as_slice(), &hint).unwrap();
        blobs.sync().unwrap();
        let steps = steps.lock().unwrap();
        let synced = |it: &Step| matches!(it, Step::SyncFolder(path) if path == Path::new("blobs"));
        assert!(steps.iter().any(synced), "{}: {steps:?}", sync.as_str());
    }
}
