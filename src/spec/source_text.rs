//! `from` ⇄ string: `scratch`, `context[:NAME]`, `stage:NAME`, `image:REF`, `oci:PATH[:TAG]`, `tar:PATH`.

use super::value::leading;
use super::{Base, FileSource, ImageSource, Name, Piece, Spanned, Template, Text, diagnostics, template_text};
use crate::diagnostic::{Diagnostic, nearest};
use crate::image::Reference;

/// What begins a source.
const PREFIXES: [&str; 5] = ["stage:", "context:", "image:", "oci:", "tar:"];

const FILE_SOURCES: &str = "`context`, `context:NAME`, `stage:NAME`, `image:REFERENCE`, `oci:PATH` or `tar:PATH`";

/// Reads `stages.X.from`. An empty text was reported before.
pub(super) fn read_base(text: &Text, report: &mut dyn FnMut(Diagnostic)) -> Spanned<Base> {
    let base = if matches!(text.as_literal(), Some("" | "scratch")) {
        Base::Scratch
    } else if let Some(name) = after(text, "stage:") {
        match stage_name(text, &name, report) {
            Some(name) => Base::Stage(name),
            None => Base::Scratch,
        }
    } else if text.as_literal() == Some("context") || after(text, "context:").is_some() {
        let expected = "an image, `scratch`, `stage:NAME`, `oci:PATH` or `tar:PATH`";
        report(
            diagnostics::bad_source(text.span, &template_text::write(text), expected)
                .hint("a stage cannot start from a context: start from `scratch` and `copy` it"),
        );
        Base::Scratch
    } else {
        Base::Image(read_image(text, report).unwrap_or_else(|| registry(text.clone(), report)))
    };
    Spanned::new(base, text.span)
}

/// Reads `from` of steps and mounts. An empty text was reported before.
pub(super) fn read_files<'a>(
    text: &Text,
    stages: impl IntoIterator<Item = &'a str>,
    report: &mut dyn FnMut(Diagnostic),
) -> Option<Spanned<FileSource>> {
    let source = if text.as_literal() == Some("") {
        return None;
    } else if text.as_literal() == Some("context") {
        FileSource::Context(None)
    } else if let Some(name) = after(text, "context:") {
        FileSource::Context(Some(literal_name(text, &name, "a context", report)?))
    } else if let Some(name) = after(text, "stage:") {
        FileSource::Stage(stage_name(text, &name, report)?)
    } else if let Some(image) = read_image(text, report) {
        FileSource::Image(image)
    } else {
        let written = template_text::write(text);
        let diagnostic = diagnostics::bad_source(text.span, &written, FILE_SOURCES);
        let prefix = written.find(':').map(|colon| written.split_at(colon + 1));
        let near = prefix.and_then(|(prefix, rest)| nearest(prefix, PREFIXES).map(|near| format!("{near}{rest}")));
        if let Some(near) = near {
            report(diagnostic.hint(format!("did you mean `{near}`?")));
            return None;
        }
        if written == "scratch" {
            report(diagnostic.hint("there is nothing in `scratch` to take"));
            return None;
        }
        let is_stage = stages.into_iter().any(|stage| stage == written);
        let meant = if is_stage {
            format!("write `stage:{written}` for the stage of that name")
        } else {
            format!("an image is written `image:{written}`")
        };
        report(diagnostic.hint(meant));
        return None;
    };
    Some(Spanned::new(source, text.span))
}

/// `image:`, `oci:` and `tar:`.
fn read_image(text: &Text, report: &mut dyn FnMut(Diagnostic)) -> Option<ImageSource> {
    if let Some(reference) = after(text, "image:") {
        return Some(registry(reference, report));
    }
    if let Some(path) = after(text, "tar:") {
        not_empty(&path, "a path", report);
        return Some(ImageSource::Tar { path });
    }
    let (path, tag) = split_tag(&after(text, "oci:")?);
    not_empty(&path, "a path", report);
    Some(ImageSource::Layout { path, tag })
}

fn not_empty(text: &Text, what: &str, report: &mut dyn FnMut(Diagnostic)) {
    if text.pieces().is_empty() {
        report(diagnostics::empty_value(text.span, "from", &format!("without {what}")));
    }
}

fn registry(text: Text, report: &mut dyn FnMut(Diagnostic)) -> ImageSource {
    if let Some(literal) = text.as_literal()
        && let Err(error) = literal.parse::<Reference>()
    {
        let diagnostic = diagnostics::bad_image_reference(text.span, &error.to_string());
        report(match literal.split_once("://") {
            Some((_, rest)) => diagnostic.hint(format!("an image name has no `://`: write `{rest}`")),
            None => diagnostic,
        });
    }
    ImageSource::Registry(text)
}

fn stage_name(whole: &Text, name: &Text, report: &mut dyn FnMut(Diagnostic)) -> Option<Spanned<Name>> {
    literal_name(whole, name, "a stage", report)
}

fn literal_name(whole: &Text, name: &Text, what: &str, report: &mut dyn FnMut(Diagnostic)) -> Option<Spanned<Name>> {
    let Some(literal) = name.as_literal() else {
        for piece in name.pieces() {
            let Piece::Reference(reference) = piece else { continue };
            let why = format!("the name of {what} must be written out");
            report(diagnostics::reference_not_here(reference.span, &template_text::reference(reference), &why));
        }
        return None;
    };
    match Name::new(literal) {
        Ok(name) => Some(Spanned::new(name, whole.span)),
        Err(_) => {
            report(diagnostics::bad_name(whole.span, what, literal));
            None
        }
    }
}

/// What follows a prefix.
pub(super) fn after(text: &Text, prefix: &str) -> Option<Text> {
    let rest = leading(text).strip_prefix(prefix)?;
    let pieces = std::iter::once(Piece::Literal(rest.to_owned())).chain(text.pieces().iter().skip(1).cloned());
    Some(Spanned::new(Template::new(pieces), text.span))
}

/// Cuts at the last colon that has no slash after it. Nothing after it means no tag.
fn split_tag(text: &Text) -> (Text, Option<Text>) {
    let pieces = text.pieces();
    for (place, piece) in pieces.iter().enumerate().rev() {
        let Piece::Literal(literal) = piece else { continue };
        let (slash, colon) = (literal.rfind('/'), literal.rfind(':'));
        if let Some(colon) = colon.filter(|colon| slash.is_none_or(|slash| slash < *colon)) {
            let before = pieces[..place].iter().cloned().chain([Piece::Literal(literal[..colon].to_owned())]);
            let behind = std::iter::once(Piece::Literal(literal[colon + 1..].to_owned())).chain(pieces[place + 1..].iter().cloned());
            let tag = Template::new(behind);
            let tag = (!tag.pieces().is_empty()).then(|| Spanned::new(tag, text.span));
            return (Spanned::new(Template::new(before), text.span), tag);
        }
        if slash.is_some() {
            break;
        }
    }
    (text.clone(), None)
}

/// Writes a base as [`read_base`] reads it. `is_stage` says whether a bare name would be taken for a stage.
pub(super) fn write_base(base: &Base, is_stage: impl Fn(&str) -> bool) -> String {
    match base {
        Base::Scratch => "scratch".to_owned(),
        Base::Stage(name) => format!("stage:{}", name.value),
        Base::Image(ImageSource::Registry(reference)) => {
            let written = template_text::write(reference);
            let ambiguous =
                PREFIXES.iter().any(|prefix| written.starts_with(prefix)) || matches!(written.as_str(), "" | "scratch" | "context");
            if ambiguous || is_stage(&written) { format!("image:{written}") } else { written }
        }
        Base::Image(image) => write_image(image),
    }
}

/// Writes a source of files as [`read_files`] reads it.
pub(super) fn write_files(source: &FileSource) -> String {
    match source {
        FileSource::Context(None) => "context".to_owned(),
        FileSource::Context(Some(name)) => format!("context:{}", name.value),
        FileSource::Stage(name) => format!("stage:{}", name.value),
        FileSource::Image(image) => write_image(image),
    }
}

fn write_image(image: &ImageSource) -> String {
    match image {
        ImageSource::Registry(reference) => format!("image:{}", template_text::write(reference)),
        ImageSource::Tar { path } => format!("tar:{}", template_text::write(path)),
        ImageSource::Layout { path, tag: Some(tag) } => format!("oci:{}:{}", template_text::write(path), template_text::write(tag)),
        // A colon at the end says that there is no tag where a colon in the path would begin one.
        ImageSource::Layout { path, tag: None } if split_tag(path).1.is_some() || ends_with_colon(path) => {
            format!("oci:{}:", template_text::write(path))
        }
        ImageSource::Layout { path, tag: None } => format!("oci:{}", template_text::write(path)),
    }
}

fn ends_with_colon(path: &Text) -> bool {
    template_text::write(path).ends_with(':')
}
