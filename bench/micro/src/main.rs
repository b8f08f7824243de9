//! `bench-micro`: what the pure pieces on the hot path cost, in nanoseconds and in allocations.
//!
//! ```text
//!  operations (each a loop over one piece) -> measure (warm-up, samples in turns) -> a row each
//!                                                └─ counting (the allocator of this program)
//! ```
//! An operation that must not allocate and does fails the run; `--smoke` asks for that alone.

mod counting;
mod measure;
mod operations;

use std::io::{self, Write as _};
use std::process::ExitCode;

use measure::{Figures, Plan};
use operations::{Heap, Operation};

const USAGE: &str = "usage: bench/micro/run [--smoke] [NAME ...]
Prints nanoseconds and allocations of every operation whose name contains a NAME; of all without names.
Fails when an operation allocates that must not.
  --smoke   a few milliseconds of each: proves that nothing allocates, measures nothing
  --help    this";

/// What the command line asks for.
struct Options {
    plan: Plan,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        return finish(writeln!(io::stdout(), "{USAGE}").map(|()| true).map_err(|error| error.to_string()));
    }
    finish(parse(arguments).and_then(|options| run(&options)))
}

fn finish(ended: Result<bool, String>) -> ExitCode {
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            let _ = writeln!(io::stderr(), "bench/micro: {problem}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: Vec<String>) -> Result<Options, String> {
    let mut options = Options { plan: Plan::FULL, names: Vec::new() };
    for argument in arguments {
        match argument.as_str() {
            "--smoke" => options.plan = Plan::SMOKE,
            unknown if unknown.starts_with('-') => return Err(format!("{unknown}?\n{USAGE}")),
            _ => options.names.push(argument),
        }
    }
    Ok(options)
}

/// Measures and prints; whether nothing allocated that must not.
fn run(options: &Options) -> Result<bool, String> {
    let mut operations = operations::all()?;
    operations.retain(|operation| is_asked(operation, &options.names));
    if operations.is_empty() {
        return Err(format!("no operation is called {}", options.names.join(" or ")));
    }
    let figures = measure::all(&mut operations, options.plan);
    let measured: Vec<(&Operation, Figures)> = operations.iter().zip(figures).collect();
    print(&measured).map_err(|error| error.to_string())
}

fn is_asked(operation: &Operation, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| operation.name.contains(name.as_str()))
}

fn print(measured: &[(&Operation, Figures)]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    writeln!(out, "| operation | what | ns | fastest | allocations |\n| --- | --- | ---: | ---: | ---: |")?;
    for (operation, figures) in measured {
        writeln!(
            out,
            "| `{}` | {} | {:.1} | {:.1} | {} |",
            operation.name, operation.what, figures.median_ns, figures.fastest_ns, figures.allocations
        )?;
    }
    out.flush()?;
    let guilty = measured.iter().filter(|(operation, figures)| breaks_its_word(operation, figures));
    let mut failed = 0;
    for (operation, figures) in guilty {
        failed += 1;
        let (name, allocations) = (operation.name, figures.allocations);
        writeln!(io::stderr(), "bench/micro: {name} allocates {allocations} times; it must not")?;
    }
    writeln!(out, "{} passed, {failed} failed", measured.len() - failed)?;
    Ok(failed == 0)
}

fn breaks_its_word(operation: &Operation, figures: &Figures) -> bool {
    operation.heap == Heap::Never && figures.allocations > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the smoke run finds an operation that allocates, and only that one.
    #[test]
    fn an_allocation_is_found() {
        let boxed = Operation::new("boxed", "", Heap::Never, || drop(std::hint::black_box(Box::new(1))));
        let idle = Operation::new("idle", "", Heap::Never, || std::hint::black_box(()));
        let mut operations = [boxed, idle];
        let figures = measure::all(&mut operations, Plan::SMOKE);
        assert_eq!(figures.iter().map(|one| one.allocations).collect::<Vec<_>>(), [1.0, 0.0]);
        assert!(breaks_its_word(&operations[0], &figures[0]));
        assert!(!breaks_its_word(&operations[1], &figures[1]));
    }

    #[test]
    fn names_select() {
        let operations = operations::all().unwrap();
        let asked = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            operations.iter().filter(|one| is_asked(one, &names)).count()
        };
        assert_eq!(asked(&[]), operations.len());
        assert!(asked(&["timer"]) > 1 && asked(&["timer"]) < operations.len());
        assert_eq!(asked(&["no such"]), 0);
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(parse(vec!["--smok".into()]).is_err());
        assert_eq!(parse(vec!["--smoke".into(), "timer".into()]).unwrap().names, ["timer"]);
    }
}
