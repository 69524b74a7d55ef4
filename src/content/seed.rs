//! `--seed`: a folder whose folders are buckets and whose files below them are objects.

use super::actor::Actor;
use super::media_type;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep folders may lie in each other; a link to a folder above ends here.
const DEPTH_MAX: usize = 64;

/// Loads a folder. Names at the top that begin with a dot are passed over; so are empty folders.
///
/// # Errors
/// A sentence that names the file or folder at fault.
pub fn load(actor: &Actor<'_>, folder: &Path) -> Result<(), String> {
    for path in entries(folder)? {
        let name = name_of(&path)?;
        if name.starts_with('.') {
            continue;
        }
        if !path.is_dir() {
            return Err(format!(
                "--seed: {}: is not allowed; allowed: a folder for each bucket",
                path.display()
            ));
        }
        actor.make_bucket(&name, &[]).map_err(|error| format!("--seed: {}: {error}", path.display()))?;
        load_folder(actor, &name, "", &path, DEPTH_MAX)?;
    }
    Ok(())
}

fn load_folder(
    actor: &Actor<'_>,
    bucket: &str,
    prefix: &str,
    folder: &Path,
    depth: usize,
) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("--seed: {}: more than {DEPTH_MAX} folders in each other", folder.display()));
    }
    for mut path in entries(folder)? {
        let key = format!("{prefix}{}", name_of(&path)?);
        if path.is_dir() {
            load_folder(actor, bucket, &format!("{key}/"), &path, depth - 1)?;
            continue;
        }
        let headers = vec![("content-type".to_owned(), media_type::of_name(&key).to_owned())];
        let made = actor.make_object(bucket, &key, headers, &mut path);
        made.map_err(|error| format!("--seed: {}: {error}", path.display()))?;
    }
    Ok(())
}

/// What a folder holds, sorted by name, so that every start does the same.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("--seed: {}: cannot be read: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> Result<String, String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| format!("--seed: {}: the name is not UTF-8", path.display()))
}
