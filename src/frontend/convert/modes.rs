//! Copies that keep the modes of a context's files in, copies that say nothing of modes out, where the files have those of normal form.

use super::Contexts;
use crate::spec::{Copy, FileSource, ModeRule, Name, Spanned, Step, Verb};

/// Leaves `mode = "keep"` out where it changes nothing.
pub(super) fn leave_out(steps: &mut [Spanned<Step>], contexts: &dyn Contexts) {
    for step in steps {
        if let Verb::Copy(copy) = &mut step.value.verb
            && copy.mode.as_ref().is_some_and(|mode| mode.value == ModeRule::Keep)
            && copy.unpack.is_none()
            && is_normal(copy, contexts)
        {
            copy.mode = None;
        }
    }
}

/// Whether all that a copy may select has the modes of normal form. What comes from stages keeps its own in any case.
fn is_normal(copy: &Copy, contexts: &dyn Contexts) -> bool {
    let Some(context) = context_of(copy) else { return true };
    copy.sources.iter().all(|source| {
        let Some(text) = source.as_literal() else { return contexts.is_normal(context, ".") };
        let parents = copy.parents.as_ref().is_some_and(|parents| parents.value);
        let pattern = text.find(['*', '?', '[', '\\']);
        match pattern.map(|at| text[..at].rfind('/').map_or(".", |end| &text[..end])) {
            _ if parents => contexts.is_normal(context, "."),
            Some(directory) => contexts.is_normal(context, directory),
            None => contexts.is_normal(context, text),
        }
    })
}

/// The context that a copy takes its files from.
pub(super) fn context_of(copy: &Copy) -> Option<Option<&Name>> {
    match copy.from.as_ref().map(|from| &from.value) {
        None | Some(FileSource::Context(None)) => Some(None),
        Some(FileSource::Context(Some(name))) => Some(Some(&name.value)),
        Some(FileSource::Stage(_) | FileSource::Image(_)) => None,
    }
}
