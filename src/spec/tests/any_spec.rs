//! Specs of every shape, within the bounds that the types document.

use std::time::Duration;

use lapstrake_cache::Digest;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::image::Platform;

fn made<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Spanned<T>> {
    strategy.prop_map(Spanned::made)
}

fn names() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9_][A-Za-z0-9_.-]{0,6}".prop_map(|name| Name::new(name).unwrap())
}

fn variables() -> impl Strategy<Value = String> {
    "[A-Za-z_][A-Za-z0-9_.-]{0,6}"
}

fn arg() -> impl Strategy<Value = Piece> {
    made(names()).prop_map(Piece::Arg)
}

fn inside() -> impl Strategy<Value = Piece> {
    let part = select(PlatformPart::ALL.to_vec());
    prop_oneof![arg(), made(variables()).prop_map(Piece::Env), made(part).prop_map(Piece::Platform)]
}

fn template(literals: &'static str, references: BoxedStrategy<Piece>) -> impl Strategy<Value = Template> {
    let literal = literals.prop_map(Piece::Literal);
    vec(prop_oneof![2 => literal, 1 => references], 1..4).prop_map(Template::new)
}

/// Any text but NUL.
fn free() -> impl Strategy<Value = Template> {
    prop_oneof![template("[^\\x00]{0,8}", inside().boxed()), template("[$\"'\\\\\n\r\t{}a.args]{0,8}", inside().boxed()),]
}

fn text() -> impl Strategy<Value = Text> {
    made(free())
}

/// A text that begins with these characters and goes on with such literals.
fn begins(start: &'static str, literals: &'static str, references: BoxedStrategy<Piece>) -> impl Strategy<Value = Text> {
    made(
        template(literals, references)
            .prop_map(move |rest| Template::new(std::iter::once(Piece::Literal(start.to_owned())).chain(rest.pieces().iter().cloned()))),
    )
}

/// A text that begins with these characters and goes on without dots, slashes, colons and space.
fn after(start: &'static str, references: BoxedStrategy<Piece>) -> impl Strategy<Value = Text> {
    begins(start, "[a-z0-9$\"\\\\_-]{1,6}", references)
}

/// A text that begins with these characters and goes on as names of images can.
fn named(start: &'static str) -> impl Strategy<Value = Text> {
    begins(start, "[a-z0-9]{1,6}", arg().boxed())
}

fn paths() -> impl Strategy<Value = Text> {
    prop_oneof![after("/", inside().boxed()), after("a", inside().boxed()), after("/opt/a b/", inside().boxed())]
}

fn context_paths() -> impl Strategy<Value = Text> {
    after("src/", inside().boxed())
}

fn owners() -> impl Strategy<Value = Template> {
    prop_oneof![
        "[a-z0-9]{1,5}(:[a-z0-9]{1,5})?".prop_map(Template::literal),
        arg().prop_map(|name| Template::new([name, Piece::Literal(":0".to_owned())])),
    ]
}

fn modes() -> impl Strategy<Value = u16> {
    0_u16..=0o7777
}

fn mode_rules() -> impl Strategy<Value = ModeRule> {
    prop_oneof![Just(ModeRule::Keep), modes().prop_map(ModeRule::Set)]
}

fn durations() -> impl Strategy<Value = Duration> {
    (1..=i64::MAX.unsigned_abs()).prop_map(Duration::from_nanos)
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn changes<T: std::fmt::Debug + Clone + 'static>(set: impl Strategy<Value = T> + 'static) -> impl Strategy<Value = Spanned<Change<T>>> {
    made(prop_oneof![3 => set.prop_map(Change::Set), 1 => Just(Change::Clear)])
}

fn env() -> impl Strategy<Value = Env> {
    btree_map(variables(), changes(free()), 0..3)
}

fn list(items: impl Strategy<Value = Text>) -> impl Strategy<Value = Spanned<Vec<Text>>> {
    made(vec(items, 0..3))
}

fn settings() -> impl Strategy<Value = Settings> {
    let workdir = changes(paths().prop_map(|path| path.value));
    (env(), of(workdir), of(changes(owners())), of(list(text()))).prop_map(|(env, workdir, user, shell)| Settings {
        env,
        workdir,
        user,
        shell,
    })
}

/// Names of images, some of which look like other sources.
fn references() -> impl Strategy<Value = Text> {
    let plain = select(vec!["python:3.11", "docker.io/library/debian:12", "stage:1", "scratch", "oci:5000/a", "context", "image:5000/x"]);
    prop_oneof![
        made(plain.prop_map(Template::literal)),
        named("registry.example.com/"),
        named("stage:"),
        made(arg().prop_map(|name| Template::new([name]))),
    ]
}

fn image_sources() -> impl Strategy<Value = ImageSource> {
    let layout_paths = || prop_oneof![after("layouts/", arg().boxed()), after("a:b", arg().boxed()), after("a:", arg().boxed())];
    let tags = after("v", arg().boxed());
    prop_oneof![
        references().prop_map(ImageSource::Registry),
        (layout_paths(), of(tags)).prop_map(|(path, tag)| ImageSource::Layout { path, tag }),
        layout_paths().prop_map(|path| ImageSource::Tar { path }),
    ]
}

fn outer_sources() -> impl Strategy<Value = FileSource> {
    prop_oneof![made(names()).prop_map(FileSource::Stage), image_sources().prop_map(FileSource::Image)]
}

fn contexts() -> impl Strategy<Value = FileSource> {
    of(made(names())).prop_map(FileSource::Context)
}

/// A source with paths that it can have.
fn from_and_paths() -> impl Strategy<Value = (Option<Spanned<FileSource>>, Vec<Text>)> {
    prop_oneof![(of(made(contexts())), vec(context_paths(), 1..3)), (made(outer_sources()).prop_map(Some), vec(paths(), 1..3))]
}

fn mounts() -> impl Strategy<Value = Mount> {
    let sharing = select(vec![Sharing::Shared, Sharing::Private, Sharing::Locked]);
    let access = select(vec![Access::ReadOnly, Access::Discarded]);
    let owner = || of(made(owners()));
    let mode = || of(made(modes()));
    let required = || of(made(any::<bool>()));
    prop_oneof![
        (after("c", inside().boxed()), paths(), of(made(sharing)), owner(), mode())
            .prop_map(|(cache, at, sharing, owner, mode)| Mount::Cache { cache, at, sharing, owner, mode }),
        (from_and_paths(), paths(), of(made(access))).prop_map(|((from, mut path), at, access)| Mount::From {
            from: from.unwrap_or(Spanned::made(FileSource::Context(None))),
            path: path.pop(),
            at,
            access
        }),
        (made(names()), of(paths()), owner(), mode(), required()).prop_map(|(secret, at, owner, mode, required)| Mount::Secret {
            secret,
            at,
            owner,
            mode,
            required
        }),
        (made(names()), made(variables()), required()).prop_map(|(secret, env, required)| Mount::SecretEnv { secret, env, required }),
        (made(names()), of(paths()), required()).prop_map(|(ssh, at, required)| Mount::Ssh { ssh, at, required }),
        (paths(), of(made(1_u64..))).prop_map(|(at, size)| Mount::Tmpfs { at, size }),
    ]
}

fn runs() -> impl Strategy<Value = Run> {
    let script = after("x", inside().boxed()).prop_map(Command::Script);
    let long = made(template("a[^\\x00]{0,4}\n\"{0,5}", inside().boxed())).prop_map(Command::Script);
    let command = prop_oneof![script, long, vec(text(), 1..4).prop_map(Command::Exec)];
    let own = (of(paths()), of(made(owners())), of(list(text())));
    let network = of(made(select(vec![Network::Off, Network::Host])));
    let rest = (vec(made(mounts()), 0..3), vec(after("/var/", inside().boxed()), 0..2), of(made(durations())), of(made(durations())));
    (command, env(), own, network, rest).prop_map(|(command, env, (workdir, user, shell), network, (mounts, discard, timeout, refresh))| {
        Run { command, env, workdir, user, shell, network, mounts, discard, timeout, refresh }
    })
}

fn downloads() -> impl Strategy<Value = Download> {
    (after("https://example.com/", arg().boxed()), of(made(digests()))).prop_map(|(url, sha256)| Download { url, sha256 })
}

fn fetches() -> impl Strategy<Value = Fetch> {
    let git = (after("ssh://git@example.com/", arg().boxed()), of(made("[0-9a-f]{40}")))
        .prop_map(|(url, commit)| (FetchSource::Git { url, commit }, None));
    let url = (downloads(), of(made(modes()))).prop_map(|(download, mode)| (FetchSource::Url(download), mode));
    (prop_oneof![git, url], paths(), of(made(owners()))).prop_map(|((source, mode), to, owner)| Fetch { source, to, owner, mode })
}

fn extracts() -> impl Strategy<Value = Extract> {
    let file = from_and_paths().prop_map(|(from, mut paths)| Archive::File { path: paths.remove(0), from });
    let archive = prop_oneof![file, downloads().prop_map(Archive::Url)];
    (archive, paths(), of(made(0_u32..=1000)), of(made(owners())), of(made(mode_rules())))
        .prop_map(|(archive, to, strip, owner, mode)| Extract { archive, to, strip, owner, mode })
}

fn steps() -> impl Strategy<Value = Step> {
    let newlines = select(vec![Newlines::Keep, Newlines::Lf]);
    let copy_rest = (of(made(owners())), of(made(mode_rules())), vec(after("**/", inside().boxed()), 0..3), of(made(any::<bool>())));
    let owner_and_mode = || (of(made(owners())), of(made(modes())));
    prop_oneof![
        4 => runs().prop_map(Step::Run),
        2 => (from_and_paths(), paths(), copy_rest, of(made(newlines))).prop_map(
            |((from, sources), to, (owner, mode, exclude, parents), newlines)| Step::Copy(Copy {
                sources, from, to, owner, mode, exclude, parents, newlines,
            })
        ),
        1 => (paths(), prop_oneof![free(), template(".{0,3}\n?\"{0,4}\\x00?", inside().boxed())], owner_and_mode())
            .prop_map(|(path, content, (owner, mode))| Step::Write(Write { path, content: Spanned::made(content), owner, mode })),
        1 => fetches().prop_map(Step::Fetch),
        2 => extracts().prop_map(Step::Extract),
        1 => (paths(), after("x", inside().boxed()), of(made(select(vec![LinkKind::Symbolic, LinkKind::Hard]))))
            .prop_map(|(path, target, kind)| Step::Link(Link { path, target, kind })),
        1 => (vec(paths(), 1..3), owner_and_mode())
            .prop_map(|(paths, (owner, mode))| Step::MakeDirectory(MakeDirectory { paths, owner, mode })),
        1 => (vec(paths(), 1..3), of(made(select(vec![Missing::Fail, Missing::Ignore]))))
            .prop_map(|(paths, missing)| Step::Remove(Remove { paths, missing })),
        1 => env().prop_map(|env| Step::Setting(Setting::Env(env))),
        1 => paths().prop_map(|path| Step::Setting(Setting::Workdir(path))),
        1 => made(owners()).prop_map(|user| Step::Setting(Setting::User(user))),
        1 => vec(text(), 0..3).prop_map(|words| Step::Setting(Setting::Shell(words))),
    ]
}

fn stages() -> impl Strategy<Value = Stage> {
    let from = prop_oneof![Just(Base::Scratch), made(names()).prop_map(Base::Stage), image_sources().prop_map(Base::Image)];
    let platform = select(vec![StagePlatform::Target, StagePlatform::Builder]);
    (made(from), of(made(platform)), settings(), vec(made(steps()), 0..4)).prop_map(|(from, platform, settings, steps)| Stage {
        from,
        platform,
        settings,
        steps,
    })
}

fn healthchecks() -> impl Strategy<Value = Healthcheck> {
    let test = prop_oneof![
        vec(text(), 1..3).prop_map(HealthcheckTest::Exec),
        text().prop_map(HealthcheckTest::Script),
        Just(HealthcheckTest::Off)
    ];
    let time = || of(made(durations()));
    (made(test), time(), time(), time(), time(), of(made(any::<u32>()))).prop_map(
        |(test, interval, timeout, start_period, start_interval, retries)| Healthcheck {
            test,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        },
    )
}

fn images() -> impl Strategy<Value = Image> {
    let platforms = vec(select(vec!["linux/amd64", "linux/arm64", "linux/arm/v6", "windows/amd64"]), 0..3).prop_map(|mut platforms| {
        platforms.sort_unstable();
        platforms.dedup();
        platforms.into_iter().map(|platform| Spanned::made(platform.parse::<Platform>().unwrap())).collect::<Vec<_>>()
    });
    let ports = made(select(vec!["80", "53/udp", "1/sctp"]).prop_map(Template::literal));
    let signals = select(vec!["SIGTERM", "9"]).prop_map(Template::literal);
    let first = (made(names()), vec(named("registry.example.com/a:"), 0..3), platforms, settings());
    let lists = (of(list(text())), of(list(text())), of(list(ports)), of(list(after("/", inside().boxed()))));
    let notes = (btree_map("[^\\x00]{1,5}", changes(free()), 0..3), btree_map(".{1,5}", text(), 0..3), of(text()));
    let formats = (
        of(made(select(vec![Format::Oci, Format::Docker]))),
        of(made(select(vec![Compression::Gzip, Compression::Zstd, Compression::None]))),
    );
    (first, lists, notes, of(changes(healthchecks())), of(changes(signals)), formats).prop_map(
        |(
            (stage, tags, platforms, settings),
            (entrypoint, cmd, expose, volumes),
            (labels, annotations, author),
            healthcheck,
            stop_signal,
            (format, compression),
        )| {
            Image {
                stage,
                tags,
                platforms,
                settings,
                entrypoint,
                cmd,
                expose,
                volumes,
                labels,
                annotations,
                healthcheck,
                stop_signal,
                author,
                format,
                compression,
            }
        },
    )
}

fn arguments() -> impl Strategy<Value = Argument> {
    let plain = || made("[^$]{0,6}|\\$[a-z{]{0,3}");
    (of(plain()), vec(plain(), 0..3), of(made(any::<String>()))).prop_map(|(default, choices, help)| Argument { default, choices, help })
}

/// Specs that can be read, though their names may lead nowhere.
pub(super) fn specs() -> impl Strategy<Value = Spec> {
    let epoch = of(made(0_i64..=253_402_207_200));
    let stages = btree_map(names(), made(stages()), 1..3);
    (epoch, btree_map(names(), made(arguments()), 0..3), stages, btree_map(names(), made(images()), 0..2))
        .prop_map(|(epoch, args, stages, images)| Spec { epoch, args, stages, images })
}
