//! An image for one platform, or some → among the others of an index in a registry, which other machines may be adding to at the same time.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use super::bundle::{Bundle, Sources, entry, sorted_index};
use super::push::{Push, PushError, PushedTag, TagOutcome, reported};
use crate::event::EventSink;
use crate::image::{CONFIG_LIMIT_BYTES, Descriptor, Document, Format, ImageConfig, InvalidImage, Manifest, MediaType, Reference};
use crate::registry::{Changed, Error, Pushed, Resolved, Wish};

/// Pushes an image, or an index of several, and puts it among what each tag points to already: images for other platforms stay, those for
/// the same are replaced. The digest that comes back for a tag is that of its index.
///
/// # Errors
///
/// The first failure.
pub fn merge_bundle(
    bundle: &Bundle,
    tags: &[Reference],
    transfers: NonZeroUsize,
    sources: &Sources<'_>,
    events: &dyn EventSink,
) -> Result<Vec<PushedTag>, PushError> {
    let mut pushed = Vec::with_capacity(tags.len());
    if let Some(tag) = tags.iter().find(|tag| tag.digest.is_some()) {
        let what = format!("what the index at `{tag}` becomes has a digest that nobody knows beforehand: leave it out");
        return Err(PushError { reference: Box::new(tag.clone()), pushed, source: Box::new(Error::Settings { what }) });
    }
    for tag in tags {
        let mut changed = None;
        let outcome = reported(events, tag.to_string(), |_| {
            let done = merge(bundle, tag, transfers, sources, events)?;
            let outcome = if matches!(done, Changed::Unchanged(_)) { Pushed::Existed } else { Pushed::Uploaded };
            changed = Some(done);
            Ok(outcome)
        });
        if let Err(source) = outcome {
            return Err(PushError { reference: Box::new(tag.clone()), pushed, source: Box::new(source) });
        }
        let Some(changed) = changed else { continue };
        let outcome = match changed {
            Changed::Unchanged(_) => TagOutcome::Unchanged,
            Changed::Moved(_) => TagOutcome::Moved,
        };
        pushed.push(PushedTag { reference: tag.clone(), digest: changed.digest(), outcome });
    }
    Ok(pushed)
}

fn merge(
    bundle: &Bundle,
    tag: &Reference,
    transfers: NonZeroUsize,
    sources: &Sources<'_>,
    events: &dyn EventSink,
) -> Result<Changed, Error> {
    let ours = entries(bundle);
    let push = Push { bundle, transfers, sources: *sources, events };
    let mut brought = false;
    sources.registry.change_tag(
        tag,
        &mut |current| {
            let theirs = match current {
                Some(current) => listed(current, tag, sources)?,
                None => Vec::new(),
            };
            let merged = merged(&theirs, &ours);
            if current.is_some_and(|current| matches!(current.document, Document::Index(_))) && merged == theirs {
                return Ok(Wish::Keep);
            }
            if !brought {
                push.parts(tag, &BTreeSet::new())?;
                if bundle.platform.is_some() {
                    let root = &bundle.root;
                    let place = Reference { tag: None, digest: Some(root.descriptor.digest), ..tag.clone() };
                    push.put(&place, root, || push.parts(tag, &BTreeSet::new()))?;
                }
                brought = true;
            }
            let is_docker = |entry: &Descriptor| MediaType::format(&entry.media_type) == Some(Format::Docker);
            let format = if merged.iter().all(is_docker) { Format::Docker } else { Format::Oci };
            let mut index = sorted_index(merged, format);
            // What was said of the whole index still holds.
            if let Some(Document::Index(before)) = current.map(|current| &current.document) {
                index.annotations.clone_from(&before.annotations);
                index.extra.clone_from(&before.extra);
            }
            Ok(Wish::Put { media_type: index.media_type().to_owned(), bytes: index.to_bytes() })
        },
        sources.cancel,
    )
}

/// The images of a bundle as they stand in an index.
fn entries(bundle: &Bundle) -> Vec<Descriptor> {
    match Document::parse(&bundle.root.bytes, Some(&bundle.root.descriptor.media_type)) {
        Ok(Document::Index(index)) => index.manifests,
        Ok(Document::Manifest(_)) | Err(_) => vec![bundle.entry()],
    }
}

/// What a tag points to, as entries of an index. An image that stands alone there becomes one.
fn listed(current: &Resolved, tag: &Reference, sources: &Sources<'_>) -> Result<Vec<Descriptor>, Error> {
    match &current.document {
        Document::Index(index) => Ok(index.manifests.clone()),
        Document::Manifest(manifest) => Ok(vec![entry_of(current, manifest, tag, sources)?]),
    }
}

fn entry_of(current: &Resolved, manifest: &Manifest, tag: &Reference, sources: &Sources<'_>) -> Result<Descriptor, Error> {
    let invalid = |source| Error::Invalid { host: tag.registry.clone(), doing: format!("adding to `{tag}`"), source };
    let config = &manifest.config;
    if config.size > CONFIG_LIMIT_BYTES {
        let limit_bytes = CONFIG_LIMIT_BYTES;
        return Err(invalid(InvalidImage::TooLarge { document: "the config", size_bytes: config.size, limit_bytes }));
    }
    let bytes = sources.registry.blob_into(tag, config, &mut || Ok(Vec::new()), &mut |_| {}, sources.cancel)?;
    let platform = ImageConfig::parse(&bytes).map_err(invalid)?.platform();
    Ok(entry(&current.descriptor, &platform))
}

/// Theirs without what ours stand for, and ours. What speaks of an image that is no longer there goes with it.
fn merged(theirs: &[Descriptor], ours: &[Descriptor]) -> Vec<Descriptor> {
    let replaced = |entry: &Descriptor| {
        entry
            .platform()
            .is_some_and(|platform| ours.iter().any(|own| own.platform().as_ref() == Some(&platform) && own.digest != entry.digest))
    };
    let gone: BTreeSet<String> =
        theirs.iter().filter(|entry| is_image(entry) && replaced(entry)).map(|entry| entry.digest.to_string()).collect();
    let speaks_of_gone = |entry: &Descriptor| entry.annotations.get("vnd.docker.reference.digest").is_some_and(|of| gone.contains(of));
    let is_own = |entry: &Descriptor| ours.iter().any(|own| own.digest == entry.digest);
    let kept = theirs.iter().filter(|entry| !gone.contains(&entry.digest.to_string()) && !speaks_of_gone(entry) && !is_own(entry));
    sorted_index(kept.chain(ours).cloned().collect(), Format::Oci).manifests
}

fn is_image(entry: &Descriptor) -> bool {
    entry.platform().is_some_and(|platform| platform.os != "unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(platform: &str, digit: u8) -> Descriptor {
        entry(&Descriptor::of(MediaType::OCI_MANIFEST, &[digit]), &platform.parse().unwrap())
    }

    #[test]
    fn other_platforms_stay_and_the_same_one_is_replaced_with_what_speaks_of_it() {
        let mut attestation = of("linux/amd64", 9);
        attestation.platform = Some(serde_json::json!({"os": "unknown", "architecture": "unknown"}));
        attestation.annotations.insert("vnd.docker.reference.digest".to_owned(), of("linux/amd64", 1).digest.to_string());
        let theirs = [of("linux/s390x", 2), of("linux/amd64", 1), attestation];
        let ours = [of("linux/amd64", 3)];
        let expected = [of("linux/amd64", 3), of("linux/s390x", 2)];
        assert_eq!(merged(&theirs, &ours), expected);
        assert_eq!(merged(&expected, &ours), expected);
    }

    #[test]
    fn it_does_not_matter_who_came_first() {
        let (a, b) = ([of("linux/arm64", 1)], [of("linux/amd64", 2)]);
        assert_eq!(merged(&merged(&[], &a), &b), merged(&merged(&[], &b), &a));
    }
}
