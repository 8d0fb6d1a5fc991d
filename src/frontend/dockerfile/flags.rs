//! The flags of an instruction: read by name, and what nobody asked for is reported.

use super::diagnostics as say;
use super::located::Located;
use super::split::Flag;
use crate::diagnostic::Diagnostic;

/// Flags that are still to be read.
pub(super) struct Flags {
    keyword: &'static str,
    left: Vec<Flag>,
    known: Vec<&'static str>,
}

impl Flags {
    pub(super) fn new(keyword: &'static str, flags: Vec<Flag>) -> Flags {
        Flags { keyword, left: flags, known: Vec::new() }
    }

    fn take(&mut self, name: &'static str) -> Vec<Flag> {
        self.known.push(name);
        let (found, left) = self.left.drain(..).partition(|flag| flag.name == name);
        self.left = left;
        found
    }

    /// All that stands behind `--NAME=`.
    pub(super) fn values(&mut self, name: &'static str, report: &mut dyn FnMut(Diagnostic)) -> Vec<Located> {
        let mut values = Vec::new();
        for flag in self.take(name) {
            match flag.value {
                Some(value) => values.push(value),
                None => report(say::bad_flag(flag.whole.whole(), name, &format!("expected a value, `--{name}=…`"))),
            }
        }
        values
    }

    /// What stands behind `--NAME=`, which can stand once.
    pub(super) fn value(&mut self, name: &'static str, report: &mut dyn FnMut(Diagnostic)) -> Option<Located> {
        let mut values = self.values(name, report).into_iter();
        let first = values.next();
        if let Some(second) = values.next() {
            report(say::bad_flag(second.whole(), name, "it can stand once"));
        }
        first
    }

    /// `--NAME`, `--NAME=true` or `--NAME=false`.
    pub(super) fn switch(&mut self, name: &'static str, report: &mut dyn FnMut(Diagnostic)) -> Option<bool> {
        let mut said = None;
        for flag in self.take(name) {
            let on = match flag.value.as_ref().map(|value| value.as_str().to_ascii_lowercase()).as_deref() {
                None | Some("true") => true,
                Some("false") => false,
                Some(_) => {
                    report(say::bad_flag(flag.whole.whole(), name, "expected `true` or `false`"));
                    continue;
                }
            };
            if said.is_some() {
                report(say::bad_flag(flag.whole.whole(), name, "it can stand once"));
            }
            said = Some(on);
        }
        said
    }

    /// Reports what is left.
    pub(super) fn finish(self, report: &mut dyn FnMut(Diagnostic)) {
        for flag in self.left {
            report(say::unknown_flag(flag.whole.whole(), self.keyword, &flag.name, &self.known));
        }
    }
}
