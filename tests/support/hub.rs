//! A hub on this machine: it answers as the real one does, notes what it is asked, and fails when it is told to.
//!
//! Small files come at once, with their git hash as ETag. Weights are a redirect that carries their SHA-256, to a store
//! under another host name, whose own ETag is no hash of the file.
#![allow(dead_code)] // each test file uses its part of this

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread,
};

use sha2::Digest;

/// The commit that `main` stands for in every repository.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Something that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The body breaks off after this number of bytes.
    DropAfter(usize),
    /// The body stops after this number of bytes and the connection stays open; the sender is told when it does.
    StallAfter(usize, mpsc::Sender<()>),
    /// The whole file comes, whatever part was asked for.
    IgnoreRange,
    /// One bit of the body is wrong.
    FlipABit,
    /// The body has this length instead.
    OtherLength(usize),
    /// The answer is this status with this header line.
    Status(u16, &'static str),
    /// The hub claims this length before the file is fetched.
    ClaimLength(u64),
    /// The hub gives no hash.
    NoHash,
    /// The length is not said: the body comes in chunks.
    Chunked,
    /// A web page comes in the place of the file.
    Page,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    /// Files by repository and name.
    files: BTreeMap<(String, String), Arc<Vec<u8>>>,
    /// What goes wrong: with requests of this method whose file ends so, this many times more.
    faults: Vec<(&'static str, String, usize, Fault)>,
    seen: Vec<Seen>,
}

/// The hub. It serves until the test ends.
pub struct Hub {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// Starts a hub without repositories.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let store = address.replace("127.0.0.1", "localhost");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (state, store) = (Arc::clone(&shared), store.clone());
                thread::spawn(move || answer(connection, &state, &store));
            }
        });
        Self { address, state }
    }

    /// Puts the files of a folder into a repository.
    pub fn publish(&self, repository: &str, folder: &Path) {
        for entry in fs::read_dir(folder).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
            let name = entry.file_name().into_string().expect("a plain name");
            self.publish_file(repository, &name, fs::read(entry.path()).expect("a file"));
        }
    }

    /// Puts one file into a repository.
    pub fn publish_file(&self, repository: &str, name: &str, bytes: Vec<u8>) {
        self.lock().files.insert((repository.to_owned(), name.to_owned()), Arc::new(bytes));
    }

    /// Makes something go wrong `times` times, with requests of `method` for files whose repository and name end so.
    pub fn fail(&self, method: &'static str, file: &str, times: usize, fault: Fault) {
        self.lock().faults.push((method, file.to_owned(), times, fault));
    }

    /// What was asked with `method` and not shown before.
    pub fn take_seen(&self, method: &str) -> Vec<Seen> {
        let (of_method, others) =
            std::mem::take(&mut self.lock().seen).into_iter().partition(|seen| seen.method == method);
        self.lock().seen = others;
        of_method
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a file, as the hub writes it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

fn git_sha1(bytes: &[u8]) -> String {
    let hasher = sha1::Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hex(&hasher.chain_update(bytes).finalize())
}

/// Reads one request and answers it; then the connection ends. That a client goes away is nothing to the hub.
fn answer(connection: TcpStream, state: &Mutex<State>, store: &str) {
    let mut lines = BufReader::new(&connection).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let headers: BTreeMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let (range, authorization) = (headers.get("range").cloned(), headers.get("authorization").cloned());
    let seen = Seen { method: method.clone(), path: path.clone(), range, authorization };

    let (in_store, file_path) = match path.strip_prefix("/store") {
        Some(path) => (true, path),
        None => (false, path.as_str()),
    };
    let key = key(file_path);
    let (file, fault) = {
        let mut state = state.lock().expect("no test panics with it");
        let large = key.as_ref().is_some_and(|(_, name)| name.ends_with(".safetensors"));
        let file = key.as_ref().and_then(|key| state.files.get(key)).cloned();
        let full = key.map(|(repository, name)| format!("{repository}/{name}")).unwrap_or_default();
        // The bytes of weights come from the store, so what goes wrong with them does so there.
        let here = method == "HEAD" || in_store == large;
        let fault = state
            .faults
            .iter_mut()
            .find(|(of, end, left, _)| *of == method && full.ends_with(end) && *left > 0 && here);
        let fault = fault.map(|(_, _, left, fault)| {
            *left -= 1;
            fault.clone()
        });
        state.seen.push(seen.clone());
        (file, fault)
    };
    let _ = respond(connection, &seen, file, fault, in_store, store);
}

/// Repository and name of `/OWNER/NAME/resolve/REVISION/FILE`.
fn key(path: &str) -> Option<(String, String)> {
    let (repository, rest) = path.strip_prefix('/')?.split_once("/resolve/")?;
    let (revision, name) = rest.split_once('/')?;
    (revision == "main" || revision == COMMIT).then(|| (repository.to_owned(), name.to_owned()))
}

fn respond(
    mut to: TcpStream,
    seen: &Seen,
    file: Option<Arc<Vec<u8>>>,
    fault: Option<Fault>,
    in_store: bool,
    store: &str,
) -> std::io::Result<()> {
    let mut head = |status: &str, lines: &str| write!(to, "HTTP/1.1 {status}\r\nConnection: close\r\n{lines}\r\n");
    if let Some(Fault::Status(status, line)) = fault {
        return head(&format!("{status} Trouble"), &format!("Content-Length: 0\r\n{line}\r\n"));
    }
    if let Some(Fault::Page) = fault {
        let page = "<html><body>Please log in to the network</body></html>";
        head("200 OK", &format!("Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n", page.len()))?;
        return if seen.method == "HEAD" { Ok(()) } else { to.write_all(page.as_bytes()) };
    }
    let Some(file) = file else {
        return head("404 Not Found", "X-Error-Code: EntryNotFound\r\nContent-Length: 0\r\n");
    };
    let length = if let Some(Fault::ClaimLength(length)) = fault { length } else { file.len() as u64 };
    if seen.path.ends_with(".safetensors") && !in_store {
        let hash = sha256(&file);
        let hash = if let Some(Fault::NoHash) = fault { "\"none\"".to_owned() } else { format!("\"{hash}\"") };
        let lines = format!(
            "X-Repo-Commit: {COMMIT}\r\nX-Linked-Size: {length}\r\nX-Linked-ETag: {hash}\r\nETag: {hash}\r\n\
             Location: {store}/store{}\r\nContent-Length: 0\r\n",
            seen.path
        );
        return head("302 Found", &lines);
    }
    if let Some(Fault::Chunked) = fault {
        head("200 OK", "Transfer-Encoding: chunked\r\n")?;
        if seen.method == "HEAD" {
            return Ok(());
        }
        write!(to, "{:x}\r\n", file.len())?;
        to.write_all(&file)?;
        return to.write_all(b"\r\n0\r\n\r\n");
    }
    let etag = if in_store { "f".repeat(64) } else { git_sha1(&file) };
    let commit = if in_store { String::new() } else { format!("X-Repo-Commit: {COMMIT}\r\n") };
    let common = format!("{commit}ETag: \"{etag}\"\r\nAccept-Ranges: bytes\r\n");
    if seen.method == "HEAD" {
        return head("200 OK", &format!("{common}Content-Length: {length}\r\n"));
    }
    let mut body = file.to_vec();
    match fault {
        Some(Fault::FlipABit) => body[file.len() / 2] ^= 1,
        Some(Fault::OtherLength(length)) => body.resize(length, 0),
        _ => (),
    }
    let whole = body.len();
    let asked: Option<usize> =
        seen.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split_once('-')?.0.parse().ok());
    match asked.filter(|_| !matches!(fault, Some(Fault::IgnoreRange))) {
        Some(from) if from >= whole => return head("416 Range Not Satisfiable", "Content-Length: 0\r\n"),
        Some(from) => {
            body.drain(..from);
            let range = format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1);
            head("206 Partial Content", &format!("{common}{range}Content-Length: {}\r\n", body.len()))?;
        }
        None => head("200 OK", &format!("{common}Content-Length: {}\r\n", body.len()))?,
    }
    match fault {
        Some(Fault::DropAfter(bytes)) => to.write_all(&body[..bytes.min(body.len())]),
        Some(Fault::StallAfter(bytes, stalled)) => {
            to.write_all(&body[..bytes.min(body.len())])?;
            let _ = stalled.send(());
            // Until the client is gone.
            BufReader::new(&to).lines().for_each(drop);
            Ok(())
        }
        _ => to.write_all(&body),
    }
}
