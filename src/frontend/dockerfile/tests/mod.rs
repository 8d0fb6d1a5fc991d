mod any_dockerfile;
mod expansion;

use super::*;
use crate::diagnostic::{SourceMap, render_plain};
use crate::spec::to_toml;

/// The TOML of a Dockerfile, or what is said of it.
fn toml(text: &str, options: &Options) -> Result<String, String> {
    let mut map = SourceMap::new();
    let parsed = parse(map.add("Dockerfile", text), text, options);
    parsed.value.as_ref().map(to_toml).ok_or_else(|| render_plain(&map, &parsed.diagnostics))
}

#[test]
fn a_target_is_a_stage_by_name_or_number() {
    let text = "FROM scratch AS One\nCMD one\nFROM scratch\nCMD two";
    for (target, stage) in [(None, "stage-1"), (Some("ONE"), "one"), (Some("0"), "one"), (Some("1"), "stage-1")] {
        let options = Options { target: target.map(str::to_owned), ..Options::default() };
        assert!(toml(text, &options).unwrap().contains(&format!("[images.image]\nstage = \"{stage}\"\n")), "{target:?}");
    }
    let options = Options { target: Some("on".to_owned()), ..Options::default() };
    assert!(toml(text, &options).unwrap_err().contains("did you mean `one`?"));
}

#[test]
fn a_prefix_stands_before_stages_and_arguments() {
    let name = |text| Name::new(text).unwrap();
    let options = Options { prefix: Some(name("web")), image: Some(name("site")), context: Some(name("files")), ..Options::default() };
    let toml = toml("ARG V=1\nFROM a:$V AS base\nFROM base\nARG V\nCOPY x /x\nCOPY --from=base y /y\nRUN <<E\n#!/x\nE", &options).unwrap();
    for part in [
        "\"web.V\" = \"1\"",
        "from = \"a:${args.web.V}\"",
        "from = \"stage:web.base\"",
        "from = \"context:files\"",
        "from = \"stage:web.stage-1-script\"",
        "env = { V = \"${args.web.V}\" }",
        "[images.site]\nstage = \"web.stage-1\"",
    ] {
        assert!(toml.contains(part), "{part} in\n{toml}");
    }
}

#[test]
fn a_context_of_the_caller_stands_in_place_of_a_stage_or_an_image() {
    let contexts = [
        ("alpine".to_owned(), NamedContext::Image("docker.io/library/debian:12".to_owned())),
        ("files".to_owned(), NamedContext::Files(Name::new("mine").unwrap())),
    ];
    let options = Options { contexts: contexts.into(), ..Options::default() };
    let toml = toml("FROM alpine\nCOPY --from=files a /a\nRUN --mount=from=Files,target=/m ls\nFROM files AS last", &options).unwrap();
    for part in [
        "from = \"docker.io/library/debian:12\"",
        "from = \"context:mine\"\nto = \"/a\"",
        "{ from = \"context:mine\", at = \"/m\"",
        "to = \"/\"",
    ] {
        assert!(toml.contains(part), "{part} in\n{toml}");
    }
}

#[test]
fn an_argument_that_chooses_a_stage_is_looked_at_early() {
    let text = "ARG KIND=small\nFROM a AS base-small\nFROM b AS base-large\nFROM base-$KIND";
    let given = Options { arguments: [("KIND".to_owned(), "large".to_owned())].into(), ..Options::default() };
    assert!(toml(text, &Options::default()).unwrap().contains("from = \"stage:base-small\""));
    assert!(toml(text, &given).unwrap().contains("from = \"stage:base-large\""));
    let text = "FROM a AS build-amd64\nFROM b AS build-arm64\nFROM build-$TARGETARCH";
    let arm = Options { platform: "linux/arm64".parse().ok(), ..Options::default() };
    assert!(toml(text, &arm).unwrap().contains("from = \"stage:build-arm64\""));
}

#[test]
fn comments_are_kept_for_those_who_carry_them_over() {
    let text = "# syntax=docker/dockerfile:1\n# first\nFROM a\nRUN x \\\n  # second\n  y\n";
    let mut map = SourceMap::new();
    let found = comments(map.add("Dockerfile", text), text);
    let texts: Vec<(&str, u32)> = found.iter().map(|comment| (comment.text.as_str(), comment.span.start)).collect();
    assert_eq!(texts, [("first", 29), ("second", 54)]);
}

#[test]
fn every_code_has_its_page() {
    for code in CODES {
        assert!(crate::diagnostic::page(code).is_some(), "{code}");
    }
    assert!(CODES.is_sorted());
}
