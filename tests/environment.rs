//! Goal: a flag wins over its environment variable, and that over the default; an error names the variable.
//! Method: `ringress check` in processes with an environment of their own.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

/// `ringress check ARGS` with these variables and no other `RINGRESS_*`.
fn check(variables: &[(&str, &str)], args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringress"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RINGRESS_")) {
        command.env_remove(name);
    }
    command
        .arg("config")
        .args(args.split_whitespace())
        .envs(variables.iter().copied())
        .output()
        .expect("runs")
}

fn settings(variables: &[(&str, &str)], args: &str) -> String {
    let output = check(variables, args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

const VARIABLES: [(&str, &str); 6] = [
    ("RINGRESS_UPSTREAM", "a:1,b:2"),
    ("RINGRESS_REQUEST_TIMEOUT", "7s"),
    ("RINGRESS_HEADER_TIMEOUT", "8s"),
    ("RINGRESS_LOG_QUERY", "1"),
    ("RINGRESS_FORWARDED", "on"),
    ("RINGRESS_BODY_TIMEOUT", ""),
];

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_default() {
    let text = settings(&VARIABLES, "--header-timeout 9s --forwarded=off");
    for line in [
        "upstreams = [\"a:1\", \"b:2\"]\n",
        "\nrequest = \"7s\"\n",
        "\nheader = \"9s\"\n",
        "\nbody = \"60s\"\n",
        "\nquery = true\n",
        "\nforwarded = false\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn a_repeated_flag_replaces_the_whole_list_of_its_variable() {
    let text = settings(&VARIABLES, "--upstream c:3");
    assert!(text.contains("\nupstreams = [\"c:3\"]\n"), "{text}");
}

#[test]
fn an_error_names_the_variable_it_came_from() {
    for (variable, args, said) in [
        (("RINGRESS_WRITE_TIMEOUT", "5x"), "--demo --request-timeout 1s", "RINGRESS_WRITE_TIMEOUT"),
        (("RINGRESS_LOG_QUERY", "maybe"), "--demo", "RINGRESS_LOG_QUERY"),
        (("RINGRESS_DEMO", "on"), "--upstream a:1", "drop one of them"),
    ] {
        let output = check(&[variable], args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variable:?}: {stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

/// Goal: the file is the last but one to be asked, and is itself named by a variable.
#[test]
fn a_file_wins_over_the_default_alone() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/two-applications.toml");
    let variables =
        [("RINGRESS_CONFIG", file), ("RINGRESS_WRITE_TIMEOUT", "7s"), ("RINGRESS_REQUEST_TIMEOUT", "8s")];
    let text = settings(&variables, "--request-timeout 9s");
    for line in
        ["\nstream-idle = \"5m\"\n", "\nwrite = \"7s\"\n", "\nrequest = \"9s\"\n", "\nheader = \"10s\"\n"]
    {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(text.contains("name = \"shop-uploads\""), "{text}");
    // A file and an origin from elsewhere contradict each other; the variable counts.
    let output = check(&[("RINGRESS_UPSTREAM", "a:1")], &format!("--config {file}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("both say where requests go"), "{stderr}");
}

/// Goal: what `check` prints is a file that `check` takes, and says the same.
#[test]
fn what_is_printed_is_a_file() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/two-applications.toml");
    let printed = settings(&[], &format!("--config {file}"));
    let copy = std::env::temp_dir().join(format!("ringress-printed-{}.toml", std::process::id()));
    std::fs::write(&copy, &printed).expect("a file");
    let again = settings(&[], &format!("--config {}", copy.display()));
    std::fs::remove_file(&copy).expect("removed");
    assert_eq!(again, printed);
}

#[test]
fn a_file_that_is_not_there_is_bad_usage() {
    let output = check(&[], "--config /nowhere/ringress.toml");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("error: cannot read /nowhere/ringress.toml: No such file"), "{stderr}");
}
