//! Safety: what a client must not be able to do.

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use serde_json::json;
use support::Running;

const SECRET: &str = "a-secret-of-many-letters";

/// What comes back on a connection until it is closed.
fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset has said what it had to say.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("")
}

#[test]
fn with_a_token_only_those_who_know_it_are_let_in_and_the_page_trades_it_for_a_cookie() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.token = Some(SECRET.to_owned()));
    assert_eq!(server.get("/v1/songs").status, 401);
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get_with("/v1/songs", "Authorization", &format!("Bearer {SECRET}")).status, 200);
    assert_eq!(server.post("/v1/session", &json!({ "token": "wrong" })).status, 401);
    let session = server.post("/v1/session", &json!({ "token": SECRET }));
    let cookie = session.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Secure"), "the connection is not encrypted: {cookie}");
    assert_eq!(server.get_with("/v1/songs", "Cookie", cookie.split(';').next().unwrap()).status, 200);
}

#[test]
fn pages_of_other_sites_and_other_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    for (name, value) in
        [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Host", "evil.example")]
    {
        assert_eq!(server.get_with("/v1/songs", name, value).status, 403, "{name}: {value}");
    }
    let form = "POST /v1/songs HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    assert_eq!(status(&answer(server.raw(form))), "415", "a form of another site has no JSON type");
    assert_eq!(server.get("/v1/songs").header("x-content-type-options"), "nosniff");
}

#[test]
fn no_path_leaves_the_library() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret.wav"), "secret").unwrap();
    let server = Running::start(&folder.path().join("library"), |_| ());
    for path in [
        "/v1/songs/../../secret.wav/audio",
        "/v1/songs/%2e%2e%2f%2e%2e%2fsecret/audio",
        "/v1/songs/..%2f..%2fsecret.wav/audio",
        "/v1/songs/aaaaaaaaaaaaaaaa/audio",
        "/v1/songs/aaaaaaaaaaaaaa%00a/audio",
        "/../secret.wav",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&answer(server.raw(&request))), "404", "{path}");
    }
}

#[test]
fn odd_requests_are_answered_and_the_server_lives() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let long = "x".repeat(200_000);
    let nested = "[".repeat(60_000);
    let bodies = [
        "",
        "{",
        "null",
        "[]",
        "\"\"",
        r#"{"lyrics":7}"#,
        r#"{"lyrics":"la","seed":-1}"#,
        r#"{"lyrics":"la","seed":1e400}"#,
        r#"{"lyrics":"la","takes":18446744073709551615}"#,
        r#"{"lyrics":"la","seconds":null,"top_k":0}"#,
        r#"{"lyrics":"la","temperature":-1}"#,
        r#"{"lyrics":"la","cfg_scale":0.5}"#,
        r#"{"lyrics":"la","flow_steps":0}"#,
        r#"{"lyrics":"la","flow_steps":101}"#,
        r#"{"lyrics":"la","first_window":0}"#,
        r#"{"lyrics":"la","first_window":18446744073709551615}"#,
        r#"{"lyrics":"\ud800"}"#,
        r#"{"lyrics":"la","format":"../x"}"#,
        r#"{"lyrics":"","tags":""}"#,
        &nested,
    ];
    for body in bodies {
        for path in ["/v1/songs", "/v1/check", "/v1/audio/speech", "/v1/session"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            let answer = answer(server.raw(&request));
            assert!(status(&answer).starts_with('4'), "{path} {body:.60}: {answer}");
        }
    }
    let over = format!("{{\"lyrics\":\"{long}\"}}");
    let request = format!(
        "POST /v1/songs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{over}",
        over.len()
    );
    let mut stream = TcpStream::connect(server.address).unwrap();
    let _ = stream.write_all(request.as_bytes()); // the server may close before it has all
    assert_eq!(status(&answer(stream)), "413");
    let no_http = [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"];
    for request in no_http {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_ne!(status(&answer(stream)), "200");
    }
    for query in ["?q=%00%ff", "?limit=0", "?limit=201", "?limit=-1", "?offset=99999999999", "?state=sung", "?x=1"] {
        let status = server.get(&format!("/v1/songs{query}")).status;
        assert!(status == 200 || status == 422, "{query}: {status}");
    }
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/v1/songs").json()["count"], 0, "nothing odd became a song");
}

#[test]
fn who_sends_the_head_or_the_body_too_slowly_is_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| {
        options.limits.head_time = Duration::from_millis(300);
        options.limits.body_time = Duration::from_millis(300);
        options.limits.connections = 4;
    });
    // As many as there are places: no other client gets in until they are closed.
    let slow: Vec<TcpStream> = (0..4).map(|_| server.raw("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")).collect();
    assert_eq!(server.get("/healthz").status, 200);
    for stream in slow {
        assert_ne!(status(&answer(stream)), "200");
    }
    let half =
        "POST /v1/songs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{";
    assert_eq!(status(&answer(server.raw(half))), "408");
}

#[test]
fn a_slow_listener_holds_back_only_itself_and_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.limits.stall_time = Duration::from_millis(500));
    let ordered = server.order(100.0, json!({ "format": "wav-f32" }));
    let id = ordered["id"].as_str().unwrap();
    let request = format!("GET /v1/songs/{id}/audio HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut slow: Vec<TcpStream> = (0..8).map(|_| server.raw(&request)).collect();
    server.wait_for(id, "done");
    let whole = server.audio(id).len();
    for stream in &mut slow {
        // What the system had buffered is still there, and then nothing comes.
        assert!(answer(stream.try_clone().unwrap()).len() < whole, "it was never dropped");
    }
    let stalled = |text: String| text.lines().any(|line| line == "heartstream_stalled_total 8");
    assert!(stalled(server.get("/metrics").text()), "{}", server.get("/metrics").text());
}

#[test]
fn a_client_gets_no_more_than_its_places() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.limits.songs_per_client = 3);
    server.order(600.0, json!({ "takes": 2 }));
    let order = json!({ "tags": "calm", "lyrics": "la", "takes": 2 });
    let refused = server.post("/v1/songs", &order);
    assert_eq!((refused.status, refused.header("retry-after")), (429, "10"));
    thread::scope(|scope| {
        let orders: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.post("/v1/songs", &json!({ "lyrics": "la", "tags": "calm" })).status))
            .collect();
        let taken = orders.into_iter().map(|order| order.join().unwrap()).filter(|status| *status == 201);
        assert_eq!(taken.count(), 1, "one place was left");
    });
}

#[test]
fn the_document_describes_every_path_and_the_page_loads_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let document = server.get("/openapi.json").json();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    for path in
        ["/v1/songs", "/v1/songs/{id}", "/v1/songs/{id}/audio", "/v1/songs/{id}/events", "/v1/audio/speech", "/metrics"]
    {
        assert!(paths.iter().any(|found| *found == path), "{path} is not in {paths:?}");
    }
    let page = server.get("/");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(server.get("/v1/models").json()["data"][0]["id"], "demo");
    assert!(server.get("/v1/tags").json()[0]["tags"].as_array().unwrap().contains(&json!("piano")));
}
