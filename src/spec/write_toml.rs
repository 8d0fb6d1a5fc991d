//! A spec → the TOML text that [`parse`](super::parse) reads as the same spec.

use std::collections::BTreeMap;

use super::words::{write_duration, write_mode_rule, write_size};
use super::{
    Access, Archive, Argument, Base, CacheAccess, Change, Command, Compression, Context, Copy, Env, Extract, Fetch, FetchSource,
    FileSource, Format, Git, Healthcheck, HealthcheckTest, Image, LinkKind, MakeDirectory, Missing, ModeRule, Mount, Network, Newlines,
    OnBuild, Remove, Run, Setting, Settings, Sharing, Spanned, Spec, Stage, StagePlatform, Step, Template, Text, Verb, source_text,
    template_text,
};

/// Writes a spec. Everything that a spec can hold within the bounds that its types document comes back when the text is read; places do
/// not, and defaults that were written out stay written out.
#[must_use]
pub fn to_toml(spec: &Spec) -> String {
    let Spec { epoch, context, ignore, contexts, args, stages, images } = spec;
    let mut top = Entries::default();
    top.add("spec", super::LANGUAGE_VERSION.to_string());
    if let Some(time) = epoch.as_ref().and_then(|epoch| jiff::Timestamp::from_second(epoch.value).ok()) {
        top.add("epoch", time.to_string());
    }
    top.add_some("context", context.as_ref().map(|context| string(context)));
    top.add_some("ignore", ignore.as_ref().map(|ignore| string(ignore)));
    let mut text = top.lines();
    if !contexts.is_empty() {
        let mut entries = Entries::default();
        contexts.iter().for_each(|(name, context)| entries.add(name.as_str(), write_context(context)));
        text.push_str(&format!("\n[contexts]\n{}", entries.lines()));
    }
    if !args.is_empty() {
        let mut entries = Entries::default();
        args.iter().for_each(|(name, argument)| entries.add(name.as_str(), write_argument(argument)));
        text.push_str(&format!("\n[args]\n{}", entries.lines()));
    }
    for (name, stage) in stages {
        let header = format!("stages.{}", key(name.as_str()));
        text.push_str(&format!("\n[{header}]\n{}", stage_entries(spec, stage).lines()));
        for step in &stage.value.steps {
            text.push_str(&format!("\n[[{header}.steps]]\n{}", step_entries(&step.value).lines()));
        }
    }
    for (name, image) in images {
        text.push_str(&format!("\n[images.{}]\n{}", key(name.as_str()), image_entries(image).lines()));
    }
    text
}

/// Keys with their values in TOML, in order: for those who arrange them otherwise.
pub(crate) type Lines = Vec<(String, String)>;

/// What stands in a stage's own table.
pub(crate) fn stage_lines(spec: &Spec, stage: &Stage) -> Lines {
    stage_entries(spec, stage).0
}

/// What stands in a step's table.
pub(crate) fn step_lines(step: &Step) -> Lines {
    step_entries(step).0
}

/// What stands in an image's table.
pub(crate) fn image_lines(image: &Image) -> Lines {
    image_entries(image).0
}

/// What stands behind the name of an argument.
pub(crate) fn argument_value(argument: &Argument) -> String {
    write_argument(argument)
}

/// What stands behind the name of a variable.
pub(crate) fn change_value(value: &Change<Template>) -> String {
    change(value)
}

/// Keys with their values in TOML, in order.
#[derive(Default)]
struct Entries(Vec<(String, String)>);

impl Entries {
    fn add(&mut self, name: &str, value: String) {
        self.0.push((key(name), value));
    }

    fn add_some(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn lines(&self) -> String {
        self.0.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    fn inline(&self) -> String {
        match self.0.as_slice() {
            [] => "{}".to_owned(),
            entries => format!("{{ {} }}", entries.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// A key, in quotes where it needs them.
pub(crate) fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare { name.to_owned() } else { string(name) }
}

fn string(text: &str) -> String {
    let mut written = String::from("\"");
    text.chars().for_each(|character| match character {
        '"' => written.push_str("\\\""),
        '\n' => written.push_str("\\n"),
        '\t' => written.push_str("\\t"),
        character => push(&mut written, character),
    });
    written.push('"');
    written
}

/// Several lines as several lines, and as they are where nothing would have to be escaped.
fn long_string(text: &str) -> String {
    let hides = text.contains(['\\', '"']);
    let is_plain = !text.chars().any(|character| character.is_control() && character != '\n' && character != '\t');
    let several = text.contains('\n');
    if hides && is_plain && !text.contains("'''") && !text.ends_with('\'') {
        return match several {
            false if !text.contains('\'') => format!("'{text}'"),
            false => format!("'''{text}'''"),
            true => format!("'''\n{text}'''"),
        };
    }
    if !several {
        return string(text);
    }
    let mut written = String::from("\"\"\"\n");
    let mut quotes = 0;
    for character in text.chars() {
        quotes = if character == '"' { quotes + 1 } else { 0 };
        match character {
            '"' if quotes == 3 => {
                written.push_str("\\\"");
                quotes = 0;
            }
            '"' | '\n' | '\t' => written.push(character),
            character => push(&mut written, character),
        }
    }
    if quotes > 0 {
        written.pop();
        written.push_str("\\\"");
    }
    written.push_str("\"\"\"");
    written
}

fn push(written: &mut String, character: char) {
    match character {
        '\\' => written.push_str("\\\\"),
        '\r' => written.push_str("\\r"),
        character if character.is_control() => written.push_str(&format!("\\u{:04X}", u32::from(character))),
        character => written.push(character),
    }
}

fn array(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn template(template: &Template) -> String {
    string(&template_text::write(template))
}

fn texts(items: &[Text]) -> String {
    array(items.iter().map(|text| template(text)))
}

fn one_or_more(items: &[Text]) -> String {
    match items {
        [one] => template(one),
        several => texts(several),
    }
}

fn change(change: &Change<Template>) -> String {
    match change {
        Change::Set(value) => template(value),
        Change::Clear => "false".to_owned(),
    }
}

fn changes(changes: &BTreeMap<String, Spanned<Change<Template>>>) -> String {
    let mut entries = Entries::default();
    changes.iter().for_each(|(name, value)| entries.add(name, change(value)));
    entries.inline()
}

fn mode(mode: u16) -> String {
    format!("\"{mode:04o}\"")
}

fn mode_rule(rule: &ModeRule) -> String {
    match rule {
        ModeRule::Unsettled(text) => template(text),
        ModeRule::Keep | ModeRule::Set(_) | ModeRule::Exactly(_) | ModeRule::Symbolic(_) => {
            string(&write_mode_rule(rule).unwrap_or_default())
        }
    }
}

fn from(from: Option<&Spanned<FileSource>>) -> Option<String> {
    from.map(|from| string(&source_text::write_files(from)))
}

fn write_context(context: &Context) -> String {
    let Context { path, ignore } = context;
    let Some(ignore) = ignore else { return string(path) };
    let mut entries = Entries::default();
    entries.add("path", string(path));
    entries.add("ignore", string(ignore));
    entries.inline()
}

fn write_argument(argument: &Argument) -> String {
    let Argument { default, optional, choices, help } = argument;
    if let (Some(default), None, [], None) = (default, optional, choices.as_slice(), help) {
        return string(default);
    }
    let mut entries = Entries::default();
    entries.add_some("default", default.as_ref().map(|default| string(default)));
    entries.add_some("optional", optional.map(|optional| optional.value.to_string()));
    if !choices.is_empty() {
        entries.add("choices", array(choices.iter().map(|choice| string(choice))));
    }
    entries.add_some("help", help.as_ref().map(|help| string(help)));
    entries.inline()
}

fn stage_entries(spec: &Spec, stage: &Stage) -> Entries {
    let Stage { from, platform, onbuild, settings, steps: _ } = stage;
    let mut entries = Entries::default();
    let base: &Base = from;
    entries.add("from", string(&source_text::write_base(base, |name| spec.stages.contains_key(name))));
    entries.add_some(
        "platform",
        platform.as_ref().map(|platform| match &platform.value {
            StagePlatform::Target => string("target"),
            StagePlatform::Builder => string("builder"),
            StagePlatform::Named(text) => template(text),
        }),
    );
    entries.add_some(
        "onbuild",
        onbuild.map(|onbuild| {
            string(match onbuild.value {
                OnBuild::Run => "run",
                OnBuild::Keep => "keep",
            })
        }),
    );
    add_settings(&mut entries, settings);
    entries
}

fn add_settings(entries: &mut Entries, settings: &Settings) {
    let Settings { env, workdir, user, shell } = settings;
    add_env(entries, env);
    entries.add_some("workdir", workdir.as_ref().map(|workdir| change(workdir)));
    entries.add_some("user", user.as_ref().map(|user| change(user)));
    entries.add_some("shell", shell.as_ref().map(|shell| texts(shell)));
}

fn add_env(entries: &mut Entries, env: &Env) {
    if !env.is_empty() {
        entries.add("env", changes(env));
    }
}

fn add_list(entries: &mut Entries, name: &str, list: &[Text]) {
    if !list.is_empty() {
        entries.add(name, texts(list));
    }
}

fn step_entries(step: &Step) -> Entries {
    let mut entries = Entries::default();
    let Step { verb, history } = step;
    match verb {
        Verb::Run(run) => add_run(&mut entries, run),
        Verb::Copy(copy) => add_copy(&mut entries, copy),
        Verb::Write(write) => {
            entries.add("write", template(&write.path));
            entries.add("content", long_string(&template_text::write(&write.content)));
            add_owner_and_mode(&mut entries, write.owner.as_ref(), write.mode);
            entries.add_some("name", write.name.as_ref().map(|name| template(name)));
        }
        Verb::Fetch(fetch) => add_fetch(&mut entries, fetch),
        Verb::Extract(extract) => add_extract(&mut entries, extract),
        Verb::Link(link) => {
            entries.add("link", template(&link.path));
            entries.add("target", template(&link.target));
            entries.add_some("hard", link.kind.map(|kind| matches!(kind.value, LinkKind::Hard).to_string()));
        }
        Verb::MakeDirectory(MakeDirectory { paths, owner, mode }) => {
            entries.add("mkdir", one_or_more(paths));
            add_owner_and_mode(&mut entries, owner.as_ref(), *mode);
        }
        Verb::Remove(Remove { paths, missing }) => {
            entries.add("remove", one_or_more(paths));
            entries.add_some("missing", missing.map(|missing| string(missing_word(missing.value))));
        }
        Verb::Setting(Setting::Env(env)) => entries.add("env", changes(env)),
        Verb::Setting(Setting::Workdir { path, owner }) => {
            entries.add("workdir", template(path));
            entries.add_some("owner", owner.as_ref().map(|owner| template(owner)));
        }
        Verb::Setting(Setting::User(user)) => entries.add("user", template(user)),
        Verb::Setting(Setting::Shell(words)) => entries.add("shell", texts(words)),
        Verb::Setting(Setting::History(text)) => entries.add("history", template(text)),
    }
    entries.add_some("history", history.as_ref().map(|history| template(history)));
    entries
}

fn add_owner_and_mode(entries: &mut Entries, owner: Option<&Text>, bits: Option<Spanned<u16>>) {
    entries.add_some("owner", owner.map(|owner| template(owner)));
    entries.add_some("mode", bits.map(|bits| mode(bits.value)));
}

fn add_run(entries: &mut Entries, run: &Run) {
    let Run { command, env, workdir, user, shell, network, mounts, discard, timeout, refresh } = run;
    entries.add(
        "run",
        match command {
            Command::Script(script) => long_string(&template_text::write(script)),
            Command::Exec(words) => texts(words),
        },
    );
    add_env(entries, env);
    entries.add_some("workdir", workdir.as_ref().map(|workdir| template(workdir)));
    entries.add_some("user", user.as_ref().map(|user| template(user)));
    entries.add_some("shell", shell.as_ref().map(|shell| texts(shell)));
    entries.add_some("network", network.map(|network| matches!(network.value, Network::Host).to_string()));
    if !mounts.is_empty() {
        entries.add("mounts", array(mounts.iter().map(|mount| mount_entries(mount).inline())));
    }
    add_list(entries, "discard", discard);
    entries.add_some("timeout", timeout.map(|timeout| string(&write_duration(timeout.value))));
    entries.add_some("refresh", refresh.map(|refresh| string(&write_duration(refresh.value))));
}

fn mount_entries(mount: &Mount) -> Entries {
    let mut entries = Entries::default();
    match mount {
        Mount::Cache { cache, at, sharing, owner, mode, from: filled, path, access } => {
            entries.add("cache", template(cache));
            entries.add("at", template(at));
            entries.add_some(
                "sharing",
                sharing.map(|sharing| {
                    string(match sharing.value {
                        Sharing::Shared => "shared",
                        Sharing::Private => "private",
                        Sharing::Locked => "locked",
                    })
                }),
            );
            add_owner_and_mode(&mut entries, owner.as_ref(), *mode);
            entries.add_some("from", from(filled.as_ref()));
            entries.add_some("path", path.as_ref().map(|path| template(path)));
            entries.add_some("writable", access.map(|access| matches!(access.value, CacheAccess::Kept).to_string()));
        }
        Mount::From { from, path, at, access } => {
            entries.add("from", string(&source_text::write_files(from)));
            entries.add_some("path", path.as_ref().map(|path| template(path)));
            entries.add("at", template(at));
            entries.add_some("writable", access.map(|access| matches!(access.value, Access::Discarded).to_string()));
        }
        Mount::Secret { secret, at, owner, mode, required } => {
            entries.add("secret", string(secret.as_str()));
            entries.add_some("at", at.as_ref().map(|at| template(at)));
            add_owner_and_mode(&mut entries, owner.as_ref(), *mode);
            entries.add_some("required", required.map(|required| required.value.to_string()));
        }
        Mount::SecretEnv { secret, env, required } => {
            entries.add("secret", string(secret.as_str()));
            entries.add("env", string(env));
            entries.add_some("required", required.map(|required| required.value.to_string()));
        }
        Mount::Ssh { ssh, at, owner, mode, required } => {
            entries.add("ssh", string(ssh.as_str()));
            entries.add_some("at", at.as_ref().map(|at| template(at)));
            add_owner_and_mode(&mut entries, owner.as_ref(), *mode);
            entries.add_some("required", required.map(|required| required.value.to_string()));
        }
        Mount::Tmpfs { at, size } => {
            entries.add("tmpfs", "true".to_owned());
            entries.add("at", template(at));
            entries.add_some("size", size.map(|size| string(&write_size(size.value))));
        }
    }
    entries
}

const fn missing_word(missing: Missing) -> &'static str {
    match missing {
        Missing::Fail => "fail",
        Missing::Ignore => "ignore",
    }
}

fn add_copy(entries: &mut Entries, copy: &Copy) {
    let Copy { sources, from: source, to, owner, mode, exclude, parents, unpack, newlines, missing } = copy;
    entries.add("copy", one_or_more(sources));
    entries.add_some("from", from(source.as_ref()));
    entries.add("to", template(to));
    entries.add_some("owner", owner.as_ref().map(|owner| template(owner)));
    entries.add_some("mode", mode.as_ref().map(|rule| mode_rule(rule)));
    add_list(entries, "exclude", exclude);
    entries.add_some("parents", parents.map(|parents| parents.value.to_string()));
    entries.add_some("unpack", unpack.map(|unpack| unpack.value.to_string()));
    entries.add_some(
        "newlines",
        newlines.map(|newlines| {
            string(match newlines.value {
                Newlines::Keep => "keep",
                Newlines::Lf => "lf",
            })
        }),
    );
    entries.add_some("missing", missing.map(|missing| string(missing_word(missing.value))));
}

fn add_fetch(entries: &mut Entries, fetch: &Fetch) {
    let Fetch { source, to, owner, mode } = fetch;
    match source {
        FetchSource::Url(download) => {
            entries.add("fetch", template(&download.url));
            entries.add_some("sha256", download.sha256.map(|digest| string(&digest.hex())));
        }
        FetchSource::Git(Git { url, reference, commit, path, submodules, keep_git, check_ref }) => {
            entries.add("fetch", string(&format!("git+{}", template_text::write(url))));
            entries.add_some("ref", reference.as_ref().map(|reference| template(reference)));
            entries.add_some("commit", commit.as_ref().map(|commit| string(commit)));
            entries.add_some("path", path.as_ref().map(|path| template(path)));
            entries.add_some("submodules", submodules.map(|fetched| fetched.value.to_string()));
            entries.add_some("keep_git", keep_git.map(|keep| keep.value.to_string()));
            entries.add_some("check_ref", check_ref.map(|check| check.value.to_string()));
        }
    }
    entries.add("to", template(to));
    add_owner_and_mode(entries, owner.as_ref(), *mode);
}

fn add_extract(entries: &mut Entries, extract: &Extract) {
    let Extract { archive, to, strip, owner, mode } = extract;
    match archive {
        Archive::File { path, from: source } => {
            entries.add("extract", template(path));
            entries.add_some("from", from(source.as_ref()));
        }
        Archive::Url(download) => {
            entries.add("extract", template(&download.url));
            entries.add_some("sha256", download.sha256.map(|digest| string(&digest.hex())));
        }
    }
    entries.add("to", template(to));
    entries.add_some("strip", strip.map(|strip| strip.value.to_string()));
    entries.add_some("owner", owner.as_ref().map(|owner| template(owner)));
    entries.add_some("mode", mode.as_ref().map(|rule| mode_rule(rule)));
}

fn image_entries(image: &Image) -> Entries {
    let Image {
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
    } = image;
    let mut entries = Entries::default();
    entries.add("stage", string(stage.as_str()));
    add_list(&mut entries, "tags", tags);
    if !platforms.is_empty() {
        entries.add("platforms", array(platforms.iter().map(|platform| string(&platform.to_string()))));
    }
    for (name, list) in [("entrypoint", entrypoint), ("cmd", cmd), ("expose", expose), ("volumes", volumes)] {
        entries.add_some(name, list.as_ref().map(|list| texts(list)));
    }
    add_settings(&mut entries, settings);
    if !labels.is_empty() {
        entries.add("labels", changes(labels));
    }
    if !annotations.is_empty() {
        let mut inner = Entries::default();
        annotations.iter().for_each(|(name, value)| inner.add(name, template(value)));
        entries.add("annotations", inner.inline());
    }
    entries.add_some(
        "healthcheck",
        healthcheck.as_ref().map(|healthcheck| match &healthcheck.value {
            Change::Clear => "false".to_owned(),
            Change::Set(healthcheck) => healthcheck_entries(healthcheck).inline(),
        }),
    );
    entries.add_some("stop_signal", stop_signal.as_ref().map(|signal| change(signal)));
    entries.add_some("author", author.as_ref().map(|author| template(author)));
    entries.add_some("onbuild", onbuild.as_ref().map(|list| array(list.iter().map(|instruction| string(instruction)))));
    entries.add_some(
        "format",
        format.map(|format| {
            string(match format.value {
                Format::Oci => "oci",
                Format::Docker => "docker",
            })
        }),
    );
    entries.add_some(
        "compression",
        compression.map(|compression| {
            string(match compression.value {
                Compression::Gzip => "gzip",
                Compression::GzipSingle => "gzip-single",
                Compression::Zstd => "zstd",
                Compression::None => "none",
            })
        }),
    );
    entries
}

fn healthcheck_entries(healthcheck: &Healthcheck) -> Entries {
    let Healthcheck { test, interval, timeout, start_period, start_interval, retries } = healthcheck;
    let mut entries = Entries::default();
    entries.add(
        "test",
        match &test.value {
            HealthcheckTest::Exec(words) => array(std::iter::once(string("CMD")).chain(words.iter().map(|word| template(word)))),
            HealthcheckTest::Script(script) => array([string("CMD-SHELL"), template(script)]),
            HealthcheckTest::Off => array([string("NONE")]),
        },
    );
    for (name, duration) in
        [("interval", interval), ("timeout", timeout), ("start_period", start_period), ("start_interval", start_interval)]
    {
        entries.add_some(name, duration.map(|duration| string(&write_duration(duration.value))));
    }
    entries.add_some("retries", retries.map(|retries| retries.value.to_string()));
    entries
}
