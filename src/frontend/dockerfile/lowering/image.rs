//! What the stages below the target and the target itself say of the config → one image of the spec.

use super::Lowering;
use super::config::{Config, Settled};
use super::stage::InProgress;
use crate::diagnostic::Span;
use crate::frontend::dockerfile::diagnostics as say;
use crate::frontend::dockerfile::triggers::Triggers;
use crate::frontend::dockerfile::value::each_env;
use crate::frontend::dockerfile::variables::Root;
use crate::spec::{Change, INHERITED, Image, Spanned, Text};

impl Lowering<'_> {
    /// The image of a stage.
    pub(super) fn image(&mut self, target: usize) -> Option<Spanned<Image>> {
        let (name, stage) = self.done.get(target)?.clone();
        let span = stage.span;
        let mut image = Image::of(Spanned::new(name, span));
        let Config { entrypoint, cmd, expose, volumes, labels, healthcheck, stop_signal, author } = stage.config.clone();
        image.entrypoint = entrypoint;
        image.cmd = cmd;
        image.author = author;
        image.healthcheck = healthcheck.map(|check| Spanned::new(Change::Set(check.value), check.span));
        image.expose = self.list(&stage, expose, span);
        image.volumes = self.list(&stage, volumes, span);
        for (label, value) in labels {
            let Some(value) = self.valid_at_end(&stage, value) else { continue };
            image.labels.insert(label, Spanned::new(Change::Set(value.value), value.span));
        }
        if let Some(signal) = stop_signal
            && let Some(signal) = self.valid_at_end(&stage, signal)
        {
            image.stop_signal = Some(Spanned::new(Change::Set(signal.value), signal.span));
        }
        if !stage.triggers.is_empty() {
            let texts = stage.triggers.iter().map(|trigger| Spanned::new(trigger.text.as_str().to_owned(), trigger.text.whole())).collect();
            image.onbuild = Some(Spanned::new(texts, span));
        }
        Some(Spanned::new(image, span))
    }

    /// What the ONBUILD instructions of a base say of the config.
    pub(in crate::frontend::dockerfile) fn settle_triggers(&mut self, stage: &InProgress, triggers: &mut Triggers) {
        let Config { entrypoint, cmd, expose, volumes, labels, healthcheck, stop_signal, author: _ } = stage.config.clone();
        triggers.entrypoint = entrypoint;
        triggers.cmd = cmd;
        triggers.healthcheck = healthcheck;
        triggers.expose = expose.into_iter().filter_map(|port| self.valid_at_end(stage, port)).collect();
        triggers.volumes = volumes.into_iter().filter_map(|path| self.valid_at_end(stage, path)).collect();
        triggers.stop_signal = stop_signal.and_then(|signal| self.valid_at_end(stage, signal));
        for (label, value) in labels {
            triggers.labels.extend(self.valid_at_end(stage, value).map(|value| (label, value)));
        }
    }

    /// A list that adds to the base's.
    fn list(&mut self, stage: &InProgress, items: Vec<Settled>, span: Span) -> Option<Spanned<Vec<Text>>> {
        if items.is_empty() {
            return None;
        }
        let mut texts: Vec<Text> = match stage.variables.root() {
            Root::Image => vec![super::from::literal(INHERITED, span)],
            Root::Scratch => Vec::new(),
        };
        for item in items {
            let Some(text) = self.valid_at_end(stage, item) else { continue };
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        Some(Spanned::new(texts, span))
    }

    /// A text in terms of the root's environment says the same at the end of the stage if nothing that it refers to was written.
    fn valid_at_end(&mut self, stage: &InProgress, settled: Settled) -> Option<Text> {
        let text = match settled {
            Ok(text) => text,
            Err(diagnostic) => {
                self.report(*diagnostic);
                return None;
            }
        };
        if stage.variables.is_of_root(&text) {
            return Some(text);
        }
        let mut changed = String::new();
        each_env(&text, &mut |name| changed = name.to_owned());
        let message = format!("this depends on what the base image has in `{changed}`, which ENV changes in a stage of this image");
        self.report(say::cannot_express(text.span, message));
        None
    }
}
