//! The command line: which command, and the settings that flags give.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::Value;

use crate::check;

use super::given::{ConfigError, Given, Origin};
use super::settings::{Id, Kind, Raw, SETTINGS, Setting, by_flag};

/// The column at which `--help` starts its explanations.
const HELP_COLUMN: usize = 30;
/// The width of `--help`.
const HELP_WIDTH: usize = 100;

/// What the process is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Serve S3.
    Serve,
    /// Ask a running server whether it lives.
    Healthcheck,
    /// Check a store of files.
    Check(check::Options),
    /// Print the options.
    Help,
    /// Print the version.
    Version,
}

/// Reads the command line (without the program's name) and notes what its flags give.
///
/// Of a flag given twice the last counts, as shell wrappers expect; lists add up instead.
pub fn read(args: impl IntoIterator<Item = OsString>, raw: &mut Raw) -> Result<Verb, ConfigError> {
    let mut verb = Verb::Serve;
    let mut given: BTreeMap<Id, (&'static Setting, String)> = BTreeMap::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = utf8(arg)?;
        match arg.as_str() {
            "--help" | "-h" => return Ok(Verb::Help),
            "--version" | "-V" => return Ok(Verb::Version),
            "healthcheck" => verb = Verb::Healthcheck,
            "check" => verb = Verb::Check(check::Options::default()),
            "--repair" | "--json" if matches!(verb, Verb::Check(_)) => {
                if let Verb::Check(options) = &mut verb {
                    options.repair |= arg == "--repair";
                    options.json |= arg == "--json";
                }
            }
            _ => {
                let (name, inline) = match arg.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (arg.as_str(), None),
                };
                let setting = by_flag(name).ok_or_else(|| unknown(name))?;
                let value = value_of(setting, inline, &mut args)?;
                add(&mut given, setting, value);
            }
        }
    }
    for (id, (setting, value)) in given {
        let origin = Origin::Flag(setting.flag.to_owned());
        raw.note(id, Given { value: Value::from(value), origin });
    }
    Ok(verb)
}

fn utf8(arg: OsString) -> Result<String, ConfigError> {
    arg.into_string().map_err(|arg| ConfigError(format!("{}: not valid UTF-8", arg.to_string_lossy())))
}

fn unknown(name: &str) -> ConfigError {
    ConfigError(format!(
        "{name}: there is no such option; allowed: the options that s3pail --help lists, healthcheck and check"
    ))
}

fn value_of(
    setting: &Setting,
    inline: Option<String>,
    args: &mut impl Iterator<Item = OsString>,
) -> Result<String, ConfigError> {
    match (setting.kind, inline) {
        (_, Some(value)) => Ok(value),
        (Kind::Switch, None) => Ok("yes".to_owned()),
        (kind, None) => match args.next() {
            Some(value) => utf8(value),
            None => {
                Err(ConfigError(format!("{}: a value is missing; allowed: {}", setting.flag, kind.allowed())))
            }
        },
    }
}

fn add(given: &mut BTreeMap<Id, (&'static Setting, String)>, setting: &'static Setting, value: String) {
    match given.get_mut(&setting.id) {
        Some((_, before)) if matches!(setting.kind, Kind::List(_)) => {
            before.push(',');
            before.push_str(&value);
        }
        _ => {
            given.insert(setting.id, (setting, value));
        }
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = format!("s3pail {}\n{HELP_HEAD}\nOptions:\n", env!("CARGO_PKG_VERSION"));
    for setting in SETTINGS.iter().filter(|setting| !setting.flag.is_empty()) {
        let name = format!("{} {}", setting.flag, setting.metavar);
        describe(&mut text, name.trim_end(), setting);
    }
    text.push_str("  -h, --help                  Print this text\n");
    text.push_str("  -V, --version               Print the version\n");
    text.push_str("\nEnvironment variables without a flag:\n");
    for setting in SETTINGS.iter().filter(|setting| setting.flag.is_empty()) {
        if let Some(variable) = setting.variables.first() {
            describe(&mut text, variable, setting);
        }
    }
    text.push_str("\nKeys of config.json without a flag or variable:\n");
    for setting in SETTINGS.iter().filter(|setting| setting.flag.is_empty() && setting.variables.is_empty()) {
        describe(&mut text, setting.key, setting);
    }
    text
}

/// One setting: its name at the left, what it does and how else to give it at the right.
fn describe(text: &mut String, name: &str, setting: &Setting) {
    let mut words = format!("{}. Allowed: {}.", setting.help, setting.kind.allowed());
    words.push_str(&format!(" Default: {}.", setting.default));
    if !setting.flag.is_empty() && !setting.variables.is_empty() {
        words.push_str(&format!(" Variable: {}.", setting.variables.join(", ")));
    }
    if !setting.key.is_empty() && setting.key != name {
        words.push_str(&format!(" File: {}.", setting.key));
    }
    let mut line = format!("  {name:width$}", width = HELP_COLUMN - 2);
    if name.len() + 2 >= HELP_COLUMN {
        text.push_str(line.trim_end());
        text.push('\n');
        line = " ".repeat(HELP_COLUMN);
    }
    for word in words.split(' ') {
        if line.len() + word.len() > HELP_WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(HELP_COLUMN);
        }
        line.push_str(word);
        line.push(' ');
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

const HELP_HEAD: &str = "\
A small S3-compatible object storage server.

Usage: s3pail [OPTIONS]               serve S3
       s3pail healthcheck [OPTIONS]   ask the server with these options for /live; exits 0 or 1
       s3pail check [OPTIONS]         read everything that is kept in files, and say what is wrong

check exits with 0 if all is well, 1 if something is damaged or left over, 2 if it could not look.
After the word check, --json prints one JSON object, and --repair removes what nothing refers to and
rebuilds what can be rebuilt. It needs the store for itself: stop the server first.

A flag beats an environment variable, which beats the configuration file, which beats the default.
An empty variable counts as unset. Without any file or option: keys accessKey1 / verySecretKey1,
http://127.0.0.1:8000, data in ./localData and ./localMetadata.

Files are looked for in ./conf and then in the current folder. A path that is given is tried as it
is and then in ./conf; it must exist.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str]) -> Result<(Verb, Raw), ConfigError> {
        let mut raw = Raw::default();
        let verb = read(args.iter().map(OsString::from), &mut raw)?;
        Ok((verb, raw))
    }

    #[test]
    fn flags_take_their_value_after_a_space_or_an_equals_sign() {
        for args in [&["--backend", "mem"][..], &["--backend=mem"], &["--backend=file", "--backend", "mem"]] {
            let (verb, raw) = check(args).unwrap();
            assert_eq!((verb, raw.choice(Id::Backend).unwrap()), (Verb::Serve, Some("mem")), "{args:?}");
        }
    }

    #[test]
    fn repeated_lists_add_up_and_a_switch_needs_no_value() {
        let (verb, raw) = check(&["healthcheck", "--listen", "a", "--listen=b,c", "--strict-hosts"]).unwrap();
        assert_eq!(verb, Verb::Healthcheck);
        assert_eq!(raw.list(Id::Listen).unwrap().unwrap().len(), 3);
        assert!(raw.switch(Id::StrictHosts).unwrap());
        let (_, raw) = check(&["--strict-hosts=no"]).unwrap();
        assert!(!raw.switch(Id::StrictHosts).unwrap());
    }

    #[test]
    fn a_wrong_command_line_is_refused_in_one_sentence() {
        for (args, part) in [
            (&["--bakend", "mem"][..], "--bakend: there is no such option"),
            (&["serve"], "serve: there is no such option"),
            (&[""], ": there is no such option"),
            (&["--backend"], "--backend: a value is missing; allowed: mem, file"),
        ] {
            let error = check(args).unwrap_err();
            assert!(error.0.starts_with(part) && !error.0.contains('\n'), "{error}");
        }
    }

    #[test]
    fn help_names_every_flag_variable_and_key() {
        let help = help();
        for setting in SETTINGS {
            for name in std::iter::once(&setting.flag).chain(setting.variables.first()).chain([&setting.key])
            {
                assert!(help.contains(name), "{name}");
            }
        }
        assert!(help.lines().all(|line| line.len() <= HELP_WIDTH));
    }
}
