//! What stands between a client and a server, counts what passes, and spoils it where that is wanted.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Passes bytes on until it is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    ended: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    /// Lines of requests, such as `GET /v2/`.
    requests: Mutex<Vec<String>>,
    /// Nothing of an answer is passed on for so many milliseconds.
    delay_milliseconds: AtomicU64,
}

impl Relay {
    pub(crate) fn to(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, ended) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (counted, end) = (Arc::clone(&seen), Arc::clone(&ended));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
                let (from_client, to_client) = (client.try_clone().unwrap(), client);
                let (to_server, from_server) = (server.try_clone().unwrap(), server);
                let up = Arc::clone(&counted);
                std::thread::spawn(move || pass(from_client, to_server, &up, Direction::Up));
                let down = Arc::clone(&counted);
                std::thread::spawn(move || pass(from_server, to_client, &down, Direction::Down));
            }
        });
        Relay { address, seen, ended }
    }

    /// Forgets what passed.
    pub(crate) fn reset(&self) {
        self.seen.bytes.store(0, Ordering::SeqCst);
        self.seen.requests.lock().unwrap().clear();
    }

    /// How many bytes passed, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.seen.bytes.load(Ordering::SeqCst)
    }

    /// The requests that passed.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Holds every answer back for so long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.seen.delay_milliseconds.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

#[derive(PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

fn pass(mut from: TcpStream, mut to: TcpStream, seen: &Seen, direction: Direction) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        seen.bytes.fetch_add(count as u64, Ordering::SeqCst);
        if direction == Direction::Up {
            // Heads are sent in one piece; what follows them in it is no line of a request.
            let head = String::from_utf8_lossy(&buffer[..count]);
            let line = head.split("\r\n").next().unwrap_or_default();
            if let Some(line) = line.strip_suffix(" HTTP/1.1") {
                seen.requests.lock().unwrap().push(line.to_owned());
            }
        } else {
            std::thread::sleep(Duration::from_millis(seen.delay_milliseconds.load(Ordering::SeqCst)));
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
