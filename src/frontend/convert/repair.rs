//! Steps that repair what was copied just before (`sed -i 's/\r$//'`, `chmod +x`) in, `newlines` and `mode` of the copy out.

use super::Contexts;
use super::modes::context_of;
use super::script::{and_list, plain_words};
use crate::spec::words::{self, parse_mode_rule};
use crate::spec::{Command, Copy, ModeRule, Network, Newlines, Run, Setting, Spanned, Step, Verb};

/// What a command does to files.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Repair {
    /// CR LF becomes LF.
    Newlines,
    /// These bits.
    Mode(String),
}

/// Folds repairs into the copies directly before them.
pub(super) fn fold(steps: &mut Vec<Spanned<Step>>, contexts: &dyn Contexts) {
    let mut at = 0;
    while at < steps.len() {
        if try_fold(steps, at, contexts) {
            let repair = steps.remove(at);
            // What stands above the repair belongs to the copy now.
            if let Some(copy) = at.checked_sub(1).and_then(|before| steps.get_mut(before))
                && copy.span.source == repair.span.source
            {
                copy.span.end = copy.span.end.max(repair.span.end);
            }
        } else {
            at += 1;
        }
    }
}

/// Whether the step at a place does nothing that its copies cannot do, which they then do.
fn try_fold(steps: &mut [Spanned<Step>], at: usize, contexts: &dyn Contexts) -> bool {
    let Some(repairs) = steps.get(at).and_then(|step| repairs(&step.value.verb)) else { return false };
    // The copies that stand directly before, the nearest first.
    let copies: Vec<usize> = (0..at).rev().take_while(|place| matches!(steps[*place].value.verb, Verb::Copy(_))).collect();
    let user = user_after(&steps[..at]);
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
        let Some(copy) = repaired(copy, &path, &repair, user, contexts) else { return false };
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

/// Who carries out a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    /// Whoever the base says, or anybody.
    Unknown,
}

/// Who the user is behind these steps, as far as they say.
fn user_after(steps: &[Spanned<Step>]) -> User {
    let said = steps.iter().rev().find_map(|step| match &step.value.verb {
        Verb::Setting(Setting::User(user)) => Some(user.as_literal()),
        Verb::Setting(Setting::Env(_) | Setting::Workdir { .. } | Setting::Shell(_) | Setting::History(_))
        | Verb::Run(_)
        | Verb::Copy(_)
        | Verb::Write(_)
        | Verb::Fetch(_)
        | Verb::Extract(_)
        | Verb::Link(_)
        | Verb::MakeDirectory(_)
        | Verb::Remove(_) => None,
    });
    match said {
        Some(Some("root" | "0" | "root:root" | "0:0")) => User::Root,
        Some(_) | None => User::Unknown,
    }
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
fn repaired(copy: Copy, path: &str, repair: &Repair, user: User, contexts: &dyn Contexts) -> Option<Copy> {
    let context = context_of(&copy)?;
    let [source] = copy.sources.as_slice() else { return None };
    let source = source.as_literal()?;
    let to = copy.to.as_literal()?;
    let name = source.rsplit('/').next()?;
    let target = if to.ends_with('/') { format!("{to}{name}") } else { to.to_owned() };
    let is_plain =
        path.starts_with('/') && target == path && !source.contains(['*', '?', '[', '\\']) && !path.contains("//") && !path.contains("/.");
    let alone = copy.exclude.is_empty() && copy.parents.is_none() && copy.unpack.is_none();
    if !(is_plain && alone) {
        return None;
    }
    let bytes = contexts.read(context, source)?;
    match repair {
        Repair::Newlines => {
            // A CR at the very end, or a byte that is no text, would be treated in another way.
            if bytes.contains(&0) || bytes.ends_with(b"\r") {
                return None;
            }
            // `sed` writes a new file and gives it the owner of the old one, which root can do; nobody else may write into `/`.
            let keeps_owner = copy.owner.is_none() || user == User::Root || path.rfind('/') == Some(0);
            keeps_owner.then_some(Copy { newlines: Some(Spanned::made(Newlines::Lf)), ..copy })
        }
        Repair::Mode(mode) => {
            let rule = match (copy.mode.as_ref().map(|mode| &mode.value), parse_mode_rule(mode)?) {
                (_, ModeRule::Set(bits)) if bits <= 0o777 => ModeRule::Set(bits),
                (Some(ModeRule::Keep), ModeRule::Symbolic(changes)) => {
                    let [plain, program] = [0o644, 0o755].map(|mode| changes.apply(mode, words::Directory::No));
                    // The same whether or not it may be executed already.
                    if plain == program && plain <= 0o777 && contexts.is_normal(context, source) {
                        ModeRule::Set(plain)
                    } else {
                        ModeRule::Symbolic(changes)
                    }
                }
                (_, ModeRule::Keep | ModeRule::Set(_) | ModeRule::Exactly(_) | ModeRule::Symbolic(_) | ModeRule::Unsettled(_)) => {
                    return None;
                }
            };
            Some(Copy { mode: Some(Spanned::made(rule)), ..copy })
        }
    }
}
