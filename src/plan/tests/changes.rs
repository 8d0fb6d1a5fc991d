//! Any change of any field of a spec changes the plan, but for those that are said here to change nothing.
//!
//! Each struct is taken apart without `..` into names that must all be used: a new field does not compile until it is decided here what a
//! change of it does.

use std::time::Duration;

use super::sample::{env, sample, text};
use super::*;
use crate::spec::{
    Access, Archive, CacheAccess, Compression, Context, Copy, Download, Extract, Fetch, FetchSource, FileSource, Format, Git, Healthcheck,
    HealthcheckTest, Image, ImageSource, Link, LinkKind, MakeDirectory, Missing, ModeRule, Mount, Network, Newlines, OnBuild, Remove, Run,
    Setting, Settings, Sharing, Stage, StagePlatform, Step, Text, Verb, Write,
};

/// What a change of a field does to the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Effect {
    Changes,
    Nothing,
}

use Effect::{Changes, Nothing};

/// The name of a field and what a change of it does; `None` when there are no more fields.
type Done = Option<(&'static str, Effect)>;

#[test]
fn a_change_of_any_field_changes_the_plan_unless_it_is_inert() {
    let plan_of = |spec: &Spec, what: &str| {
        let result = planned(spec, &Target::everything(builder()));
        assert!(result.value.is_some(), "{what}: {:?}", result.diagnostics);
        result.value.unwrap()
    };
    let before = plan_of(&sample(), "the sample");
    let mut tried = 0;
    for (group, change) in CHANGES {
        for which in 0.. {
            let mut spec = sample();
            let Some((field, effect)) = change(&mut spec, which) else {
                break;
            };
            let after = plan_of(&spec, &format!("{group}.{field}"));
            let expected = if before == after { Nothing } else { Changes };
            assert_eq!(effect, expected, "{group}.{field}");
            // What is built differs exactly where what is shown does.
            assert_eq!(before == after, before.to_json() == after.to_json(), "{group}.{field} in JSON");
            assert_eq!(before == after, before.to_text() == after.to_text(), "{group}.{field} in text");
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} changes were tried");
}

type Group = (&'static str, fn(&mut Spec, usize) -> Done);

const CHANGES: &[Group] = &[
    ("spec", change_spec),
    ("context", |spec, which| {
        let Context { path, ignore } = &mut spec.contexts.get_mut("assets").unwrap().value;
        match which {
            0 => changed("path", || path.value.push('s')),
            1 => changed("ignore", || *ignore = None),
            _ => None,
        }
    }),
    ("argument", |spec, which| change_argument(&mut spec.args.get_mut("kind").unwrap().value, which)),
    ("stage", |spec, which| change_stage(app(spec), which)),
    ("settings", |spec, which| change_settings(&mut app(spec).settings, which)),
    ("run", |spec, which| {
        let Verb::Run(run) = step(spec, 0) else { panic!("another step") };
        change_run(run, which)
    }),
    ("copy", |spec, which| {
        let Verb::Copy(copy) = step(spec, 1) else { panic!("another step") };
        change_copy(copy, which)
    }),
    ("fetch", |spec, which| {
        let Verb::Fetch(fetch) = step(spec, 4) else { panic!("another step") };
        change_fetch(fetch, which)
    }),
    ("fetch git", |spec, which| {
        let Verb::Fetch(Fetch { source: FetchSource::Git(git), .. }) = step(spec, 16) else { panic!("another step") };
        change_git(git, which)
    }),
    ("extract", |spec, which| {
        let Verb::Extract(extract) = step(spec, 5) else { panic!("another step") };
        change_extract(extract, which)
    }),
    ("extract a file", |spec, which| {
        let Verb::Extract(Extract { archive, .. }) = step(spec, 6) else { panic!("another step") };
        change_archive(archive, which)
    }),
    ("link", |spec, which| {
        let Verb::Link(link) = step(spec, 7) else { panic!("another step") };
        change_link(link, which)
    }),
    ("mkdir", |spec, which| {
        let Verb::MakeDirectory(make) = step(spec, 8) else { panic!("another step") };
        change_make_directory(make, which)
    }),
    ("remove", |spec, which| {
        let Verb::Remove(remove) = step(spec, 9) else { panic!("another step") };
        change_remove(remove, which)
    }),
    ("env", |spec, which| change_setting(step(spec, 11), which)),
    ("workdir", |spec, which| change_setting(step(spec, 12), which)),
    ("user", |spec, which| change_setting(step(spec, 13), which)),
    ("shell", |spec, which| change_setting(step(spec, 14), which)),
    ("history", |spec, which| {
        let Step { verb: _, history } = &mut app(spec).steps[0].value;
        match which {
            0 => changed("history", || *history = Some(text("what was done"))),
            _ => None,
        }
    }),
    ("write", |spec, which| {
        let Verb::Write(write) = &mut spec.stages.get_mut("tools").unwrap().value.steps[0].value.verb else { panic!("another step") };
        change_write(write, which)
    }),
    ("layout", |spec, which| change_base(&mut spec.stages.get_mut("tools").unwrap().value.from.value, which)),
    ("registry", |spec, which| change_base(&mut spec.stages.get_mut("base").unwrap().value.from.value, which)),
    ("cache", |spec, which| change_mount(mount(spec, 0), which)),
    ("mount from", |spec, which| change_mount(mount(spec, 1), which)),
    ("secret", |spec, which| change_mount(mount(spec, 2), which)),
    ("secret env", |spec, which| change_mount(mount(spec, 3), which)),
    ("tmpfs", |spec, which| change_mount(mount(spec, 4), which)),
    ("ssh", |spec, which| change_mount(mount(spec, 5), which)),
    ("image", |spec, which| change_image(web(spec), which)),
    ("image settings", |spec, which| change_settings(&mut web(spec).settings, which)),
    ("healthcheck", |spec, which| match &mut web(spec).healthcheck.as_mut().unwrap().value {
        Change::Set(check) => change_healthcheck(check, which),
        Change::Clear => None,
    }),
];

fn app(spec: &mut Spec) -> &mut Stage {
    &mut spec.stages.get_mut("app").unwrap().value
}

fn step(spec: &mut Spec, index: usize) -> &mut Verb {
    &mut app(spec).steps[index].value.verb
}

fn mount(spec: &mut Spec, index: usize) -> &mut Mount {
    let Verb::Run(run) = step(spec, 0) else { panic!("another step") };
    &mut run.mounts[index].value
}

fn web(spec: &mut Spec) -> &mut Image {
    &mut spec.images.get_mut("web").unwrap().value
}

fn put<T>(field: &mut Option<Spanned<T>>, value: T) {
    *field = Some(Spanned::made(value));
}

fn add(text: &mut Text) {
    text.value.push(spec::Piece::Literal("0".to_owned()));
}

fn add_to(text: &mut Option<Text>) {
    add(text.as_mut().unwrap());
}

fn changed(field: &'static str, change: impl FnOnce()) -> Done {
    change();
    Some((field, Changes))
}

fn inert(field: &'static str, change: impl FnOnce()) -> Done {
    change();
    Some((field, Nothing))
}

fn change_spec(spec: &mut Spec, which: usize) -> Done {
    let Spec { epoch, context, ignore, contexts, args, stages, images } = spec;
    match which {
        0 => changed("epoch", || put(epoch, 1)),
        1 => inert("an argument that nothing uses", || {
            args.insert(Name::new("more").unwrap(), Spanned::made(Argument::default()));
        }),
        2 => inert("a stage that nothing needs", || {
            stages.insert(Name::new("more").unwrap(), stage_on(spec::Base::Scratch));
        }),
        3 => changed("images", || {
            images.insert(Name::new("more").unwrap(), Spanned::made(Image::of(name("base"))));
        }),
        4 => changed("context", || put(context, "elsewhere".to_owned())),
        5 => changed("ignore", || *ignore = None),
        6 => inert("a context that nothing reads", || {
            let more = Context { path: Spanned::made("more".to_owned()), ignore: None };
            contexts.insert(Name::new("more").unwrap(), Spanned::made(more));
        }),
        _ => None,
    }
}

fn change_argument(argument: &mut Argument, which: usize) -> Done {
    let Argument { default, optional, choices, help } = argument;
    match which {
        0 => changed("default", || {
            choices.clear();
            put(default, "other".to_owned());
        }),
        1 => inert("choices", || choices.clear()),
        2 => inert("help", || put(help, "other".to_owned())),
        3 => inert("optional beside a default", || put(optional, true)),
        _ => None,
    }
}

fn change_stage(stage: &mut Stage, which: usize) -> Done {
    // Settings have a group of their own.
    let Stage { from, platform, onbuild, settings: _, steps } = stage;
    match which {
        0 => changed("from", || from.value = spec::Base::Scratch),
        // It is for the builder anyway.
        1 => inert("platform", || put(platform, StagePlatform::Builder)),
        2 => changed("order of steps", || steps.swap(7, 8)),
        3 => changed("fewer steps", || steps.truncate(13)),
        // The base has none.
        4 => inert("onbuild", || put(onbuild, OnBuild::Run)),
        5 => inert("a platform by its name", || put(platform, StagePlatform::Named(text("linux/amd64")))),
        _ => None,
    }
}

fn change_settings(settings: &mut Settings, which: usize) -> Done {
    let Settings { env: variables, workdir, user, shell } = settings;
    match which {
        0 => changed("env", || *variables = env("LANG", "C")),
        1 => changed("workdir", || put(workdir, Change::Clear)),
        2 => changed("user", || put(user, Change::Set(Template::literal("another")))),
        3 => changed("shell", || put(shell, Vec::new())),
        _ => None,
    }
}

fn change_run(run: &mut Run, which: usize) -> Done {
    let Run { command, env: variables, workdir, user, shell, network, mounts, discard, timeout, refresh } = run;
    match which {
        0 => changed("command", || match command {
            Command::Script(text) => add(text),
            Command::Exec(words) => words.clear(),
        }),
        1 => changed("command kind", || *command = Command::Exec(vec![text("make"), text("amd64")])),
        2 => changed("env", || *variables = env("OWN", "2")),
        3 => changed("workdir", || add_to(workdir)),
        4 => changed("user", || add_to(user)),
        5 => changed("shell", || *shell = None),
        6 => changed("network", || put(network, Network::Host)),
        7 => changed("mounts", || mounts.truncate(1)),
        8 => inert("order of mounts", || mounts.reverse()),
        9 => changed("discard", || discard.clear()),
        10 => changed("timeout", || put(timeout, Duration::from_secs(9))),
        11 => changed("refresh", || put(refresh, Duration::from_secs(9))),
        _ => None,
    }
}

fn change_mount(mount: &mut Mount, which: usize) -> Done {
    match mount {
        Mount::Cache { cache, at, sharing, owner, mode, from, path, access } => match which {
            0 => changed("cache", || add(cache)),
            1 => changed("at", || add(at)),
            2 => changed("sharing", || put(sharing, Sharing::Locked)),
            3 => changed("owner", || add_to(owner)),
            4 => changed("mode", || put(mode, 0o755)),
            5 => changed("from", || put(from, FileSource::Stage(name("base")))),
            6 => changed("path", || add_to(path)),
            7 => changed("access", || put(access, CacheAccess::ReadOnly)),
            _ => None,
        },
        Mount::From { from, path, at, access } => match which {
            0 => changed("from", || from.value = FileSource::Stage(name("base"))),
            1 => changed("path", || add_to(path)),
            2 => changed("at", || add(at)),
            3 => changed("access", || put(access, Access::Discarded)),
            _ => None,
        },
        Mount::Secret { secret, at, owner, mode, required } => match which {
            0 => changed("secret", || *secret = name("other")),
            1 => changed("at", || add_to(at)),
            2 => changed("owner", || add_to(owner)),
            3 => changed("mode", || put(mode, 0o440)),
            4 => changed("required", || put(required, false)),
            _ => None,
        },
        Mount::SecretEnv { secret, env, required } => match which {
            0 => changed("secret", || *secret = name("other")),
            1 => changed("env", || env.value.push('0')),
            2 => changed("required", || put(required, true)),
            _ => None,
        },
        Mount::Ssh { ssh, at, owner, mode, required } => match which {
            0 => changed("ssh", || *ssh = name("other")),
            1 => changed("at", || *at = Some(text("/agent"))),
            2 => changed("owner", || *owner = Some(text("8"))),
            3 => changed("mode", || put(mode, 0o660)),
            4 => changed("required", || put(required, false)),
            _ => None,
        },
        Mount::Tmpfs { at, size } => match which {
            0 => changed("at", || add(at)),
            1 => changed("size", || put(size, 2048)),
            _ => None,
        },
    }
}

fn change_copy(copy: &mut Copy, which: usize) -> Done {
    let Copy { sources, from, to, owner, mode, exclude, parents, unpack: _, newlines, missing } = copy;
    match which {
        0 => changed("sources", || sources.push(text("other"))),
        1 => changed("from", || put(from, FileSource::Stage(name("base")))),
        2 => changed("to", || add(to)),
        3 => changed("owner", || add_to(owner)),
        4 => changed("mode", || put(mode, ModeRule::Keep)),
        5 => changed("exclude", || exclude.clear()),
        6 => changed("parents", || put(parents, true)),
        7 => changed("newlines", || put(newlines, Newlines::Lf)),
        9 => changed("missing", || put(missing, Missing::Ignore)),
        8 => changed("into", || to.value.push(spec::Piece::Literal("/".to_owned()))),
        _ => None,
    }
}

fn change_write(write: &mut Write, which: usize) -> Done {
    let Write { path, content, owner, mode, name } = write;
    match which {
        0 => changed("path", || add(path)),
        1 => changed("content", || add(content)),
        2 => changed("owner", || *owner = None),
        3 => changed("mode", || *mode = None),
        4 => changed("name", || *name = Some(text("other"))),
        _ => None,
    }
}

fn change_download(download: &mut Download, which: usize) -> Done {
    let Download { url, sha256 } = download;
    match which {
        0 => changed("url", || add(url)),
        1 => changed("sha256", || put(sha256, Digest::of(b"other"))),
        _ => None,
    }
}

fn change_fetch(fetch: &mut Fetch, which: usize) -> Done {
    let Fetch { source, to, owner, mode } = fetch;
    match which {
        0 => changed("to", || add(to)),
        1 => changed("owner", || *owner = None),
        2 => changed("mode", || *mode = None),
        more => match source {
            FetchSource::Url(download) => change_download(download, more - 3),
            FetchSource::Git(_) => None,
        },
    }
}

fn change_git(git: &mut Git, which: usize) -> Done {
    let Git { url, reference, commit, path, submodules, keep_git, check_ref } = git;
    match which {
        0 => changed("url", || add(url)),
        1 => changed("ref", || add_to(reference)),
        2 => changed("commit", || *commit = Some(Spanned::made("7".repeat(40)))),
        3 => changed("path", || add_to(path)),
        4 => changed("submodules", || *submodules = Some(Spanned::made(false))),
        5 => changed("keep_git", || *keep_git = Some(Spanned::made(true))),
        // What is taken is the commit, which the plan has.
        6 => inert("check_ref", || *check_ref = Some(Spanned::made(true))),
        _ => None,
    }
}

fn change_extract(extract: &mut Extract, which: usize) -> Done {
    let Extract { archive, to, strip, owner, mode } = extract;
    match which {
        0 => changed("to", || add(to)),
        1 => changed("strip", || *strip = None),
        2 => changed("owner", || add_to(owner)),
        3 => changed("mode", || *mode = None),
        more => change_archive(archive, more - 4),
    }
}

fn change_archive(archive: &mut Archive, which: usize) -> Done {
    match archive {
        Archive::File { path, from } => match which {
            0 => changed("path", || add(path)),
            1 => changed("from", || *from = None),
            2 => changed("tar", || put(from, FileSource::Image(ImageSource::Tar { path: text("other.tar") }))),
            _ => None,
        },
        Archive::Url(download) => change_download(download, which),
    }
}

fn change_link(link: &mut Link, which: usize) -> Done {
    let Link { path, target, kind } = link;
    match which {
        0 => changed("path", || add(path)),
        1 => changed("target", || add(target)),
        2 => changed("kind", || put(kind, LinkKind::Hard)),
        _ => None,
    }
}

fn change_make_directory(make: &mut MakeDirectory, which: usize) -> Done {
    let MakeDirectory { paths, owner, mode } = make;
    match which {
        0 => changed("paths", || paths.push(text("/other"))),
        1 => changed("owner", || add_to(owner)),
        2 => changed("mode", || *mode = None),
        _ => None,
    }
}

fn change_remove(remove: &mut Remove, which: usize) -> Done {
    let Remove { paths, missing } = remove;
    match which {
        0 => changed("paths", || paths.push(text("/other"))),
        1 => changed("missing", || put(missing, Missing::Ignore)),
        _ => None,
    }
}

fn change_setting(verb: &mut Verb, which: usize) -> Done {
    let Verb::Setting(setting) = verb else { panic!("{verb:?}") };
    match (setting, which) {
        (Setting::Env(variables), 0) => changed("value", || *variables = env("LATE", "2")),
        (Setting::Workdir { path, owner: _ }, 0) => changed("value", || add(path)),
        (Setting::Workdir { path: _, owner }, 1) => changed("owner", || *owner = Some(text("7"))),
        (Setting::User(text), 0) => changed("value", || add(text)),
        (Setting::Shell(words), 0) => changed("value", || words.truncate(1)),
        _ => None,
    }
}

fn change_base(base: &mut spec::Base, which: usize) -> Done {
    match base {
        spec::Base::Image(ImageSource::Registry(text)) if which == 0 => changed("reference", || add(text)),
        spec::Base::Image(ImageSource::Layout { path, tag }) => match which {
            0 => changed("path", || add(path)),
            1 => changed("tag", || *tag = None),
            2 => changed("kind", || *base = spec::Base::Image(ImageSource::Tar { path: text("bases/tools") })),
            _ => None,
        },
        spec::Base::Scratch | spec::Base::Stage(_) | spec::Base::Image(_) => None,
    }
}

fn change_image(image: &mut Image, which: usize) -> Done {
    // Settings have a group of their own.
    let Image {
        stage,
        tags,
        platforms,
        settings: _,
        entrypoint,
        cmd,
        expose,
        volumes,
        labels,
        annotations,
        healthcheck,
        stop_signal,
        author,
        onbuild,
        format,
        compression,
    } = image;
    match which {
        0 => changed("stage", || *stage = name("base")),
        1 => changed("tags", || tags.push(text("other"))),
        2 => inert("platforms", || platforms.clear()),
        3 => changed("entrypoint", || put(entrypoint, Vec::new())),
        4 => changed("cmd", || *cmd = None),
        5 => changed("expose", || put(expose, vec![text("80/udp")])),
        6 => changed("volumes", || put(volumes, Vec::new())),
        7 => changed("labels", || {
            labels.insert("more".to_owned(), Spanned::made(Change::Set(Template::default())));
        }),
        8 => changed("annotations", || {
            annotations.insert("more".to_owned(), text("1"));
        }),
        9 => changed("healthcheck", || put(healthcheck, Change::Clear)),
        10 => changed("stop_signal", || put(stop_signal, Change::Clear)),
        11 => changed("author", || *author = None),
        12 => changed("format", || {
            annotations.clear();
            put(format, Format::Docker);
        }),
        13 => changed("compression", || put(compression, Compression::Zstd)),
        14 => changed("onbuild", || put(onbuild, vec![Spanned::made("RUN x".to_owned())])),
        _ => None,
    }
}

fn change_healthcheck(check: &mut Healthcheck, which: usize) -> Done {
    let Healthcheck { test, interval, timeout, start_period, start_interval, retries } = check;
    let other = Duration::from_secs(9);
    match which {
        0 => changed("test", || test.value = HealthcheckTest::Script(text("/ok"))),
        1 => changed("interval", || put(interval, other)),
        2 => changed("timeout", || put(timeout, other)),
        3 => changed("start_period", || put(start_period, other)),
        4 => changed("start_interval", || put(start_interval, other)),
        5 => changed("retries", || put(retries, 9)),
        _ => None,
    }
}
