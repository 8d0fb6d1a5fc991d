//! Variables of a Dockerfile that nothing sets, neither the file nor the base.

use std::collections::BTreeSet;

use super::base::lacks;
use super::diagnostics as say;
use super::{Advisor, Language};
use crate::diagnostic::Diagnostic;
use crate::spec::{Absent, Name, Operator, Piece, Referent, Setting, Step, Template, Verb};

pub(super) fn look(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    // In a lapstrake.toml such a variable is an error, once the base is known.
    if advisor.facts.language == Language::Toml {
        return;
    }
    for view in &advisor.stages {
        let Some(base) = view.root.as_deref() else { continue };
        let mut said = BTreeSet::new();
        for template in view.stage.steps.iter().filter_map(|step| words(&step.value)) {
            for piece in template.pieces() {
                let Piece::Reference(reference) = piece else { continue };
                let Referent::Env(name) = &reference.referent else { continue };
                if !is_plain(reference.operator.as_ref()) || view.variables.contains(name.as_str()) || !lacks(base, name) {
                    continue;
                }
                if said.insert(name) {
                    let known = view.variables.iter().copied().chain(advisor.spec.args.keys().map(Name::as_str));
                    found.push(say::undeclared(reference.span, name, base, known));
                }
            }
        }
    }
}

/// The words of an instruction, as its history has them. Those of a RUN are the shell's.
fn words(step: &Step) -> Option<&Template> {
    match &step.verb {
        Verb::Setting(Setting::History(text)) => Some(&text.value),
        Verb::Run(_) => None,
        Verb::Copy(_)
        | Verb::Write(_)
        | Verb::Fetch(_)
        | Verb::Extract(_)
        | Verb::Link(_)
        | Verb::MakeDirectory(_)
        | Verb::Remove(_)
        | Verb::Setting(Setting::Env(_) | Setting::Workdir { .. } | Setting::User(_) | Setting::Shell(_)) => {
            step.history.as_ref().map(|history| &history.value)
        }
    }
}

/// `$NAME`, which is nothing where it is not set.
fn is_plain(operator: Option<&Operator>) -> bool {
    match operator {
        None => true,
        Some(Operator::Default { absent: Absent::Unset, word }) => word.pieces().is_empty(),
        Some(
            Operator::Default { absent: Absent::UnsetOrEmpty, .. }
            | Operator::Alternative { .. }
            | Operator::Require { .. }
            | Operator::TrimPrefix { .. }
            | Operator::TrimSuffix { .. }
            | Operator::Replace { .. },
        ) => false,
    }
}
