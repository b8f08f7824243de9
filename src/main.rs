//! `ringress`: argv to configuration to server.

use std::path::Path;
use std::process::ExitCode;

use ringress::config::Config;
use ringress::control::reload::Sources;
use ringress::control::{server, tls, upgrade};
use ringress::flags::{self, Command};
use ringress::net::memory;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes: 0 clean, 1 runtime failure, 2 bad usage or configuration.
fn main() -> ExitCode {
    memory::use_small_pages();
    match flags::parse(std::env::args_os(), &read) {
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Show(config)) => print(&flags::effective(&config)),
        Ok(Command::Check(config)) => match tls::check(&config) {
            Ok(()) => print(&flags::effective(&config)),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(2)
            }
        },
        Ok(Command::Serve(config)) => {
            let file = flags::file_of(std::env::args_os());
            match server::run(*config, Sources { read: Box::new(read_again), file }) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("ringress: {error}");
                    ExitCode::from(1)
                }
            }
        }
        Ok(Command::Upgrade(running)) => match upgrade::ask(&running) {
            Ok(done) => print(&done),
            Err(reason) => {
                eprintln!("ringress: {reason}");
                ExitCode::from(1)
            }
        },
        Err(exit) if exit.stdout => print(&exit.message),
        Err(exit) => {
            eprint!("{}", exit.message);
            ExitCode::from(exit.code)
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

/// The configuration, read again from where it came from.
fn read_again() -> Result<Config, String> {
    match flags::parse(std::env::args_os(), &read) {
        Ok(Command::Serve(config)) => Ok(*config),
        Ok(Command::Print(_) | Command::Check(_) | Command::Show(_) | Command::Upgrade(_)) => {
            Err("the command line has changed".into())
        }
        Err(exit) => Err(exit.message.trim_end().trim_start_matches("error: ").to_owned()),
    }
}

/// Writes to standard output; a reader that has left (`ringress man | head`) is no failure.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
