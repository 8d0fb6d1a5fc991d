//! A spec as a front end makes it in, the same said as people would write it out: no history, settings at the head of their stage, plain
//! scripts for the usual shell with a line for each command, repairs as a part of the copy, and nothing that holds anyway.
//!
//! Each change keeps file system and config of every image; the layers may be cut otherwise.

use super::Contexts;
use super::script::and_list;
use super::{files, layout, local, modes, repair};
use crate::spec::{
    Access, Base, Change, Command, Env, FileSource, Mount, Name, Network, Piece, Referent, Run, Setting, Settings, Spanned, Spec, Stage,
    Template, Text, Verb,
};

/// Says it the idiomatic way.
pub(super) fn idiomatic(spec: &Spec, contexts: &dyn Contexts) -> Spec {
    let mut spec = spec.clone();
    files::leave_out_names(&mut spec);
    for stage in spec.stages.values_mut() {
        let stage = &mut stage.value;
        stage.steps.retain(|step| !matches!(step.value.verb, Verb::Setting(Setting::History(_))));
        stage.steps.iter_mut().for_each(|step| step.value.history = None);
        if stage.settings.shell.is_none() && !stage.steps.iter().any(|step| matches!(step.value.verb, Verb::Setting(Setting::Shell(_)))) {
            repair::fold(&mut stage.steps, contexts);
        }
        modes::leave_out(&mut stage.steps, contexts);
        hoist(stage);
        let mut shell = stage.settings.shell.as_ref().map_or(Shell::Unknown, |words| Shell::of(&words.value));
        for step in &mut stage.steps {
            match &mut step.value.verb {
                Verb::Run(run) => plainer(run, shell),
                Verb::Setting(Setting::Shell(words)) => shell = Shell::of(words),
                Verb::Setting(Setting::Env(_) | Setting::Workdir { .. } | Setting::User(_) | Setting::History(_))
                | Verb::Copy(_)
                | Verb::Write(_)
                | Verb::Fetch(_)
                | Verb::Extract(_)
                | Verb::Link(_)
                | Verb::MakeDirectory(_)
                | Verb::Remove(_) => {}
            }
        }
    }
    clear_nothing(&mut spec);
    rename_last(&mut spec);
    spec
}

/// Settings that stand before everything else become the stage's own.
fn hoist(stage: &mut Stage) {
    while let Some(step) = stage.steps.first() {
        let span = step.span;
        let Verb::Setting(setting) = &step.value.verb else { return };
        let Settings { env, workdir, user, shell } = &mut stage.settings;
        let untouched = workdir.is_none() && user.is_none() && shell.is_none();
        match setting {
            Setting::Env(more) if untouched && can_join(env, more) => env.extend(more.clone()),
            Setting::Workdir { path, owner: None } if workdir.is_none() && user.is_none() && shell.is_none() => {
                *workdir = Some(Spanned::new(Change::Set(path.value.clone()), span));
            }
            Setting::User(text) if user.is_none() && shell.is_none() => *user = Some(Spanned::new(Change::Set(text.value.clone()), span)),
            Setting::Env(_) | Setting::Workdir { .. } | Setting::User(_) | Setting::Shell(_) | Setting::History(_) => return,
        }
        stage.steps.remove(0);
    }
}

/// Whether two tables of variables in a row are one: none of the later values looks at the environment, and the order in which new
/// variables come into it stays.
fn can_join(first: &Env, second: &Env) -> bool {
    if first.is_empty() {
        return true;
    }
    let in_order = first.keys().next_back().zip(second.keys().next()).is_some_and(|(last, next)| last < next);
    in_order && !second.values().any(|value| matches!(&value.value, Change::Set(template) if looks_at_environment(template)))
}

fn looks_at_environment(template: &Template) -> bool {
    let mut looks = false;
    template.each_piece(&mut |piece| match piece {
        Piece::Reference(reference) => looks |= matches!(reference.value.referent, Referent::Env(_)),
        Piece::Literal(_) => {}
    });
    looks
}

/// What reads the scripts of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    /// One that reads lines and quotes as POSIX has it.
    Posix,
    /// Another, or nobody knows.
    Unknown,
}

impl Shell {
    fn of(words: &[Text]) -> Shell {
        let program = words.first().and_then(|word| word.as_literal()).and_then(|path| path.rsplit('/').next());
        match program {
            Some("sh" | "ash" | "bash" | "dash" | "ksh" | "zsh") => Shell::Posix,
            Some(_) | None => Shell::Unknown,
        }
    }
}

/// What is the default is left out, and scripts have several lines. `["..."]` is the base's shell, else Docker's; without it, the base's,
/// else ours, which differs by `-e` alone.
fn plainer(run: &mut Run, shell: Shell) {
    for mount in &mut run.mounts {
        if let Mount::From { access, .. } = &mut mount.value
            && access.is_some_and(|access| access.value == Access::ReadOnly)
        {
            *access = None;
        }
    }
    let inherited = run.shell.as_ref().is_some_and(|shell| matches!(shell.value.as_slice(), [word] if word.as_literal() == Some("...")));
    let is_known = inherited || run.shell.as_ref().map_or(shell, |shell| Shell::of(&shell.value)) == Shell::Posix;
    let mut is_local = false;
    if let Command::Script(script) = &mut run.command
        && let Some(text) = script.value.as_literal().filter(|_| is_known).map(str::to_owned)
    {
        is_local = local::is_local(&text);
        if inherited && and_list(&text).is_some() {
            run.shell = None;
        }
        if let Some(lines) = layout::lines(&text) {
            script.value = Template::literal(lines);
        }
    }
    if run.network.is_some_and(|network| network.value == Network::Off || is_local) {
        run.network = None;
    }
}

/// Where there is no base, there is nothing to clear.
fn clear_nothing(spec: &mut Spec) {
    for image in spec.images.values_mut() {
        let mut stage = spec.stages.get(&image.value.stage.value);
        // As many steps down as there are stages, should they stand on each other.
        for _ in 0..spec.stages.len() {
            let Some(Base::Stage(below)) = stage.map(|stage| &stage.value.from.value) else { break };
            stage = spec.stages.get(&below.value);
        }
        if !matches!(stage.map(|stage| &stage.value.from.value), Some(Base::Scratch)) {
            continue;
        }
        for words in [&mut image.value.entrypoint, &mut image.value.cmd] {
            if words.as_ref().is_some_and(|words| words.value.is_empty()) {
                *words = None;
            }
        }
    }
}

/// The last stage, which most Dockerfiles leave without a name, is `app` where nothing else is.
fn rename_last(spec: &mut Spec) {
    let [image] = spec.images.values().collect::<Vec<_>>()[..] else { return };
    let old = image.value.stage.value.clone();
    let unnamed = |name: &str| name.strip_prefix("stage-").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let new = match old.as_str().rsplit_once('.') {
        Some((prefix, last)) if unnamed(last) => Name::new(format!("{prefix}.app")),
        None if unnamed(old.as_str()) => Name::new("app"),
        Some(_) | None => return,
    };
    let Ok(new) = new else { return };
    if spec.stages.contains_key(&new) {
        return;
    }
    let Some(stage) = spec.stages.remove(&old) else { return };
    spec.stages.insert(new.clone(), stage);
    let rename = |name: &mut Spanned<Name>| {
        if name.value == old {
            name.value = new.clone();
        }
    };
    spec.images.values_mut().for_each(|image| rename(&mut image.value.stage));
    for stage in spec.stages.values_mut() {
        if let Base::Stage(name) = &mut stage.value.from.value {
            rename(name);
        }
        for step in &mut stage.value.steps {
            for source in step.value.file_sources_mut() {
                if let FileSource::Stage(name) = source {
                    rename(name);
                }
            }
        }
    }
}
