//! What builds do to keep their store within its bound, and what they do not look at for it.

use rustix::fs::inotify;

use crate::lab::{Lab, write};

const SPEC: &str = r#"
spec = 1

[stages.app]
from = "tar:base.tar"

[[stages.app.steps]]
copy = "data"
to = "/data"

[[stages.app.steps]]
run = "cat /data > /copied; cp /data /cache/data"
mounts = [{ cache = "kept", at = "/cache" }]

[images.web]
stage = "app"
"#;

/// Text that is as long whatever the number is, and that does not compress well.
fn data(number: u64) -> String {
    let mut state = number;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    });
    words.take(1 << 15).collect()
}

#[test]
fn an_edited_build_does_not_look_through_the_store() {
    let lab = Lab::new();
    let project = lab.project(SPEC, &[("data", "1\n")]);
    lab.build(&project, &[]);
    let store = lab.store();
    let shelf = |name: &str| store.join("records").join(name);
    let places = [shelf("actions"), shelf("preimages"), shelf("differences"), store.join("blobs/sha256"), store.join("records")];
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let places = places.map(|place| (inotify::add_watch(&watch, &place, inotify::WatchFlags::OPEN).unwrap(), place));
    // Opened in a place, and opened itself: to be listed.
    let opened = || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        let (mut inside, mut listed) = (0, std::collections::BTreeSet::new());
        while let Ok(event) = events.next() {
            match event.file_name() {
                Some(_) => inside += 1,
                None => listed.extend(places.iter().find(|(number, _)| *number == event.wd()).map(|(_, place)| place.clone())),
            }
        }
        (inside, listed)
    };
    write(&project.join("data"), "2\n");
    let built = lab.build(&project, &[]);
    assert_eq!(built.ran().len(), 2);
    let (inside, listed) = opened();
    assert!(inside > 0);
    assert_eq!(listed, [].into());
    lab.run(&["cache", "prune"]);
    assert_eq!(opened().1.len(), places.len(), "that it would show");
}

#[test]
fn builds_keep_the_store_below_its_bound_and_what_they_use() {
    let used = |bound: Option<&str>| {
        let lab = Lab::new();
        let config = bound.map(|bound| format!("[cache]\nmax_size = \"{bound}\"\n")).unwrap_or_default();
        let project = lab.project(SPEC, &[("../config/lapstrake/config.toml", &config)]);
        let mut sizes = Vec::new();
        for number in 0..6 {
            write(&project.join("data"), &data(number));
            lab.build(&project, &[]);
            let du: serde_json::Value = serde_json::from_str(&lab.run(&["cache", "du", "--json"]).out).unwrap();
            sizes.push(du["bytes"].as_u64().unwrap());
            assert_eq!(lab.build(&project, &[]).ran(), Vec::<&str>::new(), "what the build itself has used stays");
        }
        sizes
    };
    let (bounded, unbounded) = (used(Some("6MiB")), used(None));
    assert_eq!(bounded[0], unbounded[0]);
    assert!(bounded.iter().all(|bytes| *bytes <= 6 << 20), "{bounded:?}");
    assert!(unbounded[5] > 6 << 20, "{unbounded:?}");
}
