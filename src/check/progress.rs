//! How far a check is: a bar where somebody looks at it, a line now and then where nobody does.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const BAR_CELLS: u64 = 30;
/// How often the bar moves.
const BAR_PAUSE: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE_PAUSE: Duration = Duration::from_secs(10);

/// The progress of one check, on standard error.
pub struct Progress {
    terminal: bool,
    next: Instant,
    phase: &'static str,
    done: u64,
    total: u64,
    drawn: bool,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn start() -> Progress {
        let terminal = io::stderr().is_terminal();
        let pause = if terminal { BAR_PAUSE } else { LINE_PAUSE };
        let next = Instant::now() + pause;
        Progress { terminal, next, phase: "", done: 0, total: 0, drawn: false }
    }

    /// Begins a phase of `total` steps.
    pub fn phase(&mut self, phase: &'static str, total: u64) {
        (self.phase, self.done, self.total) = (phase, 0, total);
    }

    /// Does a step.
    pub fn step(&mut self) {
        self.done += 1;
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + if self.terminal { BAR_PAUSE } else { LINE_PAUSE };
        let mut out = io::stderr().lock();
        // A closed standard error is no reason to stop checking.
        let _ = match self.terminal {
            true => write!(out, "\r{}", self.bar()).and_then(|()| out.flush()),
            false => writeln!(out, "s3pail check: {} {} of {}", self.phase, self.done, self.total),
        };
        self.drawn = true;
    }

    fn bar(&self) -> String {
        let total = self.total.max(1);
        let filled = (self.done.min(total) * BAR_CELLS / total) as usize;
        let bar = "#".repeat(filled) + &" ".repeat(BAR_CELLS as usize - filled);
        format!("{:8} [{bar}] {} of {}", self.phase, self.done, self.total)
    }

    /// Leaves the terminal's line empty.
    pub fn end(&mut self) {
        if self.terminal && self.drawn {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_never_leaves_its_frame() {
        let mut progress = Progress::start();
        for (done, total, filled) in [(0, 0, 0), (0, 4, 0), (2, 4, 15), (4, 4, 30), (9, 4, 30)] {
            progress.phase("records", total);
            progress.done = done;
            assert_eq!(progress.bar().matches('#').count(), filled, "{done} of {total}");
        }
    }
}
