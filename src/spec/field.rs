//! The shape of the language as data: what the reader accepts, the schema says and the reference lists is one and the same.

/// A TOML table of the language.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name in the schema and in the reference.
    pub(super) name: &'static str,
    /// What messages call it: ``a `copy` step``.
    pub(super) called: &'static str,
    /// What it is for.
    pub(super) doc: &'static str,
    /// Its keys, in the order of the reference.
    pub(super) fields: &'static [Field],
}

/// A key of a [`Table`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// The key.
    pub(super) name: &'static str,
    /// What its value may be.
    pub(super) kind: Kind,
    /// Whether it can be left out.
    pub(super) need: Need,
    /// What it means, with its default.
    pub(super) doc: &'static str,
}

/// Whether a key can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It must be there.
    Required,
    /// It can be left out.
    Optional,
}

/// What a string with references is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// Any text without NUL.
    Free,
    /// Any text.
    Content,
    /// A path in the image, absolute or relative to the working directory.
    Destination,
    /// A path in a source.
    SourcePath,
    /// A pattern of paths.
    Pattern,
    /// `USER[:GROUP]`.
    Owner,
    /// `NUMBER[-NUMBER][/PROTOCOL]`.
    Port,
    /// An absolute path in the image.
    Volume,
    /// `target`, `builder` or a platform.
    StagePlatform,
    /// What becomes of modes.
    Mode,
    /// A signal.
    Signal,
    /// A reference to push to.
    Tag,
    /// The path of an archive, or an address.
    Archive,
    /// An address.
    Url,
    /// The address of a file, or of a git repository.
    Fetch,
    /// A base of a stage.
    Base,
    /// A source of files.
    Source,
    /// A word about something outside.
    Outside,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The number of the language's version.
    Version,
    /// A date-time with its offset.
    DateTime,
    /// A string that may hold references.
    Text(Grammar),
    /// An array of them.
    Texts(Grammar),
    /// One of them or an array of them.
    TextOrTexts(Grammar),
    /// One of them, or `false` to take away what comes from below.
    TextOrFalse(Grammar),
    /// A string that is taken as it is.
    Plain,
    /// An array of them, not empty.
    Plains,
    /// An array of them, which may be empty.
    PlainList,
    /// A name; the word says of what.
    Name(&'static str),
    /// The name of an environment variable.
    Variable,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A boolean.
    Flag,
    /// Only `true`.
    True,
    /// A duration.
    Duration,
    /// A size.
    Size,
    /// Octal digits.
    Mode,
    /// Octal digits, `=` with octal digits, a symbolic mode or `keep`; may hold references.
    CopyMode,
    /// A whole number from 0 to this.
    Number(u32),
    /// 64 hexadecimal digits.
    Sha256,
    /// 40 hexadecimal digits.
    Commit,
    /// An array of platforms.
    Platforms,
    /// A table from variables to texts or `false`.
    Env,
    /// A table from keys to texts or `false`.
    Labels,
    /// A table from keys to texts.
    Annotations,
    /// A table from names to arguments.
    Arguments,
    /// A table from names to contexts.
    Contexts,
    /// A table from names to tables.
    Tables(&'static Table),
    /// A table, or `false` to take away what comes from below.
    TableOrFalse(&'static Table),
    /// An array of tables, each of one of these kinds.
    AnyOf(&'static [&'static Table]),
}

impl Table {
    /// Its keys.
    pub(super) fn keys(&'static self) -> impl Iterator<Item = &'static str> + Clone {
        self.fields.iter().map(|field| field.name)
    }

    /// The field of this name.
    pub(super) fn field(&'static self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Grammar {
    /// What the reference calls it.
    pub(super) const fn called(self) -> &'static str {
        match self {
            Grammar::Free | Grammar::Content | Grammar::Outside => "string",
            Grammar::Destination | Grammar::SourcePath | Grammar::Volume => "path",
            Grammar::Pattern => "pattern",
            Grammar::Owner => "`USER[:GROUP]`",
            Grammar::Port => "`PORT[-PORT][/tcp\\|udp\\|sctp]`",
            Grammar::StagePlatform => "`target`, `builder` or platform",
            Grammar::Mode => "mode",
            Grammar::Signal => "signal",
            Grammar::Tag => "image reference",
            Grammar::Archive => "path or address",
            Grammar::Url | Grammar::Fetch => "address",
            Grammar::Base | Grammar::Source => "source",
        }
    }

    /// Whether `...` can stand as the first item of an array, for what the base has.
    pub(super) const fn inherits(self) -> bool {
        match self {
            Grammar::Port | Grammar::Volume => true,
            Grammar::Free
            | Grammar::Content
            | Grammar::Destination
            | Grammar::SourcePath
            | Grammar::Pattern
            | Grammar::Owner
            | Grammar::StagePlatform
            | Grammar::Mode
            | Grammar::Signal
            | Grammar::Tag
            | Grammar::Archive
            | Grammar::Url
            | Grammar::Fetch
            | Grammar::Base
            | Grammar::Source
            | Grammar::Outside => false,
        }
    }

    /// Whether `${env.…}` can stand in it: what comes from outside must be known before any environment is.
    pub(super) const fn knows_env(self) -> bool {
        match self {
            Grammar::Tag | Grammar::Url | Grammar::Fetch | Grammar::Base | Grammar::Source | Grammar::StagePlatform | Grammar::Outside => {
                false
            }
            Grammar::Free
            | Grammar::Content
            | Grammar::Destination
            | Grammar::SourcePath
            | Grammar::Pattern
            | Grammar::Owner
            | Grammar::Port
            | Grammar::Volume
            | Grammar::Mode
            | Grammar::Signal
            | Grammar::Archive => true,
        }
    }
}
