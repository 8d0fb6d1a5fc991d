//! Images on other bases: what comes of it is what a build there makes, and where that cannot be shown it is refused.

use std::path::{Path, PathBuf};

use crate::lab::{Lab, Ran, write};
use crate::real::RealRegistry;

const SPEC: &str = r#"
spec = 1

[stages.app]
from = "{base}"
env = { APP = "1" }
workdir = "/app"

[[stages.app.steps]]
copy = ["docker/entrypoint", "docker/start"]
to = "/scripts/"

[[stages.app.steps]]
copy = "src"
to = "/app"

[[stages.app.steps]]
write = "/etc/app.conf"
content = "on\n"
owner = "12:13"

[images.web]
stage = "app"
cmd = ["/scripts/start"]
labels = { mine = "1" }
"#;

struct World {
    registry: RealRegistry,
    lab: Lab,
}

impl World {
    /// With a base in three versions: the second has other files and settings, the third other accounts as well.
    fn new() -> World {
        let world = World { registry: RealRegistry::start("", &[]), lab: Lab::new() };
        let base = |version: u32, more: &str| {
            let spec = format!(
                "spec = 1\n[stages.base]\nfrom = \"tar:base.tar\"\nsteps = [{{ write = \"/usr/lib/release\", content = \"{version}\" }}{more}]\n[images.base]\nstage = \"base\"\nenv = {{ VERSION = \"{version}\" }}\nlabels = {{ of = \"{version}\" }}\n"
            );
            let project = world.lab.project(&spec, &[]);
            world.lab.build(&project, &["--push", "--tag", &world.at(&format!("base:{version}"))]);
        };
        base(1, "");
        base(2, ", { write = \"/usr/lib/more\", content = \"more\" }");
        base(3, ", { write = \"/etc/group\", content = \"others:x:13:\\n\" }");
        let files = [("docker/entrypoint", "#!/bin/sh\nexec \"$@\"\n"), ("docker/start", "#!/bin/sh\n"), ("src/main.py", "print()\n")];
        world.lab.files("app", &files);
        world
    }

    fn at(&self, name: &str) -> String {
        format!("{}/team/{name}", self.registry.address)
    }

    fn spec(&self, spec: &str, base: u32) -> PathBuf {
        let project = self.lab.path("app");
        write(&project.join("lapstrake.toml"), &spec.replace("{base}", &self.at(&format!("base:{base}"))));
        project
    }

    fn build(&self, project: &Path, arguments: &[&str]) -> String {
        self.lab.build(project, arguments).digest().to_owned()
    }

    fn rebase(&self, image: &str, arguments: &[&str]) -> Ran {
        self.lab.run(&[&["rebase", image], arguments].concat())
    }
}

#[test]
fn an_image_on_another_base_is_what_a_build_there_makes() {
    let world = World::new();
    let (old, new, image) = (world.at("base:1"), world.at("base:2"), world.at("web:1"));
    let built = world.build(&world.spec(SPEC, 1), &["--push", "--tag", &image]);
    let expected = world.build(&world.spec(SPEC, 2), &[]);
    assert_ne!(built, expected);
    let tried = world.rebase(&image, &["--from", &old, "--onto", &new]);
    assert_eq!((tried.code, tried.out), (Some(0), format!("{expected}\n  nothing is written without --to\n")), "{}", tried.err);
    let to = world.at("web:2");
    let rebased = world.rebase(&image, &["--from", &old, "--onto", &new, "--to", &to]);
    assert_eq!((rebased.code, rebased.out), (Some(0), format!("{expected}\n  {to} pushed\n")), "{}", rebased.err);
    crate::real::run(
        "skopeo",
        &["copy", "--src-tls-verify=false", &format!("docker://{to}"), &format!("dir:{}", world.lab.path("pulled").display())],
    );
    // Beside images for other platforms.
    let merged = world.at("web:many");
    let beside = world.rebase(&image, &["--from", &old, "--onto", &new, "--merge", "--to", &merged]);
    assert_eq!(beside.code, Some(0), "{beside:?}");
    let said: serde_json::Value = serde_json::from_str(&world.lab.run(&["inspect", "--json", &merged]).out).unwrap();
    assert_eq!(
        (&said["platforms"][0]["digest"], &said["manifest"]["digest"]),
        (&expected.clone().into(), &expected.clone().into()),
        "{said}"
    );
    // Into a layout, and back again.
    let layout = format!("oci:{}:web", world.lab.path("layout").display());
    let written = world.rebase(&to, &["--from", &new, "--onto", &old, "--to", &layout]);
    assert_eq!((written.code, written.out), (Some(0), format!("{built}\n  {layout} written\n")), "{}", written.err);
    let compared = world.lab.run(&["diff", "--exit-code", &layout, &image]);
    assert_eq!(compared.code, Some(0), "{compared:?}");
    // From one place to another, with nothing of it on this machine.
    let elsewhere = Lab::new();
    let again = elsewhere.run(&["rebase", &layout, "--from", &old, "--onto", &new]);
    assert!(again.code == Some(0) && again.out.starts_with(&expected), "{again:?}");
}

#[test]
fn the_manifest_says_the_base_where_that_is_wanted() {
    let world = World::new();
    let (new, image) = (world.at("base:2"), world.at("web:1"));
    world.build(&world.spec(SPEC, 1), &["--push", "--annotate-base", "--tag", &image]);
    let base = |image: &str| {
        let raw = crate::real::run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{image}")]);
        let manifest: serde_json::Value = serde_json::from_slice(&raw.stdout).unwrap();
        let word = |name: &str| manifest["annotations"][format!("org.opencontainers.image.base.{name}")].as_str().map(str::to_owned);
        (word("name").unwrap(), word("digest").unwrap())
    };
    let digest = |image: &str| {
        let said = crate::real::run("skopeo", &["inspect", "--format", "{{.Digest}}", "--tls-verify=false", &format!("docker://{image}")]);
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(base(&image), (world.at("base:1"), digest(&world.at("base:1"))));
    let to = world.at("web:2");
    let rebased = world.rebase(&image, &["--onto", &new, "--to", &to]);
    assert_eq!(rebased.code, Some(0), "{rebased:?}");
    assert_eq!(base(&to), (new.clone(), digest(&new)));
    assert_eq!(world.build(&world.spec(SPEC, 2), &["--annotate-base"]), digest(&to));
    // Docker's manifests have no place for it, and bases of no registry no name.
    let spec = SPEC.replace("[images.web]\n", "[images.web]\nformat = \"docker\"\n");
    let said = world.lab.fail(2, &world.spec(&spec, 1), &["--annotate-base"]);
    assert!(said.contains("--annotate-base"), "{said}");
}

#[test]
fn what_may_depend_on_the_base_is_refused_by_name() {
    let world = World::new();
    let (old, image) = (world.at("base:1"), world.at("web:1"));
    let refused = |spec: &str, onto: &str, words: &[&str]| {
        world.build(&world.spec(spec, 1), &["--push", "--tag", &image]);
        let said = world.rebase(&image, &["--from", &old, "--onto", &world.at(onto), "--to", &world.at("web:never")]);
        assert_eq!(said.code, Some(1), "{said:?}");
        for word in words {
            assert!(said.err.contains(word), "{word}: {}", said.err);
        }
    };
    let with = |step: &str| SPEC.replace("[images.web]", &format!("[[stages.app.steps]]\n{step}\n\n[images.web]"));
    refused(
        &with("run = \"cat /usr/lib/release > /seen\""),
        "base:2",
        &["step 5, `run cat /usr/lib/release > /seen`", "--assume-independent 5"],
    );
    refused(&with("copy = \"src\"\nto = \"/usr/lib\""), "base:2", &["step 5", "`/usr/lib/release` is another in the new base"]);
    refused(&with("remove = \"/usr/lib/release\""), "base:2", &["step 5, `remove /usr/lib/release`"]);
    refused(SPEC, "base:3", &["step 4, `write /etc/app.conf`", "`/etc/group`"]);
    let tags = world.lab.run(&["inspect", &world.at("web:never")]);
    assert_eq!(tags.code, Some(3), "nothing was pushed: {tags:?}");
    // Who knows better says so, and has to say it of each.
    let run = with("run = \"echo seen > /seen\"");
    world.build(&world.spec(&run, 1), &["--push", "--tag", &image]);
    let onto = ["--from", &old, "--onto", &world.at("base:2")].map(str::to_owned);
    let onto: Vec<&str> = onto.iter().map(String::as_str).collect();
    let assumed = world.rebase(&image, &[&onto[..], &["--assume-independent", "5"]].concat());
    assert!(assumed.code == Some(0) && assumed.out.starts_with(&world.build(&world.spec(&run, 2), &[])), "{assumed:?}");
    for (arguments, reason) in
        [(["--assume-independent", "9"], "has 5 steps above its base"), (["--from", &world.at("base:2")], "was not made from")]
    {
        let arguments = match arguments[0] {
            "--from" => [&["--onto", &old], &arguments[..]].concat(),
            _ => [&onto[..], &arguments[..]].concat(),
        };
        let said = world.rebase(&image, &arguments);
        assert!(said.code == Some(2) && said.err.contains(reason), "{said:?}");
    }
    let said = world.rebase(&image, &["--onto", &old]);
    assert!(said.code == Some(2) && said.err.contains("name it by `--from`"), "{said:?}");
}
