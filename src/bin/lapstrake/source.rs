//! The words of the command line → the text that says what to build, its language, and where its build context is.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::args;
use crate::exit::Failure;
use crate::{remote, text};

/// The languages in which a build can be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A lapstrake.toml.
    Toml,
    /// A Dockerfile, by whatever name.
    Dockerfile,
    /// A Compose file.
    Compose,
}

/// What files of these names in a directory are, the one to take first in front.
const NAMES: [(&str, Kind); 8] = [
    ("lapstrake.toml", Kind::Toml),
    ("Dockerfile", Kind::Dockerfile),
    ("Containerfile", Kind::Dockerfile),
    ("dockerfile", Kind::Dockerfile),
    ("compose.yaml", Kind::Compose),
    ("compose.yml", Kind::Compose),
    ("docker-compose.yaml", Kind::Compose),
    ("docker-compose.yml", Kind::Compose),
];

/// A text that was read.
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// `None` for standard input.
    pub(crate) file: Option<PathBuf>,
    /// What messages call it.
    pub(crate) name: String,
    pub(crate) text: String,
    /// What its paths are relative to: where it is; the current directory for standard input. Absolute.
    pub(crate) directory: PathBuf,
    pub(crate) context: Context,
}

/// The default build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Context {
    /// The one that the spec names.
    OfSpec,
    /// This directory. Absolute.
    Directory(PathBuf),
    /// There is none: the text came from standard input, alone.
    Nothing,
}

/// Finds and reads what `SPEC` and `--file` mean.
pub(crate) fn read(arguments: &args::Project) -> Result<Source, Failure> {
    let spec = arguments.spec.as_deref();
    if let Some(text) = spec.and_then(Path::to_str).filter(|text| is_remote(text)) {
        return Err(Failure::usage(format!(
            "`{text}` is no git repository (its address ends in `.git`); download it and name the directory"
        )));
    }
    match (arguments.file.as_deref(), spec) {
        (None, Some(path)) if path == Path::new("-") => of_standard_input(Context::Nothing),
        (None, path) => {
            let path = path.unwrap_or(Path::new("."));
            if path.is_dir() { of_directory(path) } else { of_file(path, None) }
        }
        (Some(file), Some(directory)) if !directory.is_dir() => Err(Failure::usage(if directory == Path::new("-") {
            "a build context is not read from standard input; unpack it, and name the directory".to_owned()
        } else {
            format!("beside `--file {}` SPEC is the directory of the build context, and `{}` is none", file.display(), directory.display())
        })),
        (Some(file), None) if file == Path::new("-") => of_standard_input(Context::Nothing),
        (Some(file), Some(directory)) if file == Path::new("-") => of_standard_input(Context::Directory(absolute(directory)?)),
        (Some(file), directory) => {
            if !file.exists()
                && let Some(inside) = directory.map(|directory| directory.join(file)).filter(|inside| inside.is_file())
            {
                return Err(Failure::usage(format!(
                    "there is no `{}` in the current directory, which `--file` is relative to; did you mean `--file {}`?",
                    file.display(),
                    inside.display()
                )));
            }
            if file.is_dir() {
                return Err(Failure::usage(format!("`--file {}` is a directory; name a file", file.display())));
            }
            of_file(file, Some(directory))
        }
    }
}

/// Finds and reads what a repository holds that was fetched to `root`: its Dockerfile, with all of the repository for its context.
pub(crate) fn of_repository(root: &Path, file: Option<&Path>) -> Result<Source, Failure> {
    let found = match file {
        Some(file) => Some(file),
        None => NAMES.iter().map(|(name, _)| Path::new(*name)).find(|name| root.join(name).is_file()),
    };
    let Some(file) = found else {
        return Err(Failure::usage("there is no Dockerfile in the repository; name one by `--file`"));
    };
    let path = remote::inside(root, file)?;
    let source = of_file(&path, Some(Some(root)))?;
    match source.kind {
        Kind::Dockerfile => Ok(Source { name: file.display().to_string(), ..source }),
        // What is written there may name any directory of this machine; a Dockerfile has its context and no more.
        Kind::Toml | Kind::Compose => Err(Failure::usage(format!(
            "`{}` is taken from no repository that is fetched for it, since it may name directories of this machine; clone it and look",
            file.display()
        ))),
    }
}

/// Whether there is one in the current directory.
pub(crate) fn is_here() -> bool {
    NAMES.iter().any(|(name, _)| Path::new(name).is_file())
}

/// What Docker would fetch by itself.
fn is_remote(text: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|start| text.starts_with(start))
}

fn of_directory(directory: &Path) -> Result<Source, Failure> {
    let here = directory == Path::new(".");
    let found = NAMES.iter().map(|(name, _)| directory.join(name)).find(|file| file.is_file());
    let Some(file) = found else {
        return Err(Failure::usage(format!(
            "there is no lapstrake.toml, Dockerfile or compose.yaml in {}; write a spec with `lapstrake init`, or name one",
            if here { "this directory".to_owned() } else { format!("`{}`", directory.display()) }
        )));
    };
    of_file(if here { file.strip_prefix(".").unwrap_or(&file) } else { &file }, None)
}

/// `context` is there when the file was named by `--file`, beside a directory or alone.
fn of_file(file: &Path, context: Option<Option<&Path>>) -> Result<Source, Failure> {
    let text = text_of(file)?;
    let kind = kind(file, &text);
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let directory = absolute(parent)?;
    let context = match (kind, context) {
        (Kind::Toml | Kind::Compose, None | Some(None)) => Context::OfSpec,
        (Kind::Dockerfile, None) => Context::Directory(directory.clone()),
        (Kind::Dockerfile, Some(None)) => Context::Directory(absolute(Path::new("."))?),
        (_, Some(Some(given))) => Context::Directory(absolute(given)?),
    };
    Ok(Source { kind, file: Some(file.to_path_buf()), name: file.display().to_string(), text, directory, context })
}

fn of_standard_input(context: Context) -> Result<Source, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| Failure::world(format!("cannot read standard input: {error}")))?;
    let name = "<standard input>".to_owned();
    let text = utf8(bytes, &name)?;
    let kind = guess(&text);
    Ok(Source { kind, file: None, name, text, directory: absolute(Path::new("."))?, context })
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::world(format!("{}: {error}", path.display())))
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let bytes = text::of_any(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Failure::usage(format!("there is no `{}`", path.display()))
        } else {
            Failure::world(format!("cannot read `{}`: {error}", path.display()))
        }
    })?;
    utf8(bytes, &format!("`{}`", path.display()))
}

fn utf8(bytes: Vec<u8>, name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("{name} is not UTF-8 text: byte {at} is no part of a character"))
    })
}

/// By the name; by the text where the name says nothing.
fn kind(file: &Path, text: &str) -> Kind {
    let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let is_dockerfile = |word: &str| name == word || name.starts_with(&format!("{word}.")) || name.ends_with(&format!(".{word}"));
    if name.ends_with(".toml") {
        Kind::Toml
    } else if is_dockerfile("dockerfile") || is_dockerfile("containerfile") {
        Kind::Dockerfile
    } else if name.ends_with(".yaml") || name.ends_with(".yml") {
        Kind::Compose
    } else {
        guess(text)
    }
}

/// By the first line that is no comment: `FROM` or `ARG` begins a Dockerfile, `word:` a Compose file.
fn guess(text: &str) -> Kind {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if ["from", "arg"].contains(&word.to_lowercase().as_str()) && !rest.trim_start().starts_with('=') {
        Kind::Dockerfile
    } else if word.ends_with(':') {
        Kind::Compose
    } else {
        Kind::Toml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_language_and_the_text_does_where_they_do_not() {
        for (name, text, expected) in [
            ("lapstrake.toml", "", Kind::Toml),
            ("other.toml", "FROM x", Kind::Toml),
            ("Dockerfile", "", Kind::Dockerfile),
            ("dockerfile.prod", "", Kind::Dockerfile),
            ("web.Dockerfile", "spec = 1", Kind::Dockerfile),
            ("Containerfile", "", Kind::Dockerfile),
            ("compose.yaml", "", Kind::Compose),
            ("docker-compose.override.yml", "", Kind::Compose),
            ("build", "# syntax=x\n\nfrom scratch\n", Kind::Dockerfile),
            ("build", "ARG A=1\nFROM x", Kind::Dockerfile),
            ("build", "# a\nspec = 1\n", Kind::Toml),
            ("build", "args = { a = \"1\" }", Kind::Toml),
            ("build", "arg = 1", Kind::Toml),
            ("build", "services:\n  a:\n", Kind::Compose),
            ("build", "", Kind::Toml),
        ] {
            assert_eq!(kind(Path::new(name), text), expected, "{name} {text:?}");
        }
    }
}
