//! `tests/suite/plan/<case>/lapstrake.toml` → `expected.txt`: what is asked of the outside, and the plan; or what is wrong.
//!
//! `target.txt` holds what is asked for, one option of the command line per line. `found.json` holds the configs of images by name; others
//! have a `PATH` alone. The digest of everything is that of its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lapstrake::diagnostic::{self, Diagnosed, Diagnostic, SourceMap, render_plain};
use lapstrake::image::ImageConfig;
use lapstrake::pins::{self, Commit, Pins};
use lapstrake::plan::{self, ExtraTag, Found, FoundImage, Outside, Plan, Requirement, Standing, Target, Wanted};
use lapstrake::spec;
use lapstrake_cache::Digest;

use crate::{all_agree, cases, compare};

fn pair(text: &str, between: char) -> (&str, &str) {
    text.split_once(between).unwrap_or_else(|| panic!("`{text}` has no `{between}`"))
}

fn target(case: &Path) -> Target {
    let mut target = Target::everything("linux/amd64".parse().unwrap_or_else(|error| panic!("{error}")));
    for line in std::fs::read_to_string(case.join("target.txt")).unwrap_or_default().lines() {
        let (option, value) = pair(line, ' ');
        match option {
            "--arg" => {
                let (name, value) = pair(value, '=');
                target.args.insert(name.to_owned(), value.to_owned());
            }
            "--build-arg" => {
                let (name, value) = pair(value, '=');
                target.offered.insert(name.to_owned(), value.to_owned());
            }
            "--stage" => target.wanted = Wanted::Stage(value.to_owned()),
            "--image" => match &mut target.wanted {
                Wanted::Images(images) => images.push(value.to_owned()),
                Wanted::All | Wanted::Stage(_) => target.wanted = Wanted::Images(vec![value.to_owned()]),
            },
            "--platform" => target.platforms.push(value.parse().unwrap_or_else(|error| panic!("{error}"))),
            "--tag" => target.tags.push(ExtraTag::new(value)),
            other => panic!("{}: {other}", case.display()),
        }
    }
    target
}

fn found(case: &Path, requirements: &[Requirement]) -> Found {
    let text = std::fs::read_to_string(case.join("found.json")).unwrap_or_else(|_| "{}".to_owned());
    let configs: BTreeMap<String, ImageConfig> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    let mut found = Found::default();
    for requirement in requirements {
        let digest = Digest::of(requirement.name().as_bytes());
        match &requirement.outside {
            Outside::Image { source, platform } => {
                let config = configs.get(&requirement.name()).cloned().unwrap_or_else(|| {
                    let mut config =
                        ImageConfig { os: platform.os.clone(), architecture: platform.architecture.clone(), ..ImageConfig::default() };
                    config.config.env = Some(vec!["PATH=/usr/bin:/bin".to_owned()]);
                    config
                });
                found.images.insert((source.clone(), platform.clone()), FoundImage { digest, config });
            }
            Outside::Download { url, sha256: _ } => {
                found.downloads.insert(url.clone(), digest);
            }
            Outside::Commit { url, reference, .. } => {
                let commit = Commit::new(&digest.hex());
                found.commits.extend(commit.map(|commit| ((url.clone(), reference.clone()), commit)));
            }
        }
    }
    found
}

fn required(requirement: &Requirement, map: &SourceMap) -> String {
    let platform = match &requirement.outside {
        Outside::Image { platform, .. } => format!(" for {platform}"),
        Outside::Download { .. } | Outside::Commit { .. } => String::new(),
    };
    let pin = match requirement.standing(&Pins::new()) {
        Standing::NeedsNoPin => "",
        Standing::Pinned | Standing::Open => " (to be pinned)",
    };
    let place = map.position(requirement.span.source, requirement.span.start);
    let place = place.map_or_else(|| "nowhere".to_owned(), |(line, column)| format!("{line}:{column}"));
    format!("needs {}{platform}{pin}: {}, {place}\n", requirement.name(), requirement.why)
}

struct Outcome {
    text: String,
    diagnostics: Vec<Diagnostic>,
    plan: Option<Plan>,
}

fn outcome(case: &Path) -> Outcome {
    let file = case.join("lapstrake.toml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut map = SourceMap::new();
    let source = map.add("lapstrake.toml", text.as_str());
    let parsed = spec::parse(source, &text);
    let spec = parsed.value.unwrap_or_else(|| panic!("{}: {}", file.display(), render_plain(&map, &parsed.diagnostics)));
    let target = target(case);
    let Diagnosed { value, diagnostics } = plan::requirements(&spec, &target);
    let Some(requirements) = value else {
        return Outcome { text: render_plain(&map, &diagnostics), diagnostics, plan: None };
    };
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.severity == diagnostic::Severity::Warning));
    let Diagnosed { value, diagnostics } = plan::plan(&spec, &target, &found(case, &requirements));
    let mut text: String = requirements.iter().map(|requirement| required(requirement, &map)).collect();
    text.push('\n');
    text.push_str(&render_plain(&map, &diagnostics));
    for name in plan::unclaimed(&spec, &target, &found(case, &requirements)) {
        text.push_str(&format!("nothing declares {name}\n"));
    }
    if let Some(plan) = &value {
        text.push_str(&plan.to_text());
    }
    Outcome { text, diagnostics, plan: value }
}

#[test]
fn each_case_is_planned_as_expected() {
    all_agree(cases("plan").iter().map(|case| compare(&case.join("expected.txt"), &outcome(case).text)));
}

#[test]
fn planning_twice_gives_the_same() {
    for case in cases("plan") {
        let (first, second) = (outcome(&case), outcome(&case));
        assert_eq!(first.plan, second.plan, "{}", case.display());
        assert_eq!(first.plan.as_ref().map(Plan::to_json), second.plan.as_ref().map(Plan::to_json));
    }
}

#[test]
fn whatever_can_be_read_is_planned_or_refused_with_a_reason() {
    for case in cases("spec") {
        let text = std::fs::read_to_string(case.join("lapstrake.toml")).unwrap();
        let source = SourceMap::new().add("lapstrake.toml", text.as_str());
        let Some(spec) = spec::parse(source, &text).value else {
            continue;
        };
        let target = Target::everything("linux/amd64".parse().unwrap());
        let required = plan::requirements(&spec, &target);
        assert_eq!(required.value.is_none(), required.has_errors(), "{}", case.display());
        let found = found(&case, &required.value.unwrap_or_default());
        let planned = plan::plan(&spec, &target, &found);
        assert_eq!(planned.value.is_none(), planned.has_errors(), "{}", case.display());
    }
}

#[test]
fn the_specs_that_init_writes_can_be_planned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/stock");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let spec = spec::parse(SourceMap::new().add("lapstrake.toml", text.as_str()), &text).value.unwrap();
        let target = Target::everything("linux/amd64".parse().unwrap());
        let required = plan::requirements(&spec, &target).value.unwrap();
        assert_eq!(plan::plan(&spec, &target, &found(&folder, &required)).diagnostics, [], "{}", path.display());
        count += 1;
    }
    assert!(count > 0);
}

/// Codes that no spec and target lead to: they come from a caller that did not look, with a lock, or of a base that is not the same on each
/// platform.
const NOT_FROM_A_SPEC: &[&str] = &["not-in-this-version", "not-locked", "nothing-to-upgrade", "unresolved-input"];

#[test]
fn every_code_has_a_page_and_every_one_of_this_room_alone_a_case() {
    let mut seen: BTreeSet<&str> =
        cases("plan").iter().flat_map(|case| outcome(case).diagnostics).map(|diagnostic| diagnostic.code.0).collect();
    seen.extend(NOT_FROM_A_SPEC);
    for code in plan::CODES {
        assert!(diagnostic::page(code).is_some(), "{code}");
        assert!(seen.contains(code) || spec::CODES.contains(code), "{code}");
    }
    for code in pins::CODES {
        assert!(diagnostic::page(code).is_some(), "{code}");
    }
}
