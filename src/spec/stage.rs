//! Stages and settings as written.

use std::collections::BTreeMap;

use super::{Base, Change, Spanned, Step, Template, Text};

/// Variables by name; [`Change::Clear`] (`false` in TOML) takes one away. The span is that of the value.
pub type Env = BTreeMap<String, Spanned<Change<Template>>>;

/// One stage: `stages.X`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What it starts from.
    pub from: Spanned<Base>,
    /// What it is built for; `None` means [`StagePlatform::Target`].
    pub platform: Option<Spanned<StagePlatform>>,
    /// What becomes of the base's `ONBUILD` instructions; `None` means [`OnBuild::Keep`].
    pub onbuild: Option<Spanned<OnBuild>>,
    /// In force before the first step.
    pub settings: Settings,
    /// In order. The span is that of the verb and its value.
    pub steps: Vec<Spanned<Step>>,
}

/// What a stage is built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagePlatform {
    /// The platform of the image that needs it: `target`.
    Target,
    /// The platform of the machine that builds: `builder`.
    Builder,
    /// This platform: `os/architecture[/variant]`. No `${env.…}`.
    Named(Text),
}

/// What becomes of the `ONBUILD` instructions of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBuild {
    /// They are carried out before the stage's own steps, and are not in the config of what is built: `run`.
    Run,
    /// They stay in the config and are not carried out: `keep`.
    Keep,
}

/// What stages, images and steps of their own can set. What is not set is that of the base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Adds to the environment. A `${env.X}` in it is the value from before.
    pub env: Env,
    /// The working directory, absolute or relative to the one before.
    pub workdir: Option<Spanned<Change<Template>>>,
    /// `user[:group]`, names or numbers.
    pub user: Option<Spanned<Change<Template>>>,
    /// What a script is given to; empty means the default, `["/bin/sh", "-ec"]`.
    pub shell: Option<Spanned<Vec<Text>>>,
}
