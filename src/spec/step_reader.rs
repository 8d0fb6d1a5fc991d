//! TOML tables → steps.

use toml::Spanned as At;
use toml::de::DeTable;

use super::field::{Grammar, Kind, Table};
use super::reader::{Fields, Value};
use super::sink::Sink;
use super::{
    Archive, Command, Copy, Download, Extract, Fetch, FetchSource, FileSource, Git, Link, LinkKind, MakeDirectory, Missing, Network,
    Newlines, Remove, Run, Setting, Spanned, Step, Text, Verb, Write, diagnostics, grammar, mount_reader, source_text, tables, value,
};
use crate::diagnostic::{Span, nearest};

/// Reads one step; `None` where it has no verb or several.
pub(super) fn step(sink: &mut Sink<'_>, key: &str, value: &Value<'_>, stages: &[&str]) -> Option<Spanned<Step>> {
    let (table, span) = value::table(sink, key, value)?;
    let kind = verb(sink, table, span)?;
    let (key, value) = table.get_key_value(kind.name)?;
    let span = sink.span(key.span().start..value.span().end.max(key.span().end));
    let mut fields = Fields::with_hints(sink, kind, table, span, setting_hint);
    let history = if kind.name == "history" { None } else { fields.text("history", Grammar::Free) };
    let verb = match kind.name {
        "run" => Verb::Run(run(fields, stages)?),
        "copy" => Verb::Copy(copy(fields, stages)),
        "write" => Verb::Write(write(fields)),
        "fetch" => Verb::Fetch(fetch(fields)),
        "extract" => Verb::Extract(extract(fields, stages)),
        "link" => Verb::Link(link(fields)),
        "mkdir" => Verb::MakeDirectory(make_directory(fields)),
        "remove" => Verb::Remove(remove(fields)),
        _ => Verb::Setting(setting(fields, kind)),
    };
    Some(Spanned::new(Step { verb, history }, span))
}

/// Whether a step's key can also be that of a step with another verb.
fn is_setting(table: &Table) -> bool {
    matches!(table.name, "env" | "workdir" | "user" | "shell" | "history")
}

fn setting_hint(word: &str) -> Option<String> {
    let verb = tables::STEPS.iter().find(|step| step.name == word)?;
    Some(format!("`{}` can be a step of its own: put it before this one", verb.name))
}

/// Finds the one verb. `env` and the other settings are verbs only where there is no other, and `history` only where there is nothing else.
fn verb(sink: &mut Sink<'_>, table: &DeTable<'_>, span: Span) -> Option<&'static Table> {
    let mut found: Vec<(&'static Table, Span)> =
        tables::STEPS.iter().filter_map(|step| table.get_key_value(step.name).map(|(key, _)| (*step, sink.span(key.span())))).collect();
    if found.iter().any(|(step, _)| !is_setting(step)) {
        found.retain(|(step, _)| !is_setting(step));
    }
    if found.len() > 1 {
        found.retain(|(step, _)| step.name != "history");
    }
    found.sort_by_key(|(_, span)| *span);
    match found.as_slice() {
        [] => {
            let verbs: Vec<&str> = tables::STEPS.iter().map(|step| step.name).collect();
            let typo = in_order(table).into_iter().find_map(|key| nearest(key.get_ref(), verbs.iter().copied()).map(|verb| (key, verb)));
            sink.report(match typo {
                Some((key, verb)) => diagnostics::no_verb(sink.span(key.span()), &verbs).hint(format!("did you mean `{verb}`?")),
                None => diagnostics::no_verb(span, &verbs),
            });
            None
        }
        [(step, _)] => Some(step),
        [(first, first_span), (second, second_span), ..] => {
            sink.report(diagnostics::two_verbs(*second_span, first.name, *first_span, second.name));
            None
        }
    }
}

/// The keys of a table in the order of the text.
pub(super) fn in_order<'v, 't>(table: &'v DeTable<'t>) -> Vec<&'v At<std::borrow::Cow<'t, str>>> {
    let mut keys: Vec<_> = table.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    keys
}

/// Reads `from`.
pub(super) fn files(fields: &mut Fields<'_, '_, '_>, text: Option<Text>, stages: &[&str]) -> Option<Spanned<FileSource>> {
    let text = text?;
    source_text::read_files(&text, stages.iter().copied(), &mut |diagnostic| fields.sink.report(diagnostic))
}

/// Paths in a context are relative to it: an absolute one would look like a path of the machine.
pub(super) fn check_context_paths<'v>(sink: &mut Sink<'_>, from: Option<&Spanned<FileSource>>, paths: impl IntoIterator<Item = &'v Text>) {
    let context = match from.map(|from| &from.value) {
        None | Some(FileSource::Context(_)) => true,
        Some(FileSource::Stage(_) | FileSource::Image(_)) => false,
    };
    for path in paths {
        let written = value::leading(path);
        if context && written.starts_with('/') {
            let relative = written.trim_start_matches('/');
            let relative = if relative.is_empty() { "." } else { relative };
            sink.report(diagnostics::bad_path(path.span, written, "paths in a context are relative to it").hint(format!(
                "write `{relative}`; for another directory, name it with `--context NAME=DIR` and use `from = \"context:NAME\"`"
            )));
        }
    }
}

fn run(mut fields: Fields<'_, '_, '_>, stages: &[&str]) -> Option<Run> {
    let command = fields.find("run", Kind::TextOrTexts(Grammar::Free)).and_then(|found| command(fields.sink, found));
    let env = fields.env("env");
    let workdir = fields.text("workdir", Grammar::Destination);
    let user = fields.text("user", Grammar::Owner);
    let shell = fields.texts("shell", Grammar::Free);
    let network = fields.flag("network", Network::Off, Network::Host);
    let mounts = match fields.find("mounts", Kind::AnyOf(tables::MOUNTS)) {
        None => Vec::new(),
        Some(found) => match value::array(fields.sink, "mounts", "an array of tables", found) {
            None => Vec::new(),
            Some((items, _)) => items
                .iter()
                .enumerate()
                .filter_map(|(place, item)| mount_reader::mount(fields.sink, &format!("mounts[{place}]"), item, stages))
                .collect(),
        },
    };
    let discard = fields.list("discard", Grammar::Pattern);
    let timeout = fields.duration("timeout");
    let refresh = fields.duration("refresh");
    if let Some(timeout) = &timeout
        && timeout.is_zero()
    {
        fields.sink.report(diagnostics::bad_duration(timeout.span, "0s", "no command ends in no time"));
    }
    fields.finish();
    Some(Run { command: command?, env, workdir, user, shell, network, mounts, discard, timeout, refresh })
}

fn command(sink: &mut Sink<'_>, found: &Value<'_>) -> Option<Command> {
    let is_array = found.get_ref().is_array();
    let mut words = value::text_or_texts(sink, "run", found, Grammar::Free);
    if is_array {
        return Some(Command::Exec(words));
    }
    let script = words.pop()?;
    if script.as_literal().is_some_and(|script| script.trim().is_empty()) {
        sink.report(diagnostics::empty_value(script.span, "run", "empty"));
    }
    Some(Command::Script(script))
}

fn copy(mut fields: Fields<'_, '_, '_>, stages: &[&str]) -> Copy {
    let sources = fields.text_or_texts("copy", Grammar::SourcePath);
    let to = fields.required_text("to", Grammar::Destination);
    let from_text = fields.text("from", Grammar::Source);
    let from_is_written = from_text.is_some();
    let from = files(&mut fields, from_text, stages);
    let owner = fields.text("owner", Grammar::Owner);
    let mode = fields.copy_mode("mode");
    let exclude = fields.list("exclude", Grammar::Pattern);
    let parents = fields.flag("parents", false, true);
    let unpack = fields.flag("unpack", false, true);
    let newlines = fields.word("newlines", tables::NEWLINES, &[Newlines::Keep, Newlines::Lf]);
    let missing = fields.word("missing", tables::MISSING, &[Missing::Fail, Missing::Ignore]);
    if from.is_some() || !from_is_written {
        check_context_paths(fields.sink, from.as_ref(), &sources);
    }
    fields.finish();
    Copy { sources, from, to, owner, mode, exclude, parents, unpack, newlines, missing }
}

fn write(mut fields: Fields<'_, '_, '_>) -> Write {
    let path = fields.required_text("write", Grammar::Destination);
    let content = fields.required_text("content", Grammar::Content);
    let owner = fields.text("owner", Grammar::Owner);
    let mode = fields.mode("mode");
    let name = fields.text("name", Grammar::Free);
    if path.as_literal().is_some_and(|path| path.ends_with('/')) {
        let written = path.as_literal().unwrap_or_default();
        fields.sink.report(diagnostics::bad_path(path.span, written, "it names a directory, not a file"));
    }
    if let Some(name) = &name
        && name.as_literal().is_some_and(|name| matches!(name, "" | "." | "..") || name.contains('/'))
    {
        let written = name.as_literal().unwrap_or_default();
        fields.sink.report(diagnostics::bad_path(name.span, written, "it is the name of a file, without a directory"));
    }
    fields.finish();
    Write { path, content, owner, mode, name }
}

fn fetch(mut fields: Fields<'_, '_, '_>) -> Fetch {
    let address = fields.required_text("fetch", Grammar::Fetch);
    let to = fields.required_text("to", Grammar::Destination);
    let sha256 = fields.find("sha256", Kind::Sha256).and_then(|found| value::sha256(fields.sink, "sha256", found));
    let reference = fields.text("ref", Grammar::Outside);
    let commit = fields.find("commit", Kind::Commit).and_then(|found| value::commit(fields.sink, "commit", found));
    let path = fields.text("path", Grammar::SourcePath);
    let submodules = fields.flag("submodules", false, true);
    let keep_git = fields.flag("keep_git", false, true);
    let check_ref = fields.flag("check_ref", false, true);
    let owner = fields.text("owner", Grammar::Owner);
    let mode = fields.mode("mode");
    let source = match source_text::after(&address, "git+") {
        Some(url) => {
            does_not_fit(&mut fields, "sha256", "a git repository is known by its `commit`");
            does_not_fit(&mut fields, "mode", "files from git have the modes that git knows");
            if let Some(reference) = &reference
                && reference.as_literal() == Some("")
            {
                fields.sink.report(diagnostics::empty_value(reference.span, "ref", "empty"));
            }
            if path.is_some() && keep_git.is_some_and(|keep| keep.value) {
                does_not_fit(&mut fields, "keep_git", "with `path`, the files are no longer those that a `.git` speaks of");
            }
            if commit.is_none() && check_ref.is_some_and(|check| check.value) {
                does_not_fit(&mut fields, "check_ref", "there is no `commit` that the reference could be held against");
            }
            FetchSource::Git(Git { url, reference, commit, path, submodules, keep_git, check_ref })
        }
        None => {
            for key in ["ref", "commit", "path", "submodules", "keep_git", "check_ref"] {
                does_not_fit(&mut fields, key, "the address is not that of a git repository, which begins with `git+`");
            }
            FetchSource::Url(Download { url: address, sha256 })
        }
    };
    let mode = match source {
        FetchSource::Git(_) => None,
        FetchSource::Url(_) => mode,
    };
    fields.finish();
    Fetch { source, to, owner, mode }
}

/// Reports a key if it is there.
pub(super) fn does_not_fit(fields: &mut Fields<'_, '_, '_>, key: &str, why: &str) {
    if let Some(span) = fields.key_span(key) {
        fields.sink.report(diagnostics::key_does_not_fit(span, key, why));
    }
}

fn extract(mut fields: Fields<'_, '_, '_>, stages: &[&str]) -> Extract {
    let text = fields.required_text("extract", Grammar::Archive);
    let to = fields.required_text("to", Grammar::Destination);
    let from_text = fields.text("from", Grammar::Source);
    let from_is_written = from_text.is_some();
    let from = files(&mut fields, from_text, stages);
    let sha256 = fields.find("sha256", Kind::Sha256).and_then(|found| value::sha256(fields.sink, "sha256", found));
    let strip = fields.number("strip", 1000);
    let owner = fields.text("owner", Grammar::Owner);
    let mode = fields.copy_mode("mode");
    let start = value::leading(&text);
    let archive = if start.starts_with("https://") || start.starts_with("http://") {
        does_not_fit(&mut fields, "from", "the archive is downloaded");
        grammar::check("extract", &text, Grammar::Url, &mut |diagnostic| fields.sink.report(diagnostic));
        Archive::Url(Download { url: text, sha256 })
    } else {
        does_not_fit(&mut fields, "sha256", "only a download needs it; the bytes of a file in a source are known");
        grammar::check("extract", &text, Grammar::SourcePath, &mut |diagnostic| fields.sink.report(diagnostic));
        if from.is_some() || !from_is_written {
            check_context_paths(fields.sink, from.as_ref(), [&text]);
        }
        Archive::File { path: text, from }
    };
    fields.finish();
    Extract { archive, to, strip, owner, mode }
}

fn link(mut fields: Fields<'_, '_, '_>) -> Link {
    let path = fields.required_text("link", Grammar::Destination);
    let target = fields.required_text("target", Grammar::Free);
    let kind = fields.flag("hard", LinkKind::Symbolic, LinkKind::Hard);
    if fields.key_span("target").is_some() && target.as_literal() == Some("") {
        fields.sink.report(diagnostics::empty_value(target.span, "target", "empty"));
    }
    fields.finish();
    Link { path, target, kind }
}

fn make_directory(mut fields: Fields<'_, '_, '_>) -> MakeDirectory {
    let paths = fields.text_or_texts("mkdir", Grammar::Destination);
    let owner = fields.text("owner", Grammar::Owner);
    let mode = fields.mode("mode");
    fields.finish();
    MakeDirectory { paths, owner, mode }
}

fn remove(mut fields: Fields<'_, '_, '_>) -> Remove {
    let paths = fields.text_or_texts("remove", Grammar::Destination);
    let missing = fields.word("missing", tables::MISSING, &[Missing::Fail, Missing::Ignore]);
    fields.finish();
    Remove { paths, missing }
}

fn setting(mut fields: Fields<'_, '_, '_>, kind: &Table) -> Setting {
    let setting = match kind.name {
        "env" => Setting::Env(fields.env("env")),
        "workdir" => {
            Setting::Workdir { path: fields.required_text("workdir", Grammar::Destination), owner: fields.text("owner", Grammar::Owner) }
        }
        "user" => Setting::User(fields.required_text("user", Grammar::Owner)),
        "shell" => Setting::Shell(fields.list("shell", Grammar::Free)),
        _ => Setting::History(fields.required_text("history", Grammar::Free)),
    };
    fields.finish();
    setting
}
