//! Commits that are written beside a branch or tag.

use super::served::{Repository, Server};
use super::{fetch, served, spec};
use crate::lab::Lab;

#[test]
fn a_branch_that_has_left_the_checksum_beside_it_fails_the_build_and_a_commit_alone_does_not() {
    let lab = Lab::new();
    let repository = Repository::new(lab.path("work"), "sha1");
    repository.write("file", "one\n");
    let first = repository.commit("one");
    repository.git(&["tag", "--annotate", "--message", "a", "v1"]);
    let served = served(&lab);
    repository.publish(&served, "tool.git");
    let server = Server::http(&served, "smart");
    let url = format!("{}/tool.git", server.address);
    let dockerfile = |add: &str| lab.files("project", &[("Dockerfile", &format!("FROM scratch\nADD {add} /x\n"))]);
    let following =
        [format!("--checksum={first} {url}#main"), format!("--checksum={first} {url}"), format!("{url}?branch=main&commit={first}")];
    let staying = [format!("--checksum={first} {url}#v1"), format!("--checksum={first} {url}#{first}")];
    for add in following.iter().chain(&staying) {
        lab.build(&dockerfile(add), &[]);
    }

    repository.write("file", "two\n");
    let second = repository.commit("two");
    repository.publish(&served, "tool.git");
    for add in &following {
        let said = lab.fail(3, &dockerfile(add), &[]).replace('\n', " ");
        assert!(said.contains("Dockerfile:2:"), "{said}");
        assert!(said.contains(&format!("is {second} today, and not {first}, as the checksum says")), "{said}");
        assert!(said.contains(&format!("write {second} for the checksum")), "{said}");
    }
    for add in &staying {
        lab.build(&dockerfile(add), &[]);
    }
    // Nobody can be asked, and the commit is what is written.
    lab.build(&dockerfile(&following[0]), &["--offline"]);
    // A context is held against its commit as well.
    let context = format!("{url}?branch=main&commit={first}");
    assert!(lab.fail(3, std::path::Path::new(&context), &[]).contains("as the checksum says"));

    // A spec pins the commit, unless it says that the branch must be there still.
    let toml = |further: &str| {
        let fetches = [fetch(&url, "/x", &format!("ref = \"main\"\ncommit = \"{first}\"\n{further}"))];
        lab.files("toml", &[("lapstrake.toml", &spec(&fetches))])
    };
    lab.build(&toml(""), &[]);
    let said = lab.fail(3, &toml("check_ref = true"), &["--no-cache"]);
    assert!(said.contains("lapstrake.toml:") && said.contains(&second), "{said}");
    let project = lab.files("toml", &[("lapstrake.toml", &spec(&[fetch(&url, "/x", "check_ref = true")]))]);
    assert!(lab.fail(2, &project, &[]).contains("there is no `commit` that the reference could be held against"));
    lab.verify();
}
