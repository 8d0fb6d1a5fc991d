//! ADD: archives are unpacked, addresses are fetched.

use lapstrake_cache::Digest;

use super::Lowering;
use super::copy::{Common, cut, helper, push_copy};
use super::stage::InProgress;
use crate::diagnostic::Span;
use crate::frontend::dockerfile::diagnostics as say;
use crate::frontend::dockerfile::evaluate::evaluate;
use crate::frontend::dockerfile::instruction;
use crate::frontend::dockerfile::located::Located;
use crate::spec::words::Directory;
use crate::spec::{
    Copy, Download, Extent, Fetch, FetchSource, FileSource, Git, ModeRule, Operator, Piece, Reference, Referent, Spanned, Template, Text,
    Verb,
};

/// What begins an address.
const SCHEMES: [&str; 4] = ["https://", "http://", "ssh://", "git://"];

/// Docker's mode of what it downloads.
const DOWNLOADED: u16 = 0o600;

fn leading(text: &Template) -> &str {
    match text.pieces().first() {
        Some(Piece::Literal(text)) => text,
        Some(Piece::Reference(_)) | None => "",
    }
}

/// Whether a source is an address, as far as its beginning shows.
pub(super) fn is_remote(text: &Template) -> bool {
    let leading = leading(text);
    SCHEMES.iter().any(|scheme| leading.starts_with(scheme)) || is_short_ssh(leading)
}

/// `git@HOST:PATH`.
fn is_short_ssh(leading: &str) -> bool {
    leading.split_once('@').and_then(|(user, rest)| rest.split_once(':').map(|(host, _)| (user, host))).is_some_and(|(user, host)| {
        let word =
            |text: &str| !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character));
        word(user) && word(host)
    })
}

/// Whether an address is that of a git repository.
fn is_git(address: &Template) -> bool {
    let leading = leading(address);
    if !leading.starts_with("http") {
        return true;
    }
    let mut text = String::new();
    for piece in address.pieces() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Reference(_) => text.push('x'),
        }
    }
    text.split(['#', '?']).next().is_some_and(|path| path.ends_with(".git"))
}

impl Lowering<'_> {
    pub(super) fn add(&mut self, stage: &mut InProgress, add: &instruction::Copy, sources: &[Text], common: &Common) {
        let mut local: Vec<Text> = Vec::new();
        let remote = sources.iter().zip(&add.sources).map(|(source, written)| (source, written, self.address(source)));
        let remote: Vec<_> = remote.collect();
        if let Some(checksum) = &add.checksum
            && (remote.len() != 1 || remote.iter().any(|(_, _, address)| address.is_none()))
        {
            self.report(say::bad_flag(checksum.whole(), "checksum", "it is for one address, and for nothing from a context"));
            return;
        }
        for (source, written, address) in remote {
            if address.is_none() {
                local.push(source.clone());
                continue;
            }
            self.add_local(stage, add, std::mem::take(&mut local), common);
            let Some(outside) = self.outside(stage, written) else { continue };
            let Some(address) = self.address(&outside) else { continue };
            let address = Spanned::new(address, source.span);
            if !self.check_address(&address) {
                continue;
            }
            if is_git(&address) {
                self.add_git(stage, add, &address, common);
            } else {
                self.add_file(stage, add, address, common);
            }
        }
        self.add_local(stage, add, local, common);
    }

    /// Whether an address can stand in a spec.
    fn check_address(&mut self, address: &Text) -> bool {
        let odd = |text: &str| text.contains(|character: char| character.is_whitespace() || character.is_control());
        let pieces = address.pieces();
        let rest = leading(address).split_once("://").map_or("x", |(_, rest)| rest);
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let why = if pieces.iter().any(|piece| matches!(piece, Piece::Literal(text) if odd(text))) {
            "an address holds no white space"
        } else if host.is_empty() && (pieces.len() == 1 || !rest.is_empty()) {
            "an address needs a host"
        } else if host.rsplit_once('@').is_some_and(|(login, _)| leading(address).starts_with("http") || login.contains(':')) {
            "an address must hold no user name or password: they would stand in the history of the image"
        } else {
            return true;
        };
        self.report(say::syntax(address.span, why));
        false
    }

    /// The address that a source is, its beginning written out; `None` for a path.
    fn address(&self, source: &Template) -> Option<Template> {
        if is_remote(source) {
            return Some(source.clone());
        }
        let [Piece::Reference(first), rest @ ..] = source.pieces() else { return None };
        let today = evaluate(source, &self.arguments, self.options)?;
        let scheme = SCHEMES.into_iter().find(|scheme| today.starts_with(scheme))?;
        match &first.value {
            Reference { referent: referent @ Referent::Arg(_), operator: None } => {
                let pattern = Template::literal(scheme);
                let operator = Operator::TrimPrefix { extent: Extent::Shortest, pattern };
                let reference = Reference { referent: referent.clone(), operator: Some(operator) };
                let behind = Piece::Reference(Spanned::new(reference, first.span));
                Some(Template::new([Piece::Literal(scheme.to_owned()), behind].into_iter().chain(rest.iter().cloned())))
            }
            Reference { referent: Referent::Arg(_) | Referent::Env(_) | Referent::Platform(_, _), operator: _ } => None,
        }
    }

    fn add_local(&mut self, stage: &mut InProgress, add: &instruction::Copy, sources: Vec<Text>, common: &Common) {
        if sources.is_empty() {
            return;
        }
        let copy = self.files(sources, common);
        let unpack = add.unpack.unwrap_or(true).then(|| Spanned::new(true, common.span));
        push_copy(stage, Copy { unpack, ..copy }, common);
    }

    fn add_file(&mut self, stage: &mut InProgress, add: &instruction::Copy, url: Text, common: &Common) {
        let sha256 = match &add.checksum {
            None => None,
            Some(checksum) => match self.sha256(stage, checksum) {
                Some(digest) => Some(digest),
                None => return,
            },
        };
        let span = common.span;
        let source = FetchSource::Url(Download { url, sha256 });
        let bits = match common.mode.as_ref().map(|mode| &mode.value) {
            None | Some(ModeRule::Keep) => Some(DOWNLOADED),
            Some(ModeRule::Exactly(bits) | ModeRule::Set(bits)) => Some(*bits),
            Some(ModeRule::Symbolic(symbolic)) => Some(symbolic.apply(DOWNLOADED, Directory::No)),
            Some(ModeRule::Unsettled(_)) => None,
        };
        match bits {
            Some(bits) if add.unpack != Some(true) => {
                let mode = Some(Spanned::new(bits, span));
                let fetch = Fetch { source, to: common.to.clone(), owner: common.owner.clone(), mode };
                stage.push(Verb::Fetch(fetch), Some(common.history.clone()), span);
            }
            Some(_) | None => {
                let mode = Some(Spanned::new(DOWNLOADED, span));
                let fetch = Fetch { source, to: super::from::literal("/", span), owner: None, mode };
                self.through_helper(stage, fetch, "*", add.unpack == Some(true), common);
            }
        }
    }

    /// Fetches into a stage of its own and copies from there, with all that a copy can do.
    fn through_helper(&mut self, stage: &mut InProgress, fetch: Fetch, what: &str, unpack: bool, common: &Common) {
        let span = common.span;
        let name = self.helper(&stage.name, "download", helper(span, Verb::Fetch(fetch)));
        let from = Some(Spanned::new(FileSource::Stage(Spanned::new(name, span)), span));
        let copy = self.files(vec![super::from::literal(what, span)], &Common { from, ..common.clone() });
        // What was fetched is there.
        push_copy(stage, Copy { missing: None, unpack: unpack.then(|| Spanned::new(true, span)), ..copy }, common);
    }

    fn sha256(&mut self, stage: &mut InProgress, checksum: &Located) -> Option<Spanned<Digest>> {
        let text = self.settled(stage, checksum, "a checksum")?;
        match text.parse::<Digest>() {
            Ok(digest) => Some(Spanned::new(digest, checksum.whole())),
            Err(_) => {
                self.report(say::bad_flag(checksum.whole(), "checksum", "expected `sha256:` and 64 lower-case hexadecimal digits"));
                None
            }
        }
    }

    fn add_git(&mut self, stage: &mut InProgress, add: &instruction::Copy, address: &Text, common: &Common) {
        let Some(git) = self.git(stage, add, address) else { return };
        let span = common.span;
        let fetch = |to: Text, owner| Fetch { source: FetchSource::Git(git.clone()), to, owner, mode: None };
        if common.mode.is_none() && common.exclude.is_empty() {
            let fetch = fetch(common.to.clone(), common.owner.clone());
            stage.push(Verb::Fetch(fetch), Some(common.history.clone()), span);
        } else {
            let fetch = fetch(super::from::literal("/", span), None);
            self.through_helper(stage, fetch, ".", false, common);
        }
    }

    fn git(&mut self, stage: &mut InProgress, add: &instruction::Copy, address: &Text) -> Option<Git> {
        let span = address.span;
        let text = |template| Spanned::new(template, span);
        let (address, fragment) = match cut(address, "#") {
            Some((address, fragment)) => (address, Some(fragment)),
            None => (address.value.clone(), None),
        };
        let (url, query) = match cut(&address, "?") {
            Some((url, query)) => (url, Some(query)),
            None => (address, None),
        };
        let (reference, path) = match fragment.map(|fragment| cut(&fragment, ":").unwrap_or((fragment, Template::default()))) {
            Some((reference, path)) => (Some(reference), Some(path)),
            None => (None, None),
        };
        let filled = |template: Option<Template>| template.filter(|template| !template.pieces().is_empty()).map(text);
        let url = text(self.git_url(url)?);
        let mut git =
            Git { url, reference: filled(reference), commit: None, path: filled(path), submodules: None, keep_git: None, check_ref: None };
        let mut keep = add.keep_git_dir;
        if let Some(query) = query {
            self.git_query(&mut git, &mut keep, &query, span)?;
        }
        if let Some(checksum) = &add.checksum {
            let commit = self.settled(stage, checksum, "a checksum")?;
            git.commit = Some(self.commit(&commit, checksum.whole())?);
        }
        // Docker holds what a reference is today against the checksum. One that is the commit itself can be nothing else.
        let is_itself =
            git.reference.as_ref().and_then(|reference| reference.as_literal()) == git.commit.as_ref().map(|commit| commit.as_str());
        git.check_ref = git.commit.as_ref().filter(|_| !is_itself).map(|commit| Spanned::new(true, commit.span));
        // Docker keeps none with a subdirectory.
        git.keep_git = keep.filter(|keep| *keep && git.path.is_none()).map(|keep| Spanned::new(keep, span));
        Some(git)
    }

    /// The address of a repository with its scheme.
    fn git_url(&self, url: Template) -> Option<Template> {
        let first = leading(&url).to_owned();
        if SCHEMES.iter().any(|scheme| first.starts_with(scheme)) {
            return Some(url);
        }
        let (host, path) = first.split_once(':')?;
        let first = Piece::Literal(format!("ssh://{host}/{}", path.trim_start_matches('/')));
        Some(Template::new(std::iter::once(first).chain(url.pieces().iter().skip(1).cloned())))
    }

    fn git_query(&mut self, git: &mut Git, keep: &mut Option<bool>, query: &Template, span: Span) -> Option<()> {
        let Some(query) = query.as_literal() else {
            self.report(say::cannot_express(span, "what stands behind `?` in the address of a repository cannot depend on an argument"));
            return None;
        };
        let mut good = true;
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let text = |value: &str| Some(super::from::literal(value, span));
            match key {
                "ref" => git.reference = text(value),
                "tag" => git.reference = text(&prefixed("refs/tags/", value)),
                "branch" => git.reference = text(&prefixed("refs/heads/", value)),
                "subdir" => git.path = text(value),
                "checksum" | "commit" => git.commit = Some(self.commit(value, span)?),
                "keep-git-dir" => *keep = Some(!matches!(value, "0" | "false")),
                "submodules" => git.submodules = matches!(value, "0" | "false").then(|| Spanned::new(false, span)),
                _ => {
                    self.report(say::cannot_express(span, format!("`{key}` in the address of a repository cannot be said in a spec")));
                    good = false;
                }
            }
        }
        good.then_some(())
    }

    fn commit(&mut self, text: &str, span: Span) -> Option<Spanned<String>> {
        let good = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        if !good {
            self.report(say::bad_flag(span, "checksum", "a commit is written in full: 40 or 64 lower-case hexadecimal digits"));
            return None;
        }
        Some(Spanned::new(text.to_owned(), span))
    }
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}
