//! Command line: the one source of `--help`, man page and completions.
//!
//! [`parse`] turns arguments, the environment and the configuration file into a [`Command`]; how the file is read is an
//! argument. Precedence: flag, then `RINGRESS_*` variable, then file, then default. Values are checked where they are read
//! ([`crate::config::value`]), contradictions between flags in `build`, and those of a file with flags laid over it
//! (`overlay`) in [`crate::config::file`].

mod args;
mod build;
mod overlay;
mod tls;
mod words;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use clap_complete::Shell;

use self::args::{Action, Cli, Settings};
use crate::config::{Config, file};
use crate::time::Phase;

pub use crate::config::file::effective;

/// Exit code of bad usage or configuration.
const EXIT_USAGE: u8 = 2;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
    /// Write this text (man page, completion script) to standard output.
    Print(String),
    /// Look whether the server could start, and print [`effective`] settings.
    Check(Box<Config>),
    /// Print [`effective`] settings.
    Show(Box<Config>),
    /// Have a running server replaced.
    Upgrade(Running),
}

/// A server that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Running {
    /// The process with this id.
    Process(u32),
    /// The process that this file names.
    File(PathBuf),
}

/// A command line that ends the process: bad usage, or `--help` and `--version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagsExit {
    /// Exit code: 0, or 2 for bad usage or configuration.
    pub code: u8,
    /// The message goes to standard output, else to standard error.
    pub stdout: bool,
    /// What to print, line feed included.
    pub message: String,
}

impl fmt::Display for FlagsExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FlagsExit {}

/// What reads a configuration file.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Reads a command line whose first element is the name of the program; `read` is how it reads the file of `--config`.
/// The same line may be read again later, when the file has changed.
///
/// # Errors
/// Bad usage or configuration, with the text to print and exit code 2; also `--help` and `--version`, with
/// exit code 0.
pub fn parse<I: IntoIterator<Item = OsString>>(argv: I, read: ReadFile<'_>) -> Result<Command, FlagsExit> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let matches = command().try_get_matches_from(&argv).map_err(|error| clap_exit(&error, &argv))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| clap_exit(&error, &argv))?;
    let config = |settings, matches| config(settings, matches, read).map(Box::new);
    let within = matches.subcommand().map_or(&matches, |(_, matches)| matches);
    match cli.action {
        None => config(cli.settings, within).map(Command::Serve),
        Some(Action::Check(settings)) => config(*settings, within).map(Command::Check),
        Some(Action::Config(args)) if args.schema => Ok(Command::Print(file::schema())),
        Some(Action::Config(args)) if args.reference => Ok(Command::Print(file::reference())),
        Some(Action::Config(args)) => config(args.settings, within).map(Command::Show),
        Some(Action::Upgrade(args)) => {
            let file = args.pid_file.map(Running::File);
            let running = args.pid.map(Running::Process).or(file);
            running.map(Command::Upgrade).ok_or_else(|| usage("upgrade needs --pid or --pid-file"))
        }
        Some(Action::Man) => man().map(Command::Print),
        Some(Action::Completions { shell }) => Ok(Command::Print(completions(shell))),
    }
}

/// The file of `--config`, if the command line or the environment names one.
#[must_use]
pub fn file_of<I: IntoIterator<Item = OsString>>(argv: I) -> Option<PathBuf> {
    let matches = command().try_get_matches_from(argv).ok()?;
    Cli::from_arg_matches(&matches).ok()?.settings.basics.config
}

/// The configuration that flags, variables and file amount to.
fn config(settings: Settings, matches: &ArgMatches, read: ReadFile<'_>) -> Result<Config, FlagsExit> {
    let Some(path) = &settings.basics.config else {
        return build::config(settings).map_err(usage);
    };
    let name = path.display().to_string();
    let text = read(path).map_err(|error| unreadable(&name, &error))?;
    let bad = |fault: file::Fault| FlagsExit {
        code: EXIT_USAGE,
        stdout: false,
        message: fault.render(&name, &text),
    };
    let mut document = file::read(&text).map_err(bad)?;
    let given = |id: &str| {
        matches!(matches.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    overlay::lay(&mut document, &settings, &given).map_err(usage)?;
    file::resolve(&document).map_err(bad)
}

fn unreadable(name: &str, error: &io::Error) -> FlagsExit {
    let message = format!(
        "error: cannot read {name}: {error}\n  = help: give --config a file of text in UTF-8 that is there and that this \
         user may read\n"
    );
    FlagsExit { code: EXIT_USAGE, stdout: false, message }
}

/// The flag that sets the timeout of `phase`, for messages.
#[must_use]
pub const fn timeout_flag(phase: Phase) -> &'static str {
    match phase {
        Phase::Handshake => "--handshake-timeout",
        Phase::Header => "--header-timeout",
        Phase::Body => "--body-timeout",
        Phase::Connect => "--connect-timeout",
        Phase::Request => "--request-timeout",
        Phase::StreamIdle => "--stream-idle-timeout",
        Phase::Write => "--write-timeout",
        Phase::Tunnel => "--tunnel-timeout",
        Phase::RequestDeadline => "--request-deadline",
        Phase::KeepAlive => "--keepalive-timeout",
        Phase::Drain => "--drain-timeout",
    }
}

/// The definition of the command line; values of the environment are not shown in the help, they may be long.
fn command() -> clap::Command {
    let tidy = |arg: Arg| unset_when_empty(arg).hide_env_values(true);
    let tidy_all = |command: clap::Command| command.mut_args(tidy);
    tidy_all(Cli::command()).mut_subcommand("check", tidy_all).mut_subcommand("config", tidy_all)
}

/// An empty variable counts as unset: `RINGRESS_UPSTREAM=` is how container files clear one.
fn unset_when_empty(arg: Arg) -> Arg {
    let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if empty { arg.env(clap::builder::Resettable::Reset) } else { arg }
}

fn man() -> Result<String, FlagsExit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command()).render(&mut page).map_err(usage)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "ringress", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn usage(error: impl fmt::Display) -> FlagsExit {
    let message = format!("error: {error}\n\nFor more information, try 'ringress --help'.\n");
    FlagsExit { code: EXIT_USAGE, stdout: false, message }
}

fn clap_exit(error: &clap::Error, argv: &[OsString]) -> FlagsExit {
    let stdout = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let mut message = error.render().to_string();
    if let Some(variable) = variable_at_fault(error, argv) {
        message.push_str(&format!("The value came from the environment variable {variable}.\n"));
    }
    if error.kind() == ErrorKind::ArgumentConflict && error.get(ContextKind::InvalidSubcommand).is_some() {
        message.push_str("Flags follow the subcommand (`ringress check --demo`); ");
        message.push_str("a switch takes its value after `=` (`--demo=off`).\n");
    }
    FlagsExit { code: if stdout { 0 } else { EXIT_USAGE }, stdout, message }
}

/// The variable that a refused value came from, when its flag is not on the command line.
fn variable_at_fault(error: &clap::Error, argv: &[OsString]) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::InvalidUtf8)
    {
        return None;
    }
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = arg.split([' ', '=', '[']).next()?;
    let name = flag.strip_prefix("--")?;
    let written = argv
        .iter()
        .filter_map(|arg| arg.to_str())
        .any(|arg| arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')));
    if written { None } else { Some(variable(name)) }
}

/// The environment variable of the flag `name`.
fn variable(name: &str) -> String {
    format!("RINGRESS_{}", name.replace('-', "_").to_ascii_uppercase())
}
