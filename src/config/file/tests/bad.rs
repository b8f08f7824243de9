//! Bad files, each with the place and the words of its error.

use super::super::fault::Place;
use super::*;

/// A file, the line and column of its error (0, 0 is nowhere), and words of it.
type Case = (&'static str, (usize, usize), &'static [&'static str]);

/// What TOML and single values are about.
const VALUES: &[Case] = &[
    ("[server\n", (1, 8), &["table"]),
    ("[server]\nworkers = \n", (2, 11), &["value"]),
    ("[server]\npin = true\npin = false\n", (3, 1), &["duplicate key"]),
    ("[server]\n[server]\n", (2, 2), &["duplicate key"]),
    ("[sever]\n", (1, 2), &["unknown key `sever`", "did you mean `server`?"]),
    ("[server]\nworkres = 4\n", (2, 1), &["unknown key `workres`", "did you mean `workers`?"]),
    ("[server]\nmax_connections = 4\n", (2, 1), &["did you mean `max-connections`?"]),
    ("[server]\nworkers = 0\n", (2, 11), &["from 1 to 1024", "`auto`"]),
    ("[server]\nworkers = 99999999999999999999\n", (2, 11), &["found integer `99999999999999999999`\n"]),
    ("[server]\nworkers = \"many\"\n", (2, 11), &["from 1 to 1024"]),
    ("[server]\npin = \"on\"\n", (2, 7), &["expected `true` or `false`", "the text \"on\""]),
    ("[server]\npin = 1\n", (2, 7), &["expected `true` or `false`", "a number"]),
    ("[server]\nsplice-min = \"10m\"\n", (2, 14), &["ambiguous unit"]),
    ("[server]\ndns-refresh = \"10ms\"\n", (2, 15), &["1s at least"]),
    ("[server]\nadmin = \"127.0.0.1:9901\"\n", (2, 9), &["expected a list", "brackets"]),
    ("[server]\nadmin = [\"127.0.0.1:9901\",\n  \"9902\"]\n", (3, 3), &[":8080 for every interface"]),
    ("listener = { address = \":80\" }\n", (1, 12), &["expected a list", "two brackets"]),
    ("[listener]\naddress = \":80\"\n", (1, 1), &["expected a list, found a table", "[[listener]]"]),
    ("[[listener]]\ntls = true\n", (1, 1), &["`address` is missing"]),
    ("[[listener]]\naddress = \"example.com:80\"\n", (2, 11), &["names are not resolved here"]),
    ("[[listener]]\naddress = 8080\n", (2, 11), &[":8080 for every interface"]),
    ("[[listener]]\naddress = \":80\"\naccept-proxy = [\"10.0.0.0/33\"]\n", (3, 17), &["CIDR"]),
    ("[[tls.certificate]]\ncert = \"c\"\n", (1, 1), &["`key` is missing"]),
    ("[tls]\nclient-auth = \"requird\"\n", (2, 15), &["unknown word `requird`", "did you mean `required`?"]),
    ("[timeouts]\nrequest = 10\n", (2, 11), &["a number with a unit", "10s"]),
    ("[timeouts]\nrequest = \"5M\"\n", (2, 11), &["lower case"]),
    ("[timeouts]\nrequest = true\n", (2, 11), &["expected a duration", "found `true`"]),
    ("[timeouts]\nrequest = 1.5\n", (2, 11), &["expected a duration", "1.5"]),
    ("[timeouts]\nidle = \"5m\"\n", (2, 1), &["unknown key `idle`", "did you mean `stream-idle`?"]),
    ("[timeouts]\nstatus = 200\n", (2, 10), &["from 500 to 599"]),
    ("[limits]\nmax-head-bytes = \"1MiB\"\n", (2, 18), &["1KiB to 80KiB"]),
    ("[limits]\nmax-connections-per-client = -1\n", (2, 30), &["whole number"]),
    ("[forwarding]\ntrusted-proxies = [true]\n", (2, 20), &["expected a network", "found `true`"]),
    ("[log]\nformat = \"xml\"\n", (2, 10), &["unknown word `xml`", "known here: `logfmt`, `json`"]),
    ("[log]\nlevel = \"inof\"\n", (2, 9), &["expected error, warn, info"]),
    ("[log]\naccess = \"-x\"\n", (2, 10), &["./-access.log"]),
    ("[groups.\"a b\"]\nupstreams = [\"a:1\"]\n", (1, 9), &["a name is up to 200 characters"]),
    ("[groups.app]\nupstream = \"127.0.0.1:3000\"\n", (2, 1), &["unknown key `upstream`", "`upstreams`?"]),
    ("[groups.app]\nupstreams = [\"ftp://app\"]\n", (2, 14), &["unknown scheme"]),
    ("[groups.app]\nupstreams = [\"a:1\", 3000]\n", (2, 21), &["expected an origin", "3000"]),
    ("[groups.app]\nupstreams = [{ weight = 2 }]\n", (2, 14), &["`address` is missing"]),
    (
        "[groups.app]\nupstreams = [{ address = \"a:1\", weight = 0 }]\n",
        (2, 42),
        &["from 1 to 65535", "left out"],
    ),
    ("[groups.app]\nupstreams = [{ address = \"a\", wieght = 1 }]\n", (2, 26), &["no port"]),
    ("[groups.app]\nupstreams = [{ address = \"a:1\", wieght = 1 }]\n", (2, 33), &["did you mean `weight`?"]),
    ("[groups.app]\nbalance = \"random\"\n", (2, 11), &["unknown word `random`", "`least-requests`"]),
    ("[groups.app]\nhash-key = \"ip\"\n", (2, 12), &["\"client\"", "cookie:session"]),
    ("[groups.app]\nhash-key = \"header:a b\"\n", (2, 12), &["the name of a field"]),
    ("[groups.app]\nejection = 5\n", (2, 12), &["expected `false`, or a table"]),
    ("[groups.app]\nejection = { error-percent = 101 }\n", (2, 30), &["from 0 to 100"]),
    ("[groups.app]\nejection = { window = \"off\" }\n", (2, 23), &["cannot be off"]),
    ("[groups.app]\nsticky = { secure = true }\n", (2, 10), &["`cookie` is missing"]),
    ("[groups.app]\nsticky = { cookie = \"a=b\" }\n", (2, 21), &["the name of a cookie"]),
    ("[groups.app]\ncheck = { http = \"/\", expect = \"399-200\" }\n", (2, 32), &["200-399"]),
    ("[groups.app]\nmax-connections = 0\n", (2, 19), &["from 1 to"]),
    ("[groups.app]\nsend-proxy = \"v3\"\n", (2, 14), &["unknown word `v3`", "`v1`"]),
    ("[route]\ngroup = \"app\"\n", (1, 1), &["expected a list, found a table", "[[route]]"]),
    ("[[route]]\nhosts = [\"example.com:443\"]\n", (2, 10), &["no port here"]),
    ("[[route]]\nhosts = [\"a.com\", \"www.*.com\"]\n", (2, 19), &["in front of a name"]),
    ("[[route]]\nhosts = \"a.com\"\n", (2, 9), &["expected a list", "brackets"]),
    ("[[route]]\nhost = \"a.com\"\n", (2, 1), &["unknown key `host`", "did you mean `hosts`?"]),
    ("[[route]]\npath = \"api\"\n", (2, 8), &["begins with `/`"]),
    ("[[route]]\npath = \"/api/*\"\n", (2, 8), &["no wildcards"]),
    ("[[route]]\npath = \"/a?b=1\"\n", (2, 8), &["no query"]),
    ("[[route]]\nmethods = [\"get\"]\n", (2, 12), &["upper case"]),
    ("[[route]]\nmethods = [\"TRACE\"]\n", (2, 12), &["405"]),
    ("[[route]]\nheaders = { \"x a\" = \"1\" }\n", (2, 13), &["the name of a field"]),
    ("[[route]]\nheaders = { x-a = 1 }\n", (2, 19), &["found the number 1", "quotes"]),
    ("[[route]]\nheaders = { x-a = false }\n", (2, 19), &["leave it out"]),
    ("[[route]]\nrequest-headers = { set = { x = \"a\\r\\nb: c\" } }\n", (2, 33), &["no line ends"]),
    ("[[route]]\nresponse-headers = { add = { x = [\"a\", \"b\\n\"] } }\n", (2, 40), &["no line ends"]),
    ("[[route]]\nrespond = { status = 100 }\n", (2, 22), &["from 200 to 599"]),
    ("[[route]]\nredirect = { to = \"/\", status = 200 }\n", (2, 33), &["301, 302, 303, 307 or 308"]),
    ("[[route]]\nredirect = { scheme = \"ftp\" }\n", (2, 23), &["unknown word `ftp`"]),
    (
        "[[route]]\ntimeouts = { header = \"1s\" }\n",
        (2, 14),
        &["unknown key `header`", "set it in `[timeouts]`"],
    ),
    ("[[route]]\nretry = { statuses = [200] }\n", (2, 23), &["from 400 to 599"]),
    ("[[route]]\nretry = { budget-percent = 150 }\n", (2, 28), &["from 0 to 100"]),
    ("[[route]]\nlimit = [{ key = \"ip\", requests = 1 }]\n", (2, 18), &["header:x-api-key"]),
    ("[[route]]\nlimit = [{ requests = 1 }]\n", (2, 10), &["`key` is missing"]),
    ("[[route]]\nlimit = { key = \"client\" }\n", (2, 9), &["expected a list", "two brackets"]),
];

/// What is wrong between values; each file is `GROUP` and this, whose lines count from 1.
const WHOLES: &[Case] = &[
    ("", (0, 0), &["nothing to serve", "`[[route]]`"]),
    ("[groups.app]\nupstreams = [\"a:1\"]\n", (1, 9), &["no route uses the group `app`", "[[route]]"]),
    ("[[route]]\n", (1, 1), &["nothing says what becomes of these requests", "group = \"NAME\""]),
    ("[[route]]\ngroup = \"app\"\n", (2, 9), &["there is no group `app`", "[groups.app]"]),
    (
        "[groups.shop]\nupstreams = [\"a:1\"]\n[[route]]\ngroup = \"shpo\"\n",
        (4, 9),
        &["there is no group `shpo`", "did you mean `shop`?"],
    ),
    (
        "[groups.a]\nupstreams = [\"a:1\"]\n[groups.b]\nupstreams = [\"b:1\"]\n[[route]]\ngroup = \"a\"\n",
        (3, 9),
        &["no route uses the group `b`", "group = \"b\""],
    ),
    ("[groups.app]\nupstreams = []\n[[route]]\ngroup = \"app\"\n", (1, 9), &["has no upstreams"]),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\nbalance = \"hash\"\n[[route]]\ngroup = \"app\"\n",
        (3, 11),
        &["a hash needs a key", "hash-key = \"client\""],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\nhash-key = \"client\"\n[[route]]\ngroup = \"app\"\n",
        (3, 12),
        &["of no use without balance = \"hash\""],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\", \"h2c://b:2\"]\nsend-proxy = \"v2\"\n[[route]]\ngroup = \"app\"\n",
        (2, 21),
        &["clients share connections"],
    ),
    (
        "[groups.app]\nupstreams = [{ address = \"127.0.0.1:8080\" }]\n[[route]]\ngroup = \"app\"\n",
        (2, 26),
        &["round in circles"],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\nejection = { base = \"10m\" }\n[[route]]\ngroup = \"app\"\n",
        (3, 21),
        &["`base` is longer than `max`"],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\nsticky = { cookie = \"s\", max-age = \"10ms\" }\n[[route]]\ngroup = \"app\"\n",
        (3, 36),
        &["whole seconds"],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\ncheck = { interval = \"1s\" }\n[[route]]\ngroup = \"app\"\n",
        (3, 9),
        &["nothing says what a probe does", "tcp = true"],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\ncheck = { http = \"/\", tcp = true }\n[[route]]\ngroup = \"app\"\n",
        (3, 9),
        &["either `http` or `tcp`"],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\ncheck = { http = \"healthz\" }\n[[route]]\ngroup = \"app\"\n",
        (3, 18),
        &["begins with `/`"],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\ncheck = { tcp = true, expect = 200 }\n[[route]]\ngroup = \"app\"\n",
        (3, 32),
        &["`expect` is of no use"],
    ),
    (
        "[[listener]]\naddress = \":443\"\ntls = true\n",
        (2, 11),
        &["needs a certificate", "[[tls.certificate]]"],
    ),
    ("[[listener]]\naddress = \":80\"\nredirect = true\n", (2, 11), &["no listener with TLS", "tls = true"]),
    ("[[listener]]\naddress = \":80\"\nredirect = true\ntls = true\n", (3, 12), &["either speaks TLS or"]),
    ("[[tls.certificate]]\ncert = \"c\"\nkey = \"k\"\n", (2, 8), &["of no use without a listener with TLS"]),
    ("[tls]\nclient-auth = \"optional\"\n", (2, 15), &["without `client-ca`"]),
    ("[tls]\nclient-ca = \"ca\"\n", (2, 13), &["of no use without a listener with TLS"]),
    ("[upstream-tls]\ncert = \"c\"\n", (2, 8), &["go together"]),
    (
        "[[listener]]\naddress = \":80\"\n[[listener]]\naddress = \"0.0.0.0:80\"\n",
        (4, 11),
        &["0.0.0.0:80", "twice"],
    ),
    (
        "[server]\nadmin = [\"127.0.0.1:80\"]\n[[listener]]\naddress = \"127.0.0.1:80\"\n",
        (2, 10),
        &["127.0.0.1:80 is listened on twice"],
    ),
    ("[limits]\nmax-head-bytes = \"4KiB\"\n", (2, 18), &["less than max-head-bytes 4KiB", "2KiB"]),
    ("[limits]\nmax-target-bytes = \"32KiB\"\n", (2, 20), &["less than max-head-bytes 32KiB"]),
    ("[server]\ndemo = true\n[[route]]\nrespond = {}\n", (3, 1), &["the demo serves its own origin"]),
    (
        "[[route]]\npath = \"/a\"\nexact-path = \"/a\"\nrespond = {}\n",
        (3, 14),
        &["either `path` or `exact-path`"],
    ),
    ("[[route]]\npath = \"/a//b\"\nrespond = {}\n", (2, 8), &["never have this path", "normalize-paths"]),
    ("[[route]]\nhosts = []\nrespond = {}\n", (2, 9), &["`hosts` is empty"]),
    ("[[route]]\nhosts = [\"a.com\", \"A.com\"]\nrespond = {}\n", (2, 19), &["in `hosts` twice"]),
    ("[[route]]\nmethods = [\"GET\", \"GET\"]\nrespond = {}\n", (2, 19), &["in `methods` twice"]),
    ("[[route]]\nheaders = { x = \"1\", X = \"2\" }\nrespond = {}\n", (2, 22), &["`x` is here twice"]),
    ("[[route]]\nheaders = { Host = \"a\" }\nrespond = {}\n", (2, 13), &["hosts are matched by `hosts`"]),
    (
        "[[route]]\nredirect = { to = \"/\" }\nrespond = {}\n",
        (3, 11),
        &["one of `group`, `redirect` and `respond`"],
    ),
    (
        "[[route]]\nrespond = {}\nstrip-prefix = true\n",
        (3, 16),
        &["`strip-prefix` is of no use without `group`"],
    ),
    ("[[route]]\nredirect = {}\n", (2, 12), &["round in circles", "write `to`"]),
    ("[[route]]\nredirect = { to = \"/a\", host = \"b\" }\n", (2, 19), &["`to` is the whole location"]),
    ("[[route]]\nredirect = { to = \"example.com\" }\n", (2, 19), &["https://example.com"]),
    ("[[route]]\nexact-path = \"/a\"\nredirect = { to = \"/a\" }\n", (3, 19), &["round in circles"]),
    (
        "[[route]]\nredirect = { strip-prefix = true, replace-prefix = \"/a\" }\n",
        (2, 52),
        &["either stripped or replaced"],
    ),
    ("[[route]]\nrespond = { status = 204, body = \"x\" }\n", (2, 34), &["204 has no body"]),
    ("[[route]]\nrespond = { content-type = \"text/html\" }\n", (2, 28), &["of no use without a body"]),
    (
        "[[route]]\nrespond = {}\nrequest-headers = { remove = [\"cookie\"] }\n",
        (3, 19),
        &["only a route that forwards"],
    ),
    (
        "[[route]]\nrespond = {}\nresponse-headers = { set = { Content-Length = \"0\" } }\n",
        (3, 30),
        &["`content-length` cannot be changed here", "where the message ends"],
    ),
    (
        "[[route]]\nrespond = {}\nresponse-headers = { remove = [\"connection\"] }\n",
        (3, 32),
        &["about one connection"],
    ),
    (
        "[groups.app]\nupstreams = [\"a:1\"]\n[[route]]\ngroup = \"app\"\nrequest-headers = { add = { host = \"a\" } }\n",
        (5, 29),
        &["exactly one", "`set`"],
    ),
    (
        "[[route]]\nrespond = {}\nresponse-headers = { remove = [\"x\", \"X\"] }\n",
        (3, 37),
        &["`x` is here twice"],
    ),
    ("[[route]]\nrespond = {}\nlimit = [{ key = \"client\" }]\n", (3, 10), &["nothing is limited"]),
    (
        "[[route]]\nrespond = {}\nlimit = [{ key = \"client\", per = \"1s\", concurrent = 1 }]\n",
        (3, 34),
        &["of no use without `requests`"],
    ),
    (
        "[[route]]\nname = \"a\"\npath = \"/a\"\nrespond = {}\n[[route]]\nname = \"a\"\nrespond = {}\n",
        (6, 8),
        &["the name `a` already"],
    ),
    (
        "[[route]]\nname = \"first\"\nrespond = {}\n[[route]]\npath = \"/\"\nrespond = {}\n",
        (4, 1),
        &["no request reaches this route", "`first`"],
    ),
    (
        "[[route]]\nhosts = [\"a.com\", \"b.com\"]\nrespond = {}\n[[route]]\nhosts = [\"B.com\"]\nrespond = {}\n",
        (4, 1),
        &["`a.com/` above has them all"],
    ),
    (
        "[[route]]\nhosts = [\"a.com\"]\nrespond = {}\n[[route]]\nhosts = [\"b.com\"]\nrespond = {}\n[[route]]\n\
         hosts = [\"a.com\", \"b.com\"]\nrespond = {}\n",
        (7, 1),
        &["no request reaches this route"],
    ),
    (
        "[[route]]\nmethods = [\"GET\", \"HEAD\"]\nrespond = {}\n[[route]]\nmethods = [\"HEAD\"]\nrespond = {}\n",
        (4, 1),
        &["no request reaches this route"],
    ),
    (
        "[[route]]\nheaders = { x = true }\nrespond = {}\n[[route]]\nheaders = { x = \"1\" }\nrespond = {}\n",
        (4, 1),
        &["no request reaches this route"],
    ),
];

/// All cases that are wrong.
fn wrong(cases: &[Case]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (text, (line, column), words) in cases {
        let Err(fault) = config(text) else {
            wrong.push(format!("accepted:\n{text}"));
            continue;
        };
        let said = fault.render("test.toml", text);
        let place = fault.place(text).unwrap_or(Place { line: 0, column: 0 });
        if (place.line, place.column) != (*line, *column) || !words.iter().all(|word| said.contains(word)) {
            wrong.push(format!("expected {line}:{column} {words:?} of\n{text}\n{said}"));
        }
    }
    wrong
}

#[test]
fn values_are_refused_at_their_place() {
    let wrong = wrong(VALUES);
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n---\n"));
}

#[test]
fn contradictions_are_refused_at_their_place() {
    let wrong = wrong(WHOLES);
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n---\n"));
}

/// Goal: the picture of the design, to the letter.
#[test]
fn an_error_looks_like_this() {
    let text = "[groups.app]\n        upstream = \"127.0.0.1:3000\"\n";
    let said = config(text).unwrap_err().render("ringress.toml", text);
    let picture = "error: ringress.toml:2:9: unknown key `upstream`\n  |\n2 |         upstream = \"127.0.0.1:3000\"\n  |         \
                   ^^^^^^^^\n  = help: did you mean `upstreams`?\n";
    assert_eq!(said, picture);
}

/// Goal: routes that differ in anything a request can show are all reachable.
#[test]
fn what_can_be_reached_is_not_refused() {
    let routes = [
        "",
        "hosts = [\"a.com\"]",
        "hosts = [\"*.a.com\"]",
        "hosts = [\"a.com\", \"b.com\"]",
        "path = \"/a\"",
        "exact-path = \"/a\"",
        "exact-path = \"/\"",
        "methods = [\"GET\"]",
        "methods = [\"GET\", \"HEAD\"]",
        "headers = { x = \"1\" }",
        "headers = { x = \"2\" }",
        "headers = { x = true }",
        "headers = { x = \"1\", y = \"1\" }",
        "methods = [\"GET\"]\nheaders = { x = \"1\" }",
    ];
    let text: String = routes.iter().map(|route| format!("[[route]]\n{route}\nrespond = {{}}\n")).collect();
    let names: Vec<_> = good(&text).routes.into_iter().map(|route| route.name.into_string()).collect();
    let expected = [
        "/", "a.com/", "*.a.com/", "a.com/-2", "/a", "/a=", "/=", "/-2", "/-3", "/-4", "/-5", "/-6", "/-7",
        "/-8",
    ];
    assert_eq!(names, expected);
}
