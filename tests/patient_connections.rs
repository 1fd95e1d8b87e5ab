//! Promise: the connections of `examples/http_stream` have an end: clients that ask for nothing, ask a letter at a
//! time, or never read are closed, and no more are served at once than there is room for.

#[path = "../examples/http_stream/patient.rs"]
mod patient;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use patient::PatientListener;
use tokio::net::TcpListener;

/// How long the server waits here. Nothing is asserted about how long anything took.
const PATIENCE: Duration = Duration::from_millis(100);
/// Long beyond anything that is waited for.
const LONG: Duration = Duration::from_secs(120);

/// A server of endless bodies for `most` clients at once; it says when a body is dropped.
async fn server(most: usize) -> (SocketAddr, mpsc::Receiver<()>) {
    let (tell, let_go) = mpsc::channel();
    let songs = get(move || async move {
        let guard = Told(tell.clone());
        let (bytes, body) = flume::bounded::<std::io::Result<Vec<u8>>>(1);
        std::thread::spawn(move || {
            let _guard = guard;
            while bytes.send(Ok(vec![0; 1 << 16])).is_ok() {}
        });
        Body::from_stream(body.into_stream())
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listener = PatientListener::new(listener, most, PATIENCE);
    let address = listener.address().expect("an address");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", songs)).await });
    (address, let_go)
}

struct Told(mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn client(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("a connection");
    client.set_read_timeout(Some(LONG)).expect("a socket");
    client
}

/// Whether the other side ends the connection.
fn is_ended(mut client: TcpStream) -> bool {
    let mut byte = [0];
    match client.read(&mut byte) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock && error.kind() != std::io::ErrorKind::TimedOut,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_nothing_or_a_letter_at_a_time_is_let_go() {
    let (address, _let_go) = server(8).await;
    let ended = tokio::task::spawn_blocking(move || {
        let silent = client(address);
        let mut slow = client(address);
        // Until the server has ended it, which a write then shows.
        let letters = "GET / HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat(b'x'));
        for letter in letters {
            if slow.write_all(&[letter]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        is_ended(silent)
    });
    assert!(ended.await.expect("no panic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_let_go_and_makes_room_for_the_next() {
    let (address, let_go) = server(1).await;
    let served = tokio::task::spawn_blocking(move || {
        let mut deaf = client(address);
        deaf.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
        // It waits for the place of the one that never reads.
        let mut next = client(address);
        next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
        let mut answer = [0; 15];
        next.read_exact(&mut answer).expect("an answer");
        drop(deaf);
        (let_go.recv_timeout(LONG).is_ok(), answer)
    });
    let (let_go, answer) = served.await.expect("no panic");
    assert!(let_go, "the body of the one that never reads is made for ever");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}
