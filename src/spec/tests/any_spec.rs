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

fn piece(referent: Referent, operator: Option<Operator>) -> Piece {
    Piece::Reference(Spanned::made(Reference { referent, operator }))
}

/// Words of operators, with references in them.
fn words(referents: BoxedStrategy<Referent>) -> impl Strategy<Value = Template> {
    let word = "[^\\x00\\s]{0,6}|[a-z*?\\\\$/}#%{]{0,6}";
    vec(prop_oneof![word.prop_map(Piece::Literal), referents.prop_map(|referent| piece(referent, None))], 0..3).prop_map(Template::new)
}

fn references_to(referents: BoxedStrategy<Referent>) -> impl Strategy<Value = Piece> {
    let absent = || select(vec![Absent::Unset, Absent::UnsetOrEmpty]);
    let extent = || select(vec![Extent::Shortest, Extent::Longest]);
    let word = || words(referents.clone());
    let operators = prop_oneof![
        (absent(), word()).prop_map(|(absent, word)| Operator::Default { absent, word }),
        (absent(), word()).prop_map(|(absent, word)| Operator::Alternative { absent, word }),
        (absent(), word()).prop_map(|(absent, message)| Operator::Require { absent, message }),
        (extent(), word()).prop_map(|(extent, pattern)| Operator::TrimPrefix { extent, pattern }),
        (extent(), word()).prop_map(|(extent, pattern)| Operator::TrimSuffix { extent, pattern }),
        (select(vec![Occurrences::First, Occurrences::All]), word(), word()).prop_map(|(occurrences, pattern, with)| {
            let occurrences = if pattern.pieces().is_empty() { Occurrences::All } else { occurrences };
            Operator::Replace { occurrences, pattern, with }
        }),
    ];
    (referents.clone(), of(operators)).prop_map(|(referent, operator)| piece(referent, operator))
}

fn outside_referents() -> BoxedStrategy<Referent> {
    names().prop_map(Referent::Arg).boxed()
}

fn arg() -> BoxedStrategy<Piece> {
    references_to(outside_referents()).boxed()
}

fn inside() -> BoxedStrategy<Piece> {
    let platform = (select(PlatformOf::ALL.to_vec()), select(PlatformPart::ALL.to_vec()));
    let referents = prop_oneof![
        outside_referents(),
        variables().prop_map(Referent::Env),
        platform.prop_map(|(of, part)| Referent::Platform(of, part)),
    ];
    references_to(referents.boxed()).boxed()
}

fn template(literals: &'static str, references: BoxedStrategy<Piece>) -> impl Strategy<Value = Template> {
    let literal = literals.prop_map(Piece::Literal);
    vec(prop_oneof![2 => literal, 1 => references], 1..4).prop_map(Template::new)
}

/// Any text but NUL.
fn free() -> BoxedStrategy<Template> {
    prop_oneof![template("[^\\x00]{0,8}", inside()), template("[$\"'\\\\\n\r\t{}a.args]{0,8}", inside()),].boxed()
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
    begins(start, "[a-z0-9]{1,6}", arg())
}

fn paths() -> impl Strategy<Value = Text> {
    prop_oneof![after("/", inside()), after("a", inside()), after("/opt/a b/", inside())]
}

fn context_paths() -> impl Strategy<Value = Text> {
    after("src/", inside())
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
    let symbolic = "[ugoa]{0,3}[-+=]([rwxXst]{0,4}|[ugo])(,[ugo]=[rwx]{0,3})?";
    prop_oneof![
        Just(ModeRule::Keep),
        modes().prop_map(ModeRule::Set),
        modes().prop_map(ModeRule::Exactly),
        symbolic.prop_map(|text| ModeRule::Symbolic(words::SymbolicMode::parse(&text).unwrap())),
        inside().prop_map(|piece| ModeRule::Unsettled(Template::new([piece]))),
    ]
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

fn settings() -> BoxedStrategy<Settings> {
    let workdir = changes(paths().prop_map(|path| path.value));
    (env(), of(workdir), of(changes(owners())), of(list(text())))
        .prop_map(|(env, workdir, user, shell)| Settings { env, workdir, user, shell })
        .boxed()
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
    let layout_paths = || prop_oneof![after("layouts/", arg()), after("a:b", arg()), after("a:", arg())];
    let tags = after("v", arg());
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

fn mounts() -> BoxedStrategy<Mount> {
    let sharing = select(vec![Sharing::Shared, Sharing::Private, Sharing::Locked]);
    let access = select(vec![Access::ReadOnly, Access::Discarded]);
    let kept = select(vec![CacheAccess::ReadOnly, CacheAccess::Kept]);
    let owner = || of(made(owners()));
    let mode = || of(made(modes()));
    let required = || of(made(any::<bool>()));
    prop_oneof![
        (after("c", inside()), paths(), of(made(sharing)), owner(), mode(), from_and_paths(), any::<bool>(), of(made(kept))).prop_map(
            |(cache, at, sharing, owner, mode, (from, mut path), whole, access)| {
                let path = path.pop().filter(|_| !whole && from.is_some());
                Mount::Cache { cache, at, sharing, owner, mode, from, path, access }
            }
        ),
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
        (made(names()), of(paths()), owner(), mode(), required()).prop_map(|(ssh, at, owner, mode, required)| Mount::Ssh {
            ssh,
            at,
            owner,
            mode,
            required
        }),
        (paths(), of(made(1_u64..))).prop_map(|(at, size)| Mount::Tmpfs { at, size }),
    ]
    .boxed()
}

fn runs() -> BoxedStrategy<Run> {
    let script = after("x", inside()).prop_map(Command::Script);
    let long = made(template("a[^\\x00]{0,4}\n\"{0,5}", inside())).prop_map(Command::Script);
    let command = prop_oneof![script, long, vec(text(), 1..4).prop_map(Command::Exec)];
    let own = (of(paths()), of(made(owners())), of(list(text())));
    let network = of(made(select(vec![Network::Off, Network::Host])));
    let rest = (vec(made(mounts()), 0..3), vec(after("/var/", inside()), 0..2), of(made(durations())), of(made(durations())));
    (command, env(), own, network, rest)
        .prop_map(|(command, env, (workdir, user, shell), network, (mounts, discard, timeout, refresh))| Run {
            command,
            env,
            workdir,
            user,
            shell,
            network,
            mounts,
            discard,
            timeout,
            refresh,
        })
        .boxed()
}

fn downloads() -> impl Strategy<Value = Download> {
    (after("https://example.com/", arg()), of(made(digests()))).prop_map(|(url, sha256)| Download { url, sha256 })
}

fn fetches() -> BoxedStrategy<Fetch> {
    let urls = prop_oneof![after("ssh://git@example.com/", arg()), after("file:///srv/", arg())];
    let flag = || of(made(any::<bool>()));
    let commits = prop_oneof!["[0-9a-f]{40}", "[0-9a-f]{64}"];
    let git = (urls, of(after("v", arg())), of(made(commits)), of(after("src/", arg())), flag(), flag(), flag()).prop_map(
        |(url, reference, commit, path, submodules, keep_git, check_ref)| {
            let keep_git = keep_git.filter(|_| path.is_none());
            let check_ref = check_ref.filter(|_| commit.is_some());
            (FetchSource::Git(Git { url, reference, commit, path, submodules, keep_git, check_ref }), None)
        },
    );
    let url = (downloads(), of(made(modes()))).prop_map(|(download, mode)| (FetchSource::Url(download), mode));
    (prop_oneof![git, url], paths(), of(made(owners()))).prop_map(|((source, mode), to, owner)| Fetch { source, to, owner, mode }).boxed()
}

fn extracts() -> BoxedStrategy<Extract> {
    let file = from_and_paths().prop_map(|(from, mut paths)| Archive::File { path: paths.remove(0), from });
    let archive = prop_oneof![file, downloads().prop_map(Archive::Url)];
    (archive, paths(), of(made(0_u32..=1000)), of(made(owners())), of(made(mode_rules())))
        .prop_map(|(archive, to, strip, owner, mode)| Extract { archive, to, strip, owner, mode })
        .boxed()
}

fn verbs() -> BoxedStrategy<Verb> {
    let newlines = select(vec![Newlines::Keep, Newlines::Lf]);
    let copy_rest =
        (of(made(owners())), of(made(mode_rules())), vec(after("**/", inside()), 0..3), of(made(any::<bool>())), of(made(any::<bool>())));
    let owner_and_mode = || (of(made(owners())), of(made(modes())));
    let missing = || of(made(select(vec![Missing::Fail, Missing::Ignore])));
    prop_oneof![
        4 => runs().prop_map(Verb::Run),
        2 => (from_and_paths(), paths(), copy_rest, of(made(newlines)), missing()).prop_map(
            |((from, sources), to, (owner, mode, exclude, parents, unpack), newlines, missing)| Verb::Copy(Copy {
                sources, from, to, owner, mode, exclude, parents, unpack, newlines, missing,
            })
        ),
        1 => (paths(), prop_oneof![free(), template(".{0,3}\n?\"{0,4}\\x00?", inside())], owner_and_mode(), of(after("n", inside())))
            .prop_map(|(path, content, (owner, mode), name)| Verb::Write(Write { path, content: Spanned::made(content), owner, mode, name })),
        1 => fetches().prop_map(Verb::Fetch),
        2 => extracts().prop_map(Verb::Extract),
        1 => (paths(), after("x", inside()), of(made(select(vec![LinkKind::Symbolic, LinkKind::Hard]))))
            .prop_map(|(path, target, kind)| Verb::Link(Link { path, target, kind })),
        1 => (vec(paths(), 1..3), owner_and_mode())
            .prop_map(|(paths, (owner, mode))| Verb::MakeDirectory(MakeDirectory { paths, owner, mode })),
        1 => (vec(paths(), 1..3), missing())
            .prop_map(|(paths, missing)| Verb::Remove(Remove { paths, missing })),
        1 => env().prop_map(|env| Verb::Setting(Setting::Env(env))),
        1 => (paths(), of(made(owners()))).prop_map(|(path, owner)| Verb::Setting(Setting::Workdir { path, owner })),
        1 => text().prop_map(|text| Verb::Setting(Setting::History(text))),
        1 => made(owners()).prop_map(|user| Verb::Setting(Setting::User(user))),
        1 => vec(text(), 0..3).prop_map(|words| Verb::Setting(Setting::Shell(words))),
    ]
    .boxed()
}

fn steps() -> BoxedStrategy<Step> {
    (verbs(), of(text()))
        .prop_map(|(verb, history)| {
            let history = history.filter(|_| !matches!(verb, Verb::Setting(Setting::History(_))));
            Step { verb, history }
        })
        .boxed()
}

fn stages() -> BoxedStrategy<Stage> {
    let from = prop_oneof![Just(Base::Scratch), made(names()).prop_map(Base::Stage), image_sources().prop_map(Base::Image)];
    let named = prop_oneof![
        Just(Template::literal("linux/arm64")),
        arg().prop_map(|piece| Template::new([Piece::Literal("linux/".to_owned()), piece]))
    ];
    let platform = prop_oneof![Just(StagePlatform::Target), Just(StagePlatform::Builder), made(named).prop_map(StagePlatform::Named)];
    let onbuild = select(vec![OnBuild::Run, OnBuild::Keep]);
    (made(from), of(made(platform)), of(made(onbuild)), settings(), vec(made(steps()), 0..4))
        .prop_map(|(from, platform, onbuild, settings, steps)| Stage { from, platform, onbuild, settings, steps })
        .boxed()
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

fn images() -> BoxedStrategy<Image> {
    let platforms = vec(select(vec!["linux/amd64", "linux/arm64", "linux/arm/v6", "windows/amd64"]), 0..3).prop_map(|mut platforms| {
        platforms.sort_unstable();
        platforms.dedup();
        platforms.into_iter().map(|platform| Spanned::made(platform.parse::<Platform>().unwrap())).collect::<Vec<_>>()
    });
    let ports = || list(made(select(vec!["80", "53/udp", "7000-7005/sctp"]).prop_map(Template::literal)));
    let inherited = |lists: BoxedStrategy<Spanned<Vec<Text>>>| {
        (lists, any::<bool>()).prop_map(|(mut list, inherited)| {
            if inherited {
                list.value.insert(0, Spanned::made(Template::literal(INHERITED)));
            }
            list
        })
    };
    let signals = select(vec!["SIGTERM", "9"]).prop_map(Template::literal);
    let first = (made(names()), vec(named("registry.example.com/a:"), 0..3), platforms, settings());
    let lists = (of(list(text())), of(list(text())), of(inherited(ports().boxed())), of(inherited(list(after("/", inside())).boxed())));
    let notes = (
        btree_map("[^\\x00]{1,5}", changes(free()), 0..3),
        btree_map(".{1,5}", text(), 0..3),
        of(text()),
        of(made(vec(made(any::<String>()), 0..3))),
    );
    let formats = (
        of(made(select(vec![Format::Oci, Format::Docker]))),
        of(made(select(vec![Compression::Gzip, Compression::GzipSingle, Compression::Zstd, Compression::None]))),
    );
    (first, lists, notes, of(changes(healthchecks())), of(changes(signals)), formats)
        .prop_map(
            |(
                (stage, tags, platforms, settings),
                (entrypoint, cmd, expose, volumes),
                (labels, annotations, author, onbuild),
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
                    onbuild,
                    format,
                    compression,
                }
            },
        )
        .boxed()
}

fn arguments() -> impl Strategy<Value = Argument> {
    let plain = || made("[^$]{0,6}|\\$[a-z{]{0,3}");
    (of(plain()), of(made(any::<bool>())), vec(plain(), 0..3), of(made(any::<String>())))
        .prop_map(|(default, optional, choices, help)| Argument { default, optional, choices, help })
}

fn named_contexts() -> impl Strategy<Value = Context> {
    (made(".{1,8}"), of(made(".{1,8}"))).prop_map(|(path, ignore)| Context { path, ignore })
}

/// Specs that can be read, though their names may lead nowhere.
pub(super) fn specs() -> impl Strategy<Value = Spec> {
    let epoch = of(made(0_i64..=253_402_207_200));
    let stages = btree_map(names(), made(stages()), 1..3);
    let contexts = (of(made(".{1,8}")), of(made(".{1,8}")), btree_map(names(), made(named_contexts()), 0..2));
    (epoch, contexts, btree_map(names(), made(arguments()), 0..3), stages, btree_map(names(), made(images()), 0..2)).prop_map(
        |(epoch, (context, ignore, contexts), args, stages, images)| Spec { epoch, context, ignore, contexts, args, stages, images },
    )
}
