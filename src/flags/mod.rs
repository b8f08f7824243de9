//! Command line: the one source of `--help`, man page and completions.
