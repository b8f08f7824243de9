//! `ringress`: argv to configuration to server.

use std::process::ExitCode;

use ringress::control::{server, upgrade};
use ringress::flags::{self, Command};
use ringress::net::memory;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes: 0 clean, 1 runtime failure, 2 bad usage or configuration.
fn main() -> ExitCode {
    memory::use_small_pages();
    match flags::parse(std::env::args_os()) {
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Check(config)) => print(&flags::effective(&config)),
        Ok(Command::Serve(config)) => match server::run(*config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ringress: {error}");
                ExitCode::from(1)
            }
        },
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

/// Writes to standard output; a reader that has left (`ringress man | head`) is no failure.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
