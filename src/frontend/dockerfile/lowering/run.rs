//! RUN.

use std::collections::BTreeMap;

use super::Lowering;
use super::phrase::Phrase;
use super::stage::InProgress;
use crate::diagnostic::Span;
use crate::frontend::dockerfile::SeenArgument;
use crate::frontend::dockerfile::diagnostics as say;
use crate::frontend::dockerfile::heredoc::{self, Heredoc};
use crate::frontend::dockerfile::instruction::{self, CommandLine};
use crate::frontend::dockerfile::located::Located;
use crate::frontend::dockerfile::value::{Inexpressible, Value, plain};
use crate::frontend::dockerfile::variables::Root;
use crate::spec::{
    Access, Base, Change, Command, Env, FileSource, INHERITED, Mount, Network, Referent, Run, Settings, Spanned, Stage, Step, Template,
    Text, Verb, Write,
};

/// Docker's shell where nothing else is said.
pub(super) const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Where scripts with a shebang are seen.
const PIPES: &str = "/dev/pipes";

impl InProgress {
    /// What a shell form stands behind, as the history has it.
    pub(super) fn shell_words(&self) -> Vec<String> {
        self.shell.clone().unwrap_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec())
    }

    /// What a shell form stands behind where the stage's own shell is not it: an image may bring another.
    pub(super) fn shell_texts(&self, span: Span) -> Vec<Text> {
        let text = |word: &str| Spanned::new(Template::literal(word), span);
        match (&self.shell, self.variables.root()) {
            (Some(shell), _) => shell.iter().map(|word| text(word)).collect(),
            (None, Root::Scratch) => DEFAULT_SHELL.iter().map(|word| text(word)).collect(),
            (None, Root::Image) => vec![text(INHERITED)],
        }
    }
}

impl Lowering<'_> {
    pub(super) fn run(&mut self, stage: &mut InProgress, run: &instruction::Run, span: Span) {
        let mut mounts = self.mounts(stage, &run.mounts);
        let network = match &run.network {
            None => Spanned::new(Network::Host, span),
            Some(text) => match text.as_str() {
                "default" | "host" => Spanned::new(Network::Host, text.whole()),
                "none" => Spanned::new(Network::Off, text.whole()),
                _ => {
                    self.report(say::bad_flag(text.whole(), "network", "expected `default`, `host` or `none`"));
                    return;
                }
            },
        };
        let command = match &run.command {
            CommandLine::Exec(words) => Command::Exec(words.iter().map(verbatim).collect()),
            CommandLine::Shell(text) => {
                let (script, mount) = self.script(stage, text, &run.heredocs, span);
                mounts.extend(mount);
                Command::Script(script)
            }
        };
        let history = self.run_history(stage, &command).at(span);
        let shell = match (&command, &stage.shell) {
            (Command::Script(_), None) => Some(Spanned::new(stage.shell_texts(span), span)),
            (Command::Script(_), Some(_)) | (Command::Exec(_), _) => None,
        };
        let env = self.run_env(stage, span);
        let run = Run { env, shell, network: Some(network), mounts, ..Run::of(command) };
        stage.push(Verb::Run(run), Some(history), span);
    }

    /// The script, and where it is seen if it is a file.
    fn script(&mut self, stage: &InProgress, text: &Located, heredocs: &[Heredoc], span: Span) -> (Text, Option<Spanned<Mount>>) {
        let [first, rest @ ..] = heredocs else { return (verbatim(text), None) };
        if rest.is_empty() && heredoc::parse(text).is_some() {
            let body = first.text();
            if !body.as_str().starts_with("#!") {
                return (verbatim(&body), None);
            }
            let path = format!("/{}", first.name);
            let write = Write {
                path: Spanned::new(Template::literal(path.clone()), first.span),
                content: verbatim(&body),
                owner: None,
                mode: Some(Spanned::new(0o755, first.span)),
                name: None,
            };
            let helper = Stage {
                from: Spanned::new(Base::Scratch, first.span),
                platform: None,
                settings: Settings::default(),
                steps: vec![Spanned::new(Step::of(Verb::Write(write)), first.span)],
                onbuild: None,
            };
            let name = self.helper(&stage.name, "script", helper);
            let mount = Mount::From {
                from: Spanned::new(FileSource::Stage(Spanned::new(name, first.span)), first.span),
                path: None,
                at: Spanned::new(Template::literal(PIPES), first.span),
                access: Some(Spanned::new(Access::ReadOnly, first.span)),
            };
            return (Spanned::new(Template::literal(format!("{PIPES}{path}")), first.span), Some(Spanned::new(mount, first.span)));
        }
        // The shell reads them itself.
        let mut whole = text.as_str().to_owned();
        for heredoc in heredocs {
            whole.push('\n');
            whole.push_str(heredoc.body.as_str());
            whole.push_str(&heredoc.name);
        }
        (Spanned::new(Template::literal(whole), span), None)
    }

    /// `RUN |2 A=1 B=2 /bin/sh -c …`.
    fn run_history(&mut self, stage: &InProgress, command: &Command) -> Phrase {
        let mut history = Phrase::new("RUN");
        let arguments = &stage.variables.arguments;
        if !arguments.is_empty() {
            history = history.text(&format!(" |{}", arguments.len()));
        }
        for name in arguments {
            let value = stage.variables.here(name).unwrap_or(Value::Unset);
            history = history.text(&format!(" {name}=")).template(&plain(&value, Span::NONE));
        }
        match command {
            Command::Script(script) => {
                for word in stage.shell_words() {
                    history = history.text(" ").text(&word);
                }
                history = history.word(script);
            }
            Command::Exec(words) => {
                for word in words {
                    history = history.word(word);
                }
            }
        }
        history.text(" # buildkit")
    }

    /// The ARGs that commands behind this place see.
    pub(in crate::frontend::dockerfile) fn seen_later(&mut self, stage: &InProgress, span: Span) -> Vec<SeenArgument> {
        let mut env = self.run_env(stage, span);
        let of = |name: &String| {
            let value = match env.remove(name).map(|change| (change.value, change.span)) {
                Some((Change::Set(template), span)) => Some(Spanned::new(template, span)),
                Some((Change::Clear, _)) | None => None,
            };
            SeenArgument { name: name.clone(), value, history: plain(&stage.variables.here(name).unwrap_or(Value::Unset), span) }
        };
        stage.variables.arguments.iter().map(of).collect()
    }

    /// The ARGs that a command sees.
    fn run_env(&mut self, stage: &InProgress, span: Span) -> Env {
        let mut env = BTreeMap::new();
        for (name, value) in stage.variables.of_run() {
            match value {
                Ok(value) => {
                    let template = seen(&value, &name, span);
                    env.extend(template.map(|template| (name, Spanned::new(Change::Set(template), span))));
                }
                Err(Inexpressible::Because(why) | Inexpressible::Wrong(why)) => self.report(say::cannot_express(span, why)),
            }
        }
        env
    }
}

/// What a command sees of a variable. One reference to an optional argument sets nothing where the argument is not given.
fn seen(value: &Value, name: &str, span: Span) -> Option<Template> {
    let own = |referent: &Referent| matches!(referent, Referent::Env(variable) if variable == name);
    match value {
        Value::Unset => None,
        Value::Maybe(referent, next) if own(referent) && !next.is_always_set() => seen(next, name, span),
        Value::Of(referent) if own(referent) => None,
        Value::Maybe(referent @ Referent::Arg(_), next) if seen(next, name, span).is_none() => {
            Some(crate::frontend::dockerfile::variables::reference(referent.clone(), span))
        }
        Value::Text(_) | Value::Of(_) | Value::Maybe(_, _) => Some(plain(value, span)),
    }
}

/// A text as it stands.
pub(super) fn verbatim(text: &Located) -> Text {
    Spanned::new(Template::literal(text.as_str()), text.whole())
}
