//! Notices that nobody wants the process any more: the one that started it is gone (`--parent-pid`), or has
//! closed its standard input (`--exit-with-stdin`). A server that a killed test run leaves behind would hold
//! its port and memory for ever.

use crate::config::fixture::Start;
use crate::signals::Asker;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

/// How often the other process is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Starts to watch for what the configuration names, and asks the process to stop when it happens.
///
/// # Errors
/// A sentence that says what is not there, or that there is no thread.
pub fn watch(start: &Start, asker: impl Fn() -> Result<Asker, String>) -> Result<(), String> {
    if let Some(pid) = start.parent_pid {
        let Some(other) = Other::of(pid) else {
            return Err(format!(
                "--parent-pid: {pid} is not allowed; allowed: the id of a running process (without /proc, of the parent of this one)"
            ));
        };
        let asker = asker()?;
        in_background("parent", move || {
            while other.lives() {
                thread::sleep(LOOK);
            }
            asker.ask();
        })?;
    }
    if start.exit_with_stdin {
        let asker = asker()?;
        in_background("stdin", move || {
            // What is written there means nothing.
            let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
            asker.ask();
        })?;
    }
    Ok(())
}

fn in_background(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(|error| format!("cannot start the {name} thread: {error}"))
}

/// Another process, told from a later one of the same id.
struct Other {
    pid: u32,
    /// When it was started, where the system tells (Linux).
    started: Option<String>,
    /// Whether it is the parent of this process.
    is_parent: bool,
}

impl Other {
    /// `None` when there is no process of this id.
    fn of(pid: u32) -> Option<Other> {
        let other = Other { pid, started: started(pid), is_parent: parent() == Some(pid) };
        other.exists().then_some(other)
    }

    fn lives(&self) -> bool {
        // A child whose parent ends gets another parent, whatever becomes of the id.
        if self.is_parent {
            return parent() == Some(self.pid);
        }
        self.exists() && started(self.pid) == self.started
    }

    fn exists(&self) -> bool {
        match std::fs::exists("/proc/self/stat") {
            Ok(true) => started(self.pid).is_some(),
            // Where there is no /proc, only a parent can be watched.
            _ => self.is_parent,
        }
    }
}

#[cfg(unix)]
fn parent() -> Option<u32> {
    Some(std::os::unix::process::parent_id())
}

#[cfg(not(unix))]
fn parent() -> Option<u32> {
    None
}

/// The start time of a process that runs (fields 3 and 22 of `/proc/PID/stat`, proc(5)): one that has ended
/// and was not waited for does not.
fn started(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.to_owned();
    (!["Z", "X"].contains(&state)).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_found_and_one_that_never_was_is_not() {
        assert!(Other::of(std::process::id()).is_some_and(|own| own.lives()));
        // Larger than any process id of Linux; tests/it/start.rs ends real ones.
        assert!(Other::of(u32::MAX).is_none());
    }
}
