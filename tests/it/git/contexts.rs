//! Repositories where a directory may stand: as what is built, and as a further context.

use super::served::{Repository, Server};
use super::{fetch, names, read, served, spec};
use crate::lab::Lab;

fn project(lab: &Lab) -> (Repository, String) {
    let repository = Repository::new(lab.path("work"), "sha1");
    repository.write("sub/Dockerfile", "FROM scratch\nCOPY . /all/\n");
    repository.write("sub/file", "file\n");
    repository.write("sub/left", "left out\n");
    repository.write("sub/.dockerignore", "left\n*Dockerfile\n.dockerignore\n");
    repository.write("sub/other.Dockerfile", "FROM scratch\nCOPY --from=more docs /docs\nCOPY file /other\n");
    repository.write("toml/lapstrake.toml", &spec(&[]));
    repository.write("docs/page", "page\n");
    std::fs::create_dir(repository.0.join("out")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repository.0.join("out/Dockerfile")).unwrap();
    let commit = repository.commit("one");
    (repository, commit)
}

#[test]
fn a_repository_is_built_as_its_directory_is() {
    let lab = Lab::new();
    let (repository, commit) = project(&lab);
    let served = served(&lab);
    repository.publish(&served, "app.git");
    let server = Server::http(&served, "smart");
    let url = format!("{}/app.git", server.address);
    let build = |place: &str, further: &[&str]| {
        let files = lab.path("files");
        let _ = std::fs::remove_dir_all(&files);
        let built = lab.build(std::path::Path::new(place), &[&["-o", &format!("rootfs:{}", files.display())], further].concat());
        (built.digest().to_owned(), built.err, files)
    };
    let (remote, said, files) = build(&format!("{url}#main:sub"), &[]);
    assert_eq!((names(&files.join("all")), read(&files, "all/file")), (vec!["file".to_owned()], "file\n".to_owned()));
    assert!(said.contains(&format!("note: `main` of `{url}` is {commit} today")), "{said}");
    let (local, _, _) = build(repository.0.join("sub").to_str().unwrap(), &[]);
    assert_eq!(remote, local);
    assert_eq!(build(&format!("{url}?commit={commit}&subdir=sub"), &["--locked"]).0, local);

    // Another file of it, with a repository for a further context.
    let more = format!("more={url}#{commit}");
    let (_, _, files) = build(&format!("{url}#{commit}:sub"), &["--file", "other.Dockerfile", "--build-context", &more]);
    assert_eq!((read(&files, "docs/page"), read(&files, "other")), ("page\n".to_owned(), "file\n".to_owned()));

    for (code, place, further, expected) in [
        (2, format!("{url}#main:sub"), &["--locked"][..], "is named with its commit in full"),
        (3, format!("{url}#{commit}:sub"), &["--offline"], "`--offline` refuses the network"),
        (2, format!("{url}#main:out"), &[], "`Dockerfile` leads out of the repository"),
        (2, format!("{url}#main:sub"), &["--file", "../../../../../../../../../../etc/passwd"], "leads out of the repository"),
        (2, format!("{url}#main:toml"), &[], "it may name directories of this machine"),
        (2, format!("{url}#main:docs"), &[], "there is no Dockerfile in the repository"),
        (3, format!("{url}#main:nowhere"), &[], "there is no directory `nowhere`"),
        (3, format!("{url}#mian"), &[], "did you mean `main`?"),
        (2, format!("{url}?depth=1"), &[], "`depth` in the address of a repository is not known"),
        (2, url.replace("http://", "http://me:hunter2@"), &[], "it has a user or password in it"),
        (2, "https://example.com/a.tar.gz".to_owned(), &[], "is no git repository"),
    ] {
        let said = lab.fail(code, std::path::Path::new(&place), further);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{place}:\n{said}");
    }
    let ran = lab.run(&["lock", &format!("{url}#main:sub")]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("clone it and name the directory"), "{}", ran.err);
    lab.verify();
}

#[test]
fn a_lock_holds_what_the_onbuild_instructions_of_a_base_take_from_outside() {
    let lab = Lab::new();
    let (repository, commit) = project(&lab);
    let served = served(&lab);
    repository.publish(&served, "app.git");
    let server = Server::http(&served, "smart");
    let url = format!("{}/app.git", server.address);
    let base = lab.files("base", &[("lapstrake.toml", &format!("{}onbuild = [\"ADD {url}#main:docs /docs\"]\n", spec(&[])))]);
    lab.build(&base, &["-o", &format!("oci:{}", lab.path("project/base").display())]);
    let text = format!(
        "{}\n[stages.other]\nfrom = \"oci:base\"\nonbuild = \"run\"\n[images.other]\nstage = \"other\"\n",
        spec(&[fetch(&url, "/x", "")])
    );
    let project = lab.files("project", &[("lapstrake.toml", &text)]);
    assert!(lab.fail(2, &project, &["--locked"]).contains("the lock does not pin"));
    let ran = lab.run(&["lock", project.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.out.contains(&format!("added    {url} main: {commit}\n")), "{}", ran.out);
    assert!(ran.out.contains(&format!("added    {url} HEAD: {commit}\n")), "{}", ran.out);
    lab.build(&project, &["--locked"]);
}

#[test]
fn services_of_a_compose_file_are_built_from_repositories_as_from_directories() {
    let lab = Lab::new();
    let (repository, commit) = project(&lab);
    let served = served(&lab);
    repository.publish(&served, "app.git");
    let server = Server::http(&served, "smart");
    let url = format!("{}/app.git", server.address);
    let compose = |build: &str| {
        let text = format!("services:\n  web:\n    build:\n{build}\n");
        lab.files("compose", &[("compose.yaml", &text)])
    };
    let built = |place: &std::path::Path, further: &[&str]| {
        let files = lab.path("files");
        let _ = std::fs::remove_dir_all(&files);
        let built = lab.build(place, &[&["-o", &format!("rootfs:{}", files.display())], further].concat());
        (built.digest().to_owned(), files)
    };
    let (remote, files) = built(&compose(&format!("      context: {url}#main:sub")), &[]);
    assert_eq!((names(&files.join("all")), read(&files, "all/file")), (vec!["file".to_owned()], "file\n".to_owned()));
    let work = repository.0.display();
    assert_eq!(built(&compose(&format!("      context: {work}/sub")), &[]).0, remote);
    assert_eq!(built(&compose(&format!("      context: {url}#{commit}:sub")), &["--locked"]).0, remote);

    let more = format!(
        "      context: {url}#main:sub\n      dockerfile: other.Dockerfile\n      additional_contexts:\n        more: {url}#{commit}"
    );
    let (_, files) = built(&compose(&more), &[]);
    assert_eq!((read(&files, "docs/page"), read(&files, "other")), ("page\n".to_owned(), "file\n".to_owned()));
    // Another one beside a directory of this machine.
    let beside =
        format!("      context: {work}/sub\n      dockerfile: other.Dockerfile\n      additional_contexts:\n        more: {url}#{commit}");
    assert_eq!(read(&built(&compose(&beside), &[]).1, "docs/page"), "page\n");

    for (code, build, further, expected) in [
        (2, format!("      context: {url}#main:sub"), &["--locked"][..], "is named with its commit in full"),
        (3, format!("      context: {url}#{commit}:sub"), &["--offline"], "`--offline` refuses the network"),
        (2, format!("      context: {url}#main:out"), &[], "it leads out of the repository"),
        (2, format!("      context: {url}#main:sub\n      dockerfile: ../toml/x"), &[], "leads out of the repository"),
        (2, format!("      context: {url}#main:docs"), &[], "there is no Dockerfile"),
        (3, format!("      context: {url}#mian"), &[], "did you mean `main`?"),
        (2, format!("      context: {}", url.replace("http://", "http://me:hunter2@")), &[], "it has a user or password in it"),
    ] {
        let said = lab.fail(code, &compose(&build), further);
        assert!(said.contains(expected) && said.contains("compose.yaml:"), "{build}\n{said}");
    }
    // Mistakes in the Dockerfile are shown where it is from.
    repository.write("sub/Dockerfile", "FROM scratch\nCOPPY a b\n");
    repository.commit("two");
    repository.publish(&served, "app.git");
    let said = lab.fail(2, &compose(&format!("      context: {url}#main:sub")), &[]);
    assert!(said.contains(&format!("{}/Dockerfile:2:1", format!("{url}#main:sub").replace("http://", ""))), "{said}");
    // What it becomes is written down where its files are, so they have to be there.
    let project = compose(&format!("      context: {url}#main:sub"));
    let ran = lab.run(&["convert", project.to_str().unwrap()]);
    assert!(ran.code == Some(2) && ran.err.contains("clone it and name the directory"), "{ran:#?}");
    repository.write("sub/Dockerfile", "FROM scratch\nCOPY . /all/\n");
    repository.commit("three");
    repository.publish(&served, "app.git");
    let ran = lab.run(&["lock", project.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    lab.verify();
}
