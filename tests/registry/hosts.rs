//! What counts for one host: authorities, certificates, proxies.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lapstrake::event::Cancel;
use lapstrake::registry::{Anonymous, ContainersRegistries, Error, Host, Patience, Proxies, Registry, Secret, Settings, Unreachable};

use crate::support::fake::FakeRegistry;
use crate::support::http::{Handler, Request, Response, Server};
use crate::support::real::{RealRegistry, run};
use crate::support::{at, image};
use crate::{pull, push_image, settings};

/// An authority, and certificates that it signed, made by openssl: `ca.pem`, `server.pem`, `client.pem` and their `.key`s.
fn authority() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let new = ["req", "-newkey", "rsa:2048", "-nodes"];
    run(
        "openssl",
        &[&new[..], &["-x509", "-days", "2", "-subj", "/CN=lapstrake authority", "-keyout", &path("ca.key"), "-out", &path("ca.pem")]]
            .concat(),
    );
    for name in ["server", "client"] {
        let (key, request, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.csr")), path(&format!("{name}.pem")));
        let subject = format!("/CN={name}");
        run("openssl", &[&new[..], &["-subj", &subject, "-keyout", &key, "-out", &request]].concat());
        let extensions = path(&format!("{name}.ext"));
        std::fs::write(&extensions, "subjectAltName=IP:127.0.0.1,DNS:registry.example.com\nbasicConstraints=CA:FALSE\n").unwrap();
        let (ca, ca_key) = (path("ca.pem"), path("ca.key"));
        let sign = ["x509", "-req", "-days", "2", "-CAcreateserial", "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
        run("openssl", &[&sign[..], &["-extfile", &extensions, "-out", &certificate]].concat());
    }
    directory
}

fn registry(settings: Settings) -> Registry {
    Registry::new(settings, Arc::new(Anonymous)).unwrap()
}

#[test]
fn authorities_and_certificates_count_for_their_host() {
    let made = authority();
    let read = |name: &str| std::fs::read_to_string(made.path().join(name)).unwrap();
    let tls = format!("certificate: {0}/server.pem\n    key: {0}/server.key\n", made.path().display());
    let clients = format!("    clientcas:\n      - {}/ca.pem\n", made.path().display());
    let open = RealRegistry::start(&format!("http:\n  addr: {{address}}\n  tls:\n    {tls}"), &[]);
    let closed = RealRegistry::start(&format!("http:\n  addr: {{address}}\n  tls:\n    {tls}{clients}"), &[]);
    let (to_open, to_closed) = (at(open.address, "team/web:1"), at(closed.address, "team/web:1"));
    let base = Settings { tls: [open.address.to_string(), closed.address.to_string()].into(), ..settings() };
    let image = image(100_000);
    let trusting = Host { authorities: vec![read("ca.pem").into_bytes()], ..Host::default() };
    let known = Host { identity: Some(Secret::new(format!("{}\n{}", read("client.pem"), read("client.key")))), ..trusting.clone() };

    let one = registry(Settings { hosts: [(open.address.to_string(), trusting.clone())].into(), ..base.clone() });
    push_image(&one, &to_open, &image).unwrap();
    // What vouches for one host vouches for no other.
    let error = one.resolve(&to_closed, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Unreachable { problem: Unreachable::Tls, .. }), "{error:?}");

    let unknown = registry(Settings { hosts: [(closed.address.to_string(), trusting)].into(), ..base.clone() });
    unknown.resolve(&to_closed, &Cancel::new()).unwrap_err();
    push_image(&registry(Settings { hosts: [(closed.address.to_string(), known)].into(), ..base.clone() }), &to_closed, &image).unwrap();

    // The same from directories.
    let certs = made.path().join("certs.d").join(closed.address.to_string());
    std::fs::create_dir_all(&certs).unwrap();
    for (from, to) in [("ca.pem", "ca.crt"), ("client.pem", "client.cert"), ("client.key", "client.key")] {
        std::fs::copy(made.path().join(from), certs.join(to)).unwrap();
    }
    let by_directory = registry(Settings { certificate_directories: vec![made.path().join("certs.d")], ..base.clone() });
    assert_eq!(pull(&by_directory, &to_closed, &image.blobs[0].0).unwrap(), image.blobs[0].1);

    // A registry that need not show who it is.
    let file = made.path().join("registries.conf");
    std::fs::write(&file, format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", open.address)).unwrap();
    let insecure = registry(Settings { containers: ContainersRegistries::read(&[file]).unwrap(), ..base });
    assert_eq!(pull(&insecure, &to_open, &image.blobs[0].0).unwrap(), image.blobs[0].1);
}

/// Writes down what it was asked, as a proxy sees it.
#[derive(Default)]
struct Seen(Mutex<Vec<Request>>);

impl Handler for Seen {
    fn handle(&self, request: Request) -> Response {
        self.0.lock().unwrap().push(request);
        Response::error(404, "MANIFEST_UNKNOWN", "nothing")
    }
}

#[test]
fn what_is_outside_goes_through_the_proxy_unless_it_is_excepted() {
    let seen = Arc::new(Seen::default());
    let proxy = Server::start(Arc::clone(&seen) as Arc<dyn Handler>);
    let plain = ["r.example.com:5000".to_owned(), "direct.example.com:5000".to_owned()].into();
    let proxies =
        Proxies { http: Some(Secret::new(format!("u:hunter2@{}", proxy.address))), https: None, except: "direct.example.com".to_owned() };
    let registry = registry(Settings { plain_http: plain, proxies, ..settings() });
    let resolve = |name: &str| registry.resolve(&name.parse().unwrap(), &Cancel::new()).unwrap_err();
    assert!(matches!(resolve("r.example.com:5000/a:1"), Error::NotFound { .. }));
    assert_eq!(seen.0.lock().unwrap().len(), 1);
    let first = seen.0.lock().unwrap()[0].clone();
    assert_eq!(first.header("proxy-authorization"), Some(crate::support::fake::basic("u", "hunter2").as_str()));
    assert!(first.path.starts_with("http://r.example.com:5000/v2/"), "{}", first.path);
    assert!(matches!(resolve("direct.example.com:5000/a:1"), Error::Unreachable { .. }));
    let local = crate::support::fake::FakeRegistry::open();
    registry.resolve(&at(local.address(), "a:1"), &Cancel::new()).unwrap_err();
    assert_eq!((seen.0.lock().unwrap().len(), local.lines().len()), (1, 1));
    // A proxy that cannot be reached is what is told of, and not who is behind it.
    let nobody = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&nobody, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let down: std::net::SocketAddr = rustix::net::getsockname(&nobody).unwrap().try_into().unwrap();
    let address = Some(Secret::new(format!("http://u:hunter2@{down}")));
    let proxies = Proxies { http: address.clone(), https: address, except: "direct.example.com".to_owned() };
    let plain = ["plain.example.com:5000".to_owned(), "direct.example.com:5000".to_owned()].into();
    let through = Registry::new(Settings { plain_http: plain, proxies, ..settings() }, Arc::new(Anonymous)).unwrap();
    for (name, blamed) in [
        ("r.example.com:5000/a:1", format!("{down} (the proxy on the way to r.example.com:5000)")),
        ("plain.example.com:5000/a:1", format!("{down} (the proxy on the way to plain.example.com:5000)")),
        ("direct.example.com:5000/a:1", "direct.example.com:5000".to_owned()),
    ] {
        match through.resolve(&name.parse().unwrap(), &Cancel::new()).unwrap_err() {
            Error::Unreachable { host, .. } => assert_eq!(host, blamed),
            other => panic!("{other:?}"),
        }
    }
    let bad = Settings { proxies: Proxies { https: Some(Secret::new("socks5://hunter2@x")), ..Proxies::default() }, ..settings() };
    let error = Registry::new(bad, Arc::new(Anonymous)).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn what_is_said_of_a_part_of_a_registry_or_of_a_mirror_does_not_count_for_the_rest_of_that_host() {
    // It speaks plain http and is taken for one that speaks https, so that nothing reaches it but what may be insecure.
    let fake = FakeRegistry::open();
    let image = image(10);
    for repository in ["scratch/web", "cache/prod/web", "prod/web"] {
        for (_, bytes) in &image.blobs {
            fake.put_blob(repository, bytes);
        }
        fake.put_manifest(repository, "1", "application/vnd.oci.image.manifest.v1+json", &image.manifest);
    }
    let host = fake.address().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registries.conf");
    let mirror = format!("[[registry]]\nlocation = \"r.example.com\"\n[[registry.mirror]]\nlocation = \"{host}/cache\"\ninsecure = true\n");
    std::fs::write(&file, format!("[[registry]]\nprefix = \"{host}/scratch\"\ninsecure = true\n{mirror}")).unwrap();
    let containers = ContainersRegistries::read(&[file]).unwrap();
    let patience = Patience { attempts: 1, ..settings().patience };
    let settings = Settings { tls: [host.clone()].into(), containers, patience, ..settings() };
    let registry = registry(settings);
    let resolve = |name: &str| registry.resolve(&name.parse().unwrap(), &Cancel::new());
    resolve(&format!("{host}/scratch/web:1")).unwrap();
    resolve("r.example.com/prod/web:1").unwrap();
    fake.forget();
    for name in ["prod/web:1", "cache/prod/web:1", "scratches/web:1"] {
        let error = resolve(&format!("{host}/{name}")).unwrap_err();
        assert!(matches!(error, Error::Unreachable { problem: Unreachable::Tls | Unreachable::Other, .. }), "{name}: {error:?}");
        push_image(&registry, &format!("{host}/{name}").parse().unwrap(), &image).unwrap_err();
    }
    assert_eq!(fake.lines(), Vec::<String>::new());
}

/// A proxy that makes tunnels to one server, whatever name it is asked for, and writes down the heads of requests.
struct Tunnels {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl Tunnels {
    fn to(server: SocketAddr) -> Tunnels {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, end) = (Arc::clone(&heads), Arc::clone(&ended));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || tunnel(client, server, &seen));
            }
        });
        Tunnels { address, heads, ended }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn tunnel(client: TcpStream, server: SocketAddr, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
    seen.lock().unwrap().push(head.clone());
    let mut client = client;
    if !head.starts_with("CONNECT ") {
        let _ = client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    }
    let Ok(server) = TcpStream::connect(server) else { return };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    let (mut up, mut down) = (server.try_clone().unwrap(), server);
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut down, &mut client);
        let _ = client.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut reader, &mut up);
    let _ = up.shutdown(Shutdown::Both);
    let _ = back.join();
}

#[test]
fn a_proxy_of_plain_http_makes_tunnels_to_registries_and_sees_nothing_of_what_goes_through() {
    let made = authority();
    let read = |name: &str| std::fs::read_to_string(made.path().join(name)).unwrap();
    let tls =
        format!("http:\n  addr: {{address}}\n  tls:\n    certificate: {0}/server.pem\n    key: {0}/server.key\n", made.path().display());
    let server = RealRegistry::start(&tls, &[]);
    let proxy = Tunnels::to(server.address);
    // Nobody but the proxy knows where that is.
    let host = "registry.example.com:5443";
    let trusting = Host { authorities: vec![read("ca.pem").into_bytes()], ..Host::default() };
    let through = |trusting: Host| {
        let proxies = Proxies { https: Some(Secret::new(format!("http://u:hunter2@{}", proxy.address))), ..Proxies::default() };
        registry(Settings { hosts: [(host.to_owned(), trusting)].into(), proxies, ..settings() })
    };
    let (target, image) = (format!("{host}/team/web:1").parse().unwrap(), image(300_000));
    let knowing = through(trusting);
    push_image(&knowing, &target, &image).unwrap();
    assert_eq!(knowing.resolve(&target, &Cancel::new()).unwrap().bytes, image.manifest);
    assert_eq!(pull(&knowing, &target, &image.blobs[0].0).unwrap(), image.blobs[0].1);
    // What is asked of the registry is in the tunnel; who we are to the proxy is not.
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(head.starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")), "{head}");
        assert!(
            head.to_ascii_lowercase()
                .contains(&format!("proxy-authorization: {}", crate::support::fake::basic("u", "hunter2")).to_ascii_lowercase())
        );
        assert!(!head.contains("team/web"), "{head}");
    }
    // The certificate is looked at behind the proxy as well.
    let error = through(Host::default()).resolve(&target, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Unreachable { problem: Unreachable::Tls, .. }), "{error:?}");
    assert!(!crate::in_full(&error).contains("hunter2"), "{error:?}");
}

#[test]
fn a_registry_may_have_an_address_of_ipv6() {
    let server = RealRegistry::start_on("::1", "", &[]);
    let target = at(server.address, "team/web:1");
    assert_eq!(target.to_string(), format!("[::1]:{}/team/web:1", server.address.port()));
    let (registry, image) = (registry(settings()), image(100_000));
    push_image(&registry, &target, &image).unwrap();
    assert_eq!(registry.resolve(&target, &Cancel::new()).unwrap().bytes, image.manifest);
    assert_eq!(pull(&registry, &target, &image.blobs[0].0).unwrap(), image.blobs[0].1);
    assert_eq!(registry.tags(&target, &Cancel::new()).unwrap(), ["1"]);
    // Others find it at the same address.
    let url = format!("http://[::1]:{}/v2/team/web/manifests/1", server.address.port());
    let accept = format!("Accept: {}", lapstrake::image::MediaType::OCI_MANIFEST);
    assert_eq!(run("curl", &["--silent", "--globoff", "--fail", "--header", &accept, &url]).stdout, image.manifest);
    // From one repository of it to another, nothing is sent.
    let pushed = crate::push_blob(&registry, &at(server.address, "team/other:1"), &image.blobs[0], std::slice::from_ref(&target));
    assert_eq!(pushed.unwrap(), lapstrake::registry::Pushed::Mounted);
}
