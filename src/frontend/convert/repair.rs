//! Steps that repair what was copied just before (`sed -i 's/\r$//'`, `chmod +x`) in, `newlines` and `mode` of the copy out.

use super::ContextFile;
use super::script::{and_list, plain_words};
use crate::spec::words::parse_mode_rule;
use crate::spec::{Command, Copy, FileSource, ModeRule, Network, Newlines, Run, Spanned, Step, Verb};

/// What a command does to files.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Repair {
    /// CR LF becomes LF.
    Newlines,
    /// These bits.
    Mode(String),
}

/// Folds repairs into the copies directly before them.
pub(super) fn fold(steps: &mut Vec<Spanned<Step>>, file: &ContextFile<'_>) {
    let mut at = 0;
    while at < steps.len() {
        if try_fold(steps, at, file) {
            steps.remove(at);
        } else {
            at += 1;
        }
    }
}

/// Whether the step at a place does nothing that its copies cannot do, which they then do.
fn try_fold(steps: &mut [Spanned<Step>], at: usize, file: &ContextFile<'_>) -> bool {
    let Some(repairs) = steps.get(at).and_then(|step| repairs(&step.value.verb)) else { return false };
    // The copies that stand directly before, the nearest first.
    let copies: Vec<usize> = (0..at).rev().take_while(|place| matches!(steps[*place].value.verb, Verb::Copy(_))).collect();
    let mut changed: Vec<(usize, Copy)> = Vec::new();
    for (repair, path) in repairs {
        let current = |place: usize| changed.iter().find(|(known, _)| *known == place).map(|(_, copy)| copy.clone());
        let found = copies.iter().find_map(|place| {
            let Verb::Copy(original) = &steps[*place].value.verb else { return None };
            let copy = current(*place).unwrap_or_else(|| original.clone());
            // A nearer copy that may put something at the path hides what is below.
            may_reach(&copy, &path).then_some((*place, copy))
        });
        let Some((place, copy)) = found else { return false };
        let Some(copy) = repaired(copy, &path, &repair, file) else { return false };
        changed.retain(|(known, _)| *known != place);
        changed.push((place, copy));
    }
    for (place, copy) in changed {
        if let Some(step) = steps.get_mut(place) {
            step.value.verb = Verb::Copy(copy);
        }
    }
    true
}

/// What a `run` repairs; `None` where it does anything else.
fn repairs(verb: &Verb) -> Option<Vec<(Repair, String)>> {
    let Verb::Run(Run { command, env: _, workdir: None, user: None, shell, network, mounts, discard, timeout: None, refresh: None }) = verb
    else {
        return None;
    };
    // Only Docker's own shell, or the base's in its place, is known to read what follows as written.
    let known_shell = shell.as_ref().is_some_and(|shell| shell.iter().any(|word| word.as_literal() == Some("...")) || is_sh(shell));
    let network_is_idle = network.is_none_or(|network| matches!(network.value, Network::Host | Network::Off));
    if !(known_shell && network_is_idle && mounts.is_empty() && discard.is_empty()) {
        return None;
    }
    let Command::Script(script) = command else { return None };
    let mut found = Vec::new();
    for command in and_list(script.as_literal()?)? {
        let words = plain_words(command)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (repair, paths) = match words.as_slice() {
            ["sed", "-i", r"s/\r$//" | r"s/\r$//g", paths @ ..] => (Repair::Newlines, paths),
            ["sed", "-i", "-e", r"s/\r$//" | r"s/\r$//g", paths @ ..] => (Repair::Newlines, paths),
            ["chmod", mode, paths @ ..] => (Repair::Mode((*mode).to_owned()), paths),
            _ => return None,
        };
        if paths.is_empty() || paths.iter().any(|path| path.starts_with('-')) {
            return None;
        }
        found.extend(paths.iter().map(|path| (repair.clone(), (*path).to_owned())));
    }
    Some(found)
}

fn is_sh(shell: &[crate::spec::Text]) -> bool {
    matches!(shell, [program, option] if program.as_literal() == Some("/bin/sh") && option.as_literal() == Some("-c"))
}

/// Whether a copy may put something at an absolute path.
fn may_reach(copy: &Copy, path: &str) -> bool {
    match copy.to.as_literal() {
        // What is relative, or filled in later, may be anywhere.
        None => true,
        Some(to) if !to.starts_with('/') => true,
        Some(to) => {
            let to = to.trim_end_matches('/');
            path == to || path.strip_prefix(to).is_some_and(|rest| rest.starts_with('/'))
        }
    }
}

/// The copy that does the repair itself, where that is the same: one plain file of a context, of which the bytes are known.
fn repaired(copy: Copy, path: &str, repair: &Repair, file: &ContextFile<'_>) -> Option<Copy> {
    let context = match &copy.from.as_ref().map(|from| &from.value) {
        None | Some(FileSource::Context(None)) => None,
        Some(FileSource::Context(Some(name))) => Some(&name.value),
        Some(FileSource::Stage(_) | FileSource::Image(_)) => return None,
    };
    let [source] = copy.sources.as_slice() else { return None };
    let source = source.as_literal()?;
    let to = copy.to.as_literal()?;
    let name = source.rsplit('/').next()?;
    let target = if to.ends_with('/') { format!("{to}{name}") } else { to.to_owned() };
    let is_plain =
        path.starts_with('/') && target == path && !source.contains(['*', '?', '[', '\\']) && !path.contains("//") && !path.contains("/.");
    let has_owner = copy.owner.is_some();
    let alone = copy.exclude.is_empty() && copy.parents.is_none() && copy.unpack.is_none();
    if !(is_plain && alone) || has_owner {
        return None;
    }
    let bytes = file(context, source)?;
    match repair {
        Repair::Newlines => {
            // A CR at the very end, or a byte that is no text, would be treated in another way.
            if bytes.contains(&0) || bytes.ends_with(b"\r") {
                return None;
            }
            Some(Copy { newlines: Some(Spanned::made(Newlines::Lf)), ..copy })
        }
        Repair::Mode(mode) => {
            let rule = match (copy.mode.as_ref().map(|mode| &mode.value), parse_mode_rule(mode)?) {
                (_, ModeRule::Set(bits)) if bits <= 0o777 => ModeRule::Set(bits),
                (Some(ModeRule::Keep), rule @ ModeRule::Symbolic(_)) => rule,
                (_, ModeRule::Keep | ModeRule::Set(_) | ModeRule::Exactly(_) | ModeRule::Symbolic(_) | ModeRule::Unsettled(_)) => {
                    return None;
                }
            };
            Some(Copy { mode: Some(Spanned::made(rule)), ..copy })
        }
    }
}
