//! A file system of its own in a file, which can lose everything that was not synced, as in a power cut.
//!
//! ext4 and XFS share a call for that (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`), which `xfs_io` of xfsprogs
//! makes on both. One of XFS or btrfs can have a folder with a quota.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The smallest that `mkfs.xfs` makes is 300 MB; the file is sparse.
const IMAGE_BYTES: u64 = 320 << 20;
/// How long a file system may stay busy after its last process has gone.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// A mounted image. Unmounted and removed when it is dropped.
pub struct Image {
    file: PathBuf,
    mount_point: PathBuf,
    /// For `mount -o`.
    options: &'static str,
}

fn run(program: &str, args: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Image {
    /// Makes and mounts one of a kind (`ext4`, `xfs`) that [`Image::shut_down`] can be asked of.
    ///
    /// # Errors
    /// What is missing here: root, a loop device, a program.
    pub fn make(kind: &str) -> Result<Image, String> {
        run("xfs_io", &[Path::new("-V")])?;
        let force = if kind == "ext4" { "-F" } else { "-f" };
        Image::with(kind, kind, &[force], "loop")
    }

    /// Makes and mounts one of ext4 that has room for a few hundred files, however small.
    ///
    /// # Errors
    /// As [`Image::make`].
    pub fn of_few_files() -> Result<Image, String> {
        Image::with("few-files", "ext4", &["-F", "-N", "64"], "loop")
    }

    /// Makes and mounts one of a kind (`xfs`, `btrfs`) with an empty folder that may hold so many MiB, far fewer
    /// than the file system has.
    ///
    /// # Errors
    /// As [`Image::make`], or what the kernel cannot.
    pub fn with_quota(kind: &str, mib: u32) -> Result<(Image, PathBuf), String> {
        let options = if kind == "xfs" { "loop,prjquota" } else { "loop" };
        let image = Image::with(&format!("quota-{kind}"), kind, &["-f"], options)?;
        let folder = image.folder().join("limited");
        let (limit, at) = (format!("{mib}M"), image.folder());
        let btrfs = |args: &[&str], path: &Path| {
            run("btrfs", &args.iter().map(Path::new).chain([path]).collect::<Vec<_>>())
        };
        if kind == "xfs" {
            fs::create_dir(&folder).map_err(|error| error.to_string())?;
            let project = format!("project -s -p {} 7", folder.display());
            let limit = format!("limit -p bhard={} 7", limit.to_lowercase());
            let args = ["-x", "-c", &project, "-c", &limit].map(Path::new);
            run("xfs_quota", &[&args[..], &[at]].concat())?;
        } else {
            btrfs(&["quota", "enable"], at)?;
            btrfs(&["subvolume", "create"], &folder)?;
            btrfs(&["qgroup", "limit", &limit], &folder)?;
        }
        Ok((image, folder))
    }

    fn with(name: &str, kind: &str, made_with: &[&str], options: &'static str) -> Result<Image, String> {
        let name = format!("image-{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let (file, mount_point) = (folder.join("image"), folder.join("mounted"));
        fs::create_dir_all(&mount_point).map_err(|error| error.to_string())?;
        let image = Image { file, mount_point, options };
        let made = File::create(&image.file).and_then(|file| file.set_len(IMAGE_BYTES));
        made.map_err(|error| error.to_string())?;
        let mut args = vec![Path::new("-q")];
        args.extend(made_with.iter().map(Path::new));
        args.push(&image.file);
        run(&format!("mkfs.{kind}"), &args)?;
        image.mount()?;
        Ok(image)
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.mount_point
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &[Path::new("-o"), Path::new(self.options), &self.file, &self.mount_point])
    }

    /// Loses everything that was not synced; with `log`, what the file system's own log has is kept.
    pub fn shut_down(&self, log: bool) {
        let call = if log { "shutdown -f" } else { "shutdown" };
        let args = [Path::new("-x"), Path::new("-c"), Path::new(call), &self.mount_point];
        run("xfs_io", &args).unwrap();
    }

    /// Mounts it as the next boot would, after its last process has gone.
    pub fn mount_again(&self) {
        let begun = Instant::now();
        while let Err(error) = run("umount", &[&self.mount_point]) {
            assert!(begun.elapsed() < BUSY_MAX, "{error}");
            std::thread::yield_now();
        }
        self.mount().unwrap();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Not mounted where making it failed.
        let _ = Command::new("umount").arg(&self.mount_point).output();
        if !std::thread::panicking()
            && let Some(folder) = self.file.parent()
        {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
