//! A web server for downloads.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long another run of these tests may need an address.
const OTHERS_NEED: Duration = Duration::from_secs(30 * 60);

/// Serves files until it is dropped.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    served: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Web {
    /// On a free port.
    pub(crate) fn start(files: &[(&str, &[u8])]) -> Web {
        Web::on(TcpListener::bind("127.0.0.1:0").unwrap(), files)
    }

    /// On this address, as soon as nobody else has it: another run of these tests gives it back when none of its tests needs it.
    pub(crate) fn at(address: &str, files: &[(&str, &[u8])]) -> Web {
        let begun = Instant::now();
        loop {
            match TcpListener::bind(address) {
                Ok(listener) => return Web::on(listener, files),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && begun.elapsed() < OTHERS_NEED => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => panic!("{address} is to be served at: {error}, after {} s", begun.elapsed().as_secs()),
            }
        }
    }

    fn on(listener: TcpListener, files: &[(&str, &[u8])]) -> Web {
        let files: Arc<[(String, Vec<u8>)]> = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        let address = listener.local_addr().unwrap();
        let (served, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&served), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (files, count) = (Arc::clone(&files), Arc::clone(&count));
                // Whoever connects and asks nothing keeps nobody else waiting.
                std::thread::spawn(move || answer(stream, &files, &count));
            }
        });
        Web { address, served, ended, thread: Some(thread) }
    }

    /// How many files were asked for and found.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// Answers the first request with these bytes once it is `time`, or a minute is over; says which.
pub(crate) fn answer_when(listener: &TcpListener, bytes: &[u8], time: impl Fn() -> bool) -> bool {
    let mut stream = loop {
        let (stream, _) = listener.accept().unwrap();
        // Clients open connections that they do not need, too.
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        if stream.peek(&mut [0]).is_ok_and(|count| count > 0) {
            break stream;
        }
    };
    let begun = Instant::now();
    while !time() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let in_time = time();
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len()).as_bytes()).unwrap();
    stream.write_all(bytes).unwrap();
    // Until the client has it and closes, or it would see a reset.
    stream.set_read_timeout(None).unwrap();
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    in_time
}

fn answer(mut stream: TcpStream, files: &[(String, Vec<u8>)], count: &AtomicUsize) {
    let mut request = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let line = request.next().unwrap_or_default();
    while request.next().is_some_and(|line| !line.is_empty()) {}
    let path = line.split(' ').nth(1).unwrap_or_default();
    let answer = match files.iter().find(|(known, _)| known == path) {
        Some((_, bytes)) => {
            count.fetch_add(1, Ordering::SeqCst);
            [format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes(), bytes].concat()
        }
        None => b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    let _ = stream.write_all(&answer);
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
