//! A file that is downloaded.

use lapstrake_cache::{Digest, Fingerprinter};

use super::{Edited, Origin, Origins, StepError, made};
use crate::build::Failure;
use crate::build::accounts::{Accounts, Owner};
use crate::build::site::Site;
use crate::plan::Fetch;
use crate::tree::{Content, Editor, File, LastLink, Node, Tree};

/// Downloads the file.
pub(in crate::build) fn download(site: &Site<'_>, fetch: &Fetch) -> Result<Content, Failure> {
    let blob = site.outside.download(&fetch.download)?;
    content(site, &fetch.download.digest, blob.file)
}

/// Puts the downloaded file where it belongs.
pub(in crate::build) fn put(fetch: &Fetch, content: Content, below: &Tree, accounts: &Accounts<'_>) -> Result<Edited, StepError> {
    let Fetch { download, to, owner, mode } = fetch;
    let owner = owner.as_deref().map_or(Ok(Owner::default()), |owner| accounts.owner(owner))?;
    let mut editor = Editor::new(below);
    let target = editor.resolve(to.as_bytes(), LastLink::Follow)?;
    let into = to.ends_with('/') || matches!(editor.get(&target), Some(Node::Directory(_)));
    let path = if into { format!("{}/{}", to.trim_end_matches('/'), file_name(&download.url)) } else { to.clone() };
    super::write::put_file(&mut editor, &path, File { metadata: made(*mode, owner).into(), content })?;
    Ok(Edited { above: editor.finish(), origins: Origins::only(content.fingerprint, Origin::Blob(download.digest)) })
}

/// Names a blob's bytes as trees do.
pub(in crate::build) fn content(site: &Site<'_>, digest: &Digest, mut file: std::fs::File) -> Result<Content, Failure> {
    let mut hasher = Fingerprinter::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        if site.outside.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let count =
            std::io::Read::read(&mut file, &mut buffer).map_err(|source| Failure::File { path: format!("{digest}").into(), source })?;
        if count == 0 {
            return Ok(Content { fingerprint: hasher.finish(), size });
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

/// The last name in an address, without what follows `?` or `#`.
fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    match path.split_once('/') {
        Some((_, path)) => path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("download"),
        None => "download",
    }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn the_file_has_the_last_name_of_the_address() {
        for (url, name) in [
            ("https://example.com/a/tool-1.2.tar.gz", "tool-1.2.tar.gz"),
            ("https://example.com/a/tool?version=2#x", "tool"),
            ("https://example.com/a/", "a"),
            ("https://example.com", "download"),
        ] {
            assert_eq!(file_name(url), name);
        }
    }
}
