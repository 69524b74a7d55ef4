//! What the process is asked from outside: to stop (SIGTERM, SIGINT, SIGQUIT, and what stands for them
//! elsewhere), or to read its certificates again (SIGHUP). Who asks a second time does not want to wait for
//! requests under way: the process ends as by `kill -9`, which loses nothing that was acknowledged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of a process that was asked to stop once more while it stopped, without the signal's number.
/// Shells use the same for a process that a signal ended.
const ENDED_BY_SIGNAL: i32 = 128;

/// What the process was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To stop in order.
    ToStop,
    /// To read its certificates again.
    ToReload,
}

/// Waits for signals. Register it before anything can ask, so that none is lost.
pub struct Signals {
    #[cfg(unix)]
    wake: std::os::unix::net::UnixStream,
    #[cfg(unix)]
    asker: std::os::unix::net::UnixStream,
    stop: Arc<AtomicBool>,
}

/// Asks the process to stop, as a signal does.
pub struct Asker {
    #[cfg(unix)]
    wake: std::os::unix::net::UnixStream,
    stop: Arc<AtomicBool>,
}

impl Asker {
    /// Asks.
    pub fn ask(&self) {
        self.stop.store(true, Ordering::Release);
        #[cfg(unix)]
        {
            use std::io::Write;
            // Fails only when nobody waits any more.
            let _ = (&self.wake).write_all(&[0]);
        }
    }
}

#[cfg(unix)]
impl Signals {
    /// Takes over SIGTERM, SIGINT, SIGHUP and SIGQUIT, because process 1 of a container has no default
    /// for any of them. All mean to stop, but for SIGHUP where there is something to read again.
    pub fn register(reloads: bool) -> io::Result<Signals> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        let (wake, handler) = std::os::unix::net::UnixStream::pair()?;
        let stop = Arc::<AtomicBool>::default();
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            // In this order: asked a second time, the process ends at once; who is woken finds the flag set.
            if !(reloads && signal == SIGHUP) {
                let code = ENDED_BY_SIGNAL + signal;
                signal_hook::flag::register_conditional_shutdown(signal, code, stop.clone())?;
                signal_hook::flag::register(signal, stop.clone())?;
            }
            signal_hook::low_level::pipe::register(signal, handler.try_clone()?)?;
        }
        Ok(Signals { wake, asker: handler, stop })
    }

    /// A way for other threads of this process to ask.
    ///
    /// # Errors
    /// When the system has no file descriptor to give.
    pub fn asker(&self) -> io::Result<Asker> {
        Ok(Asker { wake: self.asker.try_clone()?, stop: self.stop.clone() })
    }

    /// Blocks until the process is asked something. Stopping goes before reloading.
    pub fn wait(&mut self) -> Asked {
        use std::io::Read;
        let mut byte = [0];
        loop {
            match self.wake.read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(1) if !self.stop.load(Ordering::Acquire) => return Asked::ToReload,
                _ => return Asked::ToStop,
            }
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    /// Takes over Ctrl-C and the closing of the console. There is no signal to reload.
    pub fn register(_reloads: bool) -> io::Result<Signals> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let stop = Arc::<AtomicBool>::default();
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL + signal, stop.clone())?;
            signal_hook::flag::register(signal, stop.clone())?;
        }
        Ok(Signals { stop })
    }

    /// A way for other threads of this process to ask.
    ///
    /// # Errors
    /// None on this platform.
    pub fn asker(&self) -> io::Result<Asker> {
        Ok(Asker { stop: self.stop.clone() })
    }

    /// Blocks until the process is asked to stop.
    pub fn wait(&mut self) -> Asked {
        // There is no file descriptor to wait for on these platforms.
        const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
        while !self.stop.load(Ordering::Acquire) {
            std::thread::sleep(LOOK_AGAIN);
        }
        Asked::ToStop
    }
}
