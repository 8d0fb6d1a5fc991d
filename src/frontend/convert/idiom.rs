//! A spec as a front end makes it in, the same said as people would write it out: no history, settings at the head of their stage, plain
//! scripts for the usual shell, repairs as a part of the copy.
//!
//! Each change keeps file system and config of every image; the layers may be cut otherwise.

use super::ContextFile;
use super::repair;
use super::script::and_list;
use crate::spec::{
    Access, Base, Change, Command, Env, FileSource, ModeRule, Mount, Name, Piece, Referent, Run, Setting, Settings, Spanned, Spec, Stage,
    Template, Verb,
};

/// Says it the idiomatic way.
pub(super) fn idiomatic(spec: &Spec, file: &ContextFile<'_>) -> Spec {
    let mut spec = spec.clone();
    for stage in spec.stages.values_mut() {
        let stage = &mut stage.value;
        stage.steps.retain(|step| !matches!(step.value.verb, Verb::Setting(Setting::History(_))));
        stage.steps.iter_mut().for_each(|step| step.value.history = None);
        if stage.settings.shell.is_none() && !stage.steps.iter().any(|step| matches!(step.value.verb, Verb::Setting(Setting::Shell(_)))) {
            repair::fold(&mut stage.steps, file);
        }
        hoist(stage);
        stage.steps.iter_mut().for_each(|step| plainer(&mut step.value.verb));
    }
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

/// What is the default is left out, and a chain of commands has a line for each.
fn plainer(verb: &mut Verb) {
    match verb {
        Verb::Copy(copy) => {
            let elsewhere = matches!(copy.from.as_ref().map(|from| &from.value), Some(FileSource::Stage(_) | FileSource::Image(_)));
            if elsewhere && copy.mode.as_ref().is_some_and(|mode| mode.value == ModeRule::Keep) {
                copy.mode = None;
            }
        }
        Verb::Run(run) => plainer_run(run),
        // Hardly ever is there a directory where a file is written; where there is one, the step fails.
        Verb::Write(write) => write.name = None,
        Verb::Fetch(_) | Verb::Extract(_) | Verb::Link(_) | Verb::MakeDirectory(_) | Verb::Remove(_) | Verb::Setting(_) => {}
    }
}

/// `["..."]` is the base's shell, else Docker's; without it, the base's, else ours, which differs by `-e` alone.
fn plainer_run(run: &mut Run) {
    for mount in &mut run.mounts {
        if let Mount::From { access, .. } = &mut mount.value
            && access.is_some_and(|access| access.value == Access::ReadOnly)
        {
            *access = None;
        }
    }
    let inherited = run.shell.as_ref().is_some_and(|shell| matches!(shell.value.as_slice(), [word] if word.as_literal() == Some("...")));
    let Command::Script(script) = &mut run.command else { return };
    let Some(commands) = script.value.as_literal().and_then(and_list) else { return };
    if !inherited {
        return;
    }
    if commands.len() > 1 {
        let lines = commands.join(" &&\n") + "\n";
        script.value = Template::literal(lines);
    }
    run.shell = None;
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
