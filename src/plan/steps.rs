//! One step as written and the settings in force → the step with every word settled.

use super::diagnostics as say;
use super::fill::Scope;
use super::label;
use super::mounts;
use super::outside::Knowledge;
use super::path::{self, BadPath};
use super::select::{Node, Selection};
use super::settings::{self, InForce};
use super::sink::Sink;
use super::{
    ArchiveSource, Copy, Extract, Fetch, ImageSource, Link, LinkKind, MakeDirectory, Missing, ModeRule, Network, Newlines, Remove, Run,
    StageId, Step, StepKind, TreeSource, Write,
};
use crate::diagnostic::Span;
use crate::spec::{self, Change, Command, FileSource, INHERITED, Setting, Spanned, Text, words};

const FILE_MODE: u16 = 0o644;
const PERMISSION_BITS: u16 = 0o7777;

/// What a step is settled with, besides the settings.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) selection: &'a Selection<'a>,
    pub(super) node: &'a Node<'a>,
    pub(super) knowledge: Knowledge<'a>,
}

/// A step being settled.
pub(super) struct Point<'a> {
    pub(super) surroundings: Surroundings<'a>,
    pub(super) settings: &'a InForce,
    /// References stand for the image's environment before the step.
    pub(super) scope: Scope<'a>,
}

/// A settled step: what it does, and the text that tells of it.
type Settled = (StepKind, String);

/// Settles a step; one that changes settings changes them.
pub(super) fn settle(step: &Spanned<spec::Step>, surroundings: Surroundings<'_>, settings: &mut InForce, sink: &mut Sink) -> Option<Step> {
    let scope = surroundings.selection.scope(&surroundings.node.platform, &surroundings.node.target);
    let before = settings.clone();
    let point = Point { surroundings, settings: &before, scope: Scope { env: Some(&before), ..scope } };
    let spec::Step { verb, history: said } = &step.value;
    let (kind, history) = match verb {
        spec::Verb::Run(run) => point.run(run, sink),
        spec::Verb::Copy(copy) => point.copy(copy, sink),
        spec::Verb::Write(write) => point.write(write, sink),
        spec::Verb::Fetch(fetch) => point.fetch(fetch, sink),
        spec::Verb::Extract(extract) => point.extract(extract, sink),
        spec::Verb::Link(link) => point.link(link, sink),
        spec::Verb::MakeDirectory(make) => point.make_directory(make, sink),
        spec::Verb::Remove(remove) => point.remove(remove, sink),
        spec::Verb::Setting(setting) => change(setting, scope, settings, sink),
    }?;
    let label = label::one_line(&history);
    let history = match said {
        Some(text) => point.scope.word(text, sink)?,
        None => history,
    };
    Some(Step { span: step.span, label, history, kind })
}

/// The directory that comes with a working directory: it is there for the next step and in the image. It belongs to 0:0, whoever the user
/// is, unless the step says otherwise; one that exists is left alone, as is the root.
pub(super) fn make_workdir(workdir: String, owner: Option<String>, span: Span) -> Step {
    let history = format!("workdir {workdir}");
    if workdir == "/" {
        return named(span, StepKind::Setting, history);
    }
    let make = MakeDirectory { paths: vec![workdir], owner: None, owner_of_new: owner, mode: None };
    named(span, StepKind::MakeDirectory(make), history)
}

fn named(span: Span, kind: StepKind, history: String) -> Step {
    Step { span, label: label::one_line(&history), history, kind }
}

fn change(setting: &Setting, scope: Scope<'_>, settings: &mut InForce, sink: &mut Sink) -> Option<Settled> {
    let history = match setting {
        Setting::Env(env) => {
            settings.change_env(env, scope, sink);
            let shown = env.iter().map(|(name, change)| match &change.value {
                Change::Set(_) => format!("{name}={}", settings.variable(name).unwrap_or("")),
                Change::Clear => format!("-{name}"),
            });
            format!("env {}", label::words(&shown.collect::<Vec<_>>()))
        }
        Setting::Workdir { path, owner } => {
            let workdir = settings.change_workdir(path, scope, sink)?;
            let owner = match owner {
                Some(text) if text.as_literal() == Some(INHERITED) => Some(settings.user().to_owned()).filter(|user| !user.is_empty()),
                Some(text) => Some(settings::owner(text, Scope { env: Some(settings), ..scope }, sink)?),
                None => None,
            };
            let Step { kind, history, .. } = make_workdir(workdir, owner, path.span);
            return Some((kind, history));
        }
        Setting::User(text) => {
            settings.change_user(text, scope, sink);
            format!("user {}", settings.user())
        }
        Setting::Shell(shell) => {
            settings.change_shell(shell, scope, sink);
            format!("shell {}", label::words(&settings.shell()))
        }
        Setting::History(text) => (Scope { env: Some(settings), ..scope }).word(text, sink)?,
    };
    Some((StepKind::Setting, history))
}

impl<'a> Point<'a> {
    fn run(&self, run: &spec::Run, sink: &mut Sink) -> Option<Settled> {
        let spec::Run { command, env, workdir, user, shell, network, mounts, discard, timeout, refresh } = run;
        // The step's own settings hold for it alone and make no directory.
        let mut own = self.settings.clone();
        let workdir = match workdir {
            Some(text) => own.joined(text, self.scope, sink),
            None => Some(own.workdir()),
        };
        if let Some(text) = user {
            own.change_user(text, self.scope, sink);
        }
        if let Some(shell) = shell {
            own.change_shell(shell, self.scope, sink);
        }
        let (argv, history) = match command {
            Command::Script(text) => {
                let script = self.scope.script(text, sink);
                let history = script.as_deref().map(|script| format!("run {}", script.trim()));
                (script.map(|script| own.shell().into_iter().chain([script]).collect()), history)
            }
            Command::Exec(words) => {
                let argv = self.scope.words(words, sink);
                let history = argv.as_deref().map(|argv| format!("run {}", label::words(argv)));
                (argv, history)
            }
        };
        own.change_env(env, self.scope, sink);
        let mounts = mounts::settle(mounts, workdir.as_deref().unwrap_or("/"), self, sink);
        let discard = self.scope.words(discard, sink);
        let run = Run {
            argv: argv?,
            env: own.variables().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            workdir: workdir?,
            user: own.user().to_owned(),
            network: match network.as_ref().map(|network| network.value) {
                None | Some(spec::Network::Off) => Network::Off,
                Some(spec::Network::Host) => Network::Host,
            },
            mounts: mounts?,
            discard: discard?,
            timeout: timeout.as_ref().map(|timeout| timeout.value),
            refresh: refresh.as_ref().map(|refresh| refresh.value),
        };
        Some((StepKind::Run(run), history?))
    }

    fn copy(&self, copy: &spec::Copy, sink: &mut Sink) -> Option<Settled> {
        let spec::Copy { sources, from, to, owner, mode, exclude, parents, unpack, newlines, missing } = copy;
        let from_tree = self.tree(from.as_ref(), sink);
        let sources = self.sources(sources, sink);
        let to = self.path(to, path::destination, sink);
        let owner = self.owner(owner.as_ref(), sink);
        let exclude = self.scope.words(exclude, sink);
        let mode = self.mode_rule(mode.as_ref(), sink);
        let (from_tree, sources, mut to) = (from_tree?, sources?, to?);
        if sources.len() > 1 && !to.ends_with('/') {
            to.push('/');
        }
        let history = label::moved("copy", &sources, &to, from.as_deref(), image_of(&from_tree));
        let copy = Copy {
            from: from_tree,
            sources,
            to,
            owner: owner?,
            mode: mode?,
            exclude: exclude?,
            parents: parents.as_ref().is_some_and(|parents| parents.value),
            unpack: unpack.as_ref().is_some_and(|unpack| unpack.value),
            newlines: match newlines.as_ref().map(|newlines| newlines.value) {
                None | Some(spec::Newlines::Keep) => Newlines::Keep,
                Some(spec::Newlines::Lf) => Newlines::Lf,
            },
            missing: absent(missing.as_ref()),
        };
        Some((StepKind::Copy(copy), history))
    }

    /// A name without a directory.
    fn file_name(&self, text: &Text, sink: &mut Sink) -> Option<String> {
        let filled = self.scope.word(text, sink)?;
        let name = sink.take(path::relative(&filled).map_err(|bad| say::bad_path(text.span, &filled, bad)))?;
        if name.is_empty() || name.contains('/') {
            sink.push(say::bad_path(text.span, &filled, path::BadPath::Slash));
            return None;
        }
        Some(name)
    }

    fn write(&self, write: &spec::Write, sink: &mut Sink) -> Option<Settled> {
        let spec::Write { path, content, owner, mode, name } = write;
        let path = self.path(path, path::file, sink);
        let content = self.scope.bytes(content, sink);
        let owner = self.owner(owner.as_ref(), sink);
        let name = match name {
            None => Some(None),
            Some(name) => self.file_name(name, sink).map(Some),
        };
        let path = path?;
        let history = format!("write {path}");
        let mode = bits(mode.as_ref()).unwrap_or(FILE_MODE);
        Some((StepKind::Write(Write { path, content: content?, owner: owner?, mode, name: name? }), history))
    }

    fn fetch(&self, fetch: &spec::Fetch, sink: &mut Sink) -> Option<Settled> {
        let spec::Fetch { source, to, owner, mode } = fetch;
        let text = match source {
            spec::FetchSource::Url(download) => download,
            spec::FetchSource::Git(git) => return self.fetch_git(git, to, owner.as_ref(), sink),
        };
        let download = self.surroundings.knowledge.download(text, self.scope, sink);
        let to = self.path(to, path::destination, sink);
        let owner = self.owner(owner.as_ref(), sink);
        let (download, to) = (download?, to?);
        let shown = label::address(&download.url);
        if to.ends_with('/') && label::file_name(&download.url).is_none() {
            sink.push(say::no_file_name(text.url.span, shown));
            return None;
        }
        let history = format!("fetch {shown} → {to}");
        Some((StepKind::Fetch(Fetch { download, to, owner: owner?, mode: bits(mode.as_ref()).unwrap_or(FILE_MODE) }), history))
    }

    /// A repository is a tree like others: its files are copied from there.
    fn fetch_git(&self, git: &spec::Git, to: &Text, owner: Option<&Text>, sink: &mut Sink) -> Option<Settled> {
        let found = self.surroundings.knowledge.git(git, self.scope, sink);
        let path = match &git.path {
            Some(text) => Scope { env: None, ..self.scope }.word(text, sink).and_then(|filled| match filled.as_str() {
                // What references bring may be nothing, which says as much.
                "" => Some(String::new()),
                _ => sink.take(path::relative(&filled).map_err(|bad| say::bad_path(text.span, &filled, bad))),
            }),
            None => Some(String::new()),
        };
        let to = self.path(to, path::destination, sink);
        let owner = self.owner(owner, sink);
        let (found, path, to) = (found?, path?, to?);
        let behind = if path.is_empty() { String::new() } else { format!(":{path}") };
        let history = match (found.reference.as_str(), behind.as_str()) {
            ("HEAD", "") => format!("fetch {} → {to}", found.url),
            (reference, behind) => format!("fetch {}#{reference}{behind} → {to}", found.url),
        };
        let copy = Copy {
            from: TreeSource::Git(found),
            sources: vec![if path.is_empty() { ".".to_owned() } else { path::literal(&path) }],
            to,
            owner: owner?,
            mode: ModeRule::Keep,
            exclude: Vec::new(),
            parents: false,
            unpack: false,
            newlines: Newlines::Keep,
            missing: Missing::Fail,
        };
        Some((StepKind::Copy(copy), history))
    }

    fn extract(&self, extract: &spec::Extract, sink: &mut Sink) -> Option<Settled> {
        let spec::Extract { archive, to, strip, owner, mode } = extract;
        let to = self.path(to, path::absolute, sink);
        let owner = self.owner(owner.as_ref(), sink);
        let mode = self.mode_rule(mode.as_ref(), sink);
        let (from, history) = match archive {
            spec::Archive::File { path: text, from } => {
                let tree = self.tree(from.as_ref(), sink);
                let path = self.source(text, sink);
                let (tree, path, to) = (tree?, path?, to.as_deref()?);
                let history = label::moved("extract", std::slice::from_ref(&path), to, from.as_deref(), image_of(&tree));
                (ArchiveSource::File { from: tree, path }, history)
            }
            spec::Archive::Url(download) => {
                let download = self.surroundings.knowledge.download(download, self.scope, sink)?;
                let history = format!("extract {} → {}", label::address(&download.url), to.as_deref()?);
                (ArchiveSource::Url(download), history)
            }
        };
        let strip = strip.as_ref().map_or(0, |strip| strip.value);
        Some((StepKind::Extract(Extract { from, to: to?, strip, owner: owner?, mode: mode? }), history))
    }

    fn link(&self, link: &spec::Link, sink: &mut Sink) -> Option<Settled> {
        let spec::Link { path, target, kind } = link;
        let path = self.path(path, path::file, sink);
        let (kind, target) = match kind.as_ref().map(|kind| kind.value) {
            Some(spec::LinkKind::Hard) => (LinkKind::Hard, self.path(target, path::file, sink)),
            None | Some(spec::LinkKind::Symbolic) => {
                let filled = self.scope.word(target, sink);
                if filled.as_deref() == Some("") {
                    sink.push(say::bad_path(target.span, "", BadPath::Empty));
                }
                (LinkKind::Symbolic, filled)
            }
        };
        let (path, target) = (path?, target?);
        let history = format!("link {path} → {target}");
        Some((StepKind::Link(Link { path, target, kind }), history))
    }

    fn make_directory(&self, make: &spec::MakeDirectory, sink: &mut Sink) -> Option<Settled> {
        let spec::MakeDirectory { paths, owner, mode } = make;
        let paths: Vec<Option<String>> = paths.iter().map(|path| self.path(path, path::below_root, sink)).collect();
        let owner = self.owner(owner.as_ref(), sink);
        let paths = paths.into_iter().collect::<Option<Vec<String>>>()?;
        let history = format!("mkdir {}", label::words(&paths));
        Some((StepKind::MakeDirectory(MakeDirectory { paths, owner: owner?, owner_of_new: None, mode: bits(mode.as_ref()) }), history))
    }

    fn remove(&self, remove: &spec::Remove, sink: &mut Sink) -> Option<Settled> {
        let spec::Remove { paths, missing } = remove;
        let paths: Vec<Option<String>> = paths.iter().map(|path| self.path(path, path::below_root, sink)).collect();
        let paths = paths.into_iter().collect::<Option<Vec<String>>>()?;
        let history = format!("remove {}", label::words(&paths));
        Some((StepKind::Remove(Remove { paths, missing: absent(missing.as_ref()) }), history))
    }

    /// A path in the image that is built.
    fn path(&self, text: &Text, rule: fn(&str, &str) -> Result<String, BadPath>, sink: &mut Sink) -> Option<String> {
        let filled = self.scope.word(text, sink)?;
        sink.take(rule(&self.settings.workdir(), &filled).map_err(|bad| say::bad_path(text.span, &filled, bad)))
    }

    /// A path in a source, as it was written.
    fn source(&self, text: &Text, sink: &mut Sink) -> Option<String> {
        let filled = self.scope.word(text, sink)?;
        sink.take(path::source(&filled).map_err(|bad| say::bad_path(text.span, &filled, bad)))?;
        Some(filled)
    }

    fn sources(&self, texts: &[Text], sink: &mut Sink) -> Option<Vec<String>> {
        let sources: Vec<Option<String>> = texts.iter().map(|text| self.source(text, sink)).collect();
        sources.into_iter().collect()
    }

    /// An owner that may be left out; the outer `None` is a wrong one.
    pub(super) fn owner(&self, text: Option<&Text>, sink: &mut Sink) -> Option<Option<String>> {
        match text {
            None => Some(None),
            Some(text) => settings::owner(text, self.scope, sink).map(Some),
        }
    }

    /// What becomes of modes; nothing said means the usual rule.
    fn mode_rule(&self, mode: Option<&Spanned<spec::ModeRule>>, sink: &mut Sink) -> Option<ModeRule> {
        let Some(mode) = mode else { return Some(ModeRule::Normal) };
        let settled;
        let rule = match &mode.value {
            spec::ModeRule::Unsettled(template) => {
                let text = self.scope.word(&settings::text(template, mode.span), sink)?;
                // What references bring may be nothing, which says as much.
                if text.is_empty() {
                    return Some(ModeRule::Normal);
                }
                settled = words::parse_mode_rule(&text);
                if settled.is_none() {
                    sink.push(say::invalid_mode(mode.span, &text));
                }
                settled.as_ref()?
            }
            rule @ (spec::ModeRule::Keep | spec::ModeRule::Set(_) | spec::ModeRule::Exactly(_) | spec::ModeRule::Symbolic(_)) => rule,
        };
        Some(match rule {
            spec::ModeRule::Set(bits) => ModeRule::Set(bits & PERMISSION_BITS),
            spec::ModeRule::Exactly(bits) => ModeRule::Exactly(bits & PERMISSION_BITS),
            spec::ModeRule::Symbolic(changes) => ModeRule::Symbolic(changes.clone()),
            spec::ModeRule::Keep | spec::ModeRule::Unsettled(_) => ModeRule::Keep,
        })
    }

    /// Where files come from; nothing said means the default context.
    pub(super) fn tree(&self, from: Option<&Spanned<FileSource>>, sink: &mut Sink) -> Option<TreeSource> {
        let Some(from) = from else {
            return Some(TreeSource::Context(String::new()));
        };
        match &from.value {
            FileSource::Context(name) => Some(TreeSource::Context(name.as_ref().map_or_else(String::new, |name| name.value.to_string()))),
            FileSource::Stage(name) => {
                let Node { platform, target, .. } = self.surroundings.node;
                let place = self.surroundings.selection.place(name.as_str(), platform, target)?;
                Some(TreeSource::Stage(StageId(place)))
            }
            FileSource::Image(source) => Some(TreeSource::Image(self.surroundings.knowledge.image(source, self.scope, sink)?.image)),
        }
    }
}

fn image_of(tree: &TreeSource) -> Option<&ImageSource> {
    match tree {
        TreeSource::Image(image) => Some(&image.source),
        TreeSource::Context(_) | TreeSource::Stage(_) | TreeSource::Git(_) => None,
    }
}

/// Permission bits; a program may have put more into a spec than a text can.
pub(super) fn bits(mode: Option<&Spanned<u16>>) -> Option<u16> {
    mode.map(|mode| mode.value & PERMISSION_BITS)
}

/// What happens where something is missing.
fn absent(missing: Option<&spec::Spanned<spec::Missing>>) -> Missing {
    match missing.map(|missing| missing.value) {
        None | Some(spec::Missing::Fail) => Missing::Fail,
        Some(spec::Missing::Ignore) => Missing::Ignore,
    }
}
