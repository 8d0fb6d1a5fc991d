//! Commands that cannot work: a package manager that the base does not have, names that are spelt wrong.

use std::collections::BTreeSet;

use super::base::family;
use super::diagnostics as say;
use super::packages::{Use, manager};
use super::runs::Script;
use super::script::{Command, base_name};
use super::stages::View;
use super::{Advisor, place};
use crate::diagnostic::Diagnostic;

pub(super) fn look(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    for view in &advisor.stages {
        wrong_manager(advisor, view, found);
        for script in &view.scripts {
            misspelt(advisor, script, found);
        }
    }
}

fn wrong_manager(advisor: &Advisor<'_>, view: &View<'_>, found: &mut Vec<Diagnostic>) {
    let Some((base, family)) = view.root.as_deref().and_then(|root| family(root).map(|family| (root, family))) else { return };
    let own = family.manager();
    for script in &view.scripts {
        let mut said = BTreeSet::new();
        for command in &script.commands {
            let Some(Use { program, manager, .. }) = Use::of(command) else { continue };
            if own.is_some_and(|(own, _)| own == manager) || is_looked_for(view, program) || !said.insert(program) {
                continue;
            }
            let span = command.program_word().map_or(script.span, |word| place::of(advisor.sources, script.span, word));
            let instead = own.map(|(_, instead)| instead);
            found.push(say::wrong_package_manager(span, program, base, family.description(), instead));
        }
    }
}

/// Whether any command of the stage names the program without running it: it asks whether it is there, or brings it.
fn is_looked_for(view: &View<'_>, program: &str) -> bool {
    let names = |command: &Command| {
        let arguments = command.words.iter().filter(|word| command.program_word() != Some(*word));
        arguments.into_iter().any(|word| base_name(&word.text) == program)
    };
    view.scripts.iter().flat_map(|script| &script.commands).any(names)
}

/// Programs whose first argument says what to do, and what people glue to their names.
const GLUED: &[&str] = &["apt-get", "apt", "apk", "dnf", "yum", "pip", "pip3", "npm", "gem"];
const GLUE: &[&str] = &["add", "autoremove", "ci", "clean", "del", "install", "purge", "remove", "uninstall", "update", "upgrade"];

/// Programs that are often spelt wrong, and others that are called nearly so.
const OFTEN: &[&str] = &["apt-get", "chmod", "chown", "groupadd", "mkdir", "useradd"];
const REAL: &[&str] = &["apt-key", "groupdel", "groupmod", "chmem", "userdel", "usermod"];

/// All that `apt-get` can be told to do.
const APT_GET: &[&str] = &[
    "auto-clean",
    "auto-remove",
    "autoclean",
    "autopurge",
    "autoremove",
    "build-dep",
    "changelog",
    "check",
    "clean",
    "dist-clean",
    "dist-upgrade",
    "distclean",
    "download",
    "dselect-upgrade",
    "full-upgrade",
    "indextargets",
    "install",
    "markauto",
    "purge",
    "reinstall",
    "remove",
    "satisfy",
    "source",
    "unmarkauto",
    "update",
    "upgrade",
];

fn misspelt(advisor: &Advisor<'_>, script: &Script<'_>, found: &mut Vec<Diagnostic>) {
    let at = |word| place::of(advisor.sources, script.span, word);
    for command in &script.commands {
        let (Some((program, arguments)), Some(word)) = (command.program(), command.program_word()) else { continue };
        let glued = GLUED.iter().find_map(|tool| {
            let what = program.strip_prefix(tool)?.strip_prefix('-')?;
            GLUE.contains(&what).then(|| format!("{tool} {what}"))
        });
        if let Some(meant) = glued {
            found.push(say::misspelt_command(at(word), program, &meant));
        } else if let Some(meant) = near(program, OFTEN, 1).filter(|_| !REAL.contains(&program)) {
            found.push(say::misspelt_command(at(word), program, meant));
        } else if manager(program).is_some() && program == "apt-get" {
            let verb = arguments.iter().find(|word| !word.text.starts_with('-'));
            // The value of an option may stand before it.
            let after_option = verb.and_then(|verb| arguments.iter().position(|word| word == verb)).is_some_and(|place| place > 0);
            if let Some((verb, text)) = verb.and_then(|verb| verb.known().map(|text| (verb, text))).filter(|_| !after_option)
                && let Some(meant) = near(text, APT_GET, 2)
            {
                found.push(say::misspelt_command(at(verb), &format!("apt-get {text}"), &format!("apt-get {meant}")));
            }
        }
    }
}

/// The nearest of the words, if it is another one and not farther away than this.
fn near<'w>(word: &str, words: &[&'w str], farthest: usize) -> Option<&'w str> {
    let distances = words.iter().map(|known| (strsim::damerau_levenshtein(word, known), *known));
    distances.min().filter(|(distance, _)| *distance > 0 && *distance <= farthest).map(|(_, known)| known)
}
