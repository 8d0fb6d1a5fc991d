//! What one step leaves for the next: links where mounts and files go, mount points that are something else at the end, caches that
//! change meanwhile, names of caches, rights that a file gains.

use std::path::Path;

use crate::hostile::outside::{CANARY, Outside};
use crate::hostile::raw::Raw;
use crate::hostile::rungs::{Rung, project, said};
use crate::hostile::surroundings::{attack, program};
use crate::lab::{Lab, Ran, set_mode, write};

/// What is mounted, copied and written over the links of an attack.
const AFTERWARDS: &str = r#"
[[stages.app.steps]]
run = "cat /run/secrets/key > /dev/null; cat /etc/hosts /etc/resolv.conf > /dev/null; echo x > /cache/x; echo x >> /etc/resolv.conf; echo x >> /etc/hosts; true"
network = true
mounts = [{ secret = "key" }, { cache = "c", at = "/cache" }, { tmpfs = true, at = "/scratch/deep" }]
[[stages.app.steps]]
copy = "src"
to = "/copied/"
[[stages.app.steps]]
write = "/written"
content = "written"
[[stages.app.steps]]
mkdir = "/made/deep"
[[stages.app.steps]]
extract = "archive.tar"
to = "/extracted"
"#;

/// Where those go.
const PLACES: [&str; 12] =
    ["proc", "sys", "dev", "run", "etc/hosts", "etc/resolv.conf", "cache", "scratch", "copied", "written", "made", "extracted"];

fn build_afterwards(rung: Rung, lab: &Lab, project: &Path) -> Ran {
    for (name, text) in [("src/file", "copied"), ("key", "hunter2-the-key")] {
        write(&project.join(name), text);
    }
    std::fs::write(project.join("archive.tar"), Raw::default().file("file", b"extracted").end()).unwrap();
    rung.build(lab, project, &["--secret", "id=key,src=project/key"])
}

/// Links to the outside's directory, and to its file where a file goes.
fn links(outside: &Outside) -> Vec<(&'static str, String)> {
    let file = |place: &str| ["hosts", "resolv.conf", "written"].iter().any(|name| place.ends_with(name));
    PLACES.iter().map(|place| (*place, outside.path(if file(place) { "file" } else { "directory" }).display().to_string())).collect()
}

#[test]
fn links_of_a_base_where_mounts_and_files_go_stay_inside() {
    let outside = Outside::plant();
    let mut tar = crate::project::busybox().to_vec();
    tar.truncate(tar.len() - 1024);
    for (place, target) in links(&outside) {
        tar.extend(Raw::default().symlink(place, &target).0);
    }
    tar.extend([0; 1024]);
    for rung in Rung::ALL {
        let lab = Lab::new();
        let project = project(&lab, AFTERWARDS);
        std::fs::write(project.join("base.tar"), &tar).unwrap();
        let ran = build_afterwards(rung, &lab, &project);
        assert!(matches!(ran.code, Some(0..=3)), "{rung:?}: {ran:#?}");
        assert!(!ran.err.contains(CANARY) && !ran.err.contains("hunter2-the-key"), "{rung:?}: {}", ran.err);
        outside.assert_unreached(&format!("{rung:?}, links of a base: {}", ran.err));
    }
}

#[test]
fn links_that_a_step_leaves_where_the_next_mounts_stay_inside() {
    let outside = Outside::plant();
    for rung in Rung::ALL {
        for (place, target) in links(&outside) {
            let lab = Lab::new();
            let leave = format!(
                "[[stages.app.steps]]\nrun = \"rm -rf /{place} 2>/dev/null; ln -s {target} /{place} 2>/dev/null; ls -ld /{place}\"\n"
            );
            let project = project(&lab, &format!("{leave}{AFTERWARDS}"));
            let ran = build_afterwards(rung, &lab, &project);
            assert!(matches!(ran.code, Some(0..=3)), "{rung:?}, {place}: {ran:#?}");
            assert!(!ran.err.contains(CANARY) && !ran.err.contains("hunter2-the-key"), "{rung:?}, {place}: {}", ran.err);
            outside.assert_unreached(&format!("{rung:?}, a link at {place}: {}", ran.err));
        }
    }
}

/// CVE-2024-23652: what was made for a mount is taken away afterwards, and nothing else is.
#[test]
fn a_mount_point_that_became_a_link_is_not_removed_through_it() {
    let outside = Outside::plant();
    for rung in Rung::ALL {
        for (what, mount) in [("hollow", "{ tmpfs = true, at = \"/mnt/hollow\" }"), ("empty", "{ secret = \"key\", at = \"/mnt/empty\" }")]
        {
            let lab = Lab::new();
            let step = format!(
                "[[stages.app.steps]]\nrun = \"mv /mnt /moved; ln -s {} /mnt; ls /mnt/; true\"\nmounts = [{mount}]\n",
                outside.text()
            );
            let project = project(&lab, &step);
            write(&project.join("key"), "hunter2-the-key");
            let ran = rung.build(&lab, &project, &["--secret", "id=key,src=project/key"]);
            assert!(matches!(ran.code, Some(0 | 1 | 3)), "{rung:?}: {ran:#?}");
            assert!(!said(&ran).contains(&"secret"), "{rung:?}: the outside is listed: {}", ran.err);
            outside.assert_unreached(&format!("{rung:?}, {what}"));
        }
    }
}

/// CVE-2024-1753, CVE-2024-23651: a directory is swapped for a link between the look and the mount.
#[test]
fn mounts_into_a_shared_cache_do_not_follow_links_that_are_swapped_in() {
    let outside = Outside::plant();
    let spec = format!(
        r#"spec = 1
[stages.attacker]
from = "tar:base.tar"
[[stages.attacker.steps]]
run = """
set +e; rm -f /c/stop; mkdir -p /c/way; i=0
while test ! -e /c/stop; do
  mv /c/way /c/aside; ln -s {outside} /c/way; rm /c/way; mv /c/aside /c/way; i=$((i+1)); echo $i > /c/count
done 2>/dev/null
true
"""
timeout = "10m"
mounts = [{{ cache = "c", at = "/c" }}]
[stages.victim]
from = "tar:base.tar"
[[stages.victim.steps]]
run = "GROWS"
timeout = "10m"
mounts = [{{ cache = "c", at = "/c" }}]
STEPS
# It has gone on all the time, and still does.
[[stages.victim.steps]]
run = "GROWS; touch /c/stop; echo both"
timeout = "10m"
mounts = [{{ cache = "c", at = "/c" }}]
[stages.app]
from = "scratch"
steps = [{{ copy = "/etc/passwd", to = "/a", from = "stage:attacker" }}, {{ copy = "/etc/passwd", to = "/b", from = "stage:victim" }}]
[images.web]
stage = "app"
"#,
        outside = outside.text()
    );
    let step = |number: u32| {
        format!(
            "[[stages.victim.steps]]\nrun = \"sleep 0.02; test -s /c/way/key || echo elsewhere; echo {number}\"\n\
             mounts = [{{ cache = \"c\", at = \"/c\" }}, {{ secret = \"key\", at = \"/c/way/key\" }}, {{ tmpfs = true, at = \"/c/way/hollow\" }}]\n"
        )
    };
    let grows = "i=$(cat /c/count || true); while now=$(cat /c/count || true); test x$now = x || test x$now = x$i; do sleep 0.01; done";
    let spec = spec.replace("STEPS", &(0..8).map(step).collect::<String>()).replace("GROWS", grows);
    for rung in Rung::SEPARATE {
        let lab = Lab::new();
        let project = project(&lab, "");
        write(&project.join("lapstrake.toml"), &spec);
        write(&project.join("key"), "hunter2-the-key");
        for _ in 0..3 {
            let ran = rung.build(&lab, &project, &["--secret", "id=key,src=project/key", "--jobs", "2", "--no-cache"]);
            // A mount that finds nothing where it looks says so.
            let refused = ran.code == Some(3) || ran.code == Some(1);
            let both = ran.code == Some(0) && said(&ran).contains(&"both");
            assert!(both || (refused && ran.err.contains("cannot mount at `/c/way/")), "{rung:?}: {ran:#?}");
            outside.assert_unreached(&format!("{rung:?}"));
        }
    }
}

/// CVE-2024-9675 and CVE-2024-9407.
#[test]
fn names_of_caches_are_no_paths_and_no_options() {
    for id in ["../../../../escape", "/escape", "a/../../escape", "a/b", "x,source=/etc", "..", ".", "-o", "\\u0000", "line\\nline"] {
        let lab = Lab::new();
        let step = format!("[[stages.app.steps]]\nrun = \"echo x > /c/escaped\"\nmounts = [{{ cache = \"{id}\", at = \"/c\" }}]\n");
        let project = project(&lab, &step);
        let before = listing(&lab);
        let ran = lab.run(&["build", project.to_str().unwrap()]);
        assert!(matches!(ran.code, Some(0 | 2)), "{id}: {ran:#?}");
        assert_eq!(listing(&lab), before, "{id}");
        assert!(!Path::new("/escape").exists() && !Path::new("/tmp/escape").exists(), "{id}");
        if ran.code == Some(0) {
            lab.verify();
        }
    }
    for options in [
        "type=cache,id=../../../../escape,target=/c",
        "type=bind,source=../..,target=/c",
        "type=bind,source=/,target=/c,rw",
        "type=cache,target=/c,bind-propagation=shared",
        "type=bind,from=../..,target=/c",
        "type=tmpfs,target=/../../c",
    ] {
        let lab = Lab::new();
        let dockerfile = format!("FROM scratch\nADD base.tar /\nRUN --mount={options} ls /c; echo x > /c/escaped || true\n");
        let project = project(&lab, "");
        std::fs::remove_file(project.join("lapstrake.toml")).unwrap();
        write(&project.join("Dockerfile"), &dockerfile);
        let before = listing(&lab);
        let ran = lab.run(&["build", project.to_str().unwrap()]);
        assert!(matches!(ran.code, Some(0..=3)), "{options}: {ran:#?}");
        assert!(!said(&ran).contains(&"store"), "{options}: the lab is listed: {}", ran.err);
        assert_eq!(listing(&lab), before, "{options}");
    }
}

/// All of a lab but its store.
fn listing(lab: &Lab) -> Vec<String> {
    let all = walkdir::WalkDir::new(lab.path("")).sort_by_file_name().into_iter();
    all.filter_entry(|entry| entry.path() != lab.store()).map(|entry| entry.unwrap().path().display().to_string()).collect()
}

#[test]
fn rights_that_a_file_gives_are_those_that_its_rung_concedes() {
    for rung in Rung::ALL {
        let lab = Lab::new();
        let steps = r#"
[[stages.app.steps]]
run = "cp /tools/attack /attack; chmod 4755 /attack; cp /tools/attack /open; chmod 4777 /open"
mounts = [{ from = "context", path = "tools", at = "/tools" }]
[stages.user]
from = "stage:app"
user = "app"
[[stages.user.steps]]
run = "/attack identity; /mounted/attack identity; printf x >> /open; stat -c 'mode: %a' /open"
mounts = [{ from = "stage:app", path = "/", at = "/mounted" }]
"#;
        let project = project(&lab, steps);
        let spec = std::fs::read_to_string(project.join("lapstrake.toml")).unwrap().replace("stage = \"app\"", "stage = \"user\"");
        write(&project.join("lapstrake.toml"), &spec);
        std::fs::create_dir(project.join("tools")).unwrap();
        std::fs::write(project.join("tools/attack"), program()).unwrap();
        set_mode(&project.join("tools/attack"), 0o755);
        let ran = rung.build(&lab, &project, &[]);
        assert_eq!(ran.code, Some(0), "{rung:?}: {}", ran.err);
        let expected = match rung {
            // The image's own is the image's own; what is mounted gives no rights, and writing takes them.
            Rung::Root | Rung::User => ["identity: 0", "identity: 1000", "mode: 777"],
            // What a mount would refuse is conceded.
            Rung::Alone | Rung::Chroot => ["identity: 0", "identity: 0", "mode: 777"],
        };
        assert_eq!(said(&ran), expected, "{rung:?}");
    }
}

#[test]
fn a_secret_is_in_no_process_list_and_no_core() {
    const SECRET: &str = "hunter2-not-in-any-list";
    let lab = Lab::new();
    let mark = crate::processes::mark();
    let step = format!(
        "[[stages.app.steps]]\nrun = \"cat /run/secrets/key > /dev/null; sleep {mark} & wait $! || kill -SEGV $$\"\n\
         mounts = [{{ secret = \"key\" }}]\n"
    );
    let project = project(&lab, &step);
    write(&lab.path("key"), SECRET);
    let mut command = lab.command(&["build", project.to_str().unwrap(), "--secret", "id=key,src=key", "--progress", "json"]);
    let log = lab.path("log");
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let sleeps = format!("sleep\0{mark}\0");
    let mut looks_while_it_slept = 0;
    crate::waiting::until("the step ends", || {
        let mut sleeping = None;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if line == sleeps.as_bytes() {
                sleeping = rustix::process::Pid::from_raw(entry.file_name().to_str().unwrap().parse().unwrap());
            }
            for text in [line, environment] {
                assert!(!String::from_utf8_lossy(&text).contains(SECRET), "{}", entry.path().display());
            }
        }
        if let Some(sleeping) = sleeping {
            looks_while_it_slept += 1;
            // The step was there for the whole of the second look. It goes on when its `sleep` is ended.
            if looks_while_it_slept == 2 {
                rustix::process::kill_process(sleeping, rustix::process::Signal::TERM).unwrap();
            }
        }
        child.try_wait().unwrap().is_some()
    });
    assert!(looks_while_it_slept >= 2, "the step was not seen while it had the secret");
    std::fs::remove_file(lab.path("key")).unwrap();
    for entry in walkdir::WalkDir::new(lab.path("")) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{}", entry.path().display());
        }
        assert!(!entry.file_name().to_string_lossy().starts_with("core"), "{}", entry.path().display());
    }
}

#[test]
fn a_step_that_breaks_everything_leaves_a_store_that_works() {
    for rung in Rung::ALL {
        // The program is in the step's root alone. Without namespaces older kernels would let the signal out.
        let kill = if rung == Rung::Chroot { "" } else { "; /tools/attack kill:1 kill:-1 2>/dev/null" };
        let script = format!("test -x /tools/attack && busybox rm -rf / 2>/dev/null{kill}; exit 0");
        let (ran, lab) = attack(rung, &script, "");
        assert!(matches!(ran.code, Some(0 | 1 | 3)), "{rung:?}: {ran:#?}");
        let project = project(&lab, "steps = [{ run = \"echo works\" }]");
        let ran = rung.build(&lab, &project, &[]);
        assert_eq!((ran.code, said(&ran).last()), (Some(0), Some(&"works")), "{rung:?}: {}", ran.err);
        let verified = Ran::of(&mut rung.command(&lab, &["cache", "verify"]));
        assert_eq!(verified.out, "the store is sound\n", "{rung:?}: {verified:#?}");
    }
}
