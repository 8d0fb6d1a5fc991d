//! `lapstrake convert`: a Dockerfile or a Compose file as a `lapstrake.toml`.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Component, Path};

use lapstrake::frontend::compose::{AgentSource, SecretSource};
use lapstrake::frontend::convert::{Manner, to_toml};
use lapstrake::frontend::dockerfile::Purpose;
use lapstrake::spec::{Base, FileSource, ImageSource, Spanned, Template, Text};

use crate::args;
use crate::checkout::Checkouts;
use crate::exit::{Failure, print, remark};
use crate::keys::Given;
use crate::machine::Machine;
use crate::project::{Project, Reading};
use crate::source::Kind;

pub(crate) fn convert(machine: &Machine, arguments: &args::Convert) -> Result<(), Failure> {
    let mut project = Project::load(machine, &arguments.project, Reading { purpose: Purpose::Convert, ..Reading::plain() })?;
    if project.kind == Kind::Toml {
        return Err(Failure::usage("it is a lapstrake.toml already; name a Dockerfile or a Compose file"));
    }
    let place = match &arguments.output {
        Some(output) => {
            let absolute = std::path::absolute(output).map_err(|error| Failure::world(format!("`{}`: {error}", output.display())))?;
            absolute.parent().map_or_else(|| absolute.clone(), Path::to_path_buf)
        }
        None => project.directory.clone(),
    };
    rebase(&mut project, &place);
    remark(&needed_words(&project), machine.voice);
    let manner = if arguments.exact { Manner::Exact } else { Manner::Idiomatic };
    let checkouts = Checkouts { place: &place, spec: &project.spec, given: &project.contexts, trees: RefCell::default() };
    let text = to_toml(&project.spec, &project.sources, manner, &checkouts);
    let Some(output) = &arguments.output else { return print(&text) };
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(output);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => print(&format!("wrote {}; build it with `lapstrake build`\n", output.display())),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::usage(format!("`{}` is there already and stays as it is; name another with `--output`", output.display())))
        }
        Err(error) => Err(Failure::world(format!("cannot write `{}`: {error}", output.display()))),
    }
}

/// What a Compose file gives to a build and no spec holds is for the command line.
fn needed_words(project: &Project) -> String {
    let Given { agents, secrets } = &project.given;
    let secret = |(name, secret): (&String, &SecretSource)| match secret {
        SecretSource::File(path) => format!("--secret id={name},src={path}"),
        SecretSource::Variable(variable) => format!("--secret id={name},env={variable}"),
    };
    let agent = |(name, agent): (&String, &AgentSource)| match agent {
        AgentSource::Callers => format!("--ssh {name}"),
        AgentSource::At(path) => format!("--ssh {name}={path}"),
    };
    let words: Vec<String> = secrets.iter().map(secret).chain(agents.iter().map(agent)).collect();
    let what = match (secrets.is_empty(), agents.is_empty()) {
        (true, true) => return String::new(),
        (false, true) => "secrets",
        (true, false) => "agents",
        (false, false) => "secrets and agents",
    };
    format!("note: a lapstrake.toml says nothing of where {what} are; build it with `{}`\n", words.join(" "))
}

/// Paths of a spec are relative to where it is.
fn rebase(project: &mut Project, place: &Path) {
    let directory = project.directory.clone();
    let moved = |path: &str| relative(place, &directory.join(path));
    let default = match project.contexts.get("") {
        Some(given) => relative(place, given),
        None => moved(project.spec.context.as_ref().map_or(".", |context| context.value.as_str())),
    };
    let spec = &mut project.spec;
    spec.context = (default != ".").then(|| Spanned::made(default));
    if let Some(ignore) = &mut spec.ignore {
        ignore.value = moved(&ignore.value);
    }
    for context in spec.contexts.values_mut() {
        context.value.path.value = moved(&context.value.path.value);
        if let Some(ignore) = &mut context.value.ignore {
            ignore.value = moved(&ignore.value);
        }
    }
    for stage in spec.stages.values_mut() {
        if let Base::Image(image) = &mut stage.value.from.value {
            move_image(image, &moved);
        }
        for source in stage.value.steps.iter_mut().flat_map(|step| step.value.file_sources_mut()) {
            match source {
                FileSource::Image(image) => move_image(image, &moved),
                FileSource::Context(_) | FileSource::Stage(_) => {}
            }
        }
    }
}

/// Front ends write the paths of images out: they hold no references.
fn move_image(image: &mut ImageSource, moved: &dyn Fn(&str) -> String) {
    let path: &mut Text = match image {
        ImageSource::Registry(_) => return,
        ImageSource::Layout { path, tag: _ } | ImageSource::Tar { path } => path,
    };
    if let Some(text) = path.as_literal() {
        path.value = Template::literal(moved(text));
    }
}

/// The way from one absolute directory to another.
fn relative(from: &Path, to: &Path) -> String {
    let (from, to) = (plain(from), plain(to));
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - shared);
    let parts: Vec<String> = up.chain(to.into_iter().skip(shared)).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// The names of a path, `..` carried out.
fn plain(path: &Path) -> Vec<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_where_the_spec_is() {
        for (from, to, expected) in [("/a/b", "/a/b", "."), ("/a/b", "/a/b/c", "c"), ("/a/b", "/a/c/d", "../c/d"), ("/a", "/a/b/../c", "c")]
        {
            assert_eq!(relative(Path::new(from), Path::new(to)), expected, "{from} {to}");
        }
    }
}
