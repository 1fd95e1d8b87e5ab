//! Promise: a server that hangs, or sends a byte now and then, is left and asked again, and each of that is said.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use hf_hub::{Cache, api::sync::ApiBuilder};

use super::{
    PullError, Settings,
    hub::{Facts, Hub},
    timeouts::Timeouts,
    transfer::{Wanted, fetch},
};

/// A server that does with its connections, one after the other, what `answer` says, which is told how many came before.
/// A connection has its request read.
fn server(answer: impl Fn(usize, &TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for (before, connection) in listener.incoming().flatten().enumerate() {
            let request = BufReader::new(&connection).lines().map_while(Result::ok);
            request.take_while(|line| !line.is_empty()).for_each(drop);
            answer(before, &connection);
        }
    });
    address
}

/// The settings of a pull from there by a machine that has nothing, with timeouts that a test can wait for.
fn settings(address: &str, home: &Path) -> Settings {
    let cache = Cache::new(home.to_owned());
    let api = ApiBuilder::from_cache(cache.clone()).with_endpoint(address.to_owned()).build().expect("addresses");
    let timeouts =
        Timeouts { response: Duration::from_millis(200), speed: Duration::from_millis(200), ..Timeouts::default() };
    let endpoint = address.parse().expect("an address");
    Settings { endpoint, token: None, cache, api, is_offline: false, timeouts }
}

#[test]
fn a_hub_that_hangs_is_asked_three_times_and_said_each_time() {
    let (home, said) = (tempfile::tempdir().expect("a folder"), RefCell::new(Vec::new()));
    // Until the client has gone.
    let address = server(|_, connection| BufReader::new(connection).lines().for_each(drop));
    let say = |sentence: &str| said.borrow_mut().push(sentence.to_owned());
    let hub = Hub::new(settings(&address, home.path()), "the files".to_owned(), &say);
    let error = hub.facts(&hub.url("a/b", "main", "c")).expect_err("it does not answer");
    assert!(matches!(error, PullError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("no answer within 0.2 seconds"), "{error}");
    let said = said.borrow();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.iter().all(|said| said.contains("127.0.0.1 does not answer") && said.contains("next try")),
        "{said:?}"
    );
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_left_and_asked_again() {
    const FILE: [u8; 5000] = [7; 5000];
    let (home, said) = (tempfile::tempdir().expect("a folder"), RefCell::new(Vec::new()));
    let address = server(|before, mut connection| {
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", FILE.len());
        let _ = connection.write_all(head.as_bytes());
        if before > 0 {
            let _ = connection.write_all(&FILE);
            return;
        }
        for byte in FILE {
            if connection.write_all(&[byte]).is_err() {
                return;
            }
            // At most 200 bytes a second, however fast the machine is.
            thread::sleep(Duration::from_millis(5));
        }
    });
    let say = |sentence: &str| said.borrow_mut().push(sentence.to_owned());
    let hub = Hub::new(settings(&address, home.path()), "the files".to_owned(), &say);
    let wanted = Wanted {
        repository: "a/b",
        url: format!("{address}/file"),
        place: "file".into(),
        facts: Facts { size: FILE.len() as u64, hash: None, commit: None },
    };
    fetch(&hub, &wanted, home.path(), &mut |_| ()).expect("the second try");
    assert_eq!(fs::read(home.path().join("file")).expect("the file"), FILE);
    let said = said.borrow();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("the server sends") && said[0].contains("bytes a second"), "{said:?}");
}
