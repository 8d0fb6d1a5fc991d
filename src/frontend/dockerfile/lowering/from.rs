//! FROM: what a stage starts from, and what it has from there.

use super::Lowering;
use super::stage::InProgress;
use crate::diagnostic::Span;
use crate::frontend::dockerfile::arguments::whole_platform;
use crate::frontend::dockerfile::evaluate::of_platform;
use crate::frontend::dockerfile::instruction::From;
use crate::frontend::dockerfile::located::Located;
use crate::frontend::dockerfile::variables::{DEFAULT_PATH, Root};
use crate::frontend::dockerfile::{NamedContext, Purpose, diagnostics as say};
use crate::image::{Platform, Reference};
use crate::spec::{Base, Change, Copy, FileSource, ImageSource, ModeRule, Name, PlatformOf, Spanned, StagePlatform, Template, Text, Verb};

impl Lowering<'_> {
    /// Begins a stage; `None` where it starts from nothing that there is.
    pub(super) fn begin(&mut self, index: usize, name: Name, from: &From, span: Span) -> Option<InProgress> {
        let platform = match &from.platform {
            Some(platform) => Some(self.platform(platform)?),
            None => None,
        };
        let place = from.base.whole();
        let template = self.in_globals(&from.base)?;
        let Some(literal) = template.as_literal() else {
            return self.begin_anywhere(name, &template, platform, place, span);
        };
        let literal = literal.to_owned();
        if literal.is_empty() {
            self.report(say::bad_stage(place, "FROM needs an image, a stage or `scratch`, and this is empty"));
            return None;
        }
        if let Some(context) = self.options.contexts.get(&literal.to_ascii_lowercase()).cloned() {
            return self.begin_in_context(name, &context, platform, place, span);
        }
        if let Some(below) = self.by_name.get(&literal.to_ascii_lowercase()).copied() {
            return self.begin_on_stage(name, below, place, span);
        }
        if literal == "scratch" {
            return Some(scratch(name, platform, place, span));
        }
        self.check_reference(index, &literal, place)?;
        Some(on_image(name, template, platform, place, span))
    }

    /// FROM with an argument in it that decides: a stage if the name of one comes of it, else an image.
    fn begin_anywhere(
        &mut self,
        name: Name,
        template: &Template,
        platform: Option<Spanned<StagePlatform>>,
        place: Span,
        span: Span,
    ) -> Option<InProgress> {
        let today = self.decided(template);
        let below = today.as_ref().and_then(|today| self.by_name.get(&today.to_ascii_lowercase()).copied());
        if let (Some(today), Some(below)) = (&today, below) {
            self.fixed_stage(place, template, today);
            return self.begin_on_stage(name, below, place, span);
        }
        if today.as_deref() == Some("scratch") {
            self.fixed_stage(place, template, "scratch");
            return Some(scratch(name, platform, place, span));
        }
        Some(on_image(name, template.clone(), platform, place, span))
    }

    /// A build has one set of arguments, and may have several platforms.
    fn fixed_stage(&mut self, place: Span, template: &Template, today: &str) {
        if self.options.purpose == Purpose::Convert || of_platform(template) {
            self.report(say::fixed_stage(place, today));
        }
    }

    fn begin_in_context(
        &mut self,
        name: Name,
        context: &NamedContext,
        platform: Option<Spanned<StagePlatform>>,
        place: Span,
        span: Span,
    ) -> Option<InProgress> {
        match context {
            NamedContext::Image(reference) => Some(on_image(name, Template::literal(reference.clone()), platform, place, span)),
            NamedContext::Files(context) => {
                let mut stage = scratch(name, platform, place, span);
                let copy = Copy {
                    from: Some(Spanned::new(FileSource::Context(Some(Spanned::new(context.clone(), place))), place)),
                    mode: Some(Spanned::new(ModeRule::Keep, place)),
                    ..super::copy::plain(vec![literal(".", place)], literal("/", place))
                };
                stage.push(Verb::Copy(copy), None, span);
                Some(stage)
            }
        }
    }

    fn begin_on_stage(&mut self, name: Name, below: usize, place: Span, span: Span) -> Option<InProgress> {
        let (below_name, below) = self.done.get(below)?;
        let from = Spanned::new(Base::Stage(Spanned::new(below_name.clone(), place)), place);
        let mut stage = InProgress::new(name, span, from, below.variables.root());
        stage.variables = below.variables.of_child();
        stage.shell.clone_from(&below.shell);
        stage.workdir.clone_from(&below.workdir);
        stage.user.clone_from(&below.user);
        stage.config = below.config.clone();
        stage.platform.clone_from(&below.platform);
        stage.inherited_triggers = below.triggers.iter().map(|trigger| trigger.instruction.clone()).collect();
        Some(stage)
    }

    fn platform(&mut self, text: &Located) -> Option<Spanned<StagePlatform>> {
        let template = self.in_globals(text)?;
        let span = text.whole();
        if template == whole_platform(PlatformOf::Target) {
            return Some(Spanned::new(StagePlatform::Target, span));
        }
        if template == whole_platform(PlatformOf::Builder) {
            return Some(Spanned::new(StagePlatform::Builder, span));
        }
        if let Some(literal) = template.as_literal() {
            let full = full_platform(literal);
            if full.parse::<Platform>().is_err() {
                let message = format!("`{literal}` is not a platform: expected such as `linux/amd64` or `$BUILDPLATFORM`");
                self.report(say::bad_stage(span, message));
                return None;
            }
            return Some(Spanned::new(StagePlatform::Named(Spanned::new(Template::literal(full), span)), span));
        }
        Some(Spanned::new(StagePlatform::Named(Spanned::new(template, span)), span))
    }

    /// Checks the name of an image, and looks whether a later stage was meant.
    pub(super) fn check_reference(&mut self, index: usize, literal: &str, place: Span) -> Option<()> {
        if let Some(later) = self.names.get(&literal.to_ascii_lowercase()).copied()
            && later >= index
            && literal.bytes().any(|byte| byte.is_ascii_uppercase())
        {
            self.report(say::bad_stage(place, format!("the stage `{literal}` begins only after this")));
            return None;
        }
        if let Err(error) = literal.parse::<Reference>() {
            let diagnostic = say::bad_stage(place, error.to_string());
            let known: Vec<String> = self.names.keys().cloned().collect();
            self.report(match crate::diagnostic::nearest(literal, known.iter().map(String::as_str)) {
                Some(near) => diagnostic.hint(format!("did you mean the stage `{near}`?")),
                None => diagnostic,
            });
            return None;
        }
        Some(())
    }
}

/// `amd64` alone means Linux, as do names that only Docker and the kernel have.
fn full_platform(literal: &str) -> String {
    let literal = literal.to_ascii_lowercase();
    let (os, rest) = literal.split_once('/').map_or(("linux", literal.as_str()), |(os, rest)| (os, rest));
    let (os, rest) = if literal == "linux" { ("linux", "amd64") } else { (os, rest) };
    let rest = match rest {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "armhf" => "arm/v7",
        "armel" => "arm/v6",
        rest => rest,
    };
    format!("{os}/{rest}")
}

pub(super) fn literal(text: &str, span: Span) -> Text {
    Spanned::new(Template::literal(text), span)
}

fn scratch(name: Name, platform: Option<Spanned<StagePlatform>>, place: Span, span: Span) -> InProgress {
    let mut stage = InProgress::new(name, span, Spanned::new(Base::Scratch, place), Root::Scratch);
    stage.platform = platform;
    // Docker gives every image a PATH, and one of nothing a working directory.
    stage.settings.workdir = Some(Spanned::new(Change::Set(Template::literal("/")), place));
    stage.settings.env.insert("PATH".to_owned(), Spanned::new(Change::Set(Template::literal(DEFAULT_PATH)), place));
    stage.variables.set_env("PATH", Some(Template::literal(DEFAULT_PATH)));
    stage
}

fn on_image(name: Name, reference: Template, platform: Option<Spanned<StagePlatform>>, place: Span, span: Span) -> InProgress {
    let base = Base::Image(ImageSource::Registry(Spanned::new(reference, place)));
    let mut stage = InProgress::new(name, span, Spanned::new(base, place), Root::Image);
    stage.platform = platform;
    stage
}
