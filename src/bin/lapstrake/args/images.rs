//! What may stand behind the verbs for finished images, wherever they are, and for logins.

use std::num::NonZeroUsize;

use clap::Args;

/// Which images of an index.
#[derive(Debug, Args)]
pub(crate) struct Selected {
    /// Take the image for this platform alone, and not the whole index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Take the whole index with the images for all platforms, which is what happens anyway
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all: bool,
}

/// `lapstrake pull`
#[derive(Debug, Args)]
#[command(after_help = "Without -o, the layers are kept in lapstrake's own store, where a build finds them.")]
pub(crate) struct Pull {
    /// The image
    #[arg(value_name = "REF")]
    pub(crate) image: String,
    /// Write it: oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]; may be given again
    #[arg(long = "output", short = 'o', value_name = "KIND:PATH")]
    pub(crate) outputs: Vec<String>,
    #[command(flatten)]
    pub(crate) selected: Selected,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake push`
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// What to push: oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Where to push it; may be given again
    #[arg(value_name = "REF", required = true)]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) selected: Selected,
    /// Add it to the index that each tag points to, beside the images for other platforms
    #[arg(long)]
    pub(crate) merge: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake copy`
#[derive(Debug, Args)]
#[command(after_help = "A place is REF, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF].")]
pub(crate) struct Copy {
    /// What to copy
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// Where to
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) selected: Selected,
    /// Add it to the index that the tag points to, beside the images for other platforms
    #[arg(long)]
    pub(crate) merge: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake rebase`
#[derive(Debug, Args)]
#[command(after_help = "A place is REF, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF].")]
pub(crate) struct Rebase {
    /// The image, a place
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The new base, a place
    #[arg(long, value_name = "BASE")]
    pub(crate) onto: String,
    /// The base that it was made from, a place; else what its annotations say
    #[arg(long, value_name = "BASE")]
    pub(crate) from: Option<String>,
    /// Where the result goes, a place; without it, it is only seen whether it works
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Option<String>,
    /// Add it to the index that the tag points to, beside the images for other platforms
    #[arg(long, requires = "to")]
    pub(crate) merge: bool,
    /// Do not ask whether this step above the base depends on it; counted from 1 (may be repeated)
    #[arg(long, value_name = "STEP")]
    pub(crate) assume_independent: Vec<usize>,
    /// Pick this platform of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

/// `lapstrake tree`
#[derive(Debug, Args)]
pub(crate) struct Tree {
    /// A reference in a registry, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Pick this platform of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Show a line for each layer, and no files
    #[arg(long, conflicts_with = "layer")]
    pub(crate) summary: bool,
    /// Show this layer alone, counted from 1 at the bottom
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake diff`
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The one image, a place as for tree
    #[arg(value_name = "IMAGE")]
    pub(crate) one: String,
    /// The other
    #[arg(value_name = "OTHER")]
    pub(crate) other: String,
    /// Pick this platform of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// End with code 1 if they differ
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake login`
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The registry, or a part of it
    #[arg(value_name = "HOST[/PATH]", default_value = "docker.io")]
    pub(crate) account: String,
    /// The user; asked for on a terminal
    #[arg(long, short = 'u', value_name = "NAME", conflicts_with = "identity_token_stdin")]
    pub(crate) username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
    /// Read an identity token from standard input
    #[arg(long, conflicts_with = "password_stdin")]
    pub(crate) identity_token_stdin: bool,
    /// Keep it without asking the registry whether it is right
    #[arg(long)]
    pub(crate) no_check: bool,
}

/// `lapstrake logout`
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry, or a part of it
    #[arg(value_name = "HOST[/PATH]", default_value = "docker.io")]
    pub(crate) account: String,
}

/// `lapstrake inspect`
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A reference in a registry, oci:DIR[:TAG] or oci-archive:FILE
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Pick this platform of an index
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `lapstrake ls`
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
