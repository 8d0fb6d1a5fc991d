//! Commits in the lock, and builds that are stopped.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;

use super::served::{Repository, Server};
use super::{fetch, served, spec};
use crate::lab::{Lab, Ran};
use crate::waiting::{until, until_some};

/// A spec or Dockerfile that wants a branch and a tag, and what is in the lock for it.
fn pinned_by(file: &str, text: &dyn Fn(&str) -> String, branch: &str) {
    let lab = Lab::new();
    let repository = Repository::new(lab.path("work"), "sha1");
    repository.write("file", "one\n");
    let first = repository.commit("one");
    repository.git(&["tag", "v1"]);
    let served = served(&lab);
    repository.publish(&served, "tool.git");
    let server = Server::http(&served, "smart");
    let url = format!("{}/tool.git", server.address);
    let project = lab.files("project", &[(file, &text(&url))]);
    let place = project.to_str().unwrap();

    let said = lab.fail(2, &project, &["--locked"]);
    assert!(said.contains(&format!("error[not-locked]: the lock does not pin `{url}")), "{said}");
    let ran = lab.run(&["lock", place]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.out.contains(&format!("added    {url} {branch}: {first}\n")), "{}", ran.out);
    let lock = std::fs::read_to_string(project.join("lapstrake.lock")).unwrap();
    let entry = |reference: &str| format!("\n[[git]]\nurl = \"{url}\"\nreference = \"{reference}\"\ncommit = \"{first}\"\n");
    assert!(lock.contains(&entry(branch)) && lock.contains(&entry("v1")), "{lock}");

    // The branch goes on, and what is locked stays.
    let before = lab.build(&project, &["--locked"]);
    repository.write("file", "two\n");
    let second = repository.commit("two");
    repository.publish(&served, "tool.git");
    let other = Lab::new();
    assert_eq!(other.build(&project, &["--locked"]).digest(), before.digest());
    drop(server);
    assert_eq!(other.build(&project, &["--locked", "--offline", "--no-cache"]).digest(), before.digest());
    let third = Lab::new();
    assert!(third.fail(3, &project, &["--offline"]).contains("`--offline` refuses the network"));
    other.verify();

    let again = Server::http(&served, "smart");
    let moved = |text: &str| text.replace(&url, &format!("{}/tool.git", again.address));
    std::fs::write(project.join(file), moved(&text(&url))).unwrap();
    std::fs::write(project.join("lapstrake.lock"), moved(&lock)).unwrap();
    let ran = lab.run(&["lock", place, "--upgrade"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.out.contains(&format!("tool.git {branch}: {first} → {second}\n")), "{}", ran.out);
    assert!(ran.out.contains(&format!("tool.git v1: {first}\n")), "{}", ran.out);
    assert_ne!(lab.build(&project, &["--locked"]).digest(), before.digest());
    // Without a lock the build goes on, and says what it took.
    std::fs::remove_file(project.join("lapstrake.lock")).unwrap();
    let noted = lab.build(&project, &[]).err;
    assert!(noted.contains(&format!("is {second} today; pin it with `lapstrake lock`")), "{noted}");
}

#[test]
fn a_lock_holds_the_commits_of_a_spec() {
    let text = |url: &str| spec(&[fetch(url, "/a", ""), fetch(url, "/b", "ref = \"v1\"")]);
    pinned_by("lapstrake.toml", &text, "HEAD");
}

#[test]
fn a_lock_holds_the_commits_of_a_dockerfile() {
    let text = |url: &str| format!("FROM scratch\nADD {url}#main /a\nADD --keep-git-dir {url}?tag=v1 /b\nADD {url}#v1 /c\n");
    pinned_by("Dockerfile", &text, "main");
}

/// Processes of git whose command line has this text.
fn processes(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text) && line.contains("git")).collect()
}

#[test]
fn a_build_that_is_stopped_while_git_waits_ends_with_130_and_leaves_no_git() {
    let lab = Lab::new();
    // Takes what it is asked and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("http://{address}/tool.git");
    let project = lab.files("project", &[("lapstrake.toml", &spec(&[fetch(&url, "/a", "")]))]);
    let mut command = lab.command(&["build", project.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    silent.set_nonblocking(true).unwrap();
    let (mut asked, _) = until_some("git asks the server", || {
        assert!(child.try_wait().unwrap().is_none(), "the build ended before it asked");
        silent.accept().ok()
    });
    asked.set_nonblocking(false).unwrap();
    let _ = asked.read(&mut [0; 16]).unwrap();
    assert!(!processes(&url).is_empty());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:#?}");
    until(&format!("no git that fetches {url} lives on"), || processes(&url).is_empty());
}
