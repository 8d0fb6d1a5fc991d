//! As much of an HTTP/1.1 server as a registry needs: one thread per connection, bodies with a length or in chunks.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// Decoded, in order.
    pub(crate) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn parameters(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    /// `METHOD /path`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Closes the connection after so many bytes of the body.
    pub(crate) cut_after: Option<usize>,
    /// Says nothing until the server ends.
    pub(crate) silent: bool,
    /// Closes the connection instead of an answer.
    pub(crate) closed: bool,
    /// Says nothing more after so many bytes of the body.
    pub(crate) stall_after: Option<usize>,
    /// Sends the body in pieces of this size, with a millisecond between them.
    pub(crate) drip: Option<usize>,
}

impl Response {
    pub(crate) fn new(status: u16) -> Response {
        Response {
            status,
            headers: BTreeMap::new(),
            body: Vec::new(),
            cut_after: None,
            silent: false,
            closed: false,
            stall_after: None,
            drip: None,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Response {
        self.headers.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Response {
        self.body = body.into();
        self
    }

    /// An error as registries report them.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Response {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
        Response::new(status).with("content-type", "application/json").body(body.to_string())
    }
}

/// Answers requests until dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    connections: Arc<Mutex<BTreeMap<u64, TcpStream>>>,
}

/// How a request ends before its body does.
pub(crate) struct Abort {
    /// After so many bytes of it.
    pub(crate) after: usize,
    /// What is answered before the connection is closed.
    pub(crate) answer: Option<Response>,
}

/// What a server does with a request.
pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(&self, request: Request) -> Response;
    fn abort(&self, _head: &Request) -> Option<Abort> {
        None
    }
    /// So many more bytes of the body came in.
    fn arrived(&self, _head: &Request, _bytes: usize) {}
    /// A request of which only this much of the body came.
    fn aborted(&self, _request: Request) {}
}

impl Server {
    pub(crate) fn start(handler: Arc<dyn Handler>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let (stopped, open) = (Arc::clone(&stop), Arc::clone(&connections));
        thread::spawn(move || {
            for (number, connection) in (0..).zip(listener.incoming().map_while(Result::ok)) {
                // Whoever is dropped meanwhile finds it in the map, or is seen here.
                open.lock().unwrap().insert(number, connection.try_clone().unwrap());
                if stopped.load(Ordering::SeqCst) {
                    let _ = connection.shutdown(Shutdown::Both);
                    return;
                }
                let (handler, stopped, open) = (Arc::clone(&handler), Arc::clone(&stopped), Arc::clone(&open));
                thread::spawn(move || {
                    let _closing = Closing { open, number };
                    serve(connection, handler.as_ref(), &stopped);
                });
            }
        });
        Server { address, stop, connections }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for connection in self.connections.lock().unwrap().values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// Closes a connection however its thread ends, by a panic too: as long as a copy of it is open, the client waits for more.
struct Closing {
    open: Arc<Mutex<BTreeMap<u64, TcpStream>>>,
    number: u64,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = open.remove(&self.number) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn serve(connection: TcpStream, handler: &dyn Handler, stop: &AtomicBool) {
    let mut writer = connection.try_clone().unwrap();
    let mut reader = BufReader::new(connection);
    while !stop.load(Ordering::SeqCst) {
        let Some(mut request) = read_head(&mut reader) else { return };
        let abort = handler.abort(&request);
        let limit = abort.as_ref().map_or(usize::MAX, |abort| abort.after);
        let (body, is_whole) = read_body(&mut reader, &request, limit, handler);
        request.body = body;
        if let Some(Abort { answer, .. }) = abort {
            handler.aborted(request);
            if let Some(response) = answer {
                let text =
                    format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", response.status, response.body.len());
                let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.write_all(&response.body));
                // What is closed with something unread is reset, and the answer may be lost.
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
            }
            return;
        }
        if !is_whole {
            handler.aborted(request);
            return;
        }
        let head_only = request.method == "HEAD";
        let response = handler.handle(request);
        if response.silent {
            let _ = reader.read(&mut [0]);
            return;
        }
        if response.closed {
            let _ = writer.shutdown(Shutdown::Both);
            return;
        }
        let mut head = format!("HTTP/1.1 {} X\r\n", response.status);
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !response.headers.contains_key("content-length") && response.status != 204 {
            head.push_str(&format!("content-length: {}\r\n", response.body.len()));
        }
        head.push_str("\r\n");
        let end = response.cut_after.or(response.stall_after).unwrap_or(response.body.len()).min(response.body.len());
        let body = if head_only { &[] } else { &response.body[..end] };
        let mut sent = writer.write_all(head.as_bytes());
        for piece in body.chunks(response.drip.unwrap_or(body.len()).max(1)) {
            sent = sent.and_then(|()| writer.write_all(piece));
            if response.drip.is_some() {
                thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        if response.stall_after.is_some() {
            let _ = reader.read(&mut [0]);
            return;
        }
        if sent.is_err() || response.cut_after.is_some() {
            return;
        }
    }
}

/// Reads a body, up to so many bytes of it; and whether that is all of it. RFC 9112, section 7.1, for chunks.
fn read_body(reader: &mut BufReader<TcpStream>, head: &Request, limit: usize, handler: &dyn Handler) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    let chunked = head.header("transfer-encoding").is_some();
    loop {
        let size = if chunked {
            let mut line = String::new();
            let read = reader.read_line(&mut line);
            match usize::from_str_radix(line.trim(), 16) {
                Ok(size) if read.is_ok() => size,
                Ok(_) | Err(_) => return (body, false),
            }
        } else {
            head.header("content-length").map_or(0, |length| length.parse().unwrap())
        };
        let end = body.len() + size;
        while body.len() < end.min(limit) {
            let mut piece = vec![0; (end.min(limit) - body.len()).min(64 << 10)];
            match reader.read(&mut piece) {
                Ok(read) if read > 0 => {
                    body.extend_from_slice(&piece[..read]);
                    handler.arrived(head, read);
                }
                // No more than there is: who has sent all of it sends nothing further, and waits for an answer.
                Ok(_) | Err(_) => return (body, false),
            }
        }
        if !chunked || (body.len() < end) {
            return (body, !chunked);
        }
        let mut line = String::new();
        let ended = reader.read_line(&mut line).is_ok_and(|read| read > 0);
        if size == 0 || !ended {
            return (body, ended);
        }
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    // A greeting of TLS has no end of line to wait for.
    if reader.fill_buf().ok()?.first() == Some(&0x16) {
        return None;
    }
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    Some(Request { method, path: path.to_owned(), query: pairs(query), headers, body: Vec::new() })
}

/// Decodes `a=b&c=d`, as in a query or a form.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
