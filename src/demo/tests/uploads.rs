//! Goal: bodies come back while they are sent, are counted exactly, and are asked for where a client waits for it.

use super::client::Client;

const POST: &str = "POST /upload HTTP/1.1\r\nHost: demo\r\n";

#[test]
fn an_echo_runs_while_the_upload_does() {
    let mut client = Client::new();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n"));
    assert_eq!(client.head().status, 200, "the head comes before any byte of the body");
    for part in ["first", "second"] {
        client.send(format!("{:x}\r\n{part}\r\n", part.len()));
        assert_eq!(client.chunk().unwrap(), part.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk(), None);
    assert_eq!(client.get("/bytes/1").1, b"a");
}

#[test]
fn an_echo_returns_every_byte() {
    let mut client = Client::new();
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    let mut writer = client.reader.get_ref().try_clone().unwrap();
    let sent = body.clone();
    let sending = std::thread::spawn(move || {
        let head = format!("PUT /upload HTTP/1.1\r\nHost: demo\r\nContent-Length: {}\r\n\r\n", sent.len());
        std::io::Write::write_all(&mut writer, &[head.as_bytes(), &sent].concat()).unwrap();
    });
    assert!(client.reply().1 == body);
    sending.join().unwrap();
}

#[test]
fn a_client_that_waits_is_invited_first() {
    for path in ["/upload", "/upload/discard"] {
        let mut client = Client::new();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ));
        assert_eq!(client.head().status, 100, "{path}");
        client.send("hello");
        let (head, body) = client.reply();
        assert_eq!(head.status, 200);
        let expected = if path == "/upload" { "hello" } else { "{\"bytes\":5}\n" };
        assert_eq!(str::from_utf8(&body).unwrap(), expected);
        assert_eq!(client.get("/bytes/1").1, b"a");
    }
}

#[test]
fn a_client_that_waits_in_vain_gets_its_answer_and_a_close() {
    let mut client = Client::new();
    client
        .send("PUT /status/413 HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.field("Connection")), (413, Some("close")));
    client.leave();
    client.rest();
}

#[test]
fn discarded_bytes_are_counted() {
    let mut client = Client::new();
    for bytes in [0_usize, 1, 65_536, 2_000_000] {
        client
            .send(format!("POST /upload/discard HTTP/1.1\r\nHost: demo\r\nContent-Length: {bytes}\r\n\r\n"));
        client.send(vec![b'x'; bytes]);
        let (head, body) = client.reply();
        assert_eq!(head.field("Content-Type"), Some("application/json"));
        assert_eq!(String::from_utf8(body).unwrap(), format!("{{\"bytes\":{bytes}}}\n"));
    }
}

#[test]
fn an_upload_cut_short_is_not_echoed_as_complete() {
    let mut client = Client::new();
    client.send(format!("{POST}Content-Length: 10\r\n\r\nhello"));
    client.head();
    client.leave();
    assert_eq!(client.rest(), b"5\r\nhello\r\n");
}

#[test]
fn only_post_and_put_upload() {
    let mut client = Client::new();
    for path in ["/upload", "/upload/discard"] {
        let (head, _) = client.get(path);
        assert_eq!((head.status, head.field("Allow")), (405, Some("POST, PUT")));
    }
}
