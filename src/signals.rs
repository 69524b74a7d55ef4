//! The end of the process, asked for from outside: SIGTERM and SIGINT, and what stands for them
//! elsewhere.

use std::io;

/// Waits for a request to stop. Register it before anything can ask, so that no signal is lost.
pub struct Stop {
    #[cfg(unix)]
    wake: std::os::unix::net::UnixStream,
    #[cfg(unix)]
    asker: std::os::unix::net::UnixStream,
    #[cfg(not(unix))]
    asked: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

/// Asks the process to stop, as a signal does.
pub struct Asker {
    #[cfg(unix)]
    wake: std::os::unix::net::UnixStream,
    #[cfg(not(unix))]
    asked: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Asker {
    /// Asks.
    #[cfg(unix)]
    pub fn ask(&self) {
        use std::io::Write;
        // Fails only when nobody waits any more.
        let _ = (&self.wake).write_all(&[0]);
    }

    /// Asks.
    #[cfg(not(unix))]
    pub fn ask(&self) {
        self.asked.store(true, std::sync::atomic::Ordering::Release);
    }
}

#[cfg(unix)]
impl Stop {
    /// Takes over SIGTERM, SIGINT, SIGHUP and SIGQUIT, which all mean the same: stop in order. Process 1
    /// of a container has no default for any of them.
    pub fn register() -> io::Result<Stop> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        let (wake, handler) = std::os::unix::net::UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            signal_hook::low_level::pipe::register(signal, handler.try_clone()?)?;
        }
        Ok(Stop { wake, asker: handler })
    }

    /// A way for other threads of this process to ask.
    ///
    /// # Errors
    /// When the system has no file descriptor to give.
    pub fn asker(&self) -> io::Result<Asker> {
        Ok(Asker { wake: self.asker.try_clone()? })
    }

    /// Blocks until the process is asked to stop.
    pub fn wait(mut self) {
        use std::io::Read;
        let mut byte = [0];
        while matches!(self.wake.read(&mut byte), Err(error) if error.kind() == io::ErrorKind::Interrupted) {}
    }
}

#[cfg(not(unix))]
impl Stop {
    /// Takes over Ctrl-C and the closing of the console.
    pub fn register() -> io::Result<Stop> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let asked = std::sync::Arc::default();
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, std::sync::Arc::clone(&asked))?;
        }
        Ok(Stop { asked })
    }

    /// A way for other threads of this process to ask.
    ///
    /// # Errors
    /// None on this platform.
    pub fn asker(&self) -> io::Result<Asker> {
        Ok(Asker { asked: self.asked.clone() })
    }

    /// Blocks until the process is asked to stop.
    pub fn wait(self) {
        // There is no file descriptor to wait for on these platforms.
        const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
        while !self.asked.load(std::sync::atomic::Ordering::Acquire) {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}
