//! `lapstrake convert`: a Dockerfile or a Compose file as a `lapstrake.toml`.

use std::io::Write;
use std::path::{Component, Path, PathBuf};

use lapstrake::frontend::convert::{Manner, to_toml};
use lapstrake::frontend::dockerfile::Purpose;
use lapstrake::spec::{Name, Spanned};

use crate::args;
use crate::exit::{Failure, print};
use crate::machine::Machine;
use crate::project::{Project, Reading};
use crate::source::Kind;

/// Larger files are not looked into.
const MOST_BYTES: u64 = 1 << 20;

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
    let manner = if arguments.exact { Manner::Exact } else { Manner::Idiomatic };
    let text = to_toml(&project.spec, &project.sources, manner, &|context, path| read(&project, &place, context, path));
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

/// A regular file of a context.
fn read(project: &Project, place: &Path, context: Option<&Name>, path: &str) -> Option<Vec<u8>> {
    let key = context.map_or("", Name::as_str);
    let said = match context {
        None => project.spec.context.as_ref().map_or(".", |context| context.value.as_str()),
        Some(name) => project.spec.contexts.get(name).map_or(".", |context| context.value.path.value.as_str()),
    };
    let directory: PathBuf = project.contexts.get(key).cloned().unwrap_or_else(|| place.join(said));
    let file = directory.join(path.trim_start_matches('/'));
    let metadata = std::fs::symlink_metadata(&file).ok()?;
    if metadata.is_file() && metadata.len() <= MOST_BYTES { std::fs::read(&file).ok() } else { None }
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
