//! What is in an image and should not be: package lists, caches, packages for building, files that a later step removes or repairs.

use std::collections::BTreeSet;

use super::base::family;
use super::copies::{Copied, copied};
use super::diagnostics::{self as say, Repair};
use super::packages::{Deed, Manager, Use, is_build_only};
use super::runs::Script;
use super::script::{Command, UNKNOWN, Word};
use super::stages::View;
use super::text::likely;
use super::{Advisor, place};
use crate::diagnostic::Diagnostic;
use crate::spec::Mount;

/// Where Debian's lists of packages are.
const LISTS: &str = "/var/lib/apt/lists";

pub(super) fn look(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    // What a stage leaves behind is in an image only where the image stands on the stage.
    for view in advisor.stages.iter().filter(|view| !view.images.is_empty()) {
        let files = copied(advisor, view);
        for script in &view.scripts {
            let uses: Vec<(&Command, Use<'_>)> =
                script.commands.iter().filter_map(|command| Use::of(command).map(|used| (command, used))).collect();
            lists(advisor, view, script, &uses, found);
            pip(advisor, view, script, found);
            build_only(advisor, view, script, &uses, found);
            too_late(advisor, script, &files, found);
        }
    }
}

/// Places that are no part of the layer during a step: what is mounted there, and what is dropped from its result.
fn kept_out(advisor: &Advisor<'_>, script: &Script<'_>) -> Vec<String> {
    let mut places = Vec::new();
    for mount in &script.run.mounts {
        let at = match &mount.value {
            Mount::Cache { at, .. } | Mount::From { at, .. } | Mount::Tmpfs { at, .. } => at,
            Mount::Secret { .. } | Mount::SecretEnv { .. } | Mount::Ssh { .. } => continue,
        };
        places.push(likely(&at.value, &advisor.spec.args).trim_end_matches('/').to_owned());
    }
    for pattern in &script.run.discard {
        let text = likely(&pattern.value, &advisor.spec.args);
        places.push(format!("/{}", text.trim_start_matches('/')).trim_end_matches(['*', '/']).to_owned());
    }
    places
}

/// Whether a path is one of these, or inside one.
fn is_inside(path: &str, places: &[String]) -> bool {
    places.iter().any(|place| path == place || path.strip_prefix(place.as_str()).is_some_and(|rest| rest.starts_with('/')))
}

/// Whether a command of the script is given a path that begins so; that is how it is removed.
fn mentions(script: &Script<'_>, start: &str) -> bool {
    let removes = |command: &&Command| command.program().is_some_and(|(program, _)| matches!(program, "rm" | "find" | "truncate" | "mv"));
    script.commands.iter().filter(removes).flat_map(|command| &command.words).any(|word| word.text.starts_with(start))
}

fn lists(advisor: &Advisor<'_>, view: &View<'_>, script: &Script<'_>, uses: &[(&Command, Use<'_>)], found: &mut Vec<Diagnostic>) {
    let own = view.root.as_deref().and_then(family).map(|family| family.manager().map(|(manager, _)| manager));
    let kept_out = kept_out(advisor, script);
    let cleans = |manager: Manager| {
        let clean = |used: &Use<'_>| {
            used.deed == Deed::Clean && (manager != Manager::Apt || used.verb_text().is_some_and(|verb| verb.starts_with("dist")))
        };
        uses.iter().any(|(_, used)| used.manager == manager && clean(used))
    };
    let mut said = BTreeSet::new();
    for (command, used) in uses {
        // One that the base does not have leaves nothing.
        if own.is_some_and(|own| own != Some(used.manager)) {
            continue;
        }
        let (leaves, places): (bool, &[&str]) = match used.manager {
            Manager::Apt => (used.deed == Deed::Update, &[LISTS]),
            Manager::Apk => {
                (matches!(used.deed, Deed::Install | Deed::Update) && !used.has("--no-cache"), &["/var/cache/apk", "/etc/apk/cache"])
            }
            Manager::Dnf => (used.deed == Deed::Install, &["/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5"]),
            Manager::Pacman => (used.deed == Deed::Install, &["/var/cache/pacman"]),
            Manager::Zypper => (used.deed == Deed::Install, &["/var/cache/zypp"]),
        };
        let gone = || places.iter().any(|place| is_inside(place, &kept_out) || mentions(script, place)) || cleans(used.manager);
        if !leaves || gone() || !said.insert(used.manager) {
            continue;
        }
        if used.manager == Manager::Apt {
            if script
                .commands
                .iter()
                .flat_map(|command| &command.words)
                .any(|word| word.text == "/var/lib/apt" || word.text == "/var/lib/apt/*")
            {
                continue;
            }
            if let Some((word, meant)) = misspelt_lists(script) {
                found.push(say::misspelt_path(place::of(advisor.sources, script.span, word), &word.raw, &meant));
                continue;
            }
        }
        let span = command.program_word().map_or(script.span, |word| place::of(advisor.sources, script.span, word));
        found.push(say::package_lists_left(span, used.manager, used.program, advisor.facts.language));
    }
}

/// A path that is removed and is nearly the one of the lists.
fn misspelt_lists<'w>(script: &'w Script<'_>) -> Option<(&'w Word, String)> {
    let removed = script.commands.iter().filter(|command| command.program().is_some_and(|(program, _)| program == "rm"));
    removed.flat_map(|command| &command.words).find_map(|word| {
        let text = word.known()?;
        let plain = text.trim_end_matches('*').trim_end_matches('/');
        let near = plain.starts_with('/') && plain != LISTS && strsim::damerau_levenshtein(plain, LISTS) <= 2;
        near.then(|| (word, format!("{LISTS}{}", text.get(plain.len()..).unwrap_or_default())))
    })
}

/// What `pip` is told to do, and with what, however it is called.
pub(super) fn pip_use(command: &Command) -> Option<(&str, &[Word])> {
    let (program, arguments) = command.program()?;
    let is_pip =
        |name: &str| name.strip_prefix("pip").is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let arguments = match arguments {
        _ if is_pip(program) => arguments,
        [flag, module, rest @ ..] if program.starts_with("python") && flag.text == "-m" && is_pip(&module.text) => rest,
        _ => return None,
    };
    let place = arguments.iter().position(|word| !word.text.starts_with('-'))?;
    Some((arguments.get(place)?.text.as_str(), arguments.get(place + 1..).unwrap_or_default()))
}

fn pip(advisor: &Advisor<'_>, view: &View<'_>, script: &Script<'_>, found: &mut Vec<Diagnostic>) {
    const OFF: &str = "PIP_NO_CACHE_DIR";
    let told = view.variables.contains(OFF) || script.run.env.contains_key(OFF);
    let set = |command: &Command| {
        command.assignments.iter().any(|(name, _)| name == OFF) || command.words.iter().any(|word| word.text.starts_with(OFF))
    };
    let kept_out = kept_out(advisor, script);
    let is_cache =
        |place: &String| place.contains("pip") || place.ends_with("/.cache") || place.contains("/.cache/") || place.contains(UNKNOWN);
    let purged = script.commands.iter().any(|command| {
        let words: Vec<&str> = command.words.iter().map(|word| word.text.as_str()).collect();
        words.windows(2).any(|pair| pair == ["cache", "purge"])
            || (words.first() == Some(&"rm") && words.iter().any(|word| word.contains(".cache")))
    });
    if told || purged || kept_out.iter().any(is_cache) || script.commands.iter().any(set) {
        return;
    }
    for command in &script.commands {
        let Some(("install", arguments)) = pip_use(command) else { continue };
        if arguments.is_empty()
            || command.words.iter().any(|word| matches!(word.text.as_str(), "--no-cache-dir" | "--no-index" | "--dry-run"))
        {
            continue;
        }
        let span = command.program_word().map_or(script.span, |word| place::of(advisor.sources, script.span, word));
        found.push(say::pip_cache_left(span, advisor.facts.language));
        return;
    }
}

fn build_only(advisor: &Advisor<'_>, view: &View<'_>, script: &Script<'_>, uses: &[(&Command, Use<'_>)], found: &mut Vec<Diagnostic>) {
    let removed: Vec<&Use<'_>> = uses.iter().map(|(_, used)| used).filter(|used| used.deed == Deed::Remove).collect();
    // What is removed without being named may be any of them.
    let at_large = |used: &&Use<'_>| {
        used.packages.is_empty()
            || used.has("--auto-remove")
            || used.packages.iter().any(|word| word.known().is_none() || word.text.starts_with('.'))
    };
    if removed.iter().any(at_large) {
        return;
    }
    let stays = |word: &&Word| {
        word.known().is_some_and(is_build_only) && !removed.iter().any(|used| used.packages.iter().any(|gone| gone.text == word.text))
    };
    let packages: Vec<&Word> = uses
        .iter()
        .filter(|(_, used)| used.deed == Deed::Install)
        .flat_map(|(_, used)| used.packages.iter().copied())
        .filter(stays)
        .collect();
    if let Some(first) = packages.first() {
        let names: Vec<&str> = packages.iter().map(|word| word.text.as_str()).collect();
        let span = place::of(advisor.sources, script.span, first);
        found.push(say::build_only_packages(span, &names, &view.images, advisor.facts.language));
    }
}

/// Files that were copied by an earlier step, and are removed or repaired by this one.
fn too_late(advisor: &Advisor<'_>, script: &Script<'_>, files: &[Copied], found: &mut Vec<Diagnostic>) {
    let kept_out = kept_out(advisor, script);
    let mut said = BTreeSet::new();
    for command in &script.commands {
        let Some((program, arguments)) = command.program() else { continue };
        let repair = match program {
            "rm" => None,
            "chmod" => Some(Repair::Mode),
            "chown" | "chgrp" => Some(Repair::Owner),
            "dos2unix" => Some(Repair::LineEnds),
            "sed"
                if command.words.iter().any(|word| word.text.starts_with("-i"))
                    && command.words.iter().any(|word| word.text.contains("\\r")) =>
            {
                Some(Repair::LineEnds)
            }
            _ => continue,
        };
        for word in arguments {
            let Some(path) = word.known().filter(|path| path.starts_with('/')) else { continue };
            let plain = path.strip_suffix("/*").unwrap_or(path).trim_end_matches('/');
            if plain.is_empty() || is_inside(plain, &kept_out) {
                continue;
            }
            let before = files.iter().filter(|file| file.step < script.step);
            let Some(file) = before.rev().find(|file| if repair.is_some() { file.is(plain) } else { file.is_below(plain) }) else {
                continue;
            };
            if !said.insert((repair.is_some(), plain.to_owned())) {
                continue;
            }
            let span = place::of(advisor.sources, script.span, word);
            found.push(match repair {
                None => say::removed_too_late(span, path, file.span, advisor.facts.language),
                Some(repair) => say::repaired_later(span, path, file.span, repair, advisor.facts.language),
            });
        }
    }
}
