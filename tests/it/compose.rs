//! What a Compose file gives to builds.

use crate::lab::{Lab, Ran};

/// A base whose `ONBUILD` instructions declare arguments, as a layout beside the project.
fn base(lab: &Lab) {
    let spec = "spec = 1\n[stages.base]\nfrom = \"scratch\"\n[images.base]\nstage = \"base\"\n\
                onbuild = [\"ARG FLAVOUR=plain\", \"ARG VERSION\", \"WORKDIR /$FLAVOUR-$VERSION\"]\n";
    let base = lab.files("base", &[("lapstrake.toml", spec)]);
    lab.build(&base, &["-o", &format!("oci:{}", lab.path("project/base").display())]);
}

/// The only directory in the root of an image.
fn directory(lab: &Lab, name: &str) -> String {
    let entries = std::fs::read_dir(lab.path("files").join(name)).unwrap().map(|entry| entry.unwrap());
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.join(" ")
}

#[test]
fn arguments_of_services_reach_what_the_onbuild_of_their_bases_declares() {
    let lab = Lab::new();
    base(&lab);
    let service = |name: &str, dockerfile: &str, args: &str| {
        format!(
            "  {name}:\n    build:\n      dockerfile_inline: \"{dockerfile}\"\n      additional_contexts: {{base: 'oci-layout://base'}}\n      args: \
             {{{args}}}\n"
        )
    };
    let text = format!(
        "services:\n{}{}{}{}",
        service("mild", "FROM base", "FLAVOUR: mild"),
        service("hot", "FROM base", "FLAVOUR: hot, VERSION: '2'"),
        service("both", "ARG VERSION\\nFROM base\\nARG VERSION\\nLABEL v=$$VERSION", "VERSION: '3'"),
        service("none", "FROM base", ""),
    );
    let project = lab.files("project", &[("compose.yaml", &text)]);
    let build = |place: &std::path::Path, further: &[&str]| {
        let _ = std::fs::remove_dir_all(lab.path("files"));
        let outputs = ["mild", "hot", "both", "none"].map(|name| format!("{name}=rootfs:{}/{name}", lab.path("files").display()));
        let outputs: Vec<&str> = outputs.iter().flat_map(|output| ["-o", output]).collect();
        let built = lab.build(place, &[&outputs[..], further].concat());
        (["mild", "hot", "both", "none"].map(|name| directory(&lab, name)), built.err)
    };
    let (found, said) = build(&project, &[]);
    assert_eq!(found, ["mild-", "hot-2", "plain-3", "plain-"]);
    assert!(!said.contains("warning"), "{said}");
    // The command line wins, for every service.
    let (found, said) = build(&project, &["--build-arg", "VERSION=9"]);
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(found, ["mild-9", "hot-9", "plain-9", "plain-9"]);
    let (found, _) = build(&project, &["--arg", "hot.FLAVOUR=cold"]);
    assert_eq!(found, ["mild-", "cold-2", "plain-3", "plain-"]);

    // As a lapstrake.toml it is the same, and is sound.
    let converted = lab.path("project/lapstrake.toml");
    let ran = lab.run(&["convert", project.join("compose.yaml").to_str().unwrap(), "-o", converted.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(build(&converted, &[]).0, ["mild-", "hot-2", "plain-3", "plain-"]);
    let ran = lab.run(&["check", converted.to_str().unwrap(), "--deny", "warnings"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "the spec is sound: 4 stages, 4 images\n"), "{ran:#?}");
    std::fs::remove_file(&converted).unwrap();

    // What neither declares is said, when it is known.
    let project = lab.files("project", &[("compose.yaml", &text.replace("FLAVOUR: mild", "FLAVUOR: mild"))]);
    let (found, said) = build(&project, &[]);
    assert_eq!(found[0], "plain-");
    assert!(said.contains("warning[compose-unused-argument]: neither the Dockerfile nor an `ONBUILD` of its base declares"), "{said}");
    assert!(said.contains("`FLAVUOR`") && said.contains("compose.yaml:6:"), "{said}");
}

#[test]
fn a_check_says_what_is_sound() {
    let lab = Lab::new();
    let check = |name: &str, file: &str, text: &str| {
        let project = lab.files(name, &[(file, text)]);
        let Ran { code, out, err } = lab.run(&["check", project.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{err}");
        out
    };
    let dockerfile = "FROM scratch\nCOPY a b\n";
    assert_eq!(check("docker", "Dockerfile", dockerfile), "the Dockerfile is sound: 1 stage, 1 image\n");
    assert_eq!(check("toml", "lapstrake.toml", &crate::git::spec(&[])), "the spec is sound: 1 stage, 1 image\n");
    let compose = "services: {a: {build: {dockerfile_inline: FROM scratch}}, b: {build: {dockerfile_inline: FROM scratch}}}\n";
    assert_eq!(check("compose", "compose.yaml", compose), "the Compose file is sound: 2 stages, 2 images\n");
}

#[test]
fn the_agent_that_a_compose_file_names_serves_the_steps_that_mount_it() {
    use std::os::unix::net::UnixListener;

    let lab = Lab::new();
    let project = lab.files("project", &[]);
    std::fs::write(project.join("base.tar"), crate::project::busybox()).unwrap();
    let text = |ssh: &str| {
        format!(
            "services:\n  web:\n    build:\n      ssh: {ssh}\n      additional_contexts: {{base: 'oci-layout://base'}}\n      dockerfile_inline: |\n        \
             FROM base\n        RUN --mount=type=ssh,id=mine,required test -S $$SSH_AUTH_SOCK\n"
        )
    };
    let base = lab.files(
        "base",
        &[("lapstrake.toml", "spec = 1\n[stages.base]\nfrom = \"tar:../project/base.tar\"\n[images.base]\nstage = \"base\"\n")],
    );
    lab.build(&base, &["-o", &format!("oci:{}", lab.path("project/base").display())]);
    let _listener = UnixListener::bind(lab.path("project/agent")).unwrap();
    let other = UnixListener::bind(lab.path("other")).unwrap();
    let build = |ssh: &str, further: &[&str]| {
        std::fs::write(project.join("compose.yaml"), text(ssh)).unwrap();
        lab.command(&[&["build", project.to_str().unwrap(), "--no-cache"], further].concat())
    };
    let with = |ssh: &str, further: &[&str]| Ran::of(&mut build(ssh, further));
    for (code, ssh, further) in [
        (0, "[mine=agent]", &[][..]),
        (0, "{mine: ./agent}", &[]),
        // The command line wins.
        (0, "[mine=missing]", &["--ssh", "mine=other"]),
        (2, "[mine=missing]", &[]),
        (2, "[mine]", &[]),
        (2, "[default=agent]", &[]),
    ] {
        let ran = with(ssh, further);
        assert_eq!(ran.code, Some(code), "{ssh} {further:?}\n{ran:#?}");
    }
    let ran = Ran::of(build("[mine]", &[]).env("SSH_AUTH_SOCK", lab.path("other")));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    drop(other);
    // A file that is never needed is not missed.
    let ran = lab.run(&["check", project.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    std::fs::write(project.join("compose.yaml"), text("[mine=missing]")).unwrap();
    let ran = lab.run(&["convert", project.to_str().unwrap()]);
    assert!(ran.code == Some(0) && ran.err.contains("where agents are; build it with `--ssh mine="), "{ran:#?}");
}
