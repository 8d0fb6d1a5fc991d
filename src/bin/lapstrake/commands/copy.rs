//! `lapstrake copy`, `pull` and `push`: images as they are, from one place to another.

use std::sync::Arc;

use lapstrake::cache::Digest;
use lapstrake::image::Reference;
use lapstrake::operate::{self, Copied, CopyError, Hands, Others, Place, Selection};
use lapstrake::output::{Part, Sources, TagOutcome, WriteError};
use serde_json::json;

use crate::args;
use crate::commands::build::TRANSFERS;
use crate::commands::inspect::{place, platform};
use crate::exit::{Failure, chain, print};
use crate::machine::Machine;
use crate::progress;

pub(crate) fn copy(machine: &Machine, arguments: &args::Copy) -> Result<(), Failure> {
    let (from, to) = (place(&arguments.from)?, place(&arguments.to)?);
    if arguments.merge && !matches!(to, Place::Registry(_)) {
        return Err(Failure::usage(format!("`--merge` adds to an index in a registry, and `{to}` is none")));
    }
    let selection = selection(&arguments.selected)?;
    let copied = with_hands(machine, |hands| operate::copy(&from, &to, &selection, others(arguments.merge), hands))?;
    print(&shown(&copied, &[to.to_string()], arguments.json))
}

pub(crate) fn push(machine: &Machine, arguments: &args::Push) -> Result<(), Failure> {
    let parse = |text: &String| text.parse().map_err(|error: lapstrake::image::InvalidReference| Failure::usage(error.to_string()));
    let to = arguments.to.iter().map(parse).collect::<Result<Vec<Reference>, Failure>>()?;
    let (from, selection) = (place(&arguments.image)?, selection(&arguments.selected)?);
    let copied = with_hands(machine, |hands| operate::push_from(&from, &to, &selection, others(arguments.merge), hands))?;
    print(&shown(&[copied], &[], arguments.json))
}

pub(crate) fn pull(machine: &Machine, arguments: &args::Pull) -> Result<(), Failure> {
    let from = place(&arguments.image)?;
    if !matches!(from, Place::Registry(_)) {
        return Err(Failure::usage(format!("`{from}` is in no registry; `lapstrake copy` copies it")));
    }
    let selection = selection(&arguments.selected)?;
    let targets = arguments.outputs.iter().map(|text| place(text)).collect::<Result<Vec<Place>, Failure>>()?;
    if let Some(Place::Registry(registry)) = targets.iter().find(|target| matches!(target, Place::Registry(_))) {
        return Err(Failure::usage(format!(
            "`--output {registry}`: expected oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]; `lapstrake copy` copies from registry to registry"
        )));
    }
    if targets.is_empty() {
        let copied = with_hands(machine, |hands| into_store(&from, &selection, hands))?;
        return print(&shown(&copied, &[], arguments.json));
    }
    let copied = with_hands(machine, |hands| operate::copy_to_all(&from, &targets, &selection, Others::Replaced, hands))?;
    let written: Vec<String> = targets.iter().map(ToString::to_string).collect();
    print(&shown(&copied, &written, arguments.json))
}

/// Brings everything behind a name into the store, where it is found by its digest.
fn into_store(from: &Place, selection: &Selection, hands: &Hands<'_>) -> Result<Vec<Copied>, CopyError> {
    let gathered = operate::gather(from, selection, hands.registry, hands.cancel)?;
    let sources = Sources { here: &gathered, registry: hands.registry, cancel: hands.cancel };
    let mut copied = Vec::new();
    for image in &gathered.images {
        for part in &image.bundle.blobs {
            keep(part, &sources, hands)?;
        }
        for text in image.bundle.texts() {
            hands.scratch.put_blob(&text.bytes).map_err(WriteError::Store)?;
        }
        copied.push(Copied { digest: image.bundle.root.descriptor.digest, pushed: Vec::new() });
    }
    Ok(copied)
}

fn keep(part: &Part, sources: &Sources<'_>, hands: &Hands<'_>) -> Result<(), CopyError> {
    let digest: Digest = part.descriptor.digest;
    if hands.scratch.blob(&digest).map_err(WriteError::Store)?.is_some() {
        return Ok(());
    }
    let unreadable = |source| WriteError::Blob { digest, source };
    let mut sink = hands.scratch.new_blob().map_err(WriteError::Store)?;
    std::io::copy(&mut sources.open(part).map_err(unreadable)?, &mut sink).map_err(unreadable)?;
    sink.finish_expecting(&digest, Some(part.descriptor.size)).map_err(WriteError::Store)?;
    Ok(())
}

/// Does something with the handles that a copy needs.
fn with_hands<T>(machine: &Machine, work: impl FnOnce(&Hands<'_>) -> Result<T, CopyError>) -> Result<T, Failure> {
    let events = progress::sink(args::Progress::Auto, &machine.surroundings);
    let (store, registry) = (machine.store()?, machine.registry()?);
    registry.tell(Arc::clone(&events));
    let hands = Hands { registry: &registry, scratch: &store, transfers: TRANSFERS, events: &*events, cancel: machine.cancel() };
    work(&hands).map_err(|error| {
        let is_usage = match &error {
            CopyError::Several { .. } => true,
            CopyError::Write(error) => matches!(**error, WriteError::Mismatch { .. } | WriteError::Reference(_)),
            CopyError::Push(error) => matches!(*error.source, lapstrake::registry::Error::OtherDigest { .. }),
            CopyError::Open(_) => false,
        };
        if is_usage { Failure::usage(chain(&error)) } else { Failure::world(chain(&error)) }
    })
}

fn selection(selected: &args::Selected) -> Result<Selection, Failure> {
    match &selected.platform {
        Some(text) => Ok(Selection::Platform(platform(Some(text))?)),
        None => Ok(Selection::Whole),
    }
}

const fn others(merge: bool) -> Others {
    if merge { Others::Kept } else { Others::Replaced }
}

fn shown(copied: &[Copied], written: &[String], json: bool) -> String {
    let word = |outcome| match outcome {
        TagOutcome::Unchanged => "there already",
        TagOutcome::Moved => "pushed",
    };
    if json {
        let images: Vec<_> = copied
            .iter()
            .map(|one| {
                let tags: Vec<_> = one
                    .pushed
                    .iter()
                    .map(|tag| {
                        json!({ "reference": tag.reference.to_string(), "digest": tag.digest.to_string(), "outcome": match tag.outcome {
                            TagOutcome::Unchanged => "unchanged",
                            TagOutcome::Moved => "moved",
                        }})
                    })
                    .collect();
                json!({ "digest": one.digest.to_string(), "tags": tags })
            })
            .collect();
        let written: Vec<&String> = if copied.iter().any(|one| !one.pushed.is_empty()) { Vec::new() } else { written.iter().collect() };
        return format!("{:#}\n", json!({ "version": 1, "images": images, "written": written }));
    }
    let mut text = String::new();
    for one in copied {
        text.push_str(&format!("{}\n", one.digest));
        for tag in &one.pushed {
            let index = if tag.digest == one.digest { String::new() } else { format!(" in {}", tag.digest) };
            text.push_str(&format!("  {} {}{index}\n", tag.reference, word(tag.outcome)));
        }
    }
    if copied.iter().all(|one| one.pushed.is_empty()) {
        for place in written {
            text.push_str(&format!("  {place} written\n"));
        }
    }
    text
}
