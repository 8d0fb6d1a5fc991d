//! What a step says of modes, and what is there → the mode that arrives.

use crate::plan::{ModeRule, SymbolicDirectory};
use crate::tree::Modes;

/// What has the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Directory,
    File,
    /// A device or a pipe.
    Special,
}

/// The mode with which something arrives; `normal` is what the step's usual rule makes of it.
pub(super) fn arriving(rule: &ModeRule, normal: Modes, sort: Sort, mode: u16) -> u16 {
    let modes = match rule {
        ModeRule::Normal => normal,
        ModeRule::Keep => Modes::Keep,
        ModeRule::Set(bits) => Modes::Set(*bits),
        ModeRule::Exactly(bits) => return *bits,
        ModeRule::Symbolic(changes) => {
            return changes.apply(mode, if sort == Sort::Directory { SymbolicDirectory::Yes } else { SymbolicDirectory::No });
        }
    };
    match sort {
        Sort::Directory => modes.of_directory(mode),
        Sort::File => modes.of_file(mode),
        Sort::Special => modes.of_special(mode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SymbolicMode;

    #[test]
    fn exact_bits_are_for_directories_too_and_changes_are_of_what_is_there() {
        let run = |rule: &ModeRule, sort, mode| arriving(rule, Modes::ByExecuteBit, sort, mode);
        assert_eq!(run(&ModeRule::Set(0o644), Sort::Directory, 0o700), 0o755);
        assert_eq!(run(&ModeRule::Exactly(0o644), Sort::Directory, 0o700), 0o644);
        assert_eq!(run(&ModeRule::Exactly(0o4755), Sort::File, 0o600), 0o4755);
        let symbolic = ModeRule::Symbolic(SymbolicMode::parse("u=rwX,go=rX").unwrap());
        assert_eq!(run(&symbolic, Sort::Directory, 0o700), 0o755);
        assert_eq!(run(&symbolic, Sort::File, 0o600), 0o644);
        assert_eq!(run(&symbolic, Sort::File, 0o700), 0o755);
        assert_eq!(run(&ModeRule::Normal, Sort::File, 0o600), 0o644);
    }
}
