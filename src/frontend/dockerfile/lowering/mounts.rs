//! `RUN --mount`.

use super::Lowering;
use super::settings::joined;
use super::stage::InProgress;
use crate::diagnostic::Span;
use crate::frontend::dockerfile::diagnostics as say;
use crate::frontend::dockerfile::located::Located;
use crate::spec::{Access, CacheAccess, FileSource, Mount, Name, Sharing, Spanned, Template, Text};

/// Where Docker puts the sockets of agents when nothing is said; a number stands behind it.
const AGENTS: &str = "/run/buildkit/ssh_agent";

/// The sorts of mounts.
const TYPES: [&str; 5] = ["bind", "cache", "secret", "ssh", "tmpfs"];

/// The options of mounts.
const OPTIONS: [&str; 18] = [
    "destination",
    "dst",
    "env",
    "from",
    "gid",
    "id",
    "mode",
    "readonly",
    "readwrite",
    "required",
    "ro",
    "rw",
    "sharing",
    "size",
    "source",
    "src",
    "target",
    "uid",
];

/// The options of one mount. What is given twice counts the last time, as it does for Docker.
#[derive(Default)]
struct Given {
    kind: Option<String>,
    from: Option<Located>,
    source: Option<Text>,
    target: Option<Text>,
    id: Option<Text>,
    env: Option<Spanned<String>>,
    access: Option<Access>,
    required: Option<Spanned<bool>>,
    sharing: Option<Spanned<Sharing>>,
    size: Option<Spanned<u64>>,
    mode: Option<Spanned<u16>>,
    uid: Option<(u32, Span)>,
    gid: Option<(u32, Span)>,
}

impl Lowering<'_> {
    pub(super) fn mounts(&mut self, stage: &mut InProgress, texts: &[Located]) -> Vec<Spanned<Mount>> {
        let mut mounts = Vec::new();
        for text in texts {
            let Some(given) = self.given(stage, text) else { continue };
            let span = text.whole();
            let made = self.mount(stage, given, span);
            mounts.extend(made.into_iter().map(|mount| Spanned::new(mount, span)));
        }
        let agents = mounts.iter_mut().filter_map(|mount: &mut Spanned<Mount>| match &mut mount.value {
            Mount::Ssh { at, .. } => Some((at, mount.span)),
            Mount::Cache { .. } | Mount::From { .. } | Mount::Secret { .. } | Mount::SecretEnv { .. } | Mount::Tmpfs { .. } => None,
        });
        for (number, (at, span)) in agents.enumerate() {
            at.get_or_insert_with(|| super::from::literal(&format!("{AGENTS}.{number}"), span));
        }
        mounts
    }

    fn given(&mut self, stage: &mut InProgress, text: &Located) -> Option<Given> {
        let Some(fields) = fields(text) else {
            self.report(say::bad_mount(text.whole(), "a quote in the options of a mount is not closed, or something stands behind it"));
            return None;
        };
        let mut given = Given::default();
        let mut good = true;
        for field in fields {
            let (key, value) = match field.as_str().find('=') {
                Some(equals) => (field.slice(0..equals), Some(field.slice(equals + 1..field.as_str().len()))),
                None => (field.clone(), None),
            };
            let name = key.as_str().to_ascii_lowercase();
            good &= self.option(stage, &mut given, &name, &key, value.as_ref()).is_some();
        }
        good.then_some(given)
    }

    fn option(&mut self, stage: &mut InProgress, given: &mut Given, name: &str, key: &Located, value: Option<&Located>) -> Option<()> {
        match (name, value) {
            ("readonly" | "ro", None) => given.access = Some(Access::ReadOnly),
            ("readwrite" | "rw", None) => given.access = Some(Access::Discarded),
            ("required", None) => given.required = Some(Spanned::new(true, key.whole())),
            ("type", Some(value)) => {
                let word = self.settled(stage, value, "the type of a mount")?.to_ascii_lowercase();
                if !TYPES.contains(&word.as_str()) {
                    self.report(say::unknown_mount_word(value.whole(), "type", &word, TYPES));
                    return None;
                }
                given.kind = Some(word);
            }
            ("from", Some(value)) => given.from = Some(value.clone()),
            ("source" | "src", Some(value)) => given.source = Some(self.text(stage, value)?),
            ("target" | "dst" | "destination", Some(value)) => given.target = Some(self.text(stage, value)?),
            ("id", Some(value)) => given.id = Some(self.text(stage, value)?),
            ("env", Some(value)) => {
                given.env = Some(Spanned::new(self.settled(stage, value, "the variable of a secret")?, value.whole()));
            }
            ("readonly" | "ro", Some(value)) => {
                let on = self.boolean(stage, value)?;
                given.access = Some(if on { Access::ReadOnly } else { Access::Discarded });
            }
            ("readwrite" | "rw", Some(value)) => {
                let on = self.boolean(stage, value)?;
                given.access = Some(if on { Access::Discarded } else { Access::ReadOnly });
            }
            ("required", Some(value)) => given.required = Some(Spanned::new(self.boolean(stage, value)?, value.whole())),
            ("sharing", Some(value)) => {
                let word = self.settled(stage, value, "the sharing of a cache")?.to_ascii_lowercase();
                let sharing = match word.as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => {
                        self.report(say::unknown_mount_word(value.whole(), "sharing", &word, ["shared", "private", "locked"]));
                        return None;
                    }
                };
                given.sharing = Some(Spanned::new(sharing, value.whole()));
            }
            ("size", Some(value)) => {
                let text = self.settled(stage, value, "the size of a mount")?;
                let size = size(&text);
                given.size = self.known(value, size, "a size such as `64m`")?;
            }
            ("mode", Some(value)) => {
                let text = self.settled(stage, value, "the mode of a mount")?;
                let mode = u16::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
                given.mode = self.known(value, mode, "octal digits such as `0755`")?;
            }
            ("uid" | "gid", Some(value)) => {
                let text = self.settled(stage, value, "the owner of a mount")?;
                let number = self.known(value, text.parse::<u32>().ok(), "a number")?.map(|number| (number.value, number.span));
                if name == "uid" { given.uid = number } else { given.gid = number }
            }
            (known, None) if OPTIONS.contains(&known) || known == "type" => {
                self.report(say::bad_mount(key.whole(), format!("`{known}` needs a value: `{known}=…`")));
                return None;
            }
            (_, _) => {
                self.report(say::unknown_mount_word(key.whole(), "option", name, OPTIONS.into_iter().chain(["type"])));
                return None;
            }
        }
        Some(())
    }

    fn boolean(&mut self, stage: &mut InProgress, value: &Located) -> Option<bool> {
        let text = self.settled(stage, value, "this option of a mount")?;
        match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => {
                self.report(say::bad_mount(value.whole(), format!("expected `true` or `false`, not `{text}`")));
                None
            }
        }
    }

    fn known<T>(&mut self, place: &Located, value: Option<T>, expected: &str) -> Option<Option<Spanned<T>>> {
        if value.is_none() {
            self.report(say::bad_mount(place.whole(), format!("expected {expected}, not `{}`", place.as_str())));
        }
        value.map(|value| Some(Spanned::new(value, place.whole())))
    }

    fn mount(&mut self, stage: &mut InProgress, given: Given, span: Span) -> Vec<Mount> {
        let kind = given.kind.clone().unwrap_or_else(|| "bind".to_owned());
        if let Some(why) = misplaced(&given, &kind) {
            self.report(say::bad_mount(span, format!("{why} does not go with `type={kind}`")));
            return Vec::new();
        }
        let owner = owner(&given);
        let Given { kind: _, from, source, target, id, env, access, required, sharing, size, mode, uid: _, gid: _ } = given;
        // What is empty is as if it had not been given.
        let [source, target, id] = [source, target, id].map(|text| text.filter(|text| text.as_literal() != Some("")));
        let from = match from {
            Some(from) if kind != "tmpfs" => match self.source(stage, &from) {
                Some(from) => from,
                None => return Vec::new(),
            },
            Some(_) | None => None,
        };
        let required = Some(required.unwrap_or(Spanned::new(false, span)));
        match kind.as_str() {
            "cache" => {
                let Some(at) = self.place(stage, target, span) else { return Vec::new() };
                let access = (access == Some(Access::ReadOnly)).then(|| Spanned::new(CacheAccess::ReadOnly, span));
                let cache = id.unwrap_or_else(|| at.clone());
                let part = source.filter(|path| !is_whole(path));
                // What is made of the caller's owner and mode is an empty directory; a directory of a source keeps its own.
                let (from, path, owner, mode) = match (from, part, owner.is_some() || mode.is_some()) {
                    (Some(from), Some(path), _) => (Some(from), Some(path), None, None),
                    (Some(from), None, false) => (Some(from), None, None, None),
                    (Some(_), None, true) | (None, _, _) => (None, None, owner, mode),
                };
                let path = match from.as_ref().map(|from| &from.value) {
                    Some(FileSource::Context(_)) => path.map(super::copy::relative),
                    Some(FileSource::Stage(_) | FileSource::Image(_)) | None => path,
                };
                vec![Mount::Cache { cache, at, sharing, owner, mode, from, path, access }]
            }
            "tmpfs" => match self.place(stage, target, span) {
                Some(at) => vec![Mount::Tmpfs { at, size }],
                None => Vec::new(),
            },
            "secret" => self.secret(stage, id.or(source), target, env, (owner, mode, required), span),
            "ssh" => {
                let wanted = id.unwrap_or_else(|| super::from::literal("default", span));
                let Some(ssh) = self.name(&wanted, "an SSH agent") else { return Vec::new() };
                let at = match target {
                    Some(target) => self.place(stage, Some(target), span),
                    None => None,
                };
                vec![Mount::Ssh { ssh, at, owner, mode, required }]
            }
            _ => {
                let Some(at) = self.place(stage, target, span) else { return Vec::new() };
                let from = from.unwrap_or_else(|| self.context(span));
                let path = source.filter(|path| !is_whole(path));
                let path = match &from.value {
                    FileSource::Context(_) => path.map(super::copy::relative),
                    FileSource::Stage(_) | FileSource::Image(_) => path,
                };
                vec![Mount::From { from, path, at, access: Some(Spanned::new(access.unwrap_or(Access::ReadOnly), span)) }]
            }
        }
    }

    fn secret(
        &mut self,
        stage: &mut InProgress,
        id: Option<Text>,
        target: Option<Text>,
        env: Option<Spanned<String>>,
        (owner, mode, required): (Option<Text>, Option<Spanned<u16>>, Option<Spanned<bool>>),
        span: Span,
    ) -> Vec<Mount> {
        let base = |target: &Text| {
            let name = target.as_literal()?.rsplit('/').next()?;
            Some(super::from::literal(name, target.span))
        };
        let Some(id) = id.or_else(|| target.as_ref().and_then(base)) else {
            self.report(say::bad_mount(span, "a secret needs an `id`, or a `target` that ends with one"));
            return Vec::new();
        };
        let Some(secret) = self.name(&id, "a secret") else { return Vec::new() };
        let mut mounts = Vec::new();
        let as_file = target.is_some() || env.is_none();
        if let Some(env) = env {
            mounts.push(Mount::SecretEnv { secret: secret.clone(), env, required });
        }
        if as_file {
            let at = match target {
                Some(target) => match self.place(stage, Some(target), span) {
                    Some(at) => Some(at),
                    None => return mounts,
                },
                None => None,
            };
            mounts.push(Mount::Secret { secret, at, owner, mode, required });
        }
        mounts
    }

    /// Where a mount is seen; relative to the working directory.
    fn place(&mut self, stage: &InProgress, target: Option<Text>, span: Span) -> Option<Text> {
        let Some(target) = target else {
            self.report(say::bad_mount(span, "a mount needs a `target`"));
            return None;
        };
        let Some(literal) = target.as_literal() else { return Some(target) };
        let at = joined(stage.workdir.as_deref(), literal);
        if at.as_deref() == Some("/") {
            self.report(say::bad_mount(target.span, "a mount cannot hide the whole image: its target is `/`"));
            return None;
        }
        let at = at.unwrap_or_else(|| literal.to_owned());
        Some(Spanned::new(Template::literal(at), target.span))
    }

    fn name(&mut self, text: &Text, what: &str) -> Option<Spanned<Name>> {
        match text.as_literal().map(Name::new) {
            Some(Ok(name)) => Some(Spanned::new(name, text.span)),
            Some(Err(_)) | None => {
                let message = format!("the name of {what} must be letters, digits, `_`, `-` and `.`, and hold no argument");
                self.report(say::cannot_express(text.span, message));
                None
            }
        }
    }

    /// The context that files come from when nothing else is said.
    pub(super) fn context(&self, span: Span) -> Spanned<FileSource> {
        let context = self.options.context.clone().map(|name| Spanned::new(name, span));
        Spanned::new(FileSource::Context(context), span)
    }
}

/// Whether a path is all of what it is in.
fn is_whole(path: &Text) -> bool {
    matches!(path.as_literal(), Some("/" | "." | "./"))
}

fn owner(given: &Given) -> Option<Text> {
    let span = given.uid.or(given.gid).map(|(_, span)| span)?;
    let number = |id: Option<(u32, Span)>| id.map_or(0, |(number, _)| number);
    Some(super::from::literal(&format!("{}:{}", number(given.uid), number(given.gid)), span))
}

/// The first option that does not go with a type.
fn misplaced(given: &Given, kind: &str) -> Option<&'static str> {
    let file = matches!(kind, "cache" | "secret" | "ssh");
    let outside = matches!(kind, "secret" | "ssh");
    [
        ("`mode`", given.mode.is_some() && !file),
        ("`uid`", given.uid.is_some() && !file),
        ("`gid`", given.gid.is_some() && !file),
        ("`sharing`", given.sharing.is_some() && kind != "cache"),
        ("`size`", given.size.is_some() && kind != "tmpfs"),
        ("`required`", given.required.is_some() && !outside),
        ("`env`", given.env.is_some() && kind != "secret"),
        ("`from`", given.from.is_some() && outside),
        ("`source` beside `id`", given.source.is_some() && given.id.is_some() && kind == "secret"),
    ]
    .into_iter()
    .find_map(|(option, wrong)| wrong.then_some(option))
}

/// Comma-separated fields, some in double quotes, in which two stand for one.
fn fields(text: &Located) -> Option<Vec<Located>> {
    let mut fields = Vec::new();
    let whole = text.as_str();
    let mut at = 0;
    loop {
        let rest = &whole[at..];
        let mut field = text.slice(at..at);
        if let Some(quoted) = rest.strip_prefix('"') {
            at += 1;
            let mut characters = quoted.char_indices().peekable();
            let mut closed = None;
            while let Some((place, character)) = characters.next() {
                if character == '"' && characters.peek().is_none_or(|(_, next)| *next != '"') {
                    closed = Some(at + place + 1);
                    break;
                }
                if character == '"' {
                    characters.next();
                }
                field.push_part(text, at + place..at + place + character.len_utf8());
            }
            at = closed?;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                return None;
            }
            field.push_part(text, at..at + end);
            at += end;
        }
        fields.push(field);
        match whole[at..].chars().next() {
            None => return Some(fields),
            Some(',') => at += 1,
            Some(_) => return None,
        }
    }
}

/// Bytes, as `64m`, `1.5g`, `1kib` or `1024`.
fn size(text: &str) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() && !fraction.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 1u64 << shift;
    let fraction = fraction.get(..fraction.len().min(12))?;
    let part: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let tenths = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = u64::try_from(u128::from(part) * u128::from(scale) / tenths).ok()?;
    let bytes = whole.checked_mul(scale)?.checked_add(part)?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, bytes) in
            [("1024", Some(1024)), ("64m", Some(64 << 20)), ("1.5g", Some(3 << 29)), ("2KiB", Some(2048)), ("x", None), ("0", None)]
        {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn fields_may_stand_in_quotes() {
        let located = Located::fixed("type=bind,\"source=a,\"\"b\",ro", Span::NONE);
        let fields: Vec<String> = fields(&located).unwrap().iter().map(|field| field.as_str().to_owned()).collect();
        assert_eq!(fields, ["type=bind", "source=a,\"b", "ro"]);
        assert!(super::fields(&Located::fixed("\"a", Span::NONE)).is_none());
        assert!(super::fields(&Located::fixed("\"a\"b", Span::NONE)).is_none());
    }
}
