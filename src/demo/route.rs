//! The table of endpoints: dispatch, banner, page and 404 all read it.

/// What answers a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The page.
    Page,
    /// The event stream.
    Sse,
    /// The WebSocket echo.
    WebSocket,
    /// The late reply.
    Slow,
    /// The byte-by-byte reply.
    Drip,
    /// N bytes with Content-Length.
    Bytes,
    /// N bytes, chunked.
    Chunked,
    /// The upload echo.
    Upload,
    /// The upload counter.
    UploadDiscard,
    /// A status by number.
    Status,
    /// The request head as it arrived.
    Headers,
}

/// One endpoint, for dispatch and for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// What serves it.
    pub(super) endpoint: Endpoint,
    /// The path, or what comes before the argument.
    pub(super) path: &'static str,
    /// What the last segment of the path stands for, if it stands for something.
    pub(super) argument: Option<&'static str>,
    /// What else the query may say.
    pub(super) query: &'static str,
    /// One line of description.
    pub(super) about: &'static str,
    /// Options of a curl command that shows it.
    pub(super) curl_options: &'static str,
    /// Path and query of that command.
    pub(super) curl_target: &'static str,
}

impl Route {
    /// `/bytes/N`, `/sse?interval=MS`
    pub(super) fn pattern(&self) -> String {
        format!("{}{}{}", self.path, self.argument.unwrap_or_default(), self.query)
    }

    /// A shell command that shows this endpoint of the server at `base` (`http://host:port`).
    pub(super) fn curl(&self, base: &str) -> String {
        let url = format!("{base}{}", self.curl_target);
        let quote = if url.contains(['?', '&', '[']) { "'" } else { "" };
        let space = if self.curl_options.is_empty() { "" } else { " " };
        format!("curl {}{space}{quote}{url}{quote}", self.curl_options)
    }

    /// Whether `path` is this endpoint's; its argument then.
    fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.path)?;
        let takes =
            if self.argument.is_some() { !rest.is_empty() && !rest.contains('/') } else { rest.is_empty() };
        takes.then_some(rest)
    }
}

/// What [`find`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'p> {
    /// What serves the path.
    pub(super) endpoint: Endpoint,
    /// The last segment of `/bytes/N` and the like; empty elsewhere.
    pub(super) argument: &'p str,
}

/// The endpoint of a path.
pub(super) fn find(path: &str) -> Option<Found<'_>> {
    ROUTES.iter().find_map(|route| {
        let argument = route.matches(path)?;
        Some(Found { endpoint: route.endpoint, argument })
    })
}

/// Every endpoint.
pub(super) const ROUTES: &[Route] = &[
    Route {
        endpoint: Endpoint::Page,
        path: "/",
        argument: None,
        query: "",
        about: "a page to click through; open it in a browser",
        curl_options: "",
        curl_target: "/",
    },
    Route {
        endpoint: Endpoint::Sse,
        path: "/sse",
        argument: None,
        query: "?interval=MS&count=N",
        about: "server-sent events: the time, each second, for as long as you listen",
        curl_options: "-N",
        curl_target: "/sse",
    },
    Route {
        endpoint: Endpoint::WebSocket,
        path: "/ws",
        argument: None,
        query: "",
        about: "WebSocket echo of text and binary messages (this line shows the 101; try it on the page)",
        curl_options: "-iN --http1.1 --max-time 2 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
                       -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='",
        curl_target: "/ws",
    },
    Route {
        endpoint: Endpoint::Slow,
        path: "/slow",
        argument: None,
        query: "?seconds=N",
        about: "silence before the response head, 2 seconds if not told otherwise",
        curl_options: "-w 'took %{time_total} s\\n'",
        curl_target: "/slow?seconds=2",
    },
    Route {
        endpoint: Endpoint::Drip,
        path: "/drip",
        argument: None,
        query: "?bytes=N&interval=MS",
        about: "a body that comes one byte at a time",
        curl_options: "-N",
        curl_target: "/drip?bytes=20&interval=250",
    },
    Route {
        endpoint: Endpoint::Bytes,
        path: "/bytes/",
        argument: Some("N"),
        query: "",
        about: "N bytes with Content-Length, up to 10 GiB",
        curl_options: "-o /dev/null -w '%{size_download} bytes in %{time_total} s\\n'",
        curl_target: "/bytes/100000000",
    },
    Route {
        endpoint: Endpoint::Chunked,
        path: "/chunked/",
        argument: Some("N"),
        query: "",
        about: "the same bytes, chunked",
        curl_options: "-o /dev/null -w '%{size_download} bytes in %{time_total} s\\n'",
        curl_target: "/chunked/100000000",
    },
    Route {
        endpoint: Endpoint::Upload,
        path: "/upload",
        argument: None,
        query: "",
        about: "POST or PUT: your body comes back while you send it (with -T . instead: type lines, end with Ctrl-D)",
        curl_options: "-N -d 'hello, origin'",
        curl_target: "/upload",
    },
    Route {
        endpoint: Endpoint::UploadDiscard,
        path: "/upload/discard",
        argument: None,
        query: "",
        about: "POST or PUT: counts the bytes of your body",
        curl_options: "-T /etc/os-release -H 'Expect: 100-continue'",
        curl_target: "/upload/discard",
    },
    Route {
        endpoint: Endpoint::Status,
        path: "/status/",
        argument: Some("NNN"),
        query: "",
        about: "a response with that status, 200 to 599",
        curl_options: "-i",
        curl_target: "/status/418",
    },
    Route {
        endpoint: Endpoint::Headers,
        path: "/headers",
        argument: None,
        query: "",
        about: "your request head as the origin received it, with what the proxy made of it",
        curl_options: "",
        curl_target: "/headers",
    },
];

#[cfg(test)]
mod tests {
    //! Goal: paths find their endpoint, whole, and nothing else does; each curl line shows its own endpoint.

    use super::*;

    #[test]
    fn finds_paths_whole() {
        let cases = [
            ("/", Some((Endpoint::Page, ""))),
            ("/sse", Some((Endpoint::Sse, ""))),
            ("/bytes/12", Some((Endpoint::Bytes, "12"))),
            ("/upload", Some((Endpoint::Upload, ""))),
            ("/upload/discard", Some((Endpoint::UploadDiscard, ""))),
            ("/bytes/", None),
            ("/bytes", None),
            ("/bytes/1/2", None),
            ("/sse/", None),
            ("/nothing", None),
            ("*", None),
            ("", None),
        ];
        for (path, expected) in cases {
            let expected = expected.map(|(endpoint, argument)| Found { endpoint, argument });
            assert_eq!(find(path), expected, "{path}");
        }
    }

    #[test]
    fn each_curl_line_shows_its_own_endpoint() {
        for route in ROUTES {
            let path = route.curl_target.split('?').next().unwrap();
            assert_eq!(find(path).unwrap().endpoint, route.endpoint, "{path}");
        }
    }

    #[test]
    fn curl_lines_are_fit_for_a_shell() {
        let line = |endpoint| {
            ROUTES.iter().find(|route| route.endpoint == endpoint).unwrap().curl("http://127.0.0.1:8080")
        };
        assert_eq!(line(Endpoint::Page), "curl http://127.0.0.1:8080/");
        assert_eq!(line(Endpoint::Sse), "curl -N http://127.0.0.1:8080/sse");
        assert_eq!(line(Endpoint::Drip), "curl -N 'http://127.0.0.1:8080/drip?bytes=20&interval=250'");
    }
}
