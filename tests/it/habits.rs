//! What people know from Docker: a Dockerfile, and the options of `docker build`.

use std::path::PathBuf;
use std::process::Stdio;

use crate::lab::{Lab, Ran, write};

const DOCKERFILE: &str = "\
FROM base AS Tools
ARG VERSION=1
COPY . /context
RUN echo \"$VERSION\" > /version; echo \"proxy $http_proxy\"
CMD [\"tools\"]

FROM base
COPY --from=tools /version /context /
CMD [\"cat\", \"/version\"]
";

/// A project of this Dockerfile, and a layout that holds its base.
fn project(lab: &Lab) -> PathBuf {
    let spec = "spec = 1\nstages.base.from = \"tar:base.tar\"\nimages.base = { stage = \"base\", cmd = [\"sh\"] }\n";
    let base = lab.project(spec, &[]);
    let ran = lab.run(&["build", base.to_str().unwrap(), "-q", "-o", "oci:layout:base"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    lab.files("docker", &[("Dockerfile", DOCKERFILE), ("kept", "1\n"), ("left-out", "2\n")])
}

fn build(lab: &Lab, arguments: &[&str]) -> Ran {
    lab.run(&[&["build", "--build-context", "base=oci-layout://layout:base"], arguments].concat())
}

fn well(ran: Ran) -> Ran {
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran
}

#[test]
fn a_dockerfile_is_built_with_its_context_and_arguments() {
    let lab = Lab::new();
    let project = project(&lab);
    let directory = project.to_str().unwrap();
    well(build(&lab, &[directory, "--build-arg", "VERSION=7", "-q", "-o", "rootfs:out"]));
    assert_eq!(std::fs::read_to_string(lab.path("out/version")).unwrap(), "7\n");
    assert!(lab.path("out/left-out").is_file());
    // The ignore file of this one Dockerfile wins over that of the context.
    write(&project.join(".dockerignore"), "kept\n");
    write(&project.join("Dockerfile.dockerignore"), "left-out\n");
    let file = project.join("Dockerfile");
    well(build(&lab, &["-f", file.to_str().unwrap(), directory, "-q", "-o", "rootfs:again"]));
    assert!(lab.path("again/kept").is_file() && !lab.path("again/left-out").exists());
}

#[test]
fn a_proxy_is_seen_by_a_step_and_changes_no_result() {
    let lab = Lab::new();
    let project = project(&lab);
    let directory = project.to_str().unwrap();
    let first = well(build(&lab, &[directory, "--build-arg", "http_proxy=http://proxy.example.com:3128"]));
    assert!(first.err.contains("| proxy http://proxy.example.com:3128"), "{}", first.err);
    let second = well(build(&lab, &[directory]));
    assert!(!second.err.contains("| proxy"), "{}", second.err);
    assert_eq!(first.out, second.out);
}

#[test]
fn the_image_of_a_target_has_what_that_stage_says_and_its_id_is_that_of_its_config() {
    let lab = Lab::new();
    let project = project(&lab);
    let directory = project.to_str().unwrap();
    let ran = well(build(&lab, &[directory, "--target", "tools", "--label", "a=b", "-q", "--iidfile", "iid", "-o", "oci:target:t"]));
    assert_eq!(std::fs::read_to_string(lab.path("iid")).unwrap(), ran.out.trim_end());
    assert_eq!(ran.err, "");
    let shown = well(lab.run(&["inspect", "oci:target:t", "--json"])).out;
    let whole = well(build(&lab, &[directory, "-q"])).out;
    assert!(shown.contains("\"tools\""), "{shown}");
    let config = lab.path("target/blobs").join(ran.out.trim_end().replace(':', "/"));
    assert!(std::fs::read_to_string(config).unwrap().contains("\"Labels\":{\"a\":\"b\"}"));
    assert_ne!(whole, ran.out);
}

#[test]
fn what_docker_warns_of_is_a_warning_and_may_be_denied() {
    let lab = Lab::new();
    let project = project(&lab);
    let directory = project.to_str().unwrap();
    let warned = well(build(&lab, &[directory, "--build-arg", "VERSOIN=1"]));
    assert!(warned.err.contains("unknown-argument") && warned.err.contains("`VERSION`"), "{}", warned.err);
    let denied = build(&lab, &[directory, "--build-arg", "VERSOIN=1", "--deny", "warnings"]);
    assert_eq!(denied.code, Some(2), "{denied:#?}");
    well(build(&lab, &[directory, "--build-arg", "VERSOIN=1", "--deny", "warnings", "--allow", "unknown-argument"]));
}

#[test]
fn advice_is_given_by_check_and_a_file_may_skip_it() {
    let lab = Lab::new();
    let file = lab.files("advice", &[("Dockerfile", "FROM python:3.12-slim\nRUN apk add git\n")]).join("Dockerfile");
    let ran = well(lab.run(&["check", file.to_str().unwrap()]));
    assert!(ran.err.contains("wrong-package-manager") && ran.err.contains("unpinned-base"), "{}", ran.err);
    assert_eq!(lab.run(&["check", file.to_str().unwrap(), "--deny", "wrong-package-manager"]).code, Some(2));
    write(&file, "# check=skip=wrong-package-manager,unpinned-base\nFROM python:3.12-slim\nRUN apk add git\n");
    assert_eq!(well(lab.run(&["check", file.to_str().unwrap(), "--deny", "warnings"])).err, "");
}

#[test]
fn what_is_not_to_be_had_says_what_to_do_instead() {
    let lab = Lab::new();
    let project = project(&lab);
    let directory = project.to_str().unwrap();
    for (arguments, words) in [
        (&[directory, "--destination=a"][..], "--tag REF --push"),
        (&[directory, "--shm-size=1g"], "tmpfs"),
        (&["http://127.0.0.1:1/a.tar.gz"], "download it"),
        (&["-f", "Dockerfile", directory], "did you mean `--file"),
        (&[directory, "-o", "type=registry"], "--push"),
    ] {
        let ran = build(&lab, arguments);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert!(ran.err.contains(words), "{ran:#?}");
    }
    let mut command = lab.command(&["build", "-", "--build-context", "base=oci-layout://layout:base"]);
    command.stdin(Stdio::from(std::fs::File::open(project.join("Dockerfile")).unwrap()));
    let ran = Ran::of(&mut command);
    assert!(ran.code == Some(2) && ran.err.contains("there is nothing to copy from"), "{ran:#?}");
}
