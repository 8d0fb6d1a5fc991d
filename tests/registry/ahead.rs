//! Layers that are sent while they are packed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapstrake::build::{IsolationChoice, Options, SendAhead, WhenNamed};
use lapstrake::cache::{BlobBehind, Digest, Store};
use lapstrake::event::{Cancel, Silent};
use lapstrake::image::{Descriptor, MediaType, Reference};
use lapstrake::input::{GitSettings, NetworkUse, NothingStale, Outside};
use lapstrake::output::PushAhead;
use lapstrake::registry::{Anonymous, Chunks, Error, Host, Patience, Pushed, Registry, Settings, Streams, Uploads};
use lapstrake::{Engine, Pins, plan, spec};

use crate::support::at;
use crate::support::fake::{FakeRegistry, Fault};
use crate::support::http::Response;
use crate::support::manners::{Keeping, StreamManners};
use crate::support::real::RealRegistry;
use crate::support::tokens::{Accounts, TokenServer};
use crate::waiting::until;
use crate::{SECRET, anonymous, pull, settings, with_password};

/// A blob that is packed in two halves.
struct Packing {
    store: Store,
    bytes: Vec<u8>,
    _directory: tempfile::TempDir,
}

/// Bytes that do not compress.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(size).collect()
}

const HALF: usize = 3 << 18;

/// What has come of it before it is whole: less than a half.
const SOME: u64 = 1 << 19;

impl Packing {
    fn new() -> Packing {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        Packing { store, bytes: noise(2 * HALF), _directory: directory }
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor::of(MediaType::OCI_LAYER, &self.bytes)
    }

    /// Sends it to these places while it is written. `between` is done when half of it is.
    fn send(&self, registry: &Registry, tags: &[Reference], between: impl FnOnce()) -> PushAhead {
        let ahead = PushAhead::new(registry.clone());
        let mut writer = self.store.new_hashed_blob().unwrap();
        let named = ahead.begin(tags, writer.behind().unwrap());
        writer.write_all(&self.bytes[..HALF]).unwrap();
        between();
        writer.write_all(&self.bytes[HALF..]).unwrap();
        let stored = writer.finish_as(Digest::of(&self.bytes)).unwrap();
        named(&stored.digest, stored.size);
        ahead
    }

    /// Pushes it as the push of an image does. The last that was told of its progress comes back too.
    fn push(&self, registry: &Registry, target: &Reference) -> Result<(Pushed, u64), Error> {
        let open = || -> std::io::Result<Box<dyn std::io::Read + Send>> { Ok(Box::new(std::io::Cursor::new(self.bytes.clone()))) };
        let mut told = 0;
        let mut progress = |done| {
            assert!(done > told, "{done} after {told}");
            told = done;
        };
        let pushed = registry.push_blob(target, &self.descriptor(), &open, &[], &mut progress, &Cancel::new())?;
        Ok((pushed, told))
    }
}

fn lines(fake: &FakeRegistry) -> Vec<String> {
    fake.seen().iter().map(|request| request.method.clone()).collect()
}

fn arrives(fake: &FakeRegistry, bytes: u64) {
    until("the registry has some of it", || fake.traffic().arrived >= bytes);
}

fn with(fake: &FakeRegistry, host: Host, memory: Option<&Path>) -> Registry {
    let settings = Settings { hosts: [(fake.address().to_string(), host)].into(), memory: memory.map(Path::to_path_buf), ..settings() };
    Registry::new(settings, Arc::new(Anonymous)).unwrap()
}

#[test]
fn what_is_packed_is_at_the_registry_before_it_is_whole_and_is_sent_once() {
    let (fake, packing, registry) = (FakeRegistry::open(), Packing::new(), anonymous());
    let target = at(fake.address(), "team/web:1");
    let ahead = packing.send(&registry, std::slice::from_ref(&target), || arrives(&fake, SOME));
    // It has no name yet.
    assert_eq!(fake.blob("team/web", &packing.descriptor().digest), None);
    assert_eq!(packing.push(&registry, &target).unwrap(), (Pushed::Uploaded, packing.bytes.len() as u64));
    assert_eq!(fake.blob("team/web", &packing.descriptor().digest).as_ref(), Some(&packing.bytes));
    assert_eq!(lines(&fake), ["POST", "PATCH", "PUT"]);
    assert_eq!(fake.traffic().up, packing.bytes.len() as u64);
    drop(ahead);
    assert_eq!(lines(&fake), ["POST", "PATCH", "PUT"]);
    fake.assert_well_treated();
}

#[test]
fn one_repository_of_each_registry_is_sent_to() {
    let (one, other, packing, registry) = (FakeRegistry::open(), FakeRegistry::open(), Packing::new(), anonymous());
    let tags = [at(one.address(), "team/web:1"), at(one.address(), "copies/web:1"), at(other.address(), "team/web:1")];
    let _ahead = packing.send(&registry, &tags, || {
        arrives(&one, SOME);
        arrives(&other, SOME);
    });
    for fake in [&one, &other] {
        packing.push(&registry, &at(fake.address(), "team/web:1")).unwrap();
        assert_eq!(lines(fake), ["POST", "PATCH", "PUT"]);
        fake.assert_well_treated();
    }
}

#[test]
fn a_stream_that_fails_is_not_noticed_and_costs_its_bytes_once() {
    let refuse = |status, code| Fault::AnswerAfter(1 << 19, Response::error(status, code, "in the middle"));
    let half = 1 << 19;
    for (wanted, times, fault) in [
        ("PATCH", 1, Fault::CutRequest(half)),
        ("PATCH", 1, refuse(500, "UNKNOWN")),
        ("PATCH", 2, refuse(401, "UNAUTHORIZED")),
        ("PATCH", 1, refuse(403, "DENIED")),
        ("PATCH", 1, refuse(413, "SIZE_INVALID")),
        ("PATCH", 1, refuse(429, "TOOMANYREQUESTS")),
        ("PATCH", 1, Fault::AnswerAfter(half, Response::new(202))),
        ("PATCH", 1, Fault::Answer(Response::new(404))),
        ("PATCH", 1, Fault::Closed),
        ("PATCH", 1, Fault::Header("range", Some("0-1000".to_owned()))),
        ("PATCH", 1, Fault::Header("location", Some("file:///etc/passwd".to_owned()))),
        ("POST", 1, Fault::Answer(Response::error(503, "UNAVAILABLE", "not now"))),
        ("POST", 1, Fault::Answer(Response::error(403, "DENIED", "not now"))),
        ("POST", 1, Fault::Closed),
        ("POST", 1, Fault::Header("location", None)),
        ("PUT", 1, Fault::Answer(Response::error(400, "DIGEST_INVALID", "lost it"))),
        ("PUT", 1, Fault::Answer(Response::error(404, "BLOB_UPLOAD_UNKNOWN", "restarted"))),
        ("PUT", 1, Fault::Answer(Response::error(500, "UNKNOWN", "once"))),
        ("PUT", 1, Fault::Closed),
    ] {
        let keepings: &[Keeping] = match fault {
            Fault::CutRequest(_) => &[Keeping::Bytes, Keeping::Requests, Keeping::Nothing],
            _ => &[Keeping::Bytes],
        };
        for &keeping in keepings {
            let (fake, packing, registry) = (FakeRegistry::open(), Packing::new(), anonymous());
            fake.behave(|manners| manners.keeping = keeping);
            fake.fault(wanted, times, fault.clone());
            let target = at(fake.address(), "team/web:1");
            let ahead = packing.send(&registry, std::slice::from_ref(&target), || {});
            assert_eq!(packing.push(&registry, &target).unwrap().0, Pushed::Uploaded, "{fault:?}");
            assert_eq!(fake.blob("team/web", &packing.descriptor().digest).as_ref(), Some(&packing.bytes), "{fault:?}");
            let up = fake.traffic().up;
            assert!(up <= 2 * packing.bytes.len() as u64, "{fault:?}: {up}");
            drop(ahead);
            fake.assert_well_treated();
        }
    }
}

#[test]
fn what_the_ordinary_way_is_refused_for_is_what_is_told() {
    let (fake, packing, registry) = (FakeRegistry::open(), Packing::new(), anonymous());
    fake.fault("POST", 1000, Fault::Answer(Response::error(403, "DENIED", "not yours")));
    let target = at(fake.address(), "team/web:1");
    let _ahead = packing.send(&registry, std::slice::from_ref(&target), || {});
    let error = packing.push(&registry, &target).unwrap_err();
    assert!(matches!(&error, Error::Denied { messages, .. } if messages[0].text == "not yours"), "{error:?}");
    assert!(error.to_string().contains("pushing `sha256:"), "{error}");
}

#[test]
fn a_login_counts_for_what_is_sent_ahead_and_is_replaced_where_it_ends() {
    let accounts = Accounts { password: Some(("alice".to_owned(), SECRET.to_owned())), ..Accounts::default() };
    for (expires, sendings) in [(false, 1), (true, 2)] {
        let (packing, registry, tokens) = (Packing::new(), with_password(), TokenServer::start(accounts.clone()));
        let fake = FakeRegistry::behind(&tokens);
        let target = at(fake.address(), "team/web:1");
        let _ahead = packing.send(&registry, std::slice::from_ref(&target), || {
            arrives(&fake, SOME);
            if expires {
                tokens.issued().expire();
            }
        });
        assert_eq!(packing.push(&registry, &target).unwrap().0, Pushed::Uploaded);
        assert_eq!(fake.blob("team/web", &packing.descriptor().digest).as_ref(), Some(&packing.bytes));
        // This one looks at logins when it has all of a request.
        assert_eq!(fake.traffic().arrived, sendings * packing.bytes.len() as u64);
        fake.assert_well_treated();
    }
}

#[test]
fn what_is_given_up_leaves_no_session() {
    let (fake, packing, registry) = (FakeRegistry::open(), Packing::new(), anonymous());
    let target = at(fake.address(), "team/web:1");
    // The build failed after it was packed.
    let ahead = packing.send(&registry, std::slice::from_ref(&target), || {});
    drop(ahead);
    assert_eq!(fake.open_sessions(), 0);
    assert_eq!(fake.blob("team/web", &packing.descriptor().digest), None);
    // It could not be packed: at once, and after some of it was there.
    for wait in [0, SOME] {
        let ahead = PushAhead::new(registry.clone());
        let mut writer = packing.store.new_hashed_blob().unwrap();
        let named = ahead.begin(std::slice::from_ref(&target), writer.behind().unwrap());
        writer.write_all(&packing.bytes[..HALF]).unwrap();
        let before = fake.traffic().arrived;
        if wait > 0 {
            arrives(&fake, before + wait);
        }
        drop((writer, named));
        drop(ahead);
        assert_eq!(fake.open_sessions(), 0);
    }
    // Pushed all the same, it goes the ordinary way.
    fake.forget();
    assert_eq!(packing.push(&registry, &target).unwrap().0, Pushed::Uploaded);
    assert_eq!(lines(&fake), ["HEAD", "POST", "PUT"]);
    fake.assert_well_treated();
}

#[test]
fn the_rest_of_what_the_registry_has_is_not_sent() {
    let (fake, registry) = (FakeRegistry::open(), anonymous());
    let packing = Packing { bytes: noise(6 << 20), ..Packing::new() };
    fake.put_blob("team/web", &packing.bytes);
    let target = at(fake.address(), "team/web:1");
    let ahead = PushAhead::new(registry.clone());
    let mut writer = packing.store.new_hashed_blob().unwrap();
    let named = ahead.begin(std::slice::from_ref(&target), writer.behind().unwrap());
    arrives_head(&fake);
    named(&packing.descriptor().digest, packing.bytes.len() as u64);
    assert_eq!(packing.push(&registry, &target).unwrap().0, Pushed::Existed);
    assert_eq!(fake.open_sessions(), 0);
    writer.write_all(&packing.bytes).unwrap();
    writer.finish_as(packing.descriptor().digest).unwrap();
    assert_eq!(fake.traffic().up, 0);
}

fn arrives_head(fake: &FakeRegistry) {
    until("a session is open", || fake.open_sessions() == 1);
}

#[test]
fn a_registry_that_takes_no_streams_or_breaks_one_is_sent_one_once() {
    let refuses = |fake: &FakeRegistry| fake.behave(|manners| manners.streams = StreamManners::Refused);
    let cuts = |fake: &FakeRegistry| fake.fault("PATCH", 1, Fault::CutRequest(1 << 19));
    let fails = |fake: &FakeRegistry| fake.fault("PATCH", 1, Fault::AnswerAfter(1 << 19, Response::error(504, "UNKNOWN", "too long")));
    for ways in [&refuses as &dyn Fn(&FakeRegistry), &cuts, &fails] {
        let (fake, packing, directory) = (FakeRegistry::open(), Packing::new(), tempfile::tempdir().unwrap());
        ways(&fake);
        let registry = with(&fake, Host::default(), Some(directory.path()));
        let _ahead = packing.send(&registry, &[at(fake.address(), "team/web:1")], || {});
        packing.push(&registry, &at(fake.address(), "team/web:1")).unwrap();
        // What came of it is given up, and nothing goes on there.
        assert_eq!(lines(&fake), ["POST", "PATCH", "DELETE", "HEAD", "POST", "PUT"]);
        assert_eq!(fake.open_sessions(), 0);
        fake.forget();
        // Another process knows.
        let registry = with(&fake, Host::default(), Some(directory.path()));
        let _ahead = packing.send(&registry, &[at(fake.address(), "team/other:1")], || {});
        packing.push(&registry, &at(fake.address(), "team/other:1")).unwrap();
        assert_eq!(lines(&fake), ["HEAD", "POST", "PUT"]);
        fake.assert_well_treated();
    }
}

#[test]
fn a_session_that_is_refused_after_it_has_waited_says_nothing_of_streams() {
    for (stall, wait, then) in [(60, 0, vec!["HEAD", "POST", "PUT"]), (2, 5, vec!["POST", "PATCH", "PUT"])] {
        let (fake, packing) = (FakeRegistry::open(), Packing::new());
        let patience = Patience { stall: Duration::from_secs(stall), ..settings().patience };
        let registry = Registry::new(Settings { patience, ..settings() }, Arc::new(Anonymous)).unwrap();
        fake.fault("PUT", 1, Fault::Answer(Response::error(400, "BLOB_UPLOAD_INVALID", "given up")));
        let target = at(fake.address(), "team/web:1");
        let _ahead = packing.send(&registry, std::slice::from_ref(&target), || {});
        arrives(&fake, packing.bytes.len() as u64);
        // The steps that come after it.
        std::thread::sleep(Duration::from_secs(wait));
        packing.push(&registry, &target).unwrap();
        fake.forget();
        let other = at(fake.address(), "team/other:1");
        let _ahead = packing.send(&registry, std::slice::from_ref(&other), || {});
        packing.push(&registry, &other).unwrap();
        assert_eq!(lines(&fake), then, "{wait} s");
        fake.assert_well_treated();
    }
}

#[test]
fn settings_and_bounds_say_who_is_sent_nothing_ahead() {
    for host in [
        Host { streams: Some(Streams::Never), ..Host::default() },
        Host { uploads: Some(Uploads::Chunked), ..Host::default() },
        Host { uploads: Some(Uploads::SinglePost), ..Host::default() },
        Host { chunks: Some(Chunks::Refused), ..Host::default() },
    ] {
        let (fake, packing) = (FakeRegistry::open(), Packing::new());
        let registry = with(&fake, host.clone(), None);
        drop(packing.send(&registry, &[at(fake.address(), "team/web:1")], || {}));
        assert_eq!(lines(&fake), Vec::<String>::new(), "{host:?}");
    }
    // Of two that are written at once to a host that takes one at a time, the second waits for its push.
    let (fake, packing) = (FakeRegistry::open(), Packing::new());
    let one = Host { transfers: std::num::NonZeroUsize::new(1), ..Host::default() };
    let registry = with(&fake, one, None);
    let target = at(fake.address(), "team/web:1");
    let first = PushAhead::new(registry.clone());
    let mut writer = packing.store.new_hashed_blob().unwrap();
    let named = first.begin(std::slice::from_ref(&target), writer.behind().unwrap());
    arrives_head(&fake);
    drop(packing.send(&registry, &[at(fake.address(), "team/other:1")], || {}));
    writer.write_all(&packing.bytes).unwrap();
    named(&packing.descriptor().digest, writer.finish_as(packing.descriptor().digest).unwrap().size);
    packing.push(&registry, &target).unwrap();
    assert_eq!(lines(&fake), ["POST", "PATCH", "PUT"]);
}

/// Reads what comes before the blob is whole, and passes it on to another.
#[derive(Debug)]
struct Watched {
    to: PushAhead,
    begun: Mutex<Vec<Vec<String>>>,
}

impl SendAhead for Watched {
    fn begin(&self, tags: &[Reference], blob: BlobBehind) -> WhenNamed {
        // This is the packer's own thread: it cannot have ended.
        let mut first = vec![0; 1 << 20];
        std::io::Read::read_exact(&mut blob.again(), &mut first).unwrap();
        self.begun.lock().unwrap().push(tags.iter().map(ToString::to_string).collect());
        self.to.begin(tags, blob)
    }
}

/// Builds a spec over a directory.
fn build(directory: &Path, text: &str, options: &Options, registry: &Registry) -> Result<lapstrake::build::Built, lapstrake::build::Error> {
    let mut sources = lapstrake::diagnostic::SourceMap::new();
    let spec = spec::parse(sources.add("lapstrake.toml", text), text).or_rendered(&sources).unwrap();
    let store = Store::open(&directory.join("store")).unwrap();
    let (git, contexts, cancel) = (GitSettings::default(), BTreeMap::new(), Cancel::new());
    let outside = Outside {
        store: &store,
        registry,
        git: &git,
        network: NetworkUse::Allowed,
        directory: &directory.join("context"),
        contexts: &contexts,
        events: &Silent,
        cancel: &cancel,
    };
    let target = plan::Target::everything(lapstrake::Platform::builder());
    let needed = plan::requirements(&spec, &target).or_rendered(&sources).unwrap();
    let found = outside.resolve(&needed, &Pins::new(), &NothingStale).unwrap().found;
    let plan = plan::plan(&spec, &target, &found).or_rendered(&sources).unwrap();
    Engine::new(IsolationChoice::None).build(&plan, &outside, options)
}

fn context() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("context")).unwrap();
    std::fs::write(directory.path().join("context/large"), noise(9 << 20)).unwrap();
    std::fs::write(directory.path().join("context/small"), "small").unwrap();
    directory
}

#[test]
fn a_build_begins_with_large_layers_of_images_and_leaves_small_ones_alone() {
    let (fake, directory, registry) = (FakeRegistry::open(), context(), anonymous());
    let (one, two) = (at(fake.address(), "team/one:1"), at(fake.address(), "team/two:1"));
    let text = format!(
        r#"
        spec = 1
        stages.base = {{ from = "scratch", steps = [{{ copy = "large", to = "/" }}, {{ copy = "small", to = "/" }}] }}
        stages.other = {{ from = "stage:base", steps = [{{ write = "/other", content = "other" }}] }}
        images.one = {{ stage = "base", tags = ["{one}"] }}
        images.two = {{ stage = "other", tags = ["{two}"] }}
        "#
    );
    let watched = Arc::new(Watched { to: PushAhead::new(registry.clone()), begun: Mutex::default() });
    let options = Options { send_ahead: Some(Arc::clone(&watched) as _), ..Options::default() };
    let built = build(directory.path(), &text, &options, &registry).unwrap();
    assert_eq!(*watched.begun.lock().unwrap(), [[one.to_string(), two.to_string()]]);
    let large = &built.images[0].sealed.layers[0].descriptor;
    let plain = build(context().path(), &text, &Options::default(), &registry).unwrap();
    assert_eq!(plain.images[0].sealed.manifest, built.images[0].sealed.manifest);
    until("all of it is there", || fake.traffic().up == large.size);
    // What is known already is not even begun.
    fake.forget();
    build(directory.path(), &text, &options, &registry).unwrap();
    assert_eq!((watched.begun.lock().unwrap().len(), lines(&fake).len()), (1, 0));
}

#[test]
fn a_build_that_fails_leaves_neither_blob_nor_session() {
    let (fake, directory, registry) = (FakeRegistry::open(), context(), anonymous());
    let text = format!(
        r#"
        spec = 1
        stages.web = {{ from = "scratch", steps = [{{ copy = "large", to = "/" }}, {{ copy = "missing", to = "/" }}] }}
        images.web = {{ stage = "web", tags = ["{}"] }}
        "#,
        at(fake.address(), "team/web:1")
    );
    let options = Options { send_ahead: Some(Arc::new(PushAhead::new(registry.clone()))), ..Options::default() };
    build(directory.path(), &text, &options, &registry).unwrap_err();
    drop(options);
    let lines = lines(&fake);
    assert_eq!(lines.first().map(String::as_str), Some("POST"));
    assert_eq!(lines.last().map(String::as_str), Some("DELETE"));
    assert!(!lines.contains(&"PUT".to_owned()), "{lines:?}");
    assert_eq!(fake.open_sessions(), 0);
    fake.assert_well_treated();
}

#[test]
fn the_real_registry_takes_what_is_sent_ahead_and_forgets_what_is_given_up() {
    let real = RealRegistry::start("", &[]);
    let (packing, registry) = (Packing::new(), anonymous());
    let target = at(real.address, "team/web:1");
    // Of what it is told to forget it leaves the directory, without the bytes.
    let sessions = || {
        let uploads = real.directory().join("data/docker/registry/v2/repositories/team/web/_uploads");
        let entries = std::fs::read_dir(uploads).into_iter().flatten();
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().join("data").exists())).count()
    };
    let has_some = || until("a session is open", || sessions() == 1);
    let ahead = packing.send(&registry, std::slice::from_ref(&target), has_some);
    assert_eq!(packing.push(&registry, &target).unwrap(), (Pushed::Uploaded, packing.bytes.len() as u64));
    drop(ahead);
    assert_eq!(pull(&registry, &target, &packing.descriptor()).unwrap(), packing.bytes);
    assert_eq!(sessions(), 0);
    let ahead = packing.send(&registry, std::slice::from_ref(&target), has_some);
    drop(ahead);
    until("the session is closed", || sessions() == 0);
}
