//! COPY, and what ADD has in common with it.

use super::Lowering;
use super::phrase::Phrase;
use super::run::verbatim;
use super::settings::joined;
use super::stage::InProgress;
use crate::diagnostic::Span;
use crate::frontend::dockerfile::heredoc::Heredoc;
use crate::frontend::dockerfile::instruction::{self, CopyKeyword};
use crate::frontend::dockerfile::located::Located;
use crate::frontend::dockerfile::value::each_env;
use crate::frontend::dockerfile::word::{self, Quotes};
use crate::frontend::dockerfile::{NamedContext, diagnostics as say};
use crate::spec::words::{Directory, SymbolicMode, is_owner};
use crate::spec::{
    Base, Copy, FileSource, ImageSource, Missing, ModeRule, Piece, Settings, Spanned, Stage, Step, Template, Text, Verb, Write,
};

/// A copy with nothing said but what and where.
pub(super) fn plain(sources: Vec<Text>, to: Text) -> Copy {
    Copy {
        sources,
        from: None,
        to,
        owner: None,
        mode: None,
        exclude: Vec::new(),
        parents: None,
        newlines: None,
        unpack: None,
        missing: None,
    }
}

/// What the flags of an instruction say of everything that it brings.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) from: Option<Spanned<FileSource>>,
    pub(super) to: Text,
    pub(super) owner: Option<Text>,
    pub(super) mode: Option<Spanned<ModeRule>>,
    pub(super) exclude: Vec<Text>,
    pub(super) history: Text,
    pub(super) span: Span,
}

impl Lowering<'_> {
    pub(super) fn copy(&mut self, stage: &mut InProgress, copy: &instruction::Copy, span: Span) {
        copy.sources.iter().chain([&copy.destination]).for_each(|path| self.warn_of_shell(path));
        let from = match &copy.from {
            None => None,
            Some(from) => match self.source(stage, from) {
                Some(Some(from)) => Some(from),
                Some(None) => {
                    self.report(say::bad_stage(from.whole(), "there is nothing in `scratch` to copy"));
                    return;
                }
                None => return,
            },
        };
        let (sources, texts) = (self.texts(stage, &copy.sources), self.texts(stage, &copy.exclude));
        let (Some(sources), Some(mut exclude)) = (sources, texts) else { return };
        exclude.retain(|pattern| !matches!(pattern.as_literal(), Some("" | "!")));
        let Some(to) = self.text(stage, &copy.destination) else { return };
        let Ok(owner) = self.owner(stage, copy.chown.as_ref()) else { return };
        let Ok(mode) = self.mode(stage, copy.chmod.as_ref()) else { return };
        let history = self.copy_history(stage, copy, &sources, &to).at(span);
        let several = sources.len() + copy.heredocs.len() > 1;
        let to = into_directory(to, several, stage.workdir.as_deref());
        let common = Common { from, to, owner, mode, exclude, history, span };
        match copy.keyword {
            CopyKeyword::Add => self.add(stage, copy, &sources, &common),
            CopyKeyword::Copy => {
                for (source, written) in sources.iter().zip(&copy.sources) {
                    if super::add::is_remote(source) {
                        self.report(
                            say::syntax(written.whole(), "COPY takes no address: what comes from the network is for ADD")
                                .hint("write ADD instead of COPY"),
                        );
                        return;
                    }
                }
                if copy.parents {
                    self.with_parents(stage, sources, &common);
                } else if !sources.is_empty() {
                    push_copy(stage, self.files(sources, &common), &common);
                }
            }
        }
        for heredoc in &copy.heredocs {
            self.inline(stage, heredoc, &common, several);
        }
    }

    fn texts(&mut self, stage: &mut InProgress, texts: &[Located]) -> Option<Vec<Text>> {
        let texts: Vec<Option<Text>> = texts.iter().map(|text| self.text(stage, text)).collect();
        texts.into_iter().collect()
    }

    /// Where files come from: a stage by name or number, a context of the caller's, an image; `Some(None)` for `scratch`.
    pub(super) fn source(&mut self, stage: &InProgress, text: &Located) -> Option<Option<Spanned<FileSource>>> {
        let span = text.whole();
        let word = word::read(text, self.escape, Quotes::Protect, &mut |diagnostic| self.diagnostics.push(diagnostic))?;
        let Some(literal) = word::literal(&word).filter(|literal| literal == text.as_str() && !literal.is_empty()) else {
            self.report(
                say::bad_stage(span, "where files come from cannot hold variables")
                    .hint("make a stage of it: `FROM $IMAGE AS source`, and copy from that"),
            );
            return None;
        };
        let lower = literal.to_ascii_lowercase();
        let found = |source| Some(Some(Spanned::new(source, span)));
        let image = |reference: String| FileSource::Image(ImageSource::Registry(super::from::literal(&reference, span)));
        match self.options.contexts.get(&lower).cloned() {
            Some(NamedContext::Files(name)) => return found(FileSource::Context(Some(Spanned::new(name, span)))),
            Some(NamedContext::Image(reference)) => return found(image(reference)),
            None => {}
        }
        let index = self.stage_of(&lower).or_else(|| literal.parse::<usize>().ok().filter(|_| self.counts_stages()));
        if let Some(index) = index {
            return match self.stage_name(index) {
                Some(name) if name != stage.name => found(FileSource::Stage(Spanned::new(name, span))),
                Some(_) => {
                    self.report(say::bad_stage(span, "a stage cannot take files from itself"));
                    None
                }
                None => {
                    let message = format!("the stage `{literal}` must begin before this one");
                    self.report(say::bad_stage(span, message));
                    None
                }
            };
        }
        if literal == "scratch" {
            return Some(None);
        }
        self.check_reference(usize::MAX, &literal, span)?;
        found(image(literal))
    }

    /// `--chown`; `Err` where it was reported to be wrong.
    fn owner(&mut self, stage: &mut InProgress, chown: Option<&Located>) -> Result<Option<Text>, ()> {
        let Some(chown) = chown else { return Ok(None) };
        let owner = self.text(stage, chown).ok_or(())?;
        match owner.as_literal() {
            Some("") => Ok(None),
            // A group alone is that of root's files.
            Some(literal) if literal.strip_prefix(':').is_some_and(is_owner) => {
                Ok(Some(super::from::literal(&format!("0{literal}"), owner.span)))
            }
            Some(literal) if !is_owner(literal) => {
                let why = format!("`{literal}` is not an owner: expected `USER` or `USER:GROUP`, names or numbers");
                self.report(say::bad_flag(chown.whole(), "chown", &why));
                Err(())
            }
            Some(_) | None => Ok(Some(owner)),
        }
    }

    /// `--chmod`; `Err` where it was reported to be wrong.
    fn mode(&mut self, stage: &mut InProgress, chmod: Option<&Located>) -> Result<Option<Spanned<ModeRule>>, ()> {
        let Some(chmod) = chmod else { return Ok(None) };
        let mode = self.text(stage, chmod).ok_or(())?;
        let Some(literal) = mode.as_literal() else {
            // Digits are what arguments hold; anything else is refused when it is known.
            let template = Phrase::new("=").template(&mode).whole();
            return Ok(Some(Spanned::new(ModeRule::Unsettled(template), mode.span)));
        };
        let rule = match u16::from_str_radix(literal, 8) {
            _ if literal.is_empty() => return Ok(None),
            Ok(bits) if bits <= 0o7777 && !literal.starts_with('+') => Some(ModeRule::Exactly(bits)),
            Ok(_) | Err(_) => SymbolicMode::parse(literal).map(ModeRule::Symbolic),
        };
        match rule {
            Some(rule) => Ok(Some(Spanned::new(rule, mode.span))),
            None => {
                let why = format!("`{literal}` is not a mode: expected octal digits up to 7777, or such as `u=rwX,go=rX`");
                self.report(say::bad_flag(chmod.whole(), "chmod", &why));
                Err(())
            }
        }
    }

    /// `COPY --chown=a b c # buildkit`.
    fn copy_history(&mut self, stage: &mut InProgress, copy: &instruction::Copy, sources: &[Text], to: &Text) -> Phrase {
        let mut history = Phrase::new(match copy.keyword {
            CopyKeyword::Copy => "COPY",
            CopyKeyword::Add => "ADD",
        });
        if copy.parents {
            history = history.text(" --parents");
        }
        for (flag, value) in [(" --chown=", &copy.chown), (" --chmod=", &copy.chmod)] {
            let Some(value) = value else { continue };
            let Some(value) = self.text(stage, value) else { continue };
            history = history.text(flag).template(&value);
        }
        for source in sources {
            history = history.word(source);
        }
        for heredoc in &copy.heredocs {
            history = history.text(" <<").text(&heredoc.name);
        }
        history.word(to).text(" # buildkit")
    }

    /// Sources of one place, as one step.
    pub(super) fn files(&mut self, sources: Vec<Text>, common: &Common) -> Copy {
        let exclude = common.exclude.iter().flat_map(|pattern| excluded(pattern, &sources)).collect();
        let sources: Vec<Text> = sources.into_iter().map(source_path).collect();
        let from = common.from.clone().or_else(|| self.options.context.as_ref().map(|_| self.context(common.span)));
        // A pattern that nothing matches is how people write a file that may be there.
        let optional = !sources.is_empty() && sources.iter().all(has_pattern);
        Copy {
            from,
            missing: optional.then(|| Spanned::new(Missing::Ignore, common.span)),
            owner: common.owner.clone(),
            mode: Some(common.mode.clone().unwrap_or(Spanned::new(ModeRule::Keep, common.span))),
            exclude,
            ..plain(within(sources, common.from.as_ref()), common.to.clone())
        }
    }

    /// `--parents`: what stands before `/./` is not among the parents that are kept.
    fn with_parents(&mut self, stage: &mut InProgress, sources: Vec<Text>, common: &Common) {
        let span = common.span;
        let mut whole = Vec::new();
        for source in sources {
            let Some((before, behind)) = cut(&source, "/./") else {
                whole.push(source);
                continue;
            };
            let mut env = false;
            each_env(&before, &mut |_| env = true);
            if env || before.as_literal().is_none_or(|before| before.contains(['*', '?', '['])) && before.as_literal().is_some() {
                let message = "what stands before `/./` can hold no pattern and nothing of the environment";
                self.report(say::cannot_express(source.span, message));
                continue;
            }
            let before = if before.pieces().is_empty() { Template::literal(".") } else { before };
            let first = Common { to: super::from::literal("/", span), owner: None, mode: None, exclude: Vec::new(), ..common.clone() };
            let copy = self.files(vec![Spanned::new(before, source.span)], &first);
            let helper = helper(span, Verb::Copy(copy));
            let name = self.helper(&stage.name, "parents", helper);
            let from = Some(Spanned::new(FileSource::Stage(Spanned::new(name, span)), span));
            let copy = Copy {
                from,
                parents: Some(Spanned::new(true, span)),
                exclude: common.exclude.clone(),
                ..self.files(vec![Spanned::new(behind, source.span)], &Common { exclude: Vec::new(), ..common.clone() })
            };
            push_copy(stage, copy, common);
        }
        if !whole.is_empty() {
            let copy = self.files(whole, &Common { exclude: Vec::new(), ..common.clone() });
            push_copy(stage, Copy { parents: Some(Spanned::new(true, span)), exclude: common.exclude.clone(), ..copy }, common);
        }
    }

    /// A here-document as a file.
    fn inline(&mut self, stage: &mut InProgress, heredoc: &Heredoc, common: &Common, several: bool) {
        let text = heredoc.text();
        let content = if heredoc.expands { self.body(stage, &text) } else { Some(verbatim(&text)) };
        let Some(content) = content else { return };
        if heredoc.name.contains('/') || matches!(heredoc.name.as_str(), "." | "..") {
            self.report(say::syntax(heredoc.span, format!("`{}` cannot be the name of a file", heredoc.name)));
            return;
        }
        let into = several || is_directory(&common.to);
        let path = if into { under(&common.to, &heredoc.name) } else { common.to.clone() };
        let mode = match common.mode.as_ref().map(|mode| &mode.value) {
            None | Some(ModeRule::Keep) => None,
            Some(ModeRule::Exactly(bits) | ModeRule::Set(bits)) => Some(Spanned::new(*bits, common.span)),
            Some(ModeRule::Symbolic(symbolic)) => Some(Spanned::new(symbolic.apply(0o644, Directory::No), common.span)),
            Some(ModeRule::Unsettled(_)) => {
                self.report(say::cannot_express(common.span, "the mode of a here-document cannot depend on an argument"));
                return;
            }
        };
        let name = (!into).then(|| super::from::literal(&heredoc.name, heredoc.span));
        let write = Write { path, content, owner: common.owner.clone(), mode, name };
        stage.push(Verb::Write(write), Some(common.history.clone()), common.span);
    }
}

/// A stage that is made of one step, from nothing.
pub(super) fn helper(span: Span, verb: Verb) -> Stage {
    Stage {
        from: Spanned::new(Base::Scratch, span),
        platform: None,
        settings: Settings::default(),
        steps: vec![Spanned::new(Step::of(verb), span)],
        onbuild: None,
    }
}

/// Adds a copy as a step of the stage.
pub(super) fn push_copy(stage: &mut InProgress, copy: Copy, common: &Common) {
    stage.push(Verb::Copy(copy), Some(common.history.clone()), common.span);
}

/// Whether a destination certainly is a directory.
fn is_directory(to: &Text) -> bool {
    match to.pieces().last() {
        None => true,
        Some(Piece::Literal(text)) => text.ends_with('/') || matches!(text.rsplit('/').next(), Some("." | "..")) && is_whole_name(to, text),
        Some(Piece::Reference(_)) => false,
    }
}

/// Whether the last name of a path begins in its last piece.
fn is_whole_name(to: &Text, last: &str) -> bool {
    to.pieces().len() == 1 || last.contains('/')
}

/// A destination with a slash behind it where several things go there; nothing at all is the working directory.
fn into_directory(to: Text, several: bool, workdir: Option<&str>) -> Text {
    let span = to.span;
    match to.as_literal() {
        Some("") => super::from::literal("./", span),
        // Where the working directory is known, it is known how far up a path leads.
        Some(literal) if literal.split('/').any(|name| name == "..") && (literal.starts_with('/') || workdir.is_some()) => {
            let clean = joined(workdir, literal).unwrap_or_else(|| literal.to_owned());
            let slash = (literal.ends_with('/') || several || literal.ends_with("..")) && clean != "/";
            super::from::literal(&format!("{clean}{}", if slash { "/" } else { "" }), span)
        }
        Some(_) | None if several && !is_slashed(&to) => {
            let slash = Piece::Literal("/".to_owned());
            Spanned::new(Template::new(to.value.pieces().iter().cloned().chain([slash])), span)
        }
        Some(literal) if matches!(literal.rsplit('/').next(), Some("." | "..")) => super::from::literal(&format!("{literal}/"), span),
        Some(_) | None => to,
    }
}

fn is_slashed(to: &Text) -> bool {
    matches!(to.pieces().last(), Some(Piece::Literal(text)) if text.ends_with('/'))
}

/// A name in a directory.
fn under(to: &Text, name: &str) -> Text {
    let slash = if is_slashed(to) { "" } else { "/" };
    let name = Piece::Literal(format!("{slash}{name}"));
    Spanned::new(Template::new(to.value.pieces().iter().cloned().chain([name])), to.span)
}

/// A source as a path inside of where it comes from: nothing is all of it, and nothing leads out.
fn source_path(source: Text) -> Text {
    match source.as_literal() {
        Some("") => super::from::literal(".", source.span),
        Some(literal) if literal.split('/').any(|name| name == "..") => {
            let clean = joined(Some("/"), literal).unwrap_or_default();
            let clean = clean.trim_start_matches('/');
            super::from::literal(if clean.is_empty() { "." } else { clean }, source.span)
        }
        // Docker takes a backslash away only in front of something in a pattern.
        Some(literal) if literal.contains('\\') && !is_pattern(literal) => {
            super::from::literal(&literal.replace('\\', "\\\\"), source.span)
        }
        Some(_) | None => source,
    }
}

/// Whether something in a text makes it a pattern, whatever its references are worth.
fn has_pattern(text: &Text) -> bool {
    text.pieces().iter().any(|piece| match piece {
        Piece::Literal(literal) => is_pattern(literal),
        Piece::Reference(_) => false,
    })
}

/// Whether Docker takes a path for a pattern.
fn is_pattern(path: &str) -> bool {
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    false
}

/// Paths as their source wants them: those in a context are relative to it.
fn within(sources: Vec<Text>, from: Option<&Spanned<FileSource>>) -> Vec<Text> {
    match from.map(|from| &from.value) {
        None | Some(FileSource::Context(_)) => sources.into_iter().map(relative).collect(),
        Some(FileSource::Stage(_) | FileSource::Image(_)) => sources,
    }
}

/// A path relative to a context.
pub(super) fn relative(path: Text) -> Text {
    let span = path.span;
    match path.pieces() {
        [] => super::from::literal(".", span),
        [Piece::Literal(first), rest @ ..] if first.starts_with('/') => {
            let first = first.trim_start_matches('/');
            let first = if first.is_empty() { "./" } else { first };
            Spanned::new(Template::new(std::iter::once(Piece::Literal(first.to_owned())).chain(rest.iter().cloned())), span)
        }
        [Piece::Literal(_), ..] => path,
        [Piece::Reference(_), ..] => {
            let dot = Piece::Literal("./".to_owned());
            Spanned::new(Template::new(std::iter::once(dot).chain(path.value.pieces().iter().cloned())), span)
        }
    }
}

/// A pattern of `--exclude` counts from each source; those of a spec count from where sources come from.
fn excluded(pattern: &Text, sources: &[Text]) -> Vec<Text> {
    let span = pattern.span;
    let (sign, bare) = match pattern.pieces() {
        [Piece::Literal(first), rest @ ..] if first.starts_with('!') => {
            ("!", Template::new(std::iter::once(Piece::Literal(first[1..].to_owned())).chain(rest.iter().cloned())))
        }
        pieces => ("", Template::new(pieces.iter().cloned())),
    };
    let mut found = Vec::new();
    for source in sources {
        let directory = trimmed_source(&source_path(source.clone()));
        let mut phrase = Phrase::new(sign);
        if !directory.pieces().is_empty() {
            phrase = phrase.template(&directory).text("/");
        }
        found.push(phrase.template(&bare).at(span));
        // Files that a pattern finds are in the directory that the pattern is in.
        if let Some(literal) = directory.as_literal().filter(|literal| literal.contains(['*', '?', '['])) {
            let parent = literal.rfind('/').map_or("", |slash| &literal[..=slash]);
            found.push(Phrase::new(sign).text(parent).template(&bare).at(span));
        }
    }
    found
}

/// A source without what means nothing around it.
fn trimmed_source(source: &Text) -> Template {
    let mut pieces: Vec<Piece> = source.pieces().to_vec();
    if let Some(Piece::Literal(first)) = pieces.first_mut() {
        let mut rest = first.as_str();
        while let Some(shorter) = rest.strip_prefix("./").or_else(|| rest.strip_prefix('/')) {
            rest = shorter;
        }
        *first = rest.to_owned();
    }
    if let Some(Piece::Literal(last)) = pieces.last_mut() {
        *last = last.trim_end_matches('/').to_owned();
    }
    let template = Template::new(pieces);
    if template.as_literal() == Some(".") { Template::default() } else { template }
}

/// Cuts a template at the first place where a text stands in it.
pub(super) fn cut(template: &Template, at: &str) -> Option<(Template, Template)> {
    let pieces = template.pieces();
    pieces.iter().enumerate().find_map(|(place, piece)| {
        let Piece::Literal(text) = piece else { return None };
        let (before, behind) = text.split_once(at)?;
        let before = pieces[..place].iter().cloned().chain([Piece::Literal(before.to_owned())]);
        let behind = std::iter::once(Piece::Literal(behind.to_owned())).chain(pieces[place + 1..].iter().cloned());
        Some((Template::new(before), Template::new(behind)))
    })
}
