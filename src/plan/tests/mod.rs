//! What must hold of plans. Cases that are read from texts are in `tests/suite/plan`.

mod changes;
mod sample;

use std::collections::BTreeMap;

use lapstrake_cache::Digest;
use proptest::prelude::*;

use self::sample::{sample, text, to};
use super::*;
use crate::diagnostic::Diagnosed;
use crate::image::ImageConfig;
use crate::pins::{Commit, ImagePin, Pins};
use crate::spec::{self, Argument, Change, Command, Name, Spanned, Spec, Template};

fn builder() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// Finds everything: an image's digest is that of its name, and its environment has a `PATH`.
fn found(requirements: &[Requirement]) -> Found {
    let mut found = Found::default();
    for requirement in requirements {
        let digest = Digest::of(requirement.name().as_bytes());
        match &requirement.outside {
            Outside::Image { source, platform } => {
                let config = Config { env: Some(vec!["PATH=/usr/bin:/bin".to_owned()]), ..Config::default() };
                let config =
                    ImageConfig { os: platform.os.clone(), architecture: platform.architecture.clone(), config, ..ImageConfig::default() };
                found.images.insert((source.clone(), platform.clone()), FoundImage { digest, config });
            }
            Outside::Download { url, sha256: None } => {
                found.downloads.insert(url.clone(), digest);
            }
            Outside::Commit { url, reference, commit: None, moving: _ } => {
                let commit = Commit::new(&digest.hex()).unwrap();
                found.commits.insert((url.clone(), reference.clone()), commit);
            }
            Outside::Download { sha256: Some(_), .. } | Outside::Commit { commit: Some(_), .. } => {}
        }
    }
    found
}

fn planned(spec: &Spec, target: &Target) -> Diagnosed<Plan> {
    let requirements = requirements(spec, target);
    match requirements.value {
        Some(requirements) => plan(spec, target, &found(&requirements)),
        None => Diagnosed { value: None, diagnostics: requirements.diagnostics },
    }
}

fn codes<T>(result: &Diagnosed<T>) -> Vec<&'static str> {
    result.diagnostics.iter().map(|diagnostic| diagnostic.code.0).collect()
}

fn name(name: &str) -> Spanned<Name> {
    Spanned::made(Name::new(name).unwrap())
}

fn stage_on(base: spec::Base) -> Spanned<spec::Stage> {
    Spanned::made(spec::Stage {
        from: Spanned::made(base),
        platform: None,
        onbuild: None,
        settings: spec::Settings::default(),
        steps: Vec::new(),
    })
}

fn one_stage(steps: Vec<spec::Verb>) -> Spec {
    let mut stage = stage_on(spec::Base::Scratch);
    stage.value.steps = steps.into_iter().map(|verb| Spanned::made(spec::Step::of(verb))).collect();
    Spec { stages: BTreeMap::from([(Name::new("app").unwrap(), stage)]), ..Spec::default() }
}

#[test]
fn every_sort_of_thing_in_a_spec_can_be_planned() {
    let result = planned(&sample(), &Target::everything(builder()));
    assert_eq!(codes(&result), Vec::<&str>::new());
    let plan = result.value.unwrap();
    assert_eq!(plan.contexts().keys().copied().collect::<Vec<_>>(), ["", "assets"]);
    assert_eq!(plan.secrets().iter().map(|(name, secret)| (*name, secret.required)).collect::<Vec<_>>(), [("key", true), ("token", false)]);
    assert_eq!(plan.to_json()["version"], 1);
}

#[test]
fn each_stage_needs_only_earlier_ones() {
    let plan = planned(&sample(), &Target::everything(builder())).value.unwrap();
    for (place, stage) in plan.stages.iter().enumerate() {
        let base = match &stage.base {
            Base::Stage(id) => Some(id.0),
            Base::Scratch | Base::Image(_) => None,
        };
        let trees = stage.steps.iter().flat_map(|step| step.kind.trees()).filter_map(|tree| match tree {
            TreeSource::Stage(id) => Some(id.0),
            TreeSource::Context(_) | TreeSource::Image(_) | TreeSource::Git(_) => None,
        });
        assert!(base.into_iter().chain(trees).all(|needed| needed < place));
    }
}

#[test]
fn a_chain_of_many_stages_is_no_deep_recursion() {
    let mut spec = Spec::default();
    for number in 0..20_000 {
        let base = if number == 0 { spec::Base::Scratch } else { spec::Base::Stage(name(&format!("s{}", number - 1))) };
        spec.stages.insert(Name::new(format!("s{number}")).unwrap(), stage_on(base));
    }
    let target = Target { wanted: Wanted::Stage("s19999".to_owned()), ..Target::everything(builder()) };
    assert_eq!(planned(&spec, &target).value.unwrap().stages.last().unwrap().name, "s19999");
    // Closing the chain makes one circle of all.
    spec.stages.insert(Name::new("s0").unwrap(), stage_on(spec::Base::Stage(name("s19999"))));
    assert_eq!(codes(&planned(&spec, &target)), ["stage-cycle"]);
}

#[test]
fn variables_that_double_each_other_are_stopped() {
    let double = || {
        let reference = || to(spec::Referent::Env("A".to_owned()));
        let value = Template::new([reference(), spec::Piece::Literal("x".to_owned()), reference()]);
        spec::Verb::Setting(spec::Setting::Env(BTreeMap::from([("A".to_owned(), Spanned::made(Change::Set(value)))])))
    };
    let first =
        spec::Verb::Setting(spec::Setting::Env(BTreeMap::from([("A".to_owned(), Spanned::made(Change::Set(Template::literal("x"))))])));
    let steps = std::iter::once(first).chain((0..64).map(|_| double())).collect();
    // What follows the first is not reported again.
    assert_eq!(codes(&planned(&one_stage(steps), &Target::everything(builder()))), ["value-too-long"]);
}

#[test]
fn a_plan_without_what_was_found_names_what_is_missing() {
    let result = plan(&sample(), &Target::everything(builder()), &Found::default());
    assert!(result.value.is_none());
    assert!(codes(&result).iter().all(|code| *code == "unresolved-input"), "{:?}", codes(&result));
}

#[test]
fn what_the_lock_pins_is_not_asked_for_unless_upgraded() {
    let requirements = requirements(&sample(), &Target::everything(builder())).value.unwrap();
    let names = |upgrade: &Upgrade, pins: &Pins| {
        let result = to_resolve(&requirements, pins, upgrade);
        result.value.map(|open| open.iter().map(Requirement::name).collect::<Vec<_>>())
    };
    let base = "docker.io/library/python:3.11-slim";
    let (url, git) = ("https://example.com/tool", "https://example.com/tool.git#main");
    let mut pins = Pins::new();
    assert_eq!(names(&Upgrade::Nothing, &pins).unwrap(), [base, "docker.io/library/busybox:latest", url, git]);
    assert_eq!(not_locked(&requirements, &pins).len(), 4);
    pins.insert_image(base.parse().unwrap(), builder(), ImagePin { manifest: Digest::of(b""), index: None });
    pins.insert_image("busybox".parse().unwrap(), "linux/arm64".parse().unwrap(), ImagePin { manifest: Digest::of(b""), index: None });
    pins.insert_url(url.to_owned(), Digest::of(b""));
    let commit = Commit::new(&"1".repeat(40)).unwrap();
    pins.insert_commit("https://example.com/tool.git".to_owned(), "main".to_owned(), commit);
    assert_eq!(names(&Upgrade::Nothing, &pins).unwrap(), ["docker.io/library/busybox:latest"]);
    assert_eq!(names(&Upgrade::One("python:3.11-slim".to_owned()), &pins).unwrap(), [base, "docker.io/library/busybox:latest"]);
    assert_eq!(names(&Upgrade::One(git.to_owned()), &pins).unwrap(), ["docker.io/library/busybox:latest", git]);
    assert_eq!(names(&Upgrade::All, &pins).unwrap().len(), 4);
    let unknown = to_resolve(&requirements, &pins, &Upgrade::One("pyton:3.11-slim".to_owned()));
    assert_eq!(codes(&unknown), ["nothing-to-upgrade"]);
}

fn script_with(value: &str) -> Diagnosed<Plan> {
    let reference = to(spec::Referent::Arg(name("x").value));
    let script = Template::new([spec::Piece::Literal("echo ".to_owned()), reference]);
    let mut spec = one_stage(vec![spec::Verb::Run(spec::Run::of(Command::Script(Spanned::made(script))))]);
    let argument = Argument { default: Some(Spanned::made(value.to_owned())), ..Argument::default() };
    spec.args.insert(Name::new("x").unwrap(), Spanned::made(argument));
    planned(&spec, &Target::everything(builder()))
}

proptest! {
    #[test]
    fn no_value_becomes_code_in_a_script(value in "\\PC{0,8}|[a-z \n;$`|&<>(){}\"'*?#~!^\\\\\\[\\]\t-]{1,3}") {
        let result = script_with(&value);
        match result.value {
            Some(_) => prop_assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || "_.,:/@%+=-".contains(c))),
            None => prop_assert_eq!(codes(&result), ["unsafe-in-script"]),
        }
    }

    #[test]
    fn a_path_is_absolute_and_stays_inside(workdir in "(/[a-z.]{1,3}){0,3}", path in "([a-z.]{0,3}/){0,4}[a-z.]{0,3}") {
        let mut spec = one_stage(vec![spec::Verb::MakeDirectory(spec::MakeDirectory {
            paths: vec![text(&path)],
            owner: None,
            mode: None,
        })]);
        let settings = &mut spec.stages.values_mut().next().unwrap().value.settings;
        settings.workdir = (!workdir.is_empty()).then(|| Spanned::made(Change::Set(Template::literal(workdir))));
        let result = planned(&spec, &Target::everything(builder()));
        let Some(plan) = result.value else {
            prop_assert!(!result.diagnostics.is_empty());
            return Ok(());
        };
        for step in &plan.stages[0].steps {
            let StepKind::MakeDirectory(made) = &step.kind else {
                prop_assert_eq!(&step.label, "workdir /");
                continue;
            };
            for path in &made.paths {
                prop_assert!(path != "/");
                prop_assert!(crate::tree::TreePath::new(path.strip_prefix('/').unwrap().as_bytes()).is_ok(), "{}", path);
            }
        }
    }
}
