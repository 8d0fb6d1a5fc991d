//! Servers that want to know who asks, over http.

use base64::Engine as _;

use super::served::{Repository, Server};
use super::{fetch, read, served, spec};
use crate::lab::{Lab, Ran, write};
use crate::secrets::holding;

/// What a server is shown of a token.
fn basic(token: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}")))
}

fn project(lab: &Lab) -> Repository {
    let repository = Repository::new(lab.path("work"), "sha1");
    repository.write("Dockerfile", "FROM scratch\nCOPY file /\n");
    repository.write("file", "private\n");
    repository.commit("one");
    repository
}

#[test]
fn a_token_opens_repositories_and_is_nowhere_afterwards() {
    let lab = Lab::new();
    let canary = format!("canary-{}-{:x}", std::process::id(), std::ptr::from_ref(&lab).addr());
    let served = served(&lab);
    project(&lab).publish(&served, "private.git");
    let server = Server::http(&served, &format!("known {}", basic(&canary)));
    let url = format!("{}/private.git", server.address);
    let compose = format!(
        "services: {{web: {{build: {{context: '{url}', secrets: [{{source: git, target: GIT_AUTH_TOKEN}}]}}}}}}\nsecrets: {{git: {{environment: CANARY}}}}\n"
    );
    let projects = [
        url.clone(),
        lab.files("docker", &[("Dockerfile", &format!("FROM scratch\nADD {url} /\n"))]).display().to_string(),
        lab.files("toml", &[("lapstrake.toml", &spec(&[fetch(&url, "/", "")]))]).display().to_string(),
    ];
    let run = |arguments: &[&str]| Ran::of(lab.command(arguments).env("CANARY", &canary));
    let token = ["--secret", "id=GIT_AUTH_TOKEN,env=CANARY"];
    for place in &projects {
        let said = lab.fail(3, std::path::Path::new(place), &[]);
        assert!(said.contains("wants to know who we are") && said.contains("`--secret id=GIT_AUTH_TOKEN,…`"), "{said}");
        let files = lab.path("files");
        let _ = std::fs::remove_dir_all(&files);
        let output = format!("rootfs:{}", files.display());
        let ran = run(&[&["build", place, "-o", &output][..], &token].concat());
        assert_eq!(ran.code, Some(0), "{place}\n{ran:#?}");
        assert_eq!(read(&files, "file"), "private\n");
    }
    let ran = run(&[&["lock", &projects[2]][..], &token].concat());
    assert!(ran.code == Some(0) && ran.out.contains("added"), "{ran:#?}");

    // As a header, for one host alone, for another one, and as a secret that a Compose file gives.
    let header = basic(&canary);
    let by_compose = lab.files("compose", &[("compose.yaml", &compose)]).display().to_string();
    for (code, place, words) in [
        (0, &url, vec!["--secret", "id=GIT_AUTH_HEADER,env=HEADER"]),
        (0, &url, vec!["--secret", "id=GIT_AUTH_TOKEN.127.0.0.1,env=CANARY"]),
        (3, &url, vec!["--secret", "id=GIT_AUTH_TOKEN.example.com,env=CANARY"]),
        (3, &url, vec!["--secret", "id=GIT_AUTH_HEADER,env=CANARY"]),
        (2, &url, vec!["--secret", "id=GIT_AUTH_TOKEN,env=BROKEN"]),
        (0, &by_compose, vec![]),
    ] {
        let mut command = lab.command(&[&["build", place], &words[..]].concat());
        let ran = Ran::of(command.env("CANARY", &canary).env("HEADER", &header).env("BROKEN", "a\nb"));
        assert_eq!(ran.code, Some(code), "{words:?}\n{ran:#?}");
        write(&lab.path("said"), &(ran.out + &ran.err));
        assert_eq!(holding(&lab.path("said"), &canary), Vec::<String>::new());
    }
    assert_eq!(holding(&lab.store(), &canary), Vec::<String>::new());
}

#[test]
fn a_token_goes_to_no_server_that_a_repository_or_another_server_names() {
    let lab = Lab::new();
    let served = served(&lab);
    let header = basic("canary");
    project(&lab).publish(&served, "inner.git");
    let inner = Repository(lab.path("work")).git(&["rev-parse", "HEAD"]);
    let (seen, followed) = (lab.path("seen"), lab.path("followed"));
    let spy = Server::http(&served, &format!("spy {}", seen.display()));
    let outer = Repository::new(lab.path("outer"), "sha1");
    outer.write(".gitmodules", &format!("[submodule \"inner\"]\n\tpath = inner\n\turl = {}/inner.git\n", spy.address));
    outer.git(&["add", "."]);
    outer.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{inner},inner")]);
    outer.git(&["commit", "--quiet", "--message", "outer"]);
    outer.publish(&served, "outer.git");
    let server = Server::http(&served, &format!("known {header}"));
    let build = |url: &str| {
        let project = lab.files("project", &[("lapstrake.toml", &spec(&[fetch(url, "/x", "")]))]);
        let mut command = lab.command(&["build", project.to_str().unwrap(), "--secret", "id=GIT_AUTH_TOKEN,env=TOKEN"]);
        Ran::of(command.env("TOKEN", "canary"))
    };
    let ran = build(&format!("{}/outer.git", server.address));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines = std::fs::read_to_string(&seen).unwrap();
    assert!(!lines.is_empty() && lines.lines().all(|line| line == "None"), "{lines}");

    let listener = Server::http(&served, &format!("spy {}", followed.display()));
    let moved = Server::http(&served, &format!("elsewhere {}", listener.address));
    let ran = build(&format!("{}/inner.git", moved.address));
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert!(!followed.exists());
}
