//! Instructions in, a spec out: stage by stage, with the variables that are seen at each place.

mod add;
mod config;
mod copy;
mod expansion;
mod from;
mod image;
mod mounts;
mod phrase;
mod run;
mod settings;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use super::arguments::{Arguments, Naming, predefined};
use super::evaluate::{Today, evaluate};
use super::instruction::{self, ArgPair, From, Instruction, Kind};
use super::lines::Lines;
use super::value::Value;
use super::{Options, diagnostics as say};
use crate::diagnostic::{Diagnostic, SourceId, Span};
use crate::spec::{Name, Spanned, Spec, Stage, Template};
pub(super) use config::Config;
pub(super) use stage::InProgress;

/// What is known of the file as a whole.
pub(super) struct Lowering<'d> {
    pub(super) escape: char,
    pub(super) options: &'d Options,
    pub(super) arguments: Arguments,
    /// The variables before the first FROM.
    globals: BTreeMap<String, Value>,
    /// What `TARGETSTAGE` is.
    target: String,
    /// The stages that are done, in order; the name is that in the spec.
    done: Vec<(Name, InProgress)>,
    /// Stages by lower-case name, as far as they have begun.
    by_name: BTreeMap<String, usize>,
    /// The names that stages of the file have, in the order of the file.
    pub(super) spec_names: Vec<Name>,
    /// Stages by lower-case name, the last of each name; with the place.
    names: BTreeMap<String, usize>,
    /// Where the ONBUILD instructions of a base are lowered: the stages that they can name, all of which have begun.
    served: Option<Vec<Name>>,
    /// Stages that hold what instructions bring.
    helpers: Vec<(Name, Stage)>,
    /// Arguments whose values decide what no spec leaves open.
    deciding: BTreeSet<Name>,
    pub(super) diagnostics: &'d mut Vec<Diagnostic>,
}

/// One stage of the file.
struct Part {
    from: From,
    span: Span,
    instructions: Vec<Instruction>,
}

/// The file in its parts.
struct Parts {
    globals: Vec<ArgPair>,
    stages: Vec<Part>,
}

/// The name of an argument in the file, from that in the spec.
pub(super) fn argument_of<'n>(name: &'n Name, options: &Options) -> &'n str {
    let prefixed = options.prefix.as_ref().and_then(|prefix| name.as_str().strip_prefix(prefix.as_str())?.strip_prefix('.'));
    prefixed.unwrap_or(name.as_str())
}

/// Lowers a whole file, and tells which arguments have decided something; `None` only with an error among the diagnostics.
pub(super) fn lower(
    source: SourceId,
    text: &str,
    lines: &Lines,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<(Spec, BTreeSet<Name>)> {
    if text.contains('\0') {
        let start = u32::try_from(text.find('\0').unwrap_or(0)).unwrap_or(u32::MAX);
        diagnostics.push(say::syntax(Span { source, start, end: start.saturating_add(1) }, "a Dockerfile cannot hold NUL characters"));
        return None;
    }
    let parts = parts(source, lines, diagnostics)?;
    let all = parts.stages.iter().flat_map(|stage| &stage.instructions);
    let arguments = Arguments::gather(&parts.globals, all, lines.escape, options.prefix.clone().map_or(Naming::Own, Naming::Prefixed));
    let mut lowering = Lowering::new(lines.escape, options, arguments, diagnostics);
    lowering.name_stages(&parts.stages);
    let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let target = lowering.target(&parts.stages, Span { source, start: end, end });
    lowering.globals(&parts.globals);
    for (index, part) in parts.stages.into_iter().enumerate() {
        lowering.stage(index, part);
    }
    let image = lowering.image(target?)?;
    let mut spec = Spec { args: lowering.arguments.declared(), ..Spec::default() };
    for (name, stage) in lowering.done {
        let span = stage.span;
        spec.stages.insert(name, Spanned::new(stage.finish(), span));
    }
    for (name, stage) in lowering.helpers {
        let span = stage.steps.first().map_or(Span::NONE, |step| step.span);
        spec.stages.insert(name, Spanned::new(stage, span));
    }
    let name = options.image.clone().or_else(|| Name::new("image").ok())?;
    spec.images.insert(name, image);
    Some((spec, lowering.deciding))
}

/// Reads the lines and puts them under their stages.
fn parts(source: SourceId, lines: &Lines, diagnostics: &mut Vec<Diagnostic>) -> Option<Parts> {
    let mut parts = Parts { globals: Vec::new(), stages: Vec::new() };
    for line in &lines.lines {
        let Some(instruction) = instruction::read(line, lines.escape, &mut |diagnostic| diagnostics.push(diagnostic)) else { continue };
        match (instruction.kind, parts.stages.last_mut()) {
            (Kind::From(from), _) => parts.stages.push(Part { from, span: instruction.span, instructions: Vec::new() }),
            (Kind::Arg(pairs), None) => parts.globals.extend(pairs),
            (kind, Some(stage)) => stage.instructions.push(Instruction { kind, ..instruction }),
            (_, None) => diagnostics.push(
                say::syntax(instruction.keyword, "nothing but ARG can stand before the first FROM")
                    .hint("begin with `FROM` and the image to start from, or `FROM scratch`"),
            ),
        }
    }
    if parts.stages.is_empty() {
        let start = Span { source, start: 0, end: 0 };
        // Where lines were wrong, one of them may have been the FROM.
        if diagnostics.is_empty() {
            diagnostics.push(say::syntax(start, "a Dockerfile needs a FROM").hint("begin with `FROM` and the image to start from"));
        }
        return None;
    }
    Some(parts)
}

impl<'d> Lowering<'d> {
    pub(super) fn new(escape: char, options: &'d Options, arguments: Arguments, diagnostics: &'d mut Vec<Diagnostic>) -> Lowering<'d> {
        Lowering {
            escape,
            options,
            arguments,
            globals: BTreeMap::new(),
            target: "default".to_owned(),
            done: Vec::new(),
            by_name: BTreeMap::new(),
            spec_names: Vec::new(),
            names: BTreeMap::new(),
            served: None,
            helpers: Vec::new(),
            deciding: BTreeSet::new(),
            diagnostics,
        }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// What a text is with the arguments and the platform at hand, which decide it; `None` where more than those is in it.
    pub(super) fn decided(&mut self, template: &Template) -> Option<String> {
        let text = evaluate(template, &self.arguments, self.options)?;
        let mut today = Today::new(&self.arguments, self.options);
        today.note(template);
        let Today { deciding, .. } = today;
        self.deciding.extend(deciding);
        Some(text)
    }

    /// Gives every stage its name in the spec: its own, the last of those that have the same, or `stage-NUMBER`.
    fn name_stages(&mut self, stages: &[Part]) {
        let own: Vec<Option<String>> =
            stages.iter().map(|stage| stage.from.name.as_ref().map(|name| name.as_str().to_ascii_lowercase())).collect();
        for (index, name) in own.iter().enumerate() {
            if let Some(name) = name {
                self.names.insert(name.clone(), index);
            }
        }
        let mut names = Vec::new();
        for (index, name) in own.iter().enumerate() {
            let named = name.as_ref().filter(|name| self.names.get(*name) == Some(&index)).cloned();
            let mut text = named.clone().unwrap_or_else(|| format!("stage-{index}"));
            while named.is_none() && (self.names.contains_key(&text) || names.contains(&text)) {
                text.push_str("-of-file");
            }
            names.push(text);
        }
        self.spec_names = names.iter().map(|name| self.spec_name(name)).collect();
    }

    /// A name of the spec for something of this file.
    fn spec_name(&self, name: &str) -> Name {
        let text = match &self.options.prefix {
            Some(prefix) => format!("{prefix}.{name}"),
            None => name.to_owned(),
        };
        Name::new(text).or_else(|_| Name::new(format!("s{}", self.spec_names.len()))).unwrap_or_else(|_| unreachable_name())
    }

    /// Adds a stage that holds what an instruction of another brings. Gives its name: that of the other and what it is for.
    pub(super) fn helper(&mut self, of: &Name, purpose: &str, stage: Stage) -> Name {
        let taken = |name: &Name| self.spec_names.contains(name) || self.helpers.iter().any(|(known, _)| known == name);
        let mut number = 1usize;
        let mut name = Name::new(format!("{of}-{purpose}")).unwrap_or_else(|_| of.clone());
        while taken(&name) {
            number += 1;
            name = Name::new(format!("{of}-{purpose}-{number}")).or_else(|_| Name::new(format!("{purpose}-{number}"))).unwrap_or(name);
        }
        self.helpers.push((name.clone(), stage));
        name
    }

    /// From here on, instructions are those of a base image, in a stage of a spec that has these stages.
    pub(super) fn serve_triggers(&mut self, known: &[Name]) {
        self.spec_names = known.to_vec();
        self.served = Some(known.to_vec());
    }

    /// The stage of a name, which is lower-case, by number.
    fn stage_of(&self, name: &str) -> Option<usize> {
        match &self.served {
            None => self.names.get(name).copied(),
            Some(known) => {
                let full = self.options.prefix.as_ref().map_or_else(|| name.to_owned(), |prefix| format!("{prefix}.{name}"));
                known.iter().position(|known| known.as_str() == full)
            }
        }
    }

    /// A number means a stage in a file, and nothing in the ONBUILD of an image.
    const fn counts_stages(&self) -> bool {
        self.served.is_none()
    }

    /// The name in the spec of a stage that has begun.
    fn stage_name(&self, index: usize) -> Option<Name> {
        match &self.served {
            None if index > self.done.len() => None,
            None => self.spec_names.get(index).cloned(),
            Some(known) => known.get(index).cloned(),
        }
    }

    pub(super) fn take_helpers(&mut self) -> Vec<(Name, Stage)> {
        std::mem::take(&mut self.helpers)
    }

    /// Finds the stage to build.
    fn target(&mut self, stages: &[Part], end: Span) -> Option<usize> {
        let last = stages.len().checked_sub(1)?;
        let found = match &self.options.target {
            None => Some(last),
            Some(target) => {
                let by_name = self.names.get(&target.to_ascii_lowercase()).copied();
                by_name.or_else(|| target.parse::<usize>().ok().filter(|index| *index < stages.len()))
            }
        };
        let Some(index) = found else {
            let known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            let diagnostic = say::unknown_target(end, self.options.target.as_deref().unwrap_or_default(), known.iter().copied());
            self.report(diagnostic);
            return None;
        };
        if let Some(name) = stages.get(index).and_then(|stage| stage.from.name.as_ref()) {
            self.target = name.as_str().to_ascii_lowercase();
        }
        Some(index)
    }

    /// ARGs before the first FROM.
    fn globals(&mut self, pairs: &[ArgPair]) {
        for pair in pairs {
            let name = pair.name.as_str();
            if !self.check_argument(&pair.name) {
                continue;
            }
            let value = match &pair.default {
                Some(_) if self.arguments.is_settled(name) => self.arguments.with_default(name, Value::Unset),
                Some(default) => {
                    let Some(template) = self.in_globals(default) else { continue };
                    self.arguments.with_default(name, Value::Text(template))
                }
                None => {
                    let before = self.global(name);
                    self.arguments.with_default(name, before)
                }
            };
            self.globals.insert(name.to_owned(), value);
        }
    }

    /// What a variable is worth before the first FROM.
    fn global(&self, name: &str) -> Value {
        self.globals.get(name).cloned().or_else(|| predefined(name, &self.target)).unwrap_or(Value::Unset)
    }

    /// Whether an argument can have its name in a spec and in an environment.
    fn check_argument(&mut self, name: &super::located::Located) -> bool {
        let good = self.arguments.name(name.as_str()).is_some() && crate::spec::words::is_variable(name.as_str());
        if !good {
            let message = format!("`{}` cannot be the name of an argument of a spec", name.as_str());
            self.report(say::cannot_express(name.whole(), message).hint("letters, digits, `_`, `-` and `.` can, a letter or `_` first"));
        }
        good
    }

    /// Lowers one stage.
    fn stage(&mut self, index: usize, part: Part) {
        let Some(name) = self.spec_names.get(index).cloned() else { return };
        let Some(mut stage) = self.begin(index, name.clone(), &part.from, part.span) else {
            // What follows is read all the same, for what is wrong with it.
            let mut lost = InProgress::lost(name.clone(), part.span);
            part.instructions.iter().for_each(|instruction| self.instruction(&mut lost, instruction));
            self.finish_stage(index, name, &part.from, lost);
            return;
        };
        for trigger in std::mem::take(&mut stage.inherited_triggers) {
            self.instruction(&mut stage, &trigger);
        }
        part.instructions.iter().for_each(|instruction| self.instruction(&mut stage, instruction));
        self.finish_stage(index, name, &part.from, stage);
    }

    fn finish_stage(&mut self, index: usize, name: Name, from: &From, stage: InProgress) {
        if let Some(own) = &from.name {
            self.by_name.insert(own.as_str().to_ascii_lowercase(), index);
        }
        self.done.push((name, stage));
    }

    /// Lowers one instruction.
    pub(super) fn instruction(&mut self, stage: &mut InProgress, instruction: &Instruction) {
        let span = instruction.span;
        match &instruction.kind {
            Kind::From(_) => {}
            Kind::Arg(pairs) => self.arg(stage, pairs, span),
            Kind::Env(pairs) => self.env(stage, pairs, span),
            Kind::Label(pairs) => self.label(stage, pairs, span),
            Kind::Run(run) => self.run(stage, run, span),
            Kind::Cmd(command) => self.cmd(stage, command, span),
            Kind::Entrypoint(command) => self.entrypoint(stage, command, span),
            Kind::Shell(words) => self.shell(stage, words, span),
            Kind::Copy(copy) => self.copy(stage, copy, span),
            Kind::Workdir(path) => self.workdir(stage, path, span),
            Kind::User(user) => self.user(stage, user, span),
            Kind::Expose(ports) => self.expose(stage, ports, span),
            Kind::Volume(paths) => self.volume(stage, paths, span),
            Kind::StopSignal(signal) => self.stop_signal(stage, signal, span),
            Kind::Healthcheck(check) => self.healthcheck(stage, check, span),
            Kind::OnBuild(trigger) => stage.triggers.push((**trigger).clone()),
            Kind::Maintainer(name) => self.maintainer(stage, name, span),
        }
    }
}

/// A name that cannot be wrong.
fn unreachable_name() -> Name {
    #[expect(clippy::expect_used, reason = "a constant that is a name")]
    Name::new("stage").expect("`stage` is a name")
}
