//! Files whose text stands in the spec in; those without the name that counts in a directory out, where their paths are surely not those of
//! directories.
//!
//! Where a base has a directory of such a name after all, the step fails and says so.

use crate::spec::{Base, Change, MakeDirectory, Name, Piece, Setting, Settings, Spec, Stage, Step, Template, Verb};

/// Takes the names away that count nowhere.
pub(super) fn leave_out_names(spec: &mut Spec) {
    let mut plain: Vec<(Name, usize)> = Vec::new();
    for (name, stage) in &spec.stages {
        for (at, step) in stage.steps.iter().enumerate() {
            if let Verb::Write(write) = &step.value.verb
                && let Some(file) = write.path.as_literal().and_then(file_name)
                && !may_be_directory(spec, &stage.value, at, file)
            {
                plain.push((name.clone(), at));
            }
        }
    }
    for (name, at) in plain {
        let step = spec.stages.get_mut(&name).and_then(|stage| stage.value.steps.get_mut(at));
        if let Some(Verb::Write(write)) = step.map(|step| &mut step.value.verb) {
            write.name = None;
        }
    }
}

/// The last part of a path that ends as that of a file does, and not as those of directories.
fn file_name(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    name.rsplit_once('.').is_some_and(|(_, ending)| !matches!(ending, "" | "d")).then_some(name)
}

/// Whether anything in a stage before a step, or in a stage below, speaks of a directory that is called so.
fn may_be_directory(spec: &Spec, stage: &Stage, at: usize, name: &str) -> bool {
    let before = Stage { steps: stage.steps.iter().take(at).cloned().collect(), ..stage.clone() };
    if speaks_of(&before, name) {
        return true;
    }
    let mut below = &stage.from.value;
    // As many stages down as there are, should they stand on each other.
    for _ in 0..spec.stages.len() {
        let Base::Stage(next) = below else { return false };
        let Some(stage) = spec.stages.get(&next.value) else { return false };
        if speaks_of(&stage.value, name) {
            return true;
        }
        below = &stage.value.from.value;
    }
    false
}

fn speaks_of(stage: &Stage, name: &str) -> bool {
    let Settings { env: _, workdir, user: _, shell: _ } = &stage.settings;
    let is_workdir = workdir.as_ref().is_some_and(|workdir| match &workdir.value {
        Change::Set(path) => ends_so(path, name),
        Change::Clear => false,
    });
    let inside = format!("{name}/");
    let mut speaks = is_workdir || stage.steps.iter().any(|step| makes(&step.value, name));
    stage.each_template(&mut |template| {
        template.each_piece(&mut |piece| match piece {
            Piece::Literal(text) => {
                speaks |= text.contains(&inside) || ["mkdir", "install -d"].iter().any(|word| text.contains(word)) && text.contains(name)
            }
            Piece::Reference(_) => {}
        });
    });
    speaks
}

/// Whether a step is there to make such a directory.
fn makes(step: &Step, name: &str) -> bool {
    match &step.verb {
        Verb::Setting(Setting::Workdir { path, owner: _ }) => ends_so(path, name),
        Verb::MakeDirectory(MakeDirectory { paths, .. }) => paths.iter().any(|path| ends_so(path, name)),
        Verb::Setting(Setting::Env(_) | Setting::User(_) | Setting::Shell(_) | Setting::History(_))
        | Verb::Run(_)
        | Verb::Copy(_)
        | Verb::Write(_)
        | Verb::Fetch(_)
        | Verb::Extract(_)
        | Verb::Link(_)
        | Verb::Remove(_) => false,
    }
}

fn ends_so(path: &Template, name: &str) -> bool {
    path.as_literal().is_none_or(|path| path.trim_end_matches('/').rsplit('/').next() == Some(name))
}
