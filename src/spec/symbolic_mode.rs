//! `u=rwX,go=rX` → changes of permission bits, as chmod(1) makes them with a umask of 022.
//!
//! POSIX.1-2017, chmod, "Extended Description". `X` looks at the bits from before any change.

use std::fmt;

/// What nobody but the owner is given where a clause does not say who.
const UMASK: u16 = 0o022;

const SET_USER_ID: u16 = 0o4000;
const SET_GROUP_ID: u16 = 0o2000;
const STICKY: u16 = 0o1000;
const ANY_EXECUTE: u16 = 0o111;

/// Changes of permission bits, in order; at least one clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolicMode {
    clauses: Vec<Clause>,
}

/// Something such as `go-w+x`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    /// Empty where the clause does not say; each at most once, in the order of [`Class`].
    who: Vec<Class>,
    actions: Vec<Action>,
}

/// Whose bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    User,
    Group,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Action {
    sign: Sign,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Letters of `rwxXst`, each at most once, in this order.
    Letters(Vec<char>),
    /// Those of another class.
    Of(Class),
}

/// The letters of permissions, in the order in which they are written.
const LETTERS: [char; 6] = ['r', 'w', 'x', 'X', 's', 't'];

impl Class {
    const ALL: [Class; 3] = [Class::User, Class::Group, Class::Other];

    const fn letter(self) -> char {
        match self {
            Class::User => 'u',
            Class::Group => 'g',
            Class::Other => 'o',
        }
    }

    /// How far its three bits are from the right.
    const fn shift(self) -> u16 {
        match self {
            Class::User => 6,
            Class::Group => 3,
            Class::Other => 0,
        }
    }

    /// The bits that belong to it.
    const fn bits(self) -> u16 {
        match self {
            Class::User => 0o700 | SET_USER_ID,
            Class::Group => 0o070 | SET_GROUP_ID,
            Class::Other => 0o007,
        }
    }
}

impl SymbolicMode {
    /// Reads clauses with commas between them: `[ugoa…]` and then, once or more, `+`, `-` or `=` with letters of `rwxXst` or one of `u`,
    /// `g` and `o`. `None` where the text is nothing of the sort.
    #[must_use]
    pub fn parse(text: &str) -> Option<SymbolicMode> {
        let clauses = text.split(',').map(clause).collect::<Option<Vec<Clause>>>()?;
        Some(SymbolicMode { clauses })
    }

    /// The permission bits that come of `mode`, of which only the lower twelve bits count.
    #[must_use]
    pub fn apply(&self, mode: u16, directory: Directory) -> u16 {
        let before = mode & 0o7777;
        let searchable = before & ANY_EXECUTE != 0 || directory == Directory::Yes;
        self.clauses.iter().flat_map(|clause| clause.actions.iter().map(move |action| (clause, action))).fold(
            before,
            |now, (Clause { who, actions: _ }, Action { sign, what })| {
                let named = who.iter().fold(0, |bits, class| bits | class.bits());
                let (all, allowed) = match who.as_slice() {
                    [] => (0o777 | SET_USER_ID | SET_GROUP_ID, 0o7777 & !UMASK),
                    _ => (named, named),
                };
                let (cleared, bits) = match what {
                    What::Letters(letters) => {
                        // The sticky bit belongs to nobody, and is changed where it is named.
                        let sticky = if letters.contains(&'t') && *who != [Class::Other] { STICKY } else { 0 };
                        let bits = letters.iter().fold(0, |bits, letter| bits | bits_of(*letter, searchable));
                        (all | sticky, (bits & allowed & !STICKY) | sticky)
                    }
                    What::Of(class) => {
                        let three = (now >> class.shift()) & 0o7;
                        (all & 0o777, (three << 6 | three << 3 | three) & allowed & all)
                    }
                };
                match sign {
                    Sign::Add => now | bits,
                    Sign::Remove => now & !bits,
                    Sign::Set => (now & !cleared) | bits,
                }
            },
        )
    }
}

/// Whether something is a directory, which `X` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory {
    /// It is one.
    Yes,
    /// It is something else.
    No,
}

fn bits_of(letter: char, searchable: bool) -> u16 {
    match letter {
        'r' => 0o444,
        'w' => 0o222,
        'x' => ANY_EXECUTE,
        'X' if searchable => ANY_EXECUTE,
        's' => SET_USER_ID | SET_GROUP_ID,
        _ => 0,
    }
}

fn clause(text: &str) -> Option<Clause> {
    let signs = text.find(['+', '-', '='])?;
    let (who, mut rest) = text.split_at(signs);
    if !who.chars().all(|letter| "ugoa".contains(letter)) {
        return None;
    }
    let who = Class::ALL.into_iter().filter(|class| who.contains(class.letter()) || who.contains('a')).collect();
    let mut actions = Vec::new();
    while let Some(first) = rest.chars().next() {
        let sign = match first {
            '+' => Sign::Add,
            '-' => Sign::Remove,
            _ => Sign::Set,
        };
        let behind = &rest[1..];
        let (letters, next) = behind.split_at(behind.find(['+', '-', '=']).unwrap_or(behind.len()));
        let copied = Class::ALL.into_iter().find(|class| letters.chars().eq([class.letter()]));
        let what = match copied {
            Some(class) => What::Of(class),
            None if letters.chars().all(|letter| LETTERS.contains(&letter)) => {
                What::Letters(LETTERS.into_iter().filter(|letter| letters.contains(*letter)).collect())
            }
            None => return None,
        };
        actions.push(Action { sign, what });
        rest = next;
    }
    Some(Clause { who, actions })
}

/// As [`SymbolicMode::parse`] reads it.
impl fmt::Display for SymbolicMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Clause { who, actions }) in self.clauses.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            who.iter().try_for_each(|class| write!(f, "{}", class.letter()))?;
            for Action { sign, what } in actions {
                f.write_str(match sign {
                    Sign::Add => "+",
                    Sign::Remove => "-",
                    Sign::Set => "=",
                })?;
                match what {
                    What::Letters(letters) => letters.iter().try_for_each(|letter| write!(f, "{letter}"))?,
                    What::Of(class) => write!(f, "{}", class.letter())?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bits_are_changed_as_chmod_changes_them() {
        for (text, before, after) in [
            ("u=rwX,go=rX", 0o600, 0o644),
            ("u=rwX,go=rX", 0o711, 0o755),
            ("a+x", 0o644, 0o755),
            ("+x", 0o600, 0o711),
            ("+w", 0o444, 0o644),
            ("=rw", 0o6777, 0o644),
            ("go-w", 0o666, 0o644),
            ("go=", 0o755, 0o700),
            ("g=u", 0o640, 0o660),
            ("g=u-w", 0o770, 0o750),
            ("u+s,g+s", 0o755, 0o6755),
            ("+t", 0o755, 0o1755),
            ("o+t", 0o755, 0o755),
            ("o+s", 0o755, 0o755),
            ("a-x,a+X", 0o755, 0o755),
            ("a+X", 0o644, 0o644),
            ("u=rwx", 0o4755, 0o755),
            ("u+r-w+x", 0o200, 0o500),
            ("+", 0o123, 0o123),
        ] {
            let mode = SymbolicMode::parse(text).unwrap();
            assert_eq!(mode.apply(before, Directory::No), after, "{text} of {before:o}");
        }
        let search = SymbolicMode::parse("a+X").unwrap();
        assert_eq!(search.apply(0o644, Directory::Yes), 0o755);
    }

    #[test]
    fn what_is_no_symbolic_mode_is_refused() {
        for bad in ["", "u", "0755", "u=rwz", "x+r", "u=rwx,", ",u=r", "u=gr", "u=rg", "u = r", "keep", "=0644"] {
            assert_eq!(SymbolicMode::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(text in "[ugoa]{0,4}([-+=]([rwxXst]{0,7}|[ugo])){1,3}(,[ugoa]{0,4}[-+=][rwxXst]{0,3}){0,2}", mode: u16) {
            let parsed = SymbolicMode::parse(&text).unwrap();
            prop_assert_eq!(SymbolicMode::parse(&parsed.to_string()), Some(parsed.clone()));
            prop_assert!(parsed.apply(mode, Directory::No) <= 0o7777);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = SymbolicMode::parse(&text);
        }
    }
}
