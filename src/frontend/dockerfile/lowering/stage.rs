//! A stage while its instructions are being lowered.

use std::collections::BTreeSet;

use super::Config;
use crate::diagnostic::Span;
use crate::frontend::dockerfile::instruction::{Instruction, Trigger};
use crate::frontend::dockerfile::variables::{Root, Variables};
use crate::spec::{Base, Name, OnBuild, Settings, Spanned, Stage, StagePlatform, Step, Template, Text, Verb};

/// A stage as far as it has come.
#[derive(Debug, Clone)]
pub(in crate::frontend::dockerfile) struct InProgress {
    /// Its name in the spec.
    pub(in crate::frontend::dockerfile) name: Name,
    /// Its FROM.
    pub(in crate::frontend::dockerfile) span: Span,
    pub(super) from: Spanned<Base>,
    pub(super) platform: Option<Spanned<StagePlatform>>,
    pub(super) settings: Settings,
    /// What it has come to.
    pub(in crate::frontend::dockerfile) steps: Vec<Spanned<Step>>,
    /// The variables here.
    pub(super) variables: Variables,
    /// What SHELL said here or in a stage below.
    pub(in crate::frontend::dockerfile) shell: Option<Vec<String>>,
    /// The working directory, where it is known.
    pub(super) workdir: Option<String>,
    /// What USER said here or in a stage below.
    pub(super) user: Option<Frozen>,
    /// The config of an image of this point, as far as instructions say.
    pub(in crate::frontend::dockerfile) config: Config,
    /// Whether CMD stood in this stage.
    pub(super) has_cmd: bool,
    /// What ONBUILD kept here.
    pub(super) triggers: Vec<Trigger>,
    /// What ONBUILD kept in the stage below, to be carried out first.
    pub(super) inherited_triggers: Vec<Instruction>,
    /// Variables about which something was said already.
    pub(super) warned: BTreeSet<String>,
}

/// A text that must say the same later, whatever ENV does until then.
#[derive(Debug, Clone)]
pub(super) struct Frozen {
    pub(super) here: Template,
    pub(super) deep: Option<Template>,
    pub(super) span: Span,
    pub(super) at: u32,
}

impl InProgress {
    pub(in crate::frontend::dockerfile) fn new(name: Name, span: Span, from: Spanned<Base>, root: Root) -> InProgress {
        InProgress {
            name,
            span,
            from,
            platform: None,
            settings: Settings::default(),
            steps: Vec::new(),
            variables: Variables::new(root),
            shell: None,
            workdir: (root == Root::Scratch).then(|| "/".to_owned()),
            user: None,
            config: Config::default(),
            has_cmd: false,
            triggers: Vec::new(),
            inherited_triggers: Vec::new(),
            warned: BTreeSet::new(),
        }
    }

    /// A stage of which nothing can be made, since its FROM is wrong.
    pub(super) fn lost(name: Name, span: Span) -> InProgress {
        InProgress::new(name, span, Spanned::new(Base::Scratch, span), Root::Image)
    }

    /// Adds a step with what the history says of it.
    pub(in crate::frontend::dockerfile) fn push(&mut self, verb: Verb, history: Option<Text>, span: Span) {
        self.steps.push(Spanned::new(Step { verb, history }, span));
    }

    /// The stage of the spec.
    pub(super) fn finish(self) -> Stage {
        let onbuild = match &self.from.value {
            Base::Image(_) => Some(Spanned::new(OnBuild::Run, self.from.span)),
            Base::Scratch | Base::Stage(_) => None,
        };
        Stage { from: self.from, platform: self.platform, settings: self.settings, steps: self.steps, onbuild }
    }
}
