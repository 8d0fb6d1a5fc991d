//! What a copy does beside copying: archives, modes, contexts of the spec, owners of new directories.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::lab::{Lab, set_mode, write};

/// One line per path of the image: mode, owner, and what a link points to or how long a file is.
fn listed(lab: &Lab, project: &Path) -> BTreeMap<String, String> {
    let tar = lab.path("rootfs.tar");
    lab.build(project, &["-o", &format!("rootfs-tar:{}", tar.display())]);
    let mut archive = tar::Archive::new(std::fs::File::open(tar).unwrap());
    let line = |entry: std::io::Result<tar::Entry<'_, std::fs::File>>| {
        let entry = entry.unwrap();
        let header = entry.header();
        let owner = format!("{}:{}", header.uid().unwrap(), header.gid().unwrap());
        let what = match (header.entry_type(), entry.link_name().unwrap()) {
            (tar::EntryType::Directory, _) => "/".to_owned(),
            (_, Some(target)) => format!("-> {}", target.display()),
            (_, None) => header.size().unwrap().to_string(),
        };
        let path = entry.path().unwrap().display().to_string();
        (path.trim_end_matches('/').to_owned(), format!("{:o} {owner} {what}", header.mode().unwrap()))
    };
    archive.entries().unwrap().map(line).filter(|(path, _)| path != ".").collect()
}

fn run(program: &str, arguments: &[&str]) {
    crate::real::run(program, arguments);
}

/// An archive of files that belong to others, packed in this way.
fn archive(lab: &Lab, at: &Path, how: &str) {
    let tree = lab.files("packed", &[("bin/tool", "tool\n"), ("etc/conf", "conf\n")]);
    set_mode(&tree.join("bin/tool"), 0o4755);
    set_mode(&tree.join("etc"), 0o750);
    set_mode(&tree.join("etc/conf"), 0o640);
    let _ = std::os::unix::fs::symlink("tool", tree.join("bin/link"));
    let directory = tree.to_str().unwrap();
    run("tar", &["--owner=7", "--group=8", "-C", directory, how, "-cf", at.to_str().unwrap(), "bin", "etc"]);
}

#[test]
fn archives_are_unpacked_where_that_is_asked_for_and_other_files_copied() {
    let lab = Lab::new();
    let spec = r#"
spec = 1
[stages.app]
from = "scratch"
[[stages.app.steps]]
write = "/srv/bin"
content = "in the way"
[[stages.app.steps]]
copy = "packed.*"
to = "/srv"
unpack = true
mode = "keep"
[[stages.app.steps]]
copy = ["plain.txt", "empty.tar"]
to = "/srv/"
unpack = true
[[stages.app.steps]]
copy = "packed.gz"
to = "/owned"
unpack = true
owner = "3:4"
mode = "=0700"
[[stages.app.steps]]
copy = "packed.gz"
to = "/whole"
[images.app]
stage = "app"
"#;
    for how in ["--no-auto-compress", "-z", "-j", "-J", "--zstd"] {
        let project = lab.files("project", &[("plain.txt", "plain\n"), ("empty.tar", "")]);
        write(&project.join("lapstrake.toml"), spec);
        archive(&lab, &project.join("packed.gz"), how);
        let size = std::fs::metadata(project.join("packed.gz")).unwrap().len();
        let found = listed(&lab, &project);
        let expected = [
            ("owned", "755 3:4 /".to_owned()),
            // A mode is for files that are no archives.
            ("owned/bin", "755 3:4 /".to_owned()),
            ("owned/bin/link", "777 3:4 -> tool".to_owned()),
            ("owned/bin/tool", "4755 3:4 5".to_owned()),
            ("owned/etc", "750 3:4 /".to_owned()),
            ("owned/etc/conf", "640 3:4 5".to_owned()),
            ("srv", "755 0:0 /".to_owned()),
            ("srv/bin", "755 7:8 /".to_owned()),
            ("srv/bin/link", "777 7:8 -> tool".to_owned()),
            ("srv/bin/tool", "4755 7:8 5".to_owned()),
            ("srv/empty.tar", "644 0:0 0".to_owned()),
            ("srv/etc", "750 7:8 /".to_owned()),
            ("srv/etc/conf", "640 7:8 5".to_owned()),
            ("srv/plain.txt", "644 0:0 6".to_owned()),
            ("whole", format!("644 0:0 {size}")),
        ];
        let expected: BTreeMap<String, String> = expected.map(|(path, line)| (path.to_owned(), line)).into();
        assert_eq!(found, expected, "{how}");
    }
}

#[test]
fn hard_links_of_archives_lead_to_files_that_other_sources_brought_or_that_are_below() {
    let lab = Lab::new();
    let spec = r#"
spec = 1
[stages.below]
from = "scratch"
[[stages.below.steps]]
write = "/old/f"
content = "below"
[[stages.below.steps]]
write = "/one"
content = "1"
[[stages.below.steps]]
write = "/two"
content = "2"
[[stages.below.steps]]
link = "/one"
target = "/two"
hard = true
[[stages.below.steps]]
copy = ["files", "replaced.tar"]
to = "/old"
unpack = true
[stages.app]
from = "scratch"
[[stages.app.steps]]
copy = ["rootfs/", "links.tar", "through.tar", "replaced.tar"]
to = "/"
unpack = true
[[stages.app.steps]]
copy = "/"
from = "stage:below"
to = "/below"
[images.app]
stage = "app"
"#;
    let project = lab.files("project", &[("rootfs/bin/busybox", "busybox"), ("rootfs/f", "rootfs"), ("files/g", "g")]);
    write(&project.join("lapstrake.toml"), spec);
    std::os::unix::fs::symlink("bin", project.join("rootfs/linked")).unwrap();
    // Of the first and the second archive the file is missing, of the third it comes behind its other name.
    let packed = lab.files("packed", &[("bin/busybox", "x"), ("linked/busybox", "x"), ("f", "x"), ("new/f", "anew")]);
    std::fs::hard_link(packed.join("linked/busybox"), packed.join("linked/sh")).unwrap();
    std::fs::hard_link(packed.join("bin/busybox"), packed.join("bin/ash")).unwrap();
    std::fs::hard_link(packed.join("f"), packed.join("a")).unwrap();
    let packed = packed.display().to_string();
    let [links, through, replaced] = ["links.tar", "through.tar", "replaced.tar"].map(|name| project.join(name).display().to_string());
    run("tar", &["-C", &packed, "-cf", &links, "bin/busybox", "bin/ash"]);
    run("tar", &["--delete", "-f", &links, "bin/busybox"]);
    run("tar", &["-C", &packed, "-cf", &through, "linked/busybox", "linked/sh"]);
    run("tar", &["--delete", "-f", &through, "linked/busybox"]);
    run("tar", &["-C", &packed, "-cf", &replaced, "f", "a"]);
    run("tar", &["--delete", "-f", &replaced, "f"]);
    run("tar", &["-C", &format!("{packed}/new"), "-rf", &replaced, "f"]);
    let tar = lab.path("rootfs.tar");
    lab.build(&project, &["-o", &format!("rootfs-tar:{}", tar.display())]);
    let mut archive = tar::Archive::new(std::fs::File::open(tar).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut text = entry.link_name().unwrap().map_or(String::new(), |target| format!("as {}", target.display()));
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        if !path.ends_with('/') {
            found.insert(path, text);
        }
    }
    let expected = [
        ("a", "rootfs"),
        ("below/old/a", "below"),
        ("below/old/f", "anew"),
        ("below/old/g", "g"),
        ("below/one", "2"),
        ("below/two", "as below/one"),
        ("bin/ash", "busybox"),
        ("bin/busybox", "as bin/ash"),
        ("bin/sh", "as bin/ash"),
        ("f", "anew"),
        ("linked", "as bin"),
    ];
    assert_eq!(found, expected.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
}

#[test]
fn a_hard_link_of_an_archive_takes_no_directory_away() {
    let lab = Lab::new();
    let spec = "spec = 1\n[stages.app]\nfrom = \"scratch\"\n[[stages.app.steps]]\nmkdir = \"/opt/x\"\n[[stages.app.steps]]\n\
                extract = \"a.tar\"\nto = \"/\"\n[images.app]\nstage = \"app\"\n";
    let project = lab.project(spec, &[]);
    let packed = lab.files("packed", &[("opt/f", "f")]);
    std::fs::hard_link(packed.join("opt/f"), packed.join("opt/x")).unwrap();
    run("tar", &["-C", packed.to_str().unwrap(), "-cf", project.join("a.tar").to_str().unwrap(), "opt/f", "opt/x"]);
    let said = lab.fail(2, &project, &[]);
    assert!(said.contains("cannot put a file at `/opt/x`: a directory is there already"), "{said}");
}

#[test]
fn modes_are_set_exactly_or_changed_as_chmod_changes_them() {
    let lab = Lab::new();
    let spec = r#"
spec = 1
[args]
bits = "0444"
nothing = { optional = true }
[stages.app]
from = "scratch"
[[stages.app.steps]]
copy = "src"
to = "/exact/new"
mode = "=0640"
[[stages.app.steps]]
copy = "src"
to = "/symbolic"
mode = "u=rwX,go=rX"
[[stages.app.steps]]
copy = "src/tool"
to = "/given"
mode = "${args.bits}"
[[stages.app.steps]]
copy = "src/tool"
to = "/not-given"
mode = "${args.nothing:-}"
[[stages.app.steps]]
workdir = "/made/for"
owner = "5"
[images.app]
stage = "app"
"#;
    let project = lab.files("project", &[("src/tool", "t"), ("src/sub/text", "t")]);
    write(&project.join("lapstrake.toml"), spec);
    set_mode(&project.join("src/tool"), 0o700);
    set_mode(&project.join("src/sub"), 0o700);
    set_mode(&project.join("src/sub/text"), 0o600);
    let expected = [
        ("exact", "755 0:0 /"),
        ("exact/new", "755 0:0 /"),
        ("exact/new/sub", "640 0:0 /"),
        ("exact/new/sub/text", "640 0:0 1"),
        ("exact/new/tool", "640 0:0 1"),
        ("given", "444 0:0 1"),
        ("made", "755 5:5 /"),
        ("made/for", "755 5:5 /"),
        ("not-given", "755 0:0 1"),
        ("symbolic", "755 0:0 /"),
        ("symbolic/sub", "755 0:0 /"),
        ("symbolic/sub/text", "644 0:0 1"),
        ("symbolic/tool", "755 0:0 1"),
    ];
    assert_eq!(listed(&lab, &project), expected.map(|(path, line)| (path.to_owned(), line.to_owned())).into());
}

#[test]
fn the_spec_says_where_contexts_are_and_what_is_left_out_and_the_caller_may_say_otherwise() {
    let lab = Lab::new();
    let spec = r#"
spec = 1
context = "app"
ignore = "build/app.ignore"
contexts = { docs = "docs", assets = { path = "../assets", ignore = "build/assets.ignore" } }
[stages.app]
from = "scratch"
[[stages.app.steps]]
copy = "."
to = "/app"
history = "COPY . /app # as it was"
[[stages.app.steps]]
copy = "."
from = "context:docs"
to = "/docs"
[[stages.app.steps]]
copy = "."
from = "context:assets"
to = "/assets"
[[stages.app.steps]]
history = "CMD nothing"
[images.app]
stage = "app"
"#;
    let files = [
        ("app/main", ""),
        ("app/main.log", ""),
        ("app/.dockerignore", "main\n"),
        ("docs/page", ""),
        ("docs/draft", ""),
        ("docs/.lapstrakeignore", "draft\n.*\n"),
        ("build/app.ignore", "*.log\n.*\n"),
        ("build/assets.ignore", "raw\n"),
    ];
    let project = lab.files("project", &files);
    write(&project.join("lapstrake.toml"), spec);
    lab.files("assets", &[("logo", ""), ("raw", "")]);
    lab.files("other", &[("other", ""), ("raw", "")]);
    let files = |arguments: &[&str]| -> Vec<String> {
        let tar = lab.path("rootfs.tar");
        let output = format!("rootfs-tar:{}", tar.display());
        lab.build(&project, &[&["-o", &output], arguments].concat());
        let mut archive = tar::Archive::new(std::fs::File::open(tar).unwrap());
        let paths = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        paths.filter(|path| !path.ends_with('/')).collect()
    };
    assert_eq!(files(&[]), ["app/main", "assets/logo", "docs/page"]);
    let other = format!("assets={}", lab.path("other").display());
    assert_eq!(files(&["--context", &other]), ["app/main", "assets/other", "docs/page"]);

    let built = lab.build(&project, &[]);
    let config = built.images()[0]["config"].as_str().unwrap().replace(':', "/");
    let config: Value = serde_json::from_slice(&std::fs::read(lab.store().join("blobs").join(config)).unwrap()).unwrap();
    let history: Vec<&str> = config["history"].as_array().unwrap().iter().map(|entry| entry["created_by"].as_str().unwrap()).collect();
    assert_eq!(
        history,
        ["COPY . /app # as it was", "copy . → /docs from context:docs", "copy . → /assets from context:assets", "CMD nothing"]
    );
    assert_eq!(config["history"][3]["empty_layer"], true);

    std::fs::remove_file(project.join("build/app.ignore")).unwrap();
    assert!(lab.fail(2, &project, &[]).contains("app.ignore"), "an ignore file that is named must be there");
}

#[test]
fn what_is_left_out_may_be_a_link_that_leads_nowhere_or_to_itself() {
    let lab = Lab::new();
    let steps = "copy = \"d/*\"\nexclude = [\"**/loop\", \"**/nowhere\", \"d/out\"]\nto = \"/\"\n";
    let project = lab.project(
        &format!("spec = 1\n[stages.app]\nfrom = \"scratch\"\n[[stages.app.steps]]\n{steps}[images.web]\nstage = \"app\"\n"),
        &[("d/file", "f\n"), ("d/out", "o\n"), ("elsewhere/in", "i\n"), ("elsewhere/loop", "l\n")],
    );
    for (name, target) in [("loop", "loop"), ("nowhere", "absent"), ("link", "../elsewhere")] {
        std::os::unix::fs::symlink(target, project.join("d").join(name)).unwrap();
    }
    let found: Vec<String> = listed(&lab, &project).into_keys().collect();
    // What a link leads to is looked at, too.
    assert_eq!(found, ["file", "in"]);
}
