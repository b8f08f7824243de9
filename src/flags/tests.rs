//! Goal: the definition is complete (every flag has help, heading, default, variable, and is in the man page
//! and completions), errors advise, `check` prints what reads back as the same configuration, and flags win over a file.
//!
//! Method: iterate clap's own definition; parse command lines. The environment is process-wide, so it is tested
//! through the binary (`tests/environment.rs`).

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{
    ClientAuth, Forwarding, KeyPair, Listener, LogFormat, LogTarget, NEVER, Origin, Pool, ProxyVersion,
    Route, Scheme, Security, Service, Tls, Upstream, UpstreamTls,
};
use crate::limits::{self, MessageLimits};
use crate::time::Timeouts;

fn run(args: &[&str]) -> Result<Command, FlagsExit> {
    run_with(args, "")
}

/// The command line, and what is in every file there is.
fn run_with(args: &[&str], file: &str) -> Result<Command, FlagsExit> {
    let argv = std::iter::once("ringress").chain(args.iter().copied()).map(OsString::from);
    parse(argv, &|_| Ok(file.to_owned()))
}

fn config(args: &[&str]) -> Config {
    match run(args) {
        Ok(Command::Serve(config) | Command::Check(config) | Command::Show(config)) => *config,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn refused(args: &[&str]) -> String {
    let exit = run(args).unwrap_err();
    assert_eq!((exit.code, exit.stdout), (2, false), "{args:?}: {exit}");
    exit.message
}

/// The flags that the project defines: not `--help` and `--version`.
fn flags() -> Vec<Arg> {
    let own = |arg: &&Arg| !matches!(arg.get_id().as_str(), "help" | "version");
    command().get_arguments().filter(own).cloned().collect()
}

fn long(arg: &Arg) -> &str {
    arg.get_long().unwrap()
}

fn printed(args: &[&str]) -> String {
    match run(args) {
        Ok(Command::Print(text)) => text,
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_pure_rooms() {
    let origin = Upstream::from("127.0.0.1:3000".parse::<std::net::SocketAddr>().unwrap());
    let message = MessageLimits::default();
    let expected = Config {
        listeners: vec![Listener {
            address: "127.0.0.1:8080".parse().unwrap(),
            service: Service::Plain,
            accept_proxy: Vec::new(),
        }],
        tls: Tls::default(),
        upstream_tls: UpstreamTls::default(),
        groups: vec![build::group(vec![origin], Pool::default(), None)],
        routes: vec![Route::everything(Timeouts::default(), message.body_bytes_max)],
        normalize_paths: false,
        http2: true,
        demo: false,
        workers: None,
        pin: true,
        max_connections: None,
        max_connections_per_client: None,
        splice_min: Some(limits::SPLICE_BYTES_MIN),
        timeouts: Timeouts::default(),
        timeout_status: 504,
        message: MessageLimits::default(),
        forwarding: Forwarding::default(),
        pool: Pool::default(),
        dns_refresh: Duration::from_secs(30),
        access_log: LogTarget::Off,
        log_format: LogFormat::Logfmt,
        log_query: false,
        log_level: "info".into(),
        admin: Vec::new(),
        pid_file: None,
    };
    assert_eq!(run(&["--upstream", "127.0.0.1:3000"]), Ok(Command::Serve(Box::new(expected))));
}

#[test]
fn the_demo_logs_to_standard_output() {
    let demo = config(&["--demo"]);
    assert!(demo.demo && demo.upstreams().next().is_none());
    assert_eq!(demo.access_log, LogTarget::Stdout);
    assert_eq!(config(&["--demo", "--access-log", "off"]).access_log, LogTarget::Off);
    assert_eq!(config(&["--demo=off", "--upstream", "app:1"]).access_log, LogTarget::Off);
}

#[test]
fn every_flag_has_help_heading_default_and_variable() {
    for arg in flags() {
        let name = long(&arg);
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(!help.is_empty(), "--{name} has no help");
        assert!(arg.get_help_heading().is_some(), "--{name} has no heading");
        assert_eq!(arg.get_env().unwrap().to_str(), Some(variable(name).as_str()));
        let states_default = !arg.get_default_values().is_empty() || help.to_lowercase().contains("default");
        assert!(states_default, "--{name} states no default");
    }
}

#[test]
fn help_shows_every_flag_with_default_and_variable() {
    let exit = run(&["--help"]).unwrap_err();
    assert_eq!((exit.code, exit.stdout), (0, true));
    let words = exit.message.split_whitespace().collect::<Vec<_>>().join(" ");
    for arg in flags() {
        assert!(words.contains(&format!("--{}", long(&arg))));
        assert!(words.contains(&format!("[env: {}]", variable(long(&arg)))), "{}", variable(long(&arg)));
        for default in arg.get_default_values() {
            assert!(words.contains(&format!("[default: {}]", default.to_str().unwrap())));
        }
    }
    assert!(words.contains("ringress --demo"));
}

#[test]
fn version_is_not_an_error() {
    let exit = run(&["--version"]).unwrap_err();
    assert_eq!((exit.code, exit.stdout), (0, true));
    assert!(exit.to_string().contains(env!("CARGO_PKG_VERSION")));
}

/// The phase after `phase`; a new phase does not compile without its flag being tested.
fn next_phase(phase: Phase) -> Option<Phase> {
    Some(match phase {
        Phase::Handshake => Phase::Header,
        Phase::Header => Phase::Body,
        Phase::Body => Phase::Connect,
        Phase::Connect => Phase::Request,
        Phase::Request => Phase::StreamIdle,
        Phase::StreamIdle => Phase::Write,
        Phase::Write => Phase::Tunnel,
        Phase::Tunnel => Phase::RequestDeadline,
        Phase::RequestDeadline => Phase::KeepAlive,
        Phase::KeepAlive => Phase::Drain,
        Phase::Drain => return None,
    })
}

/// The timeout of `phase` in the table.
fn timeout_of(timeouts: &Timeouts, phase: Phase) -> Option<Duration> {
    match phase {
        Phase::Handshake => timeouts.handshake,
        Phase::Header => timeouts.header,
        Phase::Body => timeouts.body,
        Phase::Connect => timeouts.connect,
        Phase::Request => timeouts.request,
        Phase::StreamIdle => timeouts.stream_idle,
        Phase::Write => timeouts.write,
        Phase::Tunnel => timeouts.tunnel,
        Phase::RequestDeadline => timeouts.request_deadline,
        Phase::KeepAlive => timeouts.keepalive,
        Phase::Drain => timeouts.drain,
    }
}

#[test]
fn every_phase_has_a_flag_that_sets_it_and_nothing_else() {
    let phases: Vec<_> = std::iter::successors(Some(Phase::Handshake), |phase| next_phase(*phase)).collect();
    assert_eq!(phases.len(), 11);
    for phase in &phases {
        let flag = timeout_flag(*phase);
        assert!(flag.contains(phase.name()), "{flag}");
        let timeouts = config(&["--demo", flag, "1234ms"]).timeouts;
        for other in &phases {
            let expected = match other == phase {
                true => Some(Duration::from_millis(1234)),
                false => timeout_of(&Timeouts::default(), *other),
            };
            assert_eq!(timeout_of(&timeouts, *other), expected, "{flag} and {}", other.name());
        }
        assert_eq!(timeout_of(&config(&["--demo", flag, "off"]).timeouts, *phase), None);
    }
}

#[test]
fn nothing_to_serve_shows_what_to_type() {
    for args in [&[][..], &["check"], &["--listen", ":80"]] {
        let message = refused(args);
        assert!(message.contains("\n  ringress --demo\n"), "{message}");
        assert!(
            message.contains("\n  ringress --listen 0.0.0.0:8080 --upstream 127.0.0.1:3000\n"),
            "{message}"
        );
    }
}

#[test]
fn contradictions_are_refused() {
    let cases: [(&[&str], &str); 13] = [
        (&["--demo", "--upstream", "app:80"], "drop one of them"),
        (&["--demo", "--listen", ":9901", "--admin", "0.0.0.0:9901"], "0.0.0.0:9901 twice"),
        (&["--demo", "--send-proxy", "v2"], "takes no PROXY header"),
        (
            &["--send-proxy", "v1", "--upstream", "a:80,h2c://b:80"],
            "clients share those to --upstream h2c://b:80",
        ),
        (&["--send-proxy", "v2", "--upstream", "h2://b:443"], "drop --send-proxy"),
        (&["--demo", "--listen", "127.0.0.1:80,127.0.0.1:80"], "127.0.0.1:80 twice"),
        (&["--demo", "--listen", ":80", "--listen", "[::]:80"], "[::]:80 twice"),
        (&["--upstream", "127.0.0.1:8080"], "round in circles"),
        (&["--listen", ":80", "--upstream", "[::1]:80"], "round in circles"),
        (&["--demo", "--max-head-bytes", "4KiB"], "give --max-target-bytes 2KiB too"),
        (&["--demo", "check"], "Flags follow the subcommand"),
        (&["--demo", "off"], "(`--demo=off`)"),
        (&["--demo", "--demo"], "cannot be used multiple times"),
    ];
    for (args, advice) in cases {
        let message = refused(args);
        assert!(message.contains(advice), "{args:?}: {message}");
    }
}

#[test]
fn errors_name_the_flag_the_value_and_an_example() {
    let cases: [(&[&str], &[&str]); 13] = [
        (&["--admin", "9901"], &["--admin", "'9901'", ":8080"]),
        (&["--accept-proxy", "lb"], &["--accept-proxy", "'lb'", "10.0.0.0/8"]),
        (&["--send-proxy", "v3"], &["--send-proxy", "'v3'", "v1", "v2", "off"]),
        (&["--request-timeout", "10"], &["--request-timeout", "'10'", "10s"]),
        (&["--request-timeout=-1s"], &["--request-timeout", "'-1s'", "10s"]),
        (&["--max-body-bytes", "10m"], &["--max-body-bytes", "'10m'", "MiB"]),
        (&["--max-head-bytes", "1MiB"], &["--max-head-bytes", "'1MiB'", "1KiB to 80KiB"]),
        (&["--listen", "8080"], &["--listen", "'8080'", ":8080"]),
        (&["--upstream", "ftp://app"], &["--upstream", "'ftp://app'", "unknown scheme", "h2c://"]),
        (&["--timeout-status", "200"], &["--timeout-status", "'200'", "503"]),
        (&["--trusted-proxies", "10.0.0.0/33"], &["--trusted-proxies", "'10.0.0.0/33'", "10.0.0.0/8"]),
        (&["--log-format", "xml"], &["--log-format", "'xml'", "logfmt", "json"]),
        (&["--pin", "maybe"], &["--pin", "'maybe'", "on", "off"]),
    ];
    for (args, parts) in cases {
        let message = refused(args);
        assert!(parts.iter().all(|part| message.contains(part)), "{args:?}: {message}");
        assert!(!message.contains("environment"), "{message}");
    }
}

#[test]
fn a_misspelt_flag_is_suggested() {
    assert!(refused(&["--request-timout", "1s"]).contains("'--request-timeout'"));
    assert!(refused(&["--upstreams", "app:1"]).contains("'--upstream'"));
    assert!(refused(&["serve"]).contains("serve"));
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    for prefix in ["--access-log=", "--upstream=unix:/", "--", ""] {
        let arg = OsString::from_vec([prefix.as_bytes(), b"\xff"].concat());
        let exit = parse([OsString::from("ringress"), arg], &|_| Ok(String::new())).unwrap_err();
        assert_eq!(exit.code, 2);
    }
}

#[test]
fn lists_may_repeat_and_have_commas() {
    let config = config(&[
        "--listen=127.0.0.1:0,127.0.0.1:0",
        "--listen=[::1]:80",
        "--upstream=a:1,b:2",
        "--upstream=c:3",
        "--trusted-proxies=10.0.0.0/8,::1",
    ]);
    assert_eq!((config.listeners.len(), config.upstreams().count()), (3, 3));
    assert_eq!(config.forwarding.trusted_proxies.len(), 2);
}

#[test]
fn man_and_completions_mention_every_flag() {
    let man = printed(&["man"]).replace("\\-", "-");
    for arg in flags() {
        assert!(man.contains(&format!("--{}", long(&arg))), "{}", long(&arg));
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for arg in flags() {
            assert!(script.contains(long(&arg)), "{shell}: {}", long(&arg));
        }
    }
    assert!(refused(&["completions", "tcsh"]).contains("bash"));
}

fn timeout() -> impl Strategy<Value = Option<Duration>> {
    proptest::option::of((1u64..=366 * 24 * 3_600_000).prop_map(Duration::from_millis))
}

fn period() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(NEVER), (1_000u64..=90_000_000).prop_map(Duration::from_millis)]
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    proptest::collection::vec(timeout(), 11).prop_map(|t| Timeouts {
        handshake: t[0],
        header: t[1],
        body: t[2],
        connect: t[3],
        request: t[4],
        stream_idle: t[5],
        write: t[6],
        tunnel: t[7],
        request_deadline: t[8],
        keepalive: t[9],
        drain: t[10],
    })
}

fn message_limits() -> impl Strategy<Value = MessageLimits> {
    let head = 1024..=limits::SCRATCH_BYTES;
    (head, 1..=limits::FIELDS_CEILING, 64..1024usize, proptest::option::of(1u64..), any::<bool>()).prop_map(
        |(head_bytes_max, fields_max, target_bytes_max, body_bytes_max, allow_underscores)| MessageLimits {
            head_bytes_max,
            fields_max,
            target_bytes_max,
            body_bytes_max,
            allow_underscores,
        },
    )
}

fn origin() -> impl Strategy<Value = Upstream> {
    let host = prop_oneof![
        (any::<std::net::IpAddr>(), 1u16..).prop_map(|(ip, port)| Origin::Address((ip, port).into())),
        ("[a-z][a-z0-9_.-]{0,8}[a-z]", 1u16..)
            .prop_filter("a name", |(host, _)| !host.contains("..") && !host.contains(".-"))
            .prop_map(|(host, port)| Origin::Name { host, port }),
    ];
    let path = "/[ -+.-~äö]{0,20}[a-z]".prop_filter("a path", |path| !path.starts_with("//"));
    prop_oneof![
        (host, proptest::sample::select(&Scheme::ALL[..]))
            .prop_map(|(origin, scheme)| Upstream { origin, scheme }),
        (path, any::<bool>()).prop_map(|(path, http2)| {
            let scheme = Scheme { http2, security: Security::Clear };
            Upstream { origin: Origin::Unix(path.into()), scheme }
        }),
    ]
}

fn networks() -> impl Strategy<Value = Vec<ipnet::IpNet>> {
    let network = any::<std::net::IpAddr>().prop_map(ipnet::IpNet::from);
    let wide = (any::<u32>(), 0u8..=32)
        .prop_map(|(ip, bits)| ipnet::IpNet::new(std::net::Ipv4Addr::from(ip).into(), bits).unwrap().trunc());
    proptest::collection::vec(prop_oneof![network, wide], 0..4)
}

fn forwarding() -> impl Strategy<Value = Forwarding> {
    (networks(), any::<bool>())
        .prop_map(|(trusted_proxies, forwarded)| Forwarding { trusted_proxies, forwarded })
}

fn access_log() -> impl Strategy<Value = LogTarget> {
    prop_oneof![
        Just(LogTarget::Off),
        Just(LogTarget::Stdout),
        "/[ -~äö]{0,20}[a-z]".prop_map(|path| LogTarget::File(path.into())),
    ]
}

fn listeners() -> impl Strategy<Value = Vec<std::net::SocketAddr>> {
    let addresses = proptest::collection::hash_set(any::<(std::net::IpAddr, u16)>(), 1..4);
    addresses.prop_map(|set| set.into_iter().map(Into::into).collect())
}

fn file() -> impl Strategy<Value = std::path::PathBuf> {
    "/[ -+.-~äö]{0,20}[a-z]".prop_map(Into::into)
}

fn key_pair() -> impl Strategy<Value = KeyPair> {
    (file(), file()).prop_map(|(cert, key)| KeyPair { cert, key })
}

/// TLS on ports of its own, so that no address is named twice.
fn tls() -> impl Strategy<Value = (Tls, Vec<(std::net::SocketAddr, Service)>)> {
    let auth = prop_oneof![
        Just(ClientAuth::Off),
        file().prop_map(ClientAuth::Optional),
        file().prop_map(ClientAuth::Required)
    ];
    let on = (proptest::collection::vec(key_pair(), 1..3), auth, any::<bool>()).prop_map(
        |(pairs, client_auth, redirect)| {
            let tls = Some(("127.1.2.3:443".parse().unwrap(), Service::Tls));
            let redirect = redirect.then(|| ("127.1.2.3:80".parse().unwrap(), Service::Redirect));
            (Tls { pairs, client_auth }, tls.into_iter().chain(redirect).collect())
        },
    );
    prop_oneof![Just((Tls::default(), Vec::new())), on]
}

/// Addresses that no other listener has.
fn admin() -> impl Strategy<Value = Vec<std::net::SocketAddr>> {
    let all = vec!["127.1.2.4:9901".parse().unwrap(), "[::7]:9901".parse().unwrap()];
    proptest::sample::subsequence(all, 0..=2)
}

fn upstream_tls() -> impl Strategy<Value = UpstreamTls> {
    (proptest::option::of(file()), proptest::option::of(key_pair()))
        .prop_map(|(ca, identity)| UpstreamTls { ca, identity })
}

prop_compose! {
    fn any_config()(
        (http2, (tls, secure), upstream_tls) in (any::<bool>(), tls(), upstream_tls()),
        (listen, upstreams) in (listeners(), proptest::collection::vec(origin(), 0..4)),
        (workers, pin) in (0usize..=1024, any::<bool>()),
        (max_connections, per_client) in (0usize..=1_000_000_000, 0u32..=1_000_000_000),
        splice_min in proptest::option::of(1u64..),
        (timeouts, timeout_status) in (timeouts(), 500u16..=599),
        message in message_limits(),
        forwarding in forwarding(),
        send_proxy in proptest::option::of(proptest::sample::select(&ProxyVersion::ALL[..])),
        accept_proxy in networks(),
        (idle_max, idle_timeout, age_max) in (0usize..=1_000_000, period(), period()),
        (ping, dns_refresh) in (period(), period()),
        (access_log, json, log_query) in (access_log(), any::<bool>(), any::<bool>()),
        log_level in prop_oneof![Just("warn"), Just("info,ringress::net=debug")],
        (admin, pid_file) in (admin(), proptest::option::of(file())),
    ) -> Config {
        let may_send_proxy = !upstreams.is_empty() && upstreams.iter().all(|upstream| !upstream.scheme.http2);
        let plain = listen.into_iter().map(|address| (address, Service::Plain));
        let listener = |(address, service)| Listener { address, service, accept_proxy: accept_proxy.clone() };
        let pool = Pool { idle_max, idle_timeout, age_max, ping };
        let send_proxy = send_proxy.filter(|_| may_send_proxy);
        Config {
            listeners: plain.chain(secure).map(listener).collect(),
            http2,
            tls,
            upstream_tls,
            demo: upstreams.is_empty(),
            groups: vec![build::group(upstreams, pool, send_proxy)],
            routes: vec![Route::everything(timeouts, message.body_bytes_max)],
            normalize_paths: false,
            workers: NonZeroUsize::new(workers),
            pin,
            max_connections: NonZeroUsize::new(max_connections),
            max_connections_per_client: NonZeroU32::new(per_client),
            splice_min,
            timeouts,
            timeout_status,
            message,
            forwarding,
            pool,
            dns_refresh,
            access_log,
            log_format: if json { LogFormat::Json } else { LogFormat::Logfmt },
            log_query,
            log_level: log_level.to_owned(),
            admin,
            pid_file,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_check_prints_reads_back_as_the_same_configuration(config in any_config()) {
        let text = effective(&config);
        prop_assert_eq!(run_with(&["--config", "x"], &text), Ok(Command::Serve(Box::new(config))), "{}", text);
    }
}

/// A file with every key.
const EVERY_KEY: &str = include_str!("../config/file/tests/every-key.toml");

/// A value of each flag that is not what [`EVERY_KEY`] says.
const OTHER: &[(&str, &str)] = &[
    ("listen", "127.0.0.1:81"),
    ("http2", "on"),
    ("tls-listen", "127.0.0.1:444"),
    ("cert", "other.pem --key other.key"),
    ("key", "other.key --cert other.pem"),
    ("client-ca", "other-ca.pem"),
    ("client-auth", "required"),
    ("http-redirect", "127.0.0.1:82"),
    ("upstream-ca", "other-ca.pem"),
    ("upstream-cert", "other.pem"),
    ("upstream-key", "other.key"),
    ("workers", "3"),
    ("pin", "on"),
    ("max-connections", "auto"),
    ("splice-min", "off"),
    ("handshake-timeout", "77s"),
    ("header-timeout", "77s"),
    ("body-timeout", "77s"),
    ("connect-timeout", "77s"),
    ("request-timeout", "77s"),
    ("stream-idle-timeout", "77s"),
    ("write-timeout", "77s"),
    ("tunnel-timeout", "77s"),
    ("request-deadline", "77s"),
    ("keepalive-timeout", "77s"),
    ("drain-timeout", "77s"),
    ("timeout-status", "504"),
    ("max-head-bytes", "32KiB"),
    ("max-fields", "77"),
    ("max-target-bytes", "2KiB"),
    ("max-body-bytes", "off"),
    ("allow-underscores=off", ""),
    ("max-connections-per-client", "off"),
    ("trusted-proxies", "10.0.0.0/8"),
    ("forwarded=off", ""),
    ("accept-proxy", "192.0.2.0/24"),
    ("send-proxy", "v1"),
    ("upstream-idle-max", "77"),
    ("upstream-idle-timeout", "77s"),
    ("upstream-age-max", "77s"),
    ("upstream-ping", "77s"),
    ("dns-refresh", "77s"),
    ("access-log", "off"),
    ("log-format", "logfmt"),
    ("log-query=off", ""),
    ("log-level", "debug"),
    ("admin", "127.0.0.1:9902"),
    ("pid-file", "/run/other.pid"),
];

fn with_file(args: &str, file: &str) -> Config {
    let args: Vec<&str> = ["--config", "ringress.toml"].into_iter().chain(args.split_whitespace()).collect();
    match run_with(&args, file) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("{args:?}: {other:?}"),
    }
}

/// Goal: no flag is forgotten where flags are laid over a file; with no flag the file is as it is.
#[test]
fn every_flag_wins_over_the_file() {
    let mut untested: Vec<String> = flags().iter().map(|arg| long(arg).to_owned()).collect();
    untested.retain(|name| !["config", "upstream", "demo"].contains(&name.as_str()));
    let alone = with_file("", EVERY_KEY);
    for (flag, value) in OTHER {
        let config = with_file(&format!("--{flag} {value}"), EVERY_KEY);
        assert_ne!(config, alone, "--{flag} {value} changes nothing");
        untested.retain(|name| flag.split('=').next() != Some(name));
    }
    assert_eq!(untested, Vec::<String>::new(), "flags without a test");
}

#[test]
fn what_a_flag_sets_is_what_routes_and_groups_have_that_say_nothing() {
    let config =
        with_file("--request-timeout 77s --max-body-bytes 7 --upstream-ping 77s --send-proxy off", EVERY_KEY);
    let timeout = |index: usize| config.routes[index].timeouts.request;
    assert_eq!((timeout(0), timeout(1)), (Some(Duration::from_secs(3)), Some(Duration::from_secs(77))));
    assert_eq!((config.routes[0].body_bytes_max, config.routes[1].body_bytes_max), (Some(2 << 20), Some(7)));
    let ping = |index: usize| config.groups[index].pool.ping;
    assert_eq!((ping(0), ping(1)), (Duration::from_secs(4), Duration::from_secs(77)));
    assert!(config.groups.iter().all(|group| group.send_proxy.is_none()));
}

#[test]
fn listeners_that_are_given_replace_those_that_serve_the_same() {
    let file = "[[listener]]\naddress = \"127.0.0.1:1\"\n[[listener]]\naddress = \"127.0.0.1:2\"\ntls = true\n\
                [[tls.certificate]]\ncert = \"c\"\nkey = \"k\"\n[[route]]\nrespond = {}\n";
    let ports = |args: &str| {
        let listeners = with_file(args, file).listeners;
        listeners.iter().map(|it| (it.address.port(), it.service)).collect::<Vec<_>>()
    };
    assert_eq!(ports(""), [(1, Service::Plain), (2, Service::Tls)]);
    assert_eq!(ports("--listen 127.0.0.1:3"), [(2, Service::Tls), (3, Service::Plain)]);
    assert_eq!(ports("--tls-listen 127.0.0.1:3"), [(1, Service::Plain), (3, Service::Tls)]);
    let peers = with_file("--accept-proxy ::1", "[[route]]\nrespond = {}\n").listeners;
    assert_eq!((peers.len(), peers[0].accept_proxy.len()), (1, 1));
}

#[test]
fn a_file_may_leave_the_upstream_to_a_flag() {
    let config = with_file("--upstream a:1,b:2 --send-proxy v1", "[timeouts]\nrequest = \"7s\"\n");
    assert_eq!(config.upstreams().count(), 2);
    assert_eq!(config.groups[0].send_proxy, Some(ProxyVersion::V1));
    assert_eq!(config.routes[0].timeouts.request, Some(Duration::from_secs(7)));
    let demo = with_file("--demo", "[log]\nquery = true\n");
    assert!(demo.demo && demo.log_query && demo.access_log == LogTarget::Stdout);
}

#[test]
fn flags_that_do_not_fit_the_file_are_refused() {
    let routed = "[[route]]\nrespond = {}\n";
    let cases: [(&[&str], &str, &str); 9] = [
        (&["--upstream", "a:1"], routed, "--upstream and a configuration file with [groups] or [[route]]"),
        (&["--demo"], routed, "--demo and a configuration file with [groups] or [[route]]"),
        (&["--upstream", "a:1"], "[server]\ndemo = true\n", "`demo = true`"),
        (&["--cert", "c"], routed, "they go in pairs"),
        (&["--tls-listen", ":443"], routed, "error: f: a listener with TLS needs a certificate"),
        (&["--listen", ":80,:80"], routed, "error: f: 0.0.0.0:80 is listened on twice"),
        (&["--max-head-bytes", "2KiB"], routed, "max-target-bytes = \"1KiB\" fits"),
        (&[], "", "error: f: nothing to serve"),
        (&[], "[server]\npni = true\n", "error: f:2:1: unknown key `pni`"),
    ];
    for (args, file, words) in cases {
        let exit = run_with(&[&["--config", "f"], args].concat(), file).unwrap_err();
        assert_eq!((exit.code, exit.stdout), (2, false), "{exit}");
        assert!(exit.message.contains(words), "{args:?}: {exit}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let argv = ["ringress", "check", "--config", "/none.toml"].map(OsString::from);
    let exit = parse(argv, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap_err();
    assert_eq!((exit.code, exit.stdout), (2, false));
    assert!(exit.message.starts_with("error: cannot read /none.toml: "), "{exit}");
}

#[test]
fn config_prints_what_check_prints_and_what_is_known_about_files() {
    let args = ["--demo", "--workers", "3"];
    let [check, config] = ["check", "config"].map(|name| run(&[&[name], args.as_slice()].concat()));
    let (Ok(Command::Check(checked)), Ok(Command::Show(shown))) = (check, config) else { panic!() };
    assert_eq!(checked, shown);
    assert!(printed(&["config", "--schema"]).starts_with('{'));
    assert!(printed(&["config", "--reference"]).starts_with("# The configuration file\n"));
    assert!(refused(&["config", "--schema", "--reference"]).contains("cannot be used with"));
}

/// The page for operators is written by hand; its table must not fall behind the definition.
#[test]
fn the_timeout_page_has_every_timer_with_its_default() {
    let page = include_str!("../../docs/timeouts.md");
    let timers: Vec<Arg> = flags()
        .into_iter()
        .filter(|arg| arg.get_help_heading().is_some_and(|h| h.starts_with("Timeouts")))
        .collect();
    assert_eq!(timers.len(), 12, "eleven timers and --timeout-status");
    for arg in timers.iter().filter(|arg| long(arg) != "timeout-status") {
        let default = arg.get_default_values().first().and_then(|default| default.to_str()).unwrap();
        let row = format!("| `--{}` | {default} |", long(arg));
        assert!(page.contains(&row), "{row}");
    }
    for word in
        page.split(['`', ' ']).filter_map(|word| word.strip_prefix("--")).filter(|word| word.len() > 1)
    {
        let ours = flags().iter().any(|arg| long(arg) == word);
        assert!(ours || word == "drain-time-s", "--{word} is no flag");
    }
}

#[test]
fn the_admin_listener_is_off_unless_asked_for_and_takes_the_forms_of_listen() {
    assert!(config(&["--demo"]).admin.is_empty());
    let admin = config(&["--demo", "--admin", ":9901,localhost:1", "--admin=127.0.0.1:0,127.0.0.1:0"]).admin;
    let text: Vec<String> = admin.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["0.0.0.0:9901", "[::]:9901", "127.0.0.1:1", "127.0.0.1:0", "127.0.0.1:0"]);
}

/// Goal: with TLS alone there is no listener in the clear, unless one is asked for.
#[test]
fn tls_alone_is_alone() {
    let tls = ["--tls-listen", ":443", "--cert", "c", "--key", "k", "--upstream", "app:1"];
    assert!(config(&tls).addresses(Service::Plain).next().is_none());
    assert_eq!(config(&[tls.as_slice(), &["--listen", ":80"]].concat()).addresses(Service::Plain).count(), 2);
}

#[test]
fn flags_of_tls_that_do_not_fit_are_refused_with_advice() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--tls-listen", ":443"], &["--cert", "--key"]),
        (&["--cert", "c", "--key", "k"], &["--tls-listen"]),
        (&["--tls-listen", ":443", "--cert", "a,b", "--key", "k"], &["2 --cert", "1 --key", "pairs"]),
        (&["--http-redirect", ":80"], &["--http-redirect", "--tls-listen"]),
        (&["--client-ca", "ca"], &["--client-ca", "--tls-listen"]),
        (&["--upstream-cert", "c"], &["--upstream-key"]),
        (&["--client-auth", "maybe"], &["--client-auth", "required", "optional"]),
        (
            &["--listen", ":443", "--tls-listen", "0.0.0.0:443", "--cert", "c", "--key", "k"],
            &["0.0.0.0:443 twice"],
        ),
    ];
    for (args, words) in cases {
        let message = refused(&[args, ["--upstream", "app:1"].as_slice()].concat());
        assert!(words.iter().all(|word| message.contains(word)), "{args:?}: {message}");
    }
}

/// Goal: one server is named, no more and no fewer.
#[test]
fn upgrade_takes_one_process() {
    assert_eq!(run(&["upgrade", "--pid", "7"]), Ok(Command::Upgrade(Running::Process(7))));
    let file = Running::File("/run/a.pid".into());
    assert_eq!(run(&["upgrade", "--pid-file", "/run/a.pid"]), Ok(Command::Upgrade(file)));
    let both = ["upgrade", "--pid", "7", "--pid-file", "/run/a.pid"];
    for args in [&["upgrade"][..], &["upgrade", "--pid", "0"], &both] {
        refused(args);
    }
}
