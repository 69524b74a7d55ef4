//! The s3pail binary: one user of the library. Reads the configuration, then serves.

use std::process::ExitCode;

use s3pail::config::{Command, Inputs, command, flags};
use s3pail::server::{EXIT_BAD_CONFIGURATION, complain, run, say};

fn main() -> ExitCode {
    match command(&Inputs::of_process()) {
        Ok(Command::Serve(config)) => run(*config),
        Ok(Command::Healthcheck(config)) => match s3pail::healthcheck::ask(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                complain(&message);
                ExitCode::FAILURE
            }
        },
        Ok(Command::Check(config, options)) => ExitCode::from(s3pail::check::run(&config, options)),
        Ok(Command::Help) => {
            say(flags::help().trim_end());
            ExitCode::SUCCESS
        }
        Ok(Command::Version) => {
            say(concat!("s3pail ", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.0);
            ExitCode::from(EXIT_BAD_CONFIGURATION)
        }
    }
}
