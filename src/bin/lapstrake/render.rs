//! Diagnostics → pictures of the places they are about.

use crate::exit::Voice;
use crate::screen::{self, Colours};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use lapstrake::diagnostic::{Diagnostic, Severity, SourceId, SourceMap, Span};

/// All of them, one after the other, with a line at the end that counts them.
pub(crate) fn diagnostics(sources: &SourceMap, diagnostics: &[Diagnostic], voice: Voice) -> String {
    let renderer = if voice == Voice::Coloured { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&renderer.render(&[group(sources, diagnostic)]));
        out.push_str("\n\n");
    }
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let mut counts = Vec::new();
    for (count, word) in [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")] {
        match count {
            0 => {}
            1 => counts.push(format!("1 {word}")),
            _ => counts.push(format!("{count} {word}s")),
        }
    }
    if let Some(first) = diagnostics.first() {
        out.push_str(&format!("{}; `lapstrake explain {}` tells more\n", counts.join(", "), first.code.0));
    }
    out
}

fn group<'a>(sources: &'a SourceMap, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.0));
    let mut ids: Vec<SourceId> = Vec::new();
    for label in &diagnostic.labels {
        if !ids.contains(&label.span.source) {
            ids.push(label.span.source);
        }
    }
    for id in ids {
        let Some(file) = sources.get(id) else { continue };
        let mut snippet = Snippet::source(file.text.as_str()).path(file.name.as_str());
        for (index, label) in diagnostic.labels.iter().enumerate().filter(|(_, label)| label.span.source == id) {
            let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let end = (label.span.end as usize).min(file.text.len());
            let start = (label.span.start as usize).min(end);
            let annotation = kind.span(start..end);
            snippet = snippet.annotation(if label.text.is_empty() { annotation } else { annotation.label(label.text.as_str()) });
        }
        group = group.element(snippet);
    }
    for hint in &diagnostic.hints {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    group
}

/// One failure of the world at a place in the spec.
pub(crate) fn failure(sources: &SourceMap, title: &str, span: Span, reason: &str, voice: Voice) -> String {
    let renderer = if voice == Voice::Coloured { Renderer::styled() } else { Renderer::plain() };
    let mut group = Group::with_title(Level::ERROR.primary_title(title));
    if let Some(file) = sources.get(span.source) {
        let end = (span.end as usize).min(file.text.len());
        let start = (span.start as usize).min(end);
        group = group
            .element(Snippet::source(file.text.as_str()).path(file.name.as_str()).annotation(AnnotationKind::Primary.span(start..end)));
    }
    group = group.element(Level::NOTE.message(reason));
    renderer.render(&[group])
}

/// A build that failed: the step, its place, the last lines it wrote, and why.
pub(crate) fn build_failure(sources: &SourceMap, error: &lapstrake::build::Error, voice: Voice) -> String {
    let reason = crate::exit::chain(&*error.failure);
    let Some(site) = &error.site else {
        return if voice == Voice::Coloured { format!("\x1b[1;31merror\x1b[0m: {reason}") } else { format!("error: {reason}") };
    };
    let title = match site.number {
        0 => format!("stage `{}` has no base to start from", site.stage),
        number => format!("step {number} of stage `{}` failed: {}", site.stage, site.label),
    };
    let mut text = failure(sources, &title, site.span, &reason, voice);
    if let lapstrake::build::Failure::Command { exit: _, output, missing, beyond } = &*error.failure {
        if output.trim().is_empty() {
            text.push_str("\nit wrote nothing\n");
        } else {
            text.push_str("\nits last output:\n");
            for line in output.lines() {
                text.push_str(&format!("  | {}\n", screen::line(line, Colours::Kept)));
            }
        }
        if let Some(wanted) = beyond {
            let instead = lapstrake::sandbox::instead(lapstrake::sandbox::Rung::Chroot);
            text.push_str(&format!("note: it wanted {wanted}, which the rung `chroot` cannot give: {instead}\n"));
        }
        if let Some(missing) = missing {
            text.push_str(&format!("note: {missing}\n"));
        }
        text.push_str("to look around in what it has left, build with `--shell-on-failure`\n");
    }
    text
}
