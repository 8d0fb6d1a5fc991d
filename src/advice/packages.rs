//! A command → what it does with packages of the system.

use super::script::{Command, Word};

/// Package managers of systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Manager {
    Apt,
    Apk,
    Dnf,
    Pacman,
    Zypper,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// The lists of what there is are loaded.
    Update,
    Install,
    Remove,
    /// What was kept is removed.
    Clean,
    Other,
}

/// A use of a package manager.
#[derive(Debug, Clone)]
pub(super) struct Use<'c> {
    /// The program as it is called.
    pub(super) program: &'c str,
    pub(super) manager: Manager,
    pub(super) deed: Deed,
    /// The word that says what to do.
    pub(super) verb: Option<&'c Word>,
    /// The words that are no options, without the one that says what to do.
    pub(super) packages: Vec<&'c Word>,
    pub(super) options: Vec<&'c Word>,
}

/// The package manager that a program belongs to.
pub(super) fn manager(program: &str) -> Option<Manager> {
    match program {
        "apt" | "apt-get" | "aptitude" => Some(Manager::Apt),
        "apk" => Some(Manager::Apk),
        "dnf" | "microdnf" | "yum" => Some(Manager::Dnf),
        "pacman" => Some(Manager::Pacman),
        "zypper" => Some(Manager::Zypper),
        _ => None,
    }
}

/// Options whose value is the next word.
const WITH_VALUE: &[&str] =
    &["-o", "-c", "-t", "--option", "--target-release", "--virtual", "-X", "--repository", "-p", "--root", "--setopt", "--enablerepo"];

impl<'c> Use<'c> {
    /// `None` for a command that is no package manager.
    pub(super) fn of(command: &'c Command) -> Option<Use<'c>> {
        let (program, arguments) = command.program()?;
        let manager = manager(program)?;
        let (mut options, mut words) = (Vec::new(), Vec::new());
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            if word.text.starts_with('-') {
                options.push(word);
                if WITH_VALUE.contains(&word.text.as_str()) {
                    rest.next();
                }
            } else {
                words.push(word);
            }
        }
        let verb: Option<&Word> = if words.is_empty() || manager == Manager::Pacman { None } else { Some(words.remove(0)) };
        let has = |letters: &str| options.iter().any(|option| option.text.starts_with(letters));
        let deed = match (manager, verb.map(|verb| verb.text.as_str())) {
            (Manager::Pacman, _) if has("-S") || has("--sync") => Deed::Install,
            (Manager::Pacman, _) if has("-R") || has("--remove") => Deed::Remove,
            (Manager::Pacman, _) => Deed::Other,
            (_, Some("update" | "makecache" | "refresh" | "ref")) => Deed::Update,
            (_, Some("install" | "add" | "in")) => Deed::Install,
            (_, Some("remove" | "purge" | "autoremove" | "auto-remove" | "del" | "erase" | "rm")) => Deed::Remove,
            (_, Some("clean" | "distclean" | "dist-clean" | "autoclean")) => Deed::Clean,
            (_, Some(_) | None) => Deed::Other,
        };
        Some(Use { program, manager, deed, verb, packages: words, options })
    }

    /// The word that says what to do.
    pub(super) fn verb_text(&self) -> Option<&'c str> {
        self.verb.and_then(Word::known)
    }

    /// Whether an option stands there.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|word| word.text == option)
    }
}

/// Packages that nothing needs to run.
const BUILD_ONLY: &[&str] = &[
    "autoconf",
    "automake",
    "bison",
    "build-base",
    "build-essential",
    "clang",
    "cmake",
    "cpp",
    "flex",
    "g++",
    "gcc",
    "gfortran",
    "libtool",
    "make",
    "meson",
    "musl-dev",
    "ninja-build",
    "patch",
    "pkg-config",
    "pkgconf",
];

/// Whether a package is needed to build and not to run. A version behind `=` does not count.
pub(super) fn is_build_only(package: &str) -> bool {
    let name = package.split(['=', '~', '<', '>']).next().unwrap_or(package);
    let version_of_compiler = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    };
    BUILD_ONLY.contains(&name)
        || name.ends_with("-dev")
        || name.ends_with("-devel")
        || version_of_compiler("gcc-")
        || version_of_compiler("g++-")
        || version_of_compiler("clang-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::script::commands;
    use crate::spec::Template;

    #[test]
    fn what_is_done_with_packages_is_told_past_options() {
        for (script, deed, packages) in [
            ("apt-get update -qq", Deed::Update, vec![]),
            ("sudo apt-get -o A=b install -y --no-install-recommends gcc libpq-dev=1", Deed::Install, vec!["gcc", "libpq-dev=1"]),
            ("apk add --no-cache --virtual .build gcc", Deed::Install, vec!["gcc"]),
            ("apk del .build", Deed::Remove, vec![".build"]),
            ("microdnf install x && :", Deed::Install, vec!["x"]),
            ("yum clean all", Deed::Clean, vec!["all"]),
            ("pacman -Syu --noconfirm gcc", Deed::Install, vec!["gcc"]),
        ] {
            let found = commands(&Template::literal(script));
            let used = Use::of(&found[0]).unwrap();
            let words: Vec<&str> = used.packages.iter().map(|word| word.text.as_str()).collect();
            assert_eq!((used.deed, words), (deed, packages), "{script}");
        }
        assert!(Use::of(&commands(&Template::literal("apt-cache search x"))[0]).is_none());
    }

    #[test]
    fn packages_for_building_are_known_by_their_names() {
        for package in ["gcc", "g++-12", "libpq-dev=15", "openssl-devel", "build-essential"] {
            assert!(is_build_only(package), "{package}");
        }
        for package in ["libpq5", "gcc-12-base", "libgcc-s1", "device-tree", "makepasswd", "g++x"] {
            assert!(!is_build_only(package), "{package}");
        }
    }
}
