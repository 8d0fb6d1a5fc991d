//! Where stages and files come from.

use super::{Name, Spanned, Text};

/// What a stage starts from: `stages.X.from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing: `scratch`.
    Scratch,
    /// The end of another stage: `stage:NAME`.
    Stage(Spanned<Name>),
    /// An image.
    Image(ImageSource),
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// In a registry: `image:REFERENCE`; in `stages.X.from` also without `image:`. Holds no `${env.…}`.
    Registry(Text),
    /// In an OCI image layout: `oci:PATH` or `oci:PATH:TAG`. The path is relative to the spec's directory. Holds no `${env.…}`.
    Layout {
        /// The directory.
        path: Text,
        /// The tag, where the layout holds several images.
        tag: Option<Text>,
    },
    /// A tar archive of a root file system: `tar:PATH`, relative to the spec's directory. Holds no `${env.…}`.
    Tar {
        /// The archive.
        path: Text,
    },
}

/// Where files come from: `from` of `copy`, of `extract` and of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A build context: `context` for the default one, `context:NAME` for one that the caller names.
    Context(Option<Spanned<Name>>),
    /// The end of another stage: `stage:NAME`.
    Stage(Spanned<Name>),
    /// An image: `image:REFERENCE`, `oci:PATH[:TAG]` or `tar:PATH`.
    Image(ImageSource),
}
