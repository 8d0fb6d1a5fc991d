//! TOML tables → mounts.

use super::field::{Grammar, Kind, Table};
use super::reader::{Fields, Value};
use super::sink::Sink;
use super::{Access, CacheAccess, Mount, Sharing, Spanned, Text, diagnostics, grammar, step_reader, tables, value};
use crate::diagnostic::{Span, nearest};

/// Reads one mount; `None` where it is of no kind or of several, or lacks what it cannot be without.
pub(super) fn mount(sink: &mut Sink<'_>, key: &str, value: &Value<'_>, stages: &[&str]) -> Option<Spanned<Mount>> {
    let (table, span) = value::table(sink, key, value)?;
    let mut found: Vec<(&'static Table, Span)> =
        tables::MOUNTS.iter().filter_map(|mount| table.get_key_value(mount.name).map(|(key, _)| (*mount, sink.span(key.span())))).collect();
    // A cache too can have something `from` elsewhere.
    if found.iter().any(|(mount, _)| mount.name == "cache") {
        found.retain(|(mount, _)| mount.name != "from");
    }
    found.sort_by_key(|(_, span)| *span);
    let kind = match found.as_slice() {
        [] => {
            let kinds: Vec<&str> = tables::MOUNTS.iter().map(|mount| mount.name).collect();
            let typo = step_reader::in_order(table)
                .into_iter()
                .find_map(|key| nearest(key.get_ref(), kinds.iter().copied()).map(|kind| (key, kind)));
            sink.report(match typo {
                Some((key, kind)) => diagnostics::no_mount_kind(sink.span(key.span()), &kinds).hint(format!("did you mean `{kind}`?")),
                None => diagnostics::no_mount_kind(span, &kinds),
            });
            return None;
        }
        [(mount, _)] => *mount,
        [(first, first_span), (second, second_span), ..] => {
            sink.report(diagnostics::two_mount_kinds(*second_span, first.name, *first_span, second.name));
            return None;
        }
    };
    let fields = Fields::new(sink, kind, table, span);
    let mount = match kind.name {
        "cache" => cache(fields, stages),
        "from" => files(fields, stages)?,
        "secret" => secret(fields)?,
        "ssh" => ssh(fields)?,
        _ => tmpfs(fields),
    };
    Some(Spanned::new(mount, span))
}

fn place(fields: &mut Fields<'_, '_, '_>) -> Text {
    let at = fields.required_text("at", Grammar::Destination);
    check_place(fields.sink, &at);
    at
}

fn check_place(sink: &mut Sink<'_>, at: &Text) {
    let Some(literal) = at.as_literal() else { return };
    let is_root = literal.starts_with('/') && !grammar::climbs(literal) && literal.split('/').all(|name| matches!(name, "" | "."));
    if is_root {
        sink.report(diagnostics::bad_path(at.span, literal, "a mount there would hide the whole image"));
    }
}

fn cache(mut fields: Fields<'_, '_, '_>, stages: &[&str]) -> Mount {
    let cache = fields.required_text("cache", Grammar::Free);
    let at = place(&mut fields);
    let sharing = fields.word("sharing", tables::SHARING, &[Sharing::Shared, Sharing::Private, Sharing::Locked]);
    let owner = fields.text("owner", Grammar::Owner);
    let mode = fields.mode("mode");
    let text = fields.text("from", Grammar::Source);
    let from_is_written = text.is_some();
    let from = step_reader::files(&mut fields, text, stages);
    let path = fields.text("path", Grammar::SourcePath);
    if !from_is_written {
        step_reader::does_not_fit(&mut fields, "path", "it is a path in what stands as `from`, and there is none");
    } else if from.is_some() {
        step_reader::check_context_paths(fields.sink, from.as_ref(), &path);
    }
    let access = fields.flag("writable", CacheAccess::ReadOnly, CacheAccess::Kept);
    if cache.as_literal() == Some("") {
        fields.sink.report(diagnostics::empty_value(cache.span, "cache", "empty"));
    }
    fields.finish();
    Mount::Cache { cache, at, sharing, owner, mode, from, path, access }
}

fn files(mut fields: Fields<'_, '_, '_>, stages: &[&str]) -> Option<Mount> {
    let text = fields.text("from", Grammar::Source);
    let from = step_reader::files(&mut fields, text, stages);
    let at = place(&mut fields);
    let path = fields.text("path", Grammar::SourcePath);
    let access = fields.flag("writable", Access::ReadOnly, Access::Discarded);
    if from.is_some() {
        step_reader::check_context_paths(fields.sink, from.as_ref(), &path);
    }
    fields.finish();
    Some(Mount::From { from: from?, path, at, access })
}

fn secret(mut fields: Fields<'_, '_, '_>) -> Option<Mount> {
    let secret = fields.name("secret", "a secret");
    let at = fields.text("at", Grammar::Destination);
    let env = fields.find("env", Kind::Variable).and_then(|found| value::variable(fields.sink, "env", found));
    let owner = fields.text("owner", Grammar::Owner);
    let mode = fields.mode("mode");
    let required = fields.flag("required", false, true);
    if env.is_some() {
        for key in ["at", "owner", "mode"] {
            step_reader::does_not_fit(&mut fields, key, "the secret is put in a variable, not in a file");
        }
    }
    if let Some(at) = &at {
        check_place(fields.sink, at);
    }
    fields.finish();
    let secret = secret?;
    Some(match env {
        Some(env) => Mount::SecretEnv { secret, env, required },
        None => Mount::Secret { secret, at, owner, mode, required },
    })
}

fn ssh(mut fields: Fields<'_, '_, '_>) -> Option<Mount> {
    let ssh = fields.name("ssh", "an agent");
    let at = fields.text("at", Grammar::Destination);
    let owner = fields.text("owner", Grammar::Owner);
    let mode = fields.mode("mode");
    let required = fields.flag("required", false, true);
    if let Some(at) = &at {
        check_place(fields.sink, at);
    }
    fields.finish();
    Some(Mount::Ssh { ssh: ssh?, at, owner, mode, required })
}

fn tmpfs(mut fields: Fields<'_, '_, '_>) -> Mount {
    if let Some(found) = fields.find("tmpfs", Kind::True)
        && value::boolean(fields.sink, "tmpfs", found).is_some_and(|flag| !flag.value)
    {
        let span = fields.sink.span(found.span());
        fields.sink.report(diagnostics::wrong_type(span, "tmpfs", "`true`", "`false`"));
    }
    let at = place(&mut fields);
    let size = fields.find("size", Kind::Size).and_then(|found| value::size(fields.sink, "size", found));
    fields.finish();
    Mount::Tmpfs { at, size }
}
