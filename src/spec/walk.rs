//! Every template of a spec. Each type is taken apart field by field, so that a new field does not compile until it is decided here.

use super::{
    Archive, Argument, Base, Change, Command, Context, Copy, Download, Env, Extract, Fetch, FetchSource, FileSource, Git, Healthcheck,
    HealthcheckTest, Image, ImageSource, Link, MakeDirectory, ModeRule, Mount, Remove, Run, Setting, Settings, Spanned, Spec, Stage,
    StagePlatform, Step, Template, Text, Verb, Write,
};

/// Gives every template of a spec to `visit`.
pub(super) fn templates<'s>(spec: &'s Spec, visit: &mut dyn FnMut(&'s Template)) {
    let Spec { epoch: _, context: _, ignore: _, contexts, args, stages, images } = spec;
    for context in contexts.values() {
        let Context { path: _, ignore: _ } = &context.value;
    }
    for argument in args.values() {
        let Argument { default: _, optional: _, choices: _, help: _ } = &argument.value;
    }
    stages.values().for_each(|stage| visit_stage(&stage.value, visit));
    images.values().for_each(|image| visit_image(&image.value, visit));
}

impl Stage {
    /// Gives every template of the stage to `visit`, in no order.
    pub fn each_template<'s>(&'s self, visit: &mut dyn FnMut(&'s Template)) {
        visit_stage(self, visit);
    }
}

fn texts<'s>(texts: impl IntoIterator<Item = &'s Text>, visit: &mut dyn FnMut(&'s Template)) {
    texts.into_iter().for_each(|text| visit(&text.value));
}

fn change<'s>(change: &'s Change<Template>, visit: &mut dyn FnMut(&'s Template)) {
    match change {
        Change::Set(template) => visit(template),
        Change::Clear => {}
    }
}

fn env<'s>(env: &'s Env, visit: &mut dyn FnMut(&'s Template)) {
    env.values().for_each(|value| change(&value.value, visit));
}

fn visit_stage<'s>(stage: &'s Stage, visit: &mut dyn FnMut(&'s Template)) {
    let Stage { from, platform, onbuild: _, settings, steps } = stage;
    match platform.as_ref().map(|platform| &platform.value) {
        Some(StagePlatform::Named(text)) => visit(&text.value),
        Some(StagePlatform::Target | StagePlatform::Builder) | None => {}
    }
    match &from.value {
        Base::Scratch | Base::Stage(_) => {}
        Base::Image(image) => visit_source(image, visit),
    }
    visit_settings(settings, visit);
    steps.iter().for_each(|step| visit_step(&step.value, visit));
}

fn visit_settings<'s>(settings: &'s Settings, visit: &mut dyn FnMut(&'s Template)) {
    let Settings { env: variables, workdir, user, shell } = settings;
    env(variables, visit);
    workdir.iter().chain(user).for_each(|setting| change(&setting.value, visit));
    texts(shell.iter().flat_map(|shell| &shell.value), visit);
}

fn visit_source<'s>(source: &'s ImageSource, visit: &mut dyn FnMut(&'s Template)) {
    match source {
        ImageSource::Registry(reference) => visit(&reference.value),
        ImageSource::Layout { path, tag } => {
            visit(&path.value);
            texts(tag, visit);
        }
        ImageSource::Tar { path } => visit(&path.value),
    }
}

fn visit_files<'s>(source: &'s FileSource, visit: &mut dyn FnMut(&'s Template)) {
    match source {
        FileSource::Context(_) | FileSource::Stage(_) => {}
        FileSource::Image(image) => visit_source(image, visit),
    }
}

fn mode_rule<'s>(rule: Option<&'s Spanned<ModeRule>>, visit: &mut dyn FnMut(&'s Template)) {
    match rule.map(|rule| &rule.value) {
        Some(ModeRule::Unsettled(template)) => visit(template),
        Some(ModeRule::Keep | ModeRule::Set(_) | ModeRule::Exactly(_) | ModeRule::Symbolic(_)) | None => {}
    }
}

fn visit_step<'s>(step: &'s Step, visit: &mut dyn FnMut(&'s Template)) {
    let Step { verb, history } = step;
    texts(history, visit);
    match verb {
        Verb::Run(run) => visit_run(run, visit),
        Verb::Copy(Copy { sources, from, to, owner, mode, exclude, parents: _, unpack: _, newlines: _, missing: _ }) => {
            from.iter().for_each(|from| visit_files(&from.value, visit));
            texts(sources.iter().chain([to]).chain(owner).chain(exclude), visit);
            mode_rule(mode.as_ref(), visit);
        }
        Verb::Write(Write { path, content, owner, mode: _, name }) => texts([path, content].into_iter().chain(owner).chain(name), visit),
        Verb::Fetch(Fetch { source, to, owner, mode: _ }) => {
            match source {
                FetchSource::Url(download) => visit_download(download, visit),
                FetchSource::Git(Git { url, reference, commit: _, path, submodules: _, keep_git: _, check_ref: _ }) => {
                    texts([url].into_iter().chain(reference).chain(path), visit);
                }
            }
            texts([to].into_iter().chain(owner), visit);
        }
        Verb::Extract(Extract { archive, to, strip: _, owner, mode }) => {
            match archive {
                Archive::File { path, from } => {
                    from.iter().for_each(|from| visit_files(&from.value, visit));
                    visit(&path.value);
                }
                Archive::Url(download) => visit_download(download, visit),
            }
            texts([to].into_iter().chain(owner), visit);
            mode_rule(mode.as_ref(), visit);
        }
        Verb::Link(Link { path, target, kind: _ }) => texts([path, target], visit),
        Verb::MakeDirectory(MakeDirectory { paths, owner, mode: _ }) => texts(paths.iter().chain(owner), visit),
        Verb::Remove(Remove { paths, missing: _ }) => texts(paths, visit),
        Verb::Setting(setting) => match setting {
            Setting::Env(variables) => env(variables, visit),
            Setting::Workdir { path, owner } => texts([path].into_iter().chain(owner), visit),
            Setting::User(text) | Setting::History(text) => visit(&text.value),
            Setting::Shell(words) => texts(words, visit),
        },
    }
}

fn visit_download<'s>(download: &'s Download, visit: &mut dyn FnMut(&'s Template)) {
    let Download { url, sha256: _ } = download;
    visit(&url.value);
}

fn visit_run<'s>(run: &'s Run, visit: &mut dyn FnMut(&'s Template)) {
    let Run { command, env: variables, workdir, user, shell, network: _, mounts, discard, timeout: _, refresh: _ } = run;
    match command {
        Command::Script(script) => visit(&script.value),
        Command::Exec(words) => texts(words, visit),
    }
    env(variables, visit);
    texts(workdir.iter().chain(user).chain(shell.iter().flat_map(|shell| &shell.value)).chain(discard), visit);
    for mount in mounts {
        match &mount.value {
            Mount::Cache { cache, at, sharing: _, owner, mode: _, from, path, access: _ } => {
                from.iter().for_each(|from| visit_files(&from.value, visit));
                texts([cache, at].into_iter().chain(owner).chain(path), visit);
            }
            Mount::From { from, path, at, access: _ } => {
                visit_files(&from.value, visit);
                texts(path.iter().chain([at]), visit);
            }
            Mount::Secret { secret: _, at, owner, mode: _, required: _ } => texts(at.iter().chain(owner), visit),
            Mount::SecretEnv { secret: _, env: _, required: _ } => {}
            Mount::Ssh { ssh: _, at, owner, mode: _, required: _ } => texts(at.iter().chain(owner), visit),
            Mount::Tmpfs { at, size: _ } => visit(&at.value),
        }
    }
}

fn visit_image<'s>(image: &'s Image, visit: &mut dyn FnMut(&'s Template)) {
    let Image {
        stage: _,
        tags,
        platforms: _,
        settings,
        entrypoint,
        cmd,
        expose,
        volumes,
        labels,
        annotations,
        healthcheck,
        stop_signal,
        author,
        onbuild: _,
        format: _,
        compression: _,
    } = image;
    texts(tags, visit);
    visit_settings(settings, visit);
    texts([entrypoint, cmd, expose, volumes].into_iter().flatten().flat_map(|list| &list.value), visit);
    labels.values().for_each(|label| change(&label.value, visit));
    texts(annotations.values(), visit);
    match healthcheck.as_ref().map(|healthcheck| &healthcheck.value) {
        Some(Change::Set(Healthcheck { test, interval: _, timeout: _, start_period: _, start_interval: _, retries: _ })) => {
            match &test.value {
                HealthcheckTest::Exec(words) => texts(words, visit),
                HealthcheckTest::Script(script) => visit(&script.value),
                HealthcheckTest::Off => {}
            }
        }
        Some(Change::Clear) | None => {}
    }
    stop_signal.iter().for_each(|signal| change(&signal.value, visit));
    texts(author, visit);
}
