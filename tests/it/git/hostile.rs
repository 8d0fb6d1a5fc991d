//! Repositories that mean harm.

use super::served::Repository;
use super::{fetch, served, spec};
use crate::lab::Lab;

/// The bytes of an object's name.
fn raw(id: &str) -> Vec<u8> {
    (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect()
}

impl Repository {
    fn blob(&self, text: &str) -> String {
        self.git_with(&["hash-object", "-w", "--stdin"], text.as_bytes())
    }

    /// A tree with these entries, whatever git would say to them.
    fn tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let entry = |(mode, name, id): &(&str, &str, &str)| [format!("{mode} {name}\0").as_bytes(), &raw(id)].concat();
        let bytes: Vec<u8> = entries.iter().flat_map(entry).collect();
        self.git_with(&["hash-object", "-t", "tree", "--literally", "-w", "--stdin"], &bytes)
    }

    /// A branch at a commit of a tree.
    fn branch(&self, name: &str, tree: &str) {
        let commit = self.git(&["commit-tree", "-m", name, tree]);
        self.git(&["update-ref", &format!("refs/heads/{name}"), &commit]);
    }
}

#[test]
fn what_a_repository_holds_stays_in_its_place_and_starts_nothing() {
    let lab = Lab::new();
    let repository = Repository::new(lab.path("work"), "sha1");
    let marker = lab.path("marker");
    let blob = repository.blob("[core]\n\tfsmonitor = touch /tmp/x\n");
    let etc = repository.blob("/etc");
    let inner = repository.tree(&[("100644", "config", &blob)]);
    let branch = |name: &str, entries: &[(&str, &str, &str)]| repository.branch(name, &repository.tree(entries));
    branch("up", &[("40000", "..", &inner)]);
    branch("here", &[("100644", ".", &blob)]);
    branch("slash", &[("100644", "a/../../b", &blob)]);
    branch("git", &[("40000", ".git", &inner)]);
    branch("case", &[("40000", ".GIT", &inner)]);
    branch("git-link", &[("120000", ".git", &etc)]);
    branch("twice", &[("120000", "a", &etc), ("40000", "a", &inner)]);
    branch("modules-link", &[("120000", ".gitmodules", &etc), ("160000", "sub", &"1".repeat(40))]);
    let commit = "2".repeat(40);
    for (name, text) in [
        ("ext", format!("[submodule \"a\"]\n\tpath = sub\n\turl = ext::sh -c touch% {}\n", marker.display())),
        ("option", format!("[submodule \"a\"]\n\tpath = sub\n\turl = -u./{}\n", marker.display())),
        ("name", "[submodule \"../../x\"]\n\tpath = sub\n\turl = https://127.0.0.1:1/x\n".to_owned()),
        ("local", "[submodule \"a\"]\n\tpath = sub\n\turl = file:///etc\n".to_owned()),
        ("password", "[submodule \"a\"]\n\tpath = sub\n\turl = https://me:hunter2@127.0.0.1:1/x\n".to_owned()),
        ("unmapped", "[submodule \"a\"]\n\tpath = other\n\turl = https://127.0.0.1:1/x\n".to_owned()),
    ] {
        let modules = repository.blob(&text);
        branch(name, &[("100644", ".gitmodules", &modules), ("160000", "sub", &commit)]);
    }
    let served = served(&lab);
    // As a server would keep them that looks at nothing.
    crate::real::run("cp", &["-R", repository.0.join(".git").to_str().unwrap(), served.join("bad.git").to_str().unwrap()]);
    let server = super::Server::http(&served, "smart");
    for (name, expected) in [
        ("up", ".."),
        ("here", ""),
        ("slash", ""),
        ("git", ""),
        ("case", ""),
        ("git-link", ""),
        ("twice", ""),
        ("modules-link", ""),
        ("ext", ""),
        ("option", ""),
        ("name", ""),
        ("local", "is on this machine, and the repository is not"),
        ("password", "https://…@127.0.0.1:1/x` is refused"),
        ("unmapped", "does not say of what"),
    ] {
        let url = format!("{}/bad.git", server.address);
        let project = lab.files("project", &[("lapstrake.toml", &spec(&[fetch(&url, "/x", &format!("ref = \"{name}\""))]))]);
        let said = lab.fail(3, &project, &[]);
        assert!(said.contains("bad.git") && said.contains(expected), "{name}:\n{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert!(!marker.exists());
    lab.verify();
}

#[test]
fn links_lead_where_they_lead_in_the_image_and_nowhere_on_this_machine() {
    let lab = Lab::new();
    let repository = Repository::new(lab.path("work"), "sha1");
    std::os::unix::fs::symlink("/etc", repository.0.join("out")).unwrap();
    std::os::unix::fs::symlink("../../../..", repository.0.join("up")).unwrap();
    repository.write("file", "x\n");
    repository.commit("links");
    let served = served(&lab);
    repository.publish(&served, "links.git");
    let url = format!("file://{}/links.git", served.display());
    let (_, files) = super::built(&lab, "project", &[fetch(&url, "/x", "")]);
    assert_eq!(std::fs::read_link(files.join("x/out")).unwrap(), std::path::Path::new("/etc"));
    // What is asked for by name is looked for inside of the repository.
    let project = lab.files("through", &[("lapstrake.toml", &spec(&[fetch(&url, "/x", "path = \"out/passwd\"")]))]);
    let said = lab.fail(2, &project, &[]);
    assert!(said.contains("`out/passwd` is not in `file://"), "{said}");
}
