//! `--config`: the binary serves what a file says, flags win over it, and a file that is wrong ends the start.

use std::path::{Path, PathBuf};

use crate::harness::*;

/// A file of this test's own.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.toml", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    path
}

/// A group, a route and a limit from a file; where it listens and logs from flags.
#[test]
fn a_file_is_served() {
    let origin = Origin::serve(|_| ok("from the file"));
    let text = format!(
        "[[listener]]\naddress = \"203.0.113.1:1\"\n[limits]\nmax-target-bytes = \"64\"\n\
         [groups.app]\nupstreams = [\"{}\"]\n[[route]]\ngroup = \"app\"\n",
        origin.addr
    );
    let path = file("served", &text);
    // `--listen` of the harness takes the place of an address that this host does not have.
    let proxy = Proxy::to(&[], &["--config", path.to_str().expect("UTF-8")]);
    let mut client = proxy.client();
    assert_eq!(client.exchange(get("/")).text(), "from the file");
    assert_eq!(client.exchange(get(&format!("/{}", "a".repeat(80)))).head.status(), 414);
}

/// What a start would fail for, a check fails for.
#[test]
fn a_check_reads_the_certificates() {
    let path = file(
        "certificates",
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n[[tls.certificate]]\ncert = \"/none.pem\"\nkey = \"/none.key\"\n\
         [[route]]\nrespond = { status = 200 }\n",
    );
    let name = path.to_str().expect("UTF-8");
    let output = run_to_exit(&["check", "--config", name]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{said}");
    assert!(said.starts_with("error: ") && said.contains("/none.pem"), "{said}");
    assert!(run_to_exit(&["config", "--config", name]).status.success(), "which reads none");
}

/// The error is on standard error, with its place; nothing is served.
#[test]
fn a_file_that_is_wrong_ends_the_start() {
    let path = file("wrong", "[groups.app]\n        upstream = \"127.0.0.1:3000\"\n");
    let name = path.to_str().expect("UTF-8");
    for args in [&["--config", name][..], &["check", "--config", name], &["config", "--config", name]] {
        let output = run_to_exit(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            output.stdout.is_empty()
                && said.starts_with(&format!("error: {name}:2:9: unknown key `upstream`"))
        );
        assert!(said.ends_with("  = help: did you mean `upstreams`?\n"), "{said}");
    }
}
