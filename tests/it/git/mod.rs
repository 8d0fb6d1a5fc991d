//! Files from git repositories, fetched from real servers.

mod contexts;
mod hostile;
mod known;
mod locking;
mod moved;
mod over_ssh;
mod served;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use served::{Repository, Server};

use crate::lab::{Built, Lab};
use crate::nobody::Nobody;

/// One stage with nothing but what is fetched.
pub(crate) fn spec(fetches: &[String]) -> String {
    let steps: Vec<String> = fetches.iter().map(|fetch| format!("[[stages.app.steps]]\nhistory = \"the sources\"\n{fetch}\n")).collect();
    format!("spec = 1\n[stages.app]\nfrom = \"scratch\"\n{}\n[images.app]\nstage = \"app\"\n", steps.join("\n"))
}

fn fetch(url: &str, to: &str, further: &str) -> String {
    format!("fetch = \"git+{url}\"\nto = \"{to}\"\n{further}")
}

/// Builds fetches alone; where the files are then.
fn built(lab: &Lab, name: &str, fetches: &[String]) -> (Built, PathBuf) {
    let project = lab.files(name, &[("lapstrake.toml", &spec(fetches))]);
    let files = lab.path(&format!("{name}.files"));
    let _ = std::fs::remove_dir_all(&files);
    let built = lab.build(&project, &["-o", &format!("rootfs:{}", files.display())]);
    (built, files)
}

fn read(files: &Path, path: &str) -> String {
    std::fs::read_to_string(files.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A repository with a program, a link, and attributes that would change files on their way out.
fn sample(lab: &Lab, format: &str) -> (Repository, String, String) {
    let repository = Repository::new(lab.path(&format!("work-{format}")), format);
    repository.write("README", "$Id$\r\nread me\r\n");
    repository.write("docs/deep/page", "page\n");
    repository.write("program", "#!/bin/sh\n");
    repository.write(".gitattributes", "README ident text eol=lf\n*.left export-ignore\nprogram filter=evil\n");
    repository.write("a.left", "not left out\n");
    std::fs::set_permissions(repository.0.join("program"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("docs/deep", repository.0.join("link")).unwrap();
    // As they are, without what attributes would do on the way in.
    std::fs::rename(repository.0.join(".gitattributes"), lab.path("attributes")).unwrap();
    repository.git(&["add", "--all", "."]);
    std::fs::rename(lab.path("attributes"), repository.0.join(".gitattributes")).unwrap();
    repository.git(&["add", ".gitattributes"]);
    repository.git(&["commit", "--quiet", "--message", "one"]);
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["tag", "light"]);
    repository.git(&["tag", "--annotate", "--message", "a", "annotated"]);
    repository.git(&["tag", "--annotate", "--message", "b", "twice", "annotated"]);
    repository.write("docs/second", "second\n");
    repository.git(&["add", "docs"]);
    repository.git(&["commit", "--quiet", "--message", "two"]);
    let second = repository.git(&["rev-parse", "HEAD"]);
    (repository, first, second)
}

fn served(lab: &Lab) -> PathBuf {
    let served = lab.path("served");
    std::fs::create_dir_all(&served).unwrap();
    served
}

#[test]
fn a_commit_gives_the_same_layer_from_every_server_and_settings_of_git_change_nothing() {
    let lab = Lab::new();
    let (repository, first, _) = sample(&lab, "sha1");
    let served = served(&lab);
    repository.publish(&served, "tool.git");
    let servers = [Server::daemon(&served), Server::http(&served, "smart"), Server::http(&served, "plain")];
    let addresses = servers.iter().map(|server| server.address.clone()).chain([format!("file://{}", served.display())]);
    // Whatever this would do to a file or start, none of it is looked at.
    lab.files(
        "home",
        &[(
            ".gitconfig",
            "[core]\n\tautocrlf = true\n\thooksPath = /\n[filter \"evil\"]\n\tsmudge = touch /tmp/evil; cat\n\trequired = true\n[url \"ext::x\"]\n\
             \tinsteadOf = http\n",
        )],
    );
    let mut digests = Vec::new();
    for (number, address) in addresses.enumerate() {
        let other = Lab::new();
        let what = [fetch(&format!("{address}/tool.git"), "/src", &format!("commit = \"{first}\""))];
        let project = other.files("project", &[("lapstrake.toml", &spec(&what))]);
        let files = other.path("files");
        let built = other.build_with(&project, &["-o", &format!("rootfs:{}", files.display())], |command| {
            command.env("HOME", lab.path("home")).env("GIT_DIR", "/nonexistent").env("GIT_SSH_COMMAND", "false");
            command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "protocol.allow").env("GIT_CONFIG_VALUE_0", "never");
        });
        digests.push(built.digest().to_owned());
        let src = files.join("src");
        assert_eq!(names(&src), [".gitattributes", "README", "a.left", "docs", "link", "program"], "{address}");
        assert_eq!(read(&src, "README"), "$Id$\r\nread me\r\n");
        let mode = |name: &str| std::fs::metadata(src.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("program"), mode("README"), mode("docs")), (0o755, 0o644, 0o755));
        assert_eq!(std::fs::read_link(src.join("link")).unwrap(), Path::new("docs/deep"));
        assert_eq!(digests[number], digests[0], "{address}");
    }
}

#[test]
fn a_moved_repository_with_the_same_commit_is_not_fetched_again_and_no_network_is_needed() {
    let lab = Lab::new();
    let (repository, _, second) = sample(&lab, "sha1");
    let served = served(&lab);
    repository.publish(&served, "tool.git");
    repository.publish(&served, "moved.git");
    let server = Server::http(&served, "smart");
    let at = |name: &str, to: &str| [fetch(&format!("{}/{name}", server.address), to, &format!("commit = \"{second}\""))];
    let (first, _) = built(&lab, "first", &at("tool.git", "/src"));
    assert_eq!(first.ran().len(), 1);
    let (moved, _) = built(&lab, "moved", &at("moved.git", "/src"));
    assert_eq!((moved.ran(), moved.digest()), (vec![], first.digest()));
    // Another place in the image is another step, of which the store has the files.
    let elsewhere = lab.files("elsewhere", &[("lapstrake.toml", &spec(&at("moved.git", "/elsewhere")))]);
    assert_eq!(lab.build(&elsewhere, &["--offline"]).ran().len(), 1);
    let empty = Lab::new();
    let said = empty.fail(3, &elsewhere, &["--offline"]);
    assert!(said.contains("is not in the store, and `--offline` refuses the network"), "{said}");
    lab.verify();
}

#[test]
fn branches_tags_and_commits_lead_to_what_they_lead_to() {
    let lab = Lab::new();
    let (repository, first, second) = sample(&lab, "sha1");
    repository.git(&["branch", "annotated", &second]);
    repository.git(&["update-ref", "refs/pull/7/head", &first]);
    let served = served(&lab);
    repository.publish(&served, "tool.git");
    Repository(served.join("tool.git")).git(&["update-ref", "refs/pull/7/head", &first]);
    let server = Server::http(&served, "smart");
    let cases: &[(&str, bool)] = &[
        ("", true),
        ("ref = \"main\"", true),
        ("ref = \"HEAD\"", true),
        ("ref = \"refs/heads/main\"", true),
        ("ref = \"light\"", false),
        ("ref = \"twice\"", false),
        ("ref = \"refs/tags/annotated\"", false),
        // A branch goes before a tag of the same name.
        ("ref = \"annotated\"", true),
        ("ref = \"pull/7/head\"", false),
    ];
    let mut fetches: Vec<String> = Vec::new();
    for (number, (further, _)) in cases.iter().enumerate() {
        fetches.push(fetch(&format!("{}/tool.git", server.address), &format!("/{number}"), further));
    }
    fetches.push(fetch(&format!("{}/tool.git", server.address), "/by-commit", &format!("ref = \"{first}\"")));
    fetches.push(fetch(&format!("{}/tool.git", server.address), "/deep", "path = \"docs/deep\""));
    fetches.push(fetch(&format!("{}/tool.git", server.address), "/through", "path = \"link\""));
    fetches.push(fetch(&format!("{}/tool.git", server.address), "/file", "path = \"docs/deep/page\"\nowner = \"7:8\""));
    let (_, files) = built(&lab, "project", &fetches);
    for (number, (further, has_second)) in cases.iter().enumerate() {
        assert_eq!(files.join(format!("{number}/docs/second")).exists(), *has_second, "{further}");
    }
    assert!(!files.join("by-commit/docs/second").exists());
    assert_eq!((names(&files.join("deep")), names(&files.join("through"))), (vec!["page".to_owned()], vec!["page".to_owned()]));
    assert_eq!(read(&files, "file"), "page\n");
}

#[test]
fn what_is_not_there_is_told_at_its_place_with_what_to_do() {
    let lab = Lab::new();
    let (repository, first, _) = sample(&lab, "sha1");
    let served = served(&lab);
    repository.publish(&served, "tool.git");
    Repository::new(lab.path("nothing"), "sha1").publish(&served, "empty.git");
    let tree = repository.git(&["rev-parse", "HEAD^{tree}"]);
    let (server, closed) = (Server::http(&served, "smart"), Server::http(&served, "login"));
    let at = |name: &str| format!("{}/{name}", server.address);
    let nobody = Nobody::new();
    let nowhere = format!("http://{}/tool.git", nobody.address);
    let gone = "1".repeat(40);
    let cases: &[(i32, String, String, &str)] = &[
        (3, at("tool.git"), "ref = \"mian\"".to_owned(), "has no branch or tag `mian`; did you mean `main`?"),
        (3, at("tool.git"), format!("ref = \"{}\"", &first[..9]), "a commit is named in full"),
        (3, at("tool.git"), format!("commit = \"{gone}\""), "does not give the commit 1111"),
        (3, at("tool.git"), format!("commit = \"{tree}\""), "is a tree and no commit"),
        (3, at("empty.git"), String::new(), "is empty"),
        (3, at("missing.git"), String::new(), "there is no git repository at"),
        (3, format!("{}/tool.git", closed.address), String::new(), "wants to know who we are"),
        (3, nowhere, String::new(), "cannot reach"),
        (3, format!("file://{}", served.join("missing").display()), String::new(), "there is no git repository at"),
        (2, at("tool.git"), "path = \"docs/pages\"".to_owned(), "`docs/pages` is not in `http"),
        (2, "https://example.com/x".to_owned(), "ref = \"--upload-pack=x\"".to_owned(), "no branch or tag begins with `-`"),
        (2, "https://example.com/x#main".to_owned(), String::new(), "what is wanted of the repository stands in `ref` and `path`"),
        (2, "https://${args.where}/x".to_owned(), String::new(), "`https://…@example.com/x` is no repository that can be fetched"),
        (2, at("tool.git"), "path = \"docs\"\nkeep_git = true".to_owned(), "`keep_git` does not fit here"),
    ];
    for (code, url, further, expected) in cases {
        let text = spec(&[fetch(url, "/x", further)]);
        let args = if text.contains("args.where") { "[args]\nwhere = { help = \"a host\" }\n" } else { "" };
        let project = lab.files("project", &[("lapstrake.toml", &text.replacen("spec = 1\n", &format!("spec = 1\n{args}"), 1))]);
        let given: &[&str] = if args.is_empty() { &[] } else { &["--arg", "where=me:hunter2@example.com"] };
        let said = lab.fail(*code, &project, given);
        assert!(said.replace('\n', " ").contains(expected), "{url} {further}:\n{said}");
        assert!(said.contains("lapstrake.toml:") && !said.contains("hunter2"), "{said}");
    }
    let project = lab.files("project", &[("lapstrake.toml", &spec(&[fetch(&at("tool.git"), "/x", "")]))]);
    let mut command = lab.command(&["build", project.to_str().unwrap()]);
    let ran = crate::lab::Ran::of(command.env("PATH", "/nonexistent"));
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("there is none in the search path; install it"), "{}", ran.err);
}

#[test]
fn a_kept_git_directory_is_one_that_git_takes_and_the_same_from_everywhere() {
    for format in ["sha1", "sha256"] {
        let lab = Lab::new();
        let (repository, _, second) = sample(&lab, format);
        let served = served(&lab);
        repository.publish(&served, "tool.git");
        let (daemon, smart) = (Server::daemon(&served), Server::http(&served, "smart"));
        let what =
            |server: &Server| [fetch(&format!("{}/tool.git", server.address), "/src", &format!("commit = \"{second}\"\nkeep_git = true"))];
        let (first, files) = built(&lab, "first", &what(&smart));
        let other = Lab::new();
        assert_eq!(built(&other, "other", &what(&daemon)).0.digest(), first.digest(), "{format}");

        let kept = Repository(files.join("src"));
        assert_eq!(kept.git(&["rev-parse", "HEAD"]), second);
        // The sample's own attributes would have git change files.
        kept.write(".git/info/attributes", "* -text -ident -filter\n");
        assert_eq!(kept.git(&["status", "--porcelain"]), "");
        std::fs::remove_dir_all(kept.0.join(".git/info")).unwrap();
        assert_eq!(kept.git(&["log", "--format=%s"]), "two");
        assert_eq!(kept.git(&["fsck", "--strict", "--full"]), "");
        assert_eq!(names(&kept.0.join(".git")), ["HEAD", "config", "index", "objects", "refs", "shallow"]);
        assert_eq!(read(&kept.0, ".git/HEAD"), format!("{second}\n"));
    }
}

#[test]
fn submodules_come_along_by_relative_addresses_unless_they_are_not_wanted() {
    let lab = Lab::new();
    let served = served(&lab);
    let inner = Repository::new(lab.path("inner"), "sha1");
    inner.write("inner", "inner\n");
    let inner_commit = inner.commit("inner");
    inner.write("inner", "later\n");
    inner.commit("later");
    inner.publish(&served, "deep/inner.git");
    let middle = Repository::new(lab.path("middle"), "sha1");
    middle.write("middle", "middle\n");
    middle.write(".gitmodules", "[submodule \"inner\"]\n\tpath = in/ner\n\turl = ../deep/inner.git\n");
    middle.git(&["add", "."]);
    middle.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{inner_commit},in/ner")]);
    middle.git(&["commit", "--quiet", "--message", "middle"]);
    let middle_commit = middle.git(&["rev-parse", "HEAD"]);
    middle.publish(&served, "middle.git");
    let outer = Repository::new(lab.path("outer"), "sha1");
    outer.write(
        ".gitmodules",
        "[submodule \"m.o.d\"]\n\tpath = lib\n\turl = ../middle.git\n[submodule \"none\"]\n\tpath = none\n\turl = ../missing.git\n\tupdate = none\n",
    );
    outer.git(&["add", "."]);
    for (path, commit) in [("lib", &middle_commit), ("none", &inner_commit)] {
        outer.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
    }
    outer.git(&["commit", "--quiet", "--message", "outer"]);
    outer.publish(&served, "outer.git");

    let server = Server::http(&served, "smart");
    let url = format!("{}/outer.git", server.address);
    let fetches =
        [fetch(&url, "/with", "keep_git = true"), fetch(&url, "/without", "submodules = false"), fetch(&url, "/part", "path = \"lib/in\"")];
    let (_, files) = built(&lab, "project", &fetches);
    assert_eq!(read(&files, "with/lib/in/ner/inner"), "inner\n");
    assert_eq!(read(&files, "with/lib/middle"), "middle\n");
    assert_eq!(names(&files.join("with/lib")), [".gitmodules", "in", "middle"]);
    assert_eq!(names(&files.join("with/none")), Vec::<String>::new());
    assert_eq!(names(&files.join("without/lib")), Vec::<String>::new());
    assert_eq!(names(&files.join("part")), ["ner"]);
}
