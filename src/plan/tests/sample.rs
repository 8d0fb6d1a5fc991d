//! A spec with every sort of thing in it, none of which has a place in a text.

use std::collections::BTreeMap;
use std::time::Duration;

use lapstrake_cache::Digest;

use super::{name, stage_on};
use crate::spec::{
    Access, Archive, Argument, Base, CacheAccess, Change, Command, Compression, Context, Copy, Download, Env, Extract, Fetch, FetchSource,
    FileSource, Format, Git, Healthcheck, HealthcheckTest, Image, ImageSource, Link, LinkKind, MakeDirectory, Missing, ModeRule, Mount,
    Name, Network, Newlines, Piece, PlatformOf, PlatformPart, Reference, Referent, Remove, Run, Setting, Settings, Sharing, Spanned, Spec,
    StagePlatform, Step, Template, Text, Verb, Write,
};

pub(super) fn text(text: &str) -> Text {
    Spanned::made(Template::literal(text))
}

pub(super) fn env(name: &str, value: &str) -> Env {
    BTreeMap::from([(name.to_owned(), Spanned::made(Change::Set(Template::literal(value))))])
}

fn reference(before: &str, piece: Piece, after: &str) -> Text {
    Spanned::made(Template::new([Piece::Literal(before.to_owned()), piece, Piece::Literal(after.to_owned())]))
}

pub(super) fn to(referent: Referent) -> Piece {
    Piece::Reference(Spanned::made(Reference::to(referent)))
}

fn some<T>(value: T) -> Option<Spanned<T>> {
    Some(Spanned::made(value))
}

fn set(text: &str) -> Option<Spanned<Change<Template>>> {
    some(Change::Set(Template::literal(text)))
}

pub(super) fn sample() -> Spec {
    let python = Argument { default: some("3.11".to_owned()), optional: None, choices: Vec::new(), help: some("which Python".to_owned()) };
    let kind = Argument { default: some("local".to_owned()), optional: None, choices: vec![Spanned::made("local".to_owned())], help: None };
    Spec {
        epoch: some(1_000_000_000),
        context: some("project".to_owned()),
        ignore: some("project.ignore".to_owned()),
        contexts: BTreeMap::from([(
            Name::new("assets").unwrap(),
            Spanned::made(Context { path: Spanned::made("../assets".to_owned()), ignore: some("assets.ignore".to_owned()) }),
        )]),
        args: BTreeMap::from([(Name::new("python").unwrap(), Spanned::made(python)), (Name::new("kind").unwrap(), Spanned::made(kind))]),
        stages: BTreeMap::from([
            (Name::new("base").unwrap(), base_stage()),
            (Name::new("tools").unwrap(), tools_stage()),
            (Name::new("app").unwrap(), app_stage()),
        ]),
        images: BTreeMap::from([(Name::new("web").unwrap(), Spanned::made(web()))]),
    }
}

fn base_stage() -> Spanned<crate::spec::Stage> {
    let from = reference("python:", to(Referent::Arg(name("python").value)), "-slim");
    stage_on(Base::Image(ImageSource::Registry(from)))
}

fn tools_stage() -> Spanned<crate::spec::Stage> {
    let mut stage = stage_on(Base::Image(ImageSource::Layout { path: text("bases/tools"), tag: Some(text("v1")) }));
    stage.value.platform = some(StagePlatform::Builder);
    stage.value.steps = vec![Spanned::made(Step::of(Verb::Write(Write {
        path: text("/kind"),
        content: reference("", to(Referent::Arg(name("kind").value)), "\n"),
        owner: Some(text("1:1")),
        mode: some(0o600),
        name: Some(text("n")),
    })))];
    stage
}

fn app_stage() -> Spanned<crate::spec::Stage> {
    let mut stage = stage_on(Base::Stage(name("base")));
    stage.value.settings =
        Settings { env: env("LANG", "C.UTF-8"), workdir: set("/app"), user: set("app"), shell: some(vec![text("/bin/bash"), text("-c")]) };
    let digest = Digest::of(b"archive");
    let steps = vec![
        Verb::Run(run()),
        Verb::Copy(copy()),
        Verb::Copy(Copy { from: some(FileSource::Context(some(Name::new("assets").unwrap()))), ..copy() }),
        Verb::Copy(Copy { from: some(FileSource::Image(ImageSource::Registry(text("busybox")))), ..copy() }),
        Verb::Fetch(Fetch {
            source: FetchSource::Url(Download { url: text("https://example.com/tool"), sha256: None }),
            to: text("/usr/bin/"),
            owner: Some(text("0:0")),
            mode: some(0o755),
        }),
        Verb::Extract(Extract {
            archive: Archive::Url(Download { url: text("https://example.com/a.tar"), sha256: some(digest) }),
            to: text("/opt"),
            strip: some(1),
            owner: Some(text("2")),
            mode: some(ModeRule::Keep),
        }),
        Verb::Extract(Extract {
            archive: Archive::File { path: text("b.tar"), from: some(FileSource::Image(ImageSource::Tar { path: text("c.tar") })) },
            to: text("/opt"),
            strip: None,
            owner: None,
            mode: None,
        }),
        Verb::Link(Link { path: text("/l"), target: text("/m"), kind: some(LinkKind::Symbolic) }),
        Verb::MakeDirectory(MakeDirectory { paths: vec![text("/d")], owner: Some(text("3")), mode: some(0o700) }),
        Verb::Remove(Remove { paths: vec![text("/r")], missing: some(Missing::Fail) }),
        Verb::Run(Run::of(Command::Script(text("early")))),
        Verb::Setting(Setting::Env(env("LATE", "1"))),
        Verb::Setting(Setting::Workdir { path: text("sub"), owner: None }),
        Verb::Setting(Setting::User(text("late"))),
        Verb::Setting(Setting::Shell(vec![text("/bin/dash"), text("-c")])),
        Verb::Run(Run::of(Command::Script(text("late")))),
        Verb::Fetch(Fetch { source: FetchSource::Git(git()), to: text("/src"), owner: None, mode: None }),
    ];
    stage.value.steps = steps.into_iter().map(|verb| Spanned::made(Step::of(verb))).collect();
    stage
}

fn git() -> Git {
    Git {
        url: text("https://example.com/tool.git"),
        reference: Some(text("main")),
        commit: None,
        path: Some(text("docs")),
        submodules: None,
        keep_git: None,
        check_ref: None,
    }
}

fn run() -> Run {
    let mounts = vec![
        Mount::Cache {
            cache: text("pip"),
            at: text("/c"),
            sharing: some(Sharing::Shared),
            owner: Some(text("4")),
            mode: some(0o700),
            from: some(FileSource::Stage(name("tools"))),
            path: Some(text("/first")),
            access: some(CacheAccess::Kept),
        },
        Mount::From {
            from: Spanned::made(FileSource::Stage(name("tools"))),
            path: Some(text("/")),
            at: text("/f"),
            access: some(Access::ReadOnly),
        },
        Mount::Secret { secret: name("key"), at: Some(text("/s")), owner: Some(text("5")), mode: some(0o400), required: some(true) },
        Mount::SecretEnv { secret: name("token"), env: Spanned::made("TOKEN".to_owned()), required: some(false) },
        Mount::Tmpfs { at: text("/t"), size: some(1024) },
        Mount::Ssh { ssh: name("default"), at: None, owner: None, mode: None, required: None },
    ];
    Run {
        command: Command::Script(reference("make ", to(Referent::Platform(PlatformOf::Stage, PlatformPart::Arch)), "")),
        env: env("OWN", "1"),
        workdir: Some(text("work")),
        user: Some(text("builder")),
        shell: some(vec![text("/bin/zsh")]),
        network: some(Network::Off),
        mounts: mounts.into_iter().map(Spanned::made).collect(),
        discard: vec![text("/var/log/**")],
        timeout: some(Duration::from_secs(1)),
        refresh: some(Duration::from_secs(2)),
    }
}

fn copy() -> Copy {
    Copy {
        sources: vec![text("src")],
        from: None,
        to: text("to"),
        owner: Some(text("6")),
        mode: some(ModeRule::Set(0o755)),
        exclude: vec![text("*.pyc")],
        parents: some(false),
        unpack: None,
        newlines: some(Newlines::Keep),
        missing: some(Missing::Fail),
    }
}

fn web() -> Image {
    Image {
        stage: name("app"),
        tags: vec![text("r.example.com/web")],
        platforms: vec![Spanned::made("linux/amd64".parse().unwrap())],
        settings: Settings { env: env("IMAGE", "1"), workdir: set("run"), user: set("web"), shell: some(vec![text("/bin/ash")]) },
        entrypoint: some(vec![text("/entry")]),
        cmd: some(vec![text("start")]),
        expose: some(vec![text("80")]),
        volumes: some(vec![text("/data")]),
        labels: BTreeMap::from([("l".to_owned(), Spanned::made(Change::Set(Template::literal("1"))))]),
        annotations: BTreeMap::from([("a".to_owned(), text("1"))]),
        healthcheck: some(Change::Set(Healthcheck {
            test: Spanned::made(HealthcheckTest::Exec(vec![text("/ok")])),
            interval: some(Duration::from_secs(1)),
            timeout: some(Duration::from_secs(2)),
            start_period: some(Duration::from_secs(3)),
            start_interval: some(Duration::from_secs(4)),
            retries: some(5),
        })),
        stop_signal: set("SIGINT"),
        author: Some(text("me")),
        onbuild: None,
        format: some(Format::Oci),
        compression: some(Compression::Gzip),
    }
}
