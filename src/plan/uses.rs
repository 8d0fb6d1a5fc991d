//! A stage → all that it takes from elsewhere, in the order of its steps. The one place that walks a stage for that.

use crate::spec::{
    Archive, Base, Copy, Download, Extract, Fetch, FetchSource, FileSource, Git, ImageSource, Mount, Name, Run, Spanned, Stage, Verb,
};

/// Something that a stage takes from elsewhere.
pub(super) enum Use<'s> {
    /// Another stage.
    Stage(&'s Spanned<Name>),
    /// An image.
    Image(&'s ImageSource),
    /// A download.
    Download(&'s Download),
    /// A git repository.
    Git(&'s Git),
}

/// What for: words that go before the stage's name.
pub(super) type Purpose = &'static str;

/// Everything that a stage takes from elsewhere.
pub(super) fn of(stage: &Stage) -> Vec<(Use<'_>, Purpose)> {
    let mut uses = Vec::new();
    match &stage.from.value {
        Base::Scratch => {}
        Base::Stage(name) => uses.push((Use::Stage(name), "the base of")),
        Base::Image(image) => uses.push((Use::Image(image), "the base of")),
    }
    for step in &stage.steps {
        match &step.value.verb {
            Verb::Run(Run { mounts, .. }) => uses.extend(mounts.iter().filter_map(of_mount)),
            Verb::Copy(Copy { from, .. }) => uses.extend(from.as_ref().and_then(|from| of_files(from, "copied from in"))),
            Verb::Extract(Extract { archive: Archive::File { from, .. }, .. }) => {
                uses.extend(from.as_ref().and_then(|from| of_files(from, "unpacked from in")));
            }
            Verb::Extract(Extract { archive: Archive::Url(download), .. }) => uses.push((Use::Download(download), "unpacked in")),
            Verb::Fetch(Fetch { source: FetchSource::Url(download), .. }) => uses.push((Use::Download(download), "fetched in")),
            Verb::Fetch(Fetch { source: FetchSource::Git(git), .. }) => uses.push((Use::Git(git), "fetched in")),
            Verb::Write(_) | Verb::Link(_) | Verb::MakeDirectory(_) | Verb::Remove(_) | Verb::Setting(_) => {}
        }
    }
    uses
}

fn of_mount(mount: &Spanned<Mount>) -> Option<(Use<'_>, Purpose)> {
    match &mount.value {
        Mount::From { from, .. } => of_files(from, "mounted in"),
        Mount::Cache { from, .. } => from.as_ref().and_then(|from| of_files(from, "mounted in")),
        Mount::Secret { .. } | Mount::SecretEnv { .. } | Mount::Ssh { .. } | Mount::Tmpfs { .. } => None,
    }
}

fn of_files<'s>(from: &'s Spanned<FileSource>, purpose: Purpose) -> Option<(Use<'s>, Purpose)> {
    match &from.value {
        FileSource::Context(_) => None,
        FileSource::Stage(name) => Some((Use::Stage(name), purpose)),
        FileSource::Image(image) => Some((Use::Image(image), purpose)),
    }
}
