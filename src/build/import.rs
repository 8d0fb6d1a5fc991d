//! A tar archive of a root file system → one layer of our own, in canonical form.

use lapstrake_cache::{Digest, Fingerprint, Shelf};

use super::Failure;
use super::layers::{Layers, make_root};
use super::site::Site;
use super::state::{LayerName, State};
use crate::event::{Outcome, TaskKind};
use crate::layer;

/// Layers made of archives, by the archive's digest.
const SHELF: Shelf = Shelf::named("imported");

/// The state that an archive is. It is read again only when its bytes changed or its files are gone from the store.
pub(super) fn archive(site: &Site<'_>, path: &str, digest: &Digest) -> Result<State, Failure> {
    let store = site.outside.store;
    let key = Fingerprint::of(format!("lapstrake-import/1 {digest}").as_bytes());
    if let Some(bytes) = store.record(&SHELF, &key)?
        && let Ok(bytes) = <[u8; 32]>::try_from(bytes.as_slice())
    {
        let fingerprint = Fingerprint::from_bytes(bytes);
        if site.layers.has_files(&fingerprint)? {
            return Ok(State::default().with(LayerName::Own(fingerprint)));
        }
    }
    let file_path = site.outside.directory.join(path);
    site.outside.task(TaskKind::Unpack, path.to_owned(), |_| {
        let wrong = |source| Failure::File { path: file_path.clone(), source };
        let file = std::fs::File::open(&file_path).map_err(wrong)?;
        let scratch = store.scratch()?;
        let inner = scratch.path().join("layer");
        let into = make_root(site.workplace, store, &inner)?;
        let limits = layer::Limits::GENEROUS;
        let unpacked = layer::unpack(Box::new(file), &Layers::nothing(), Some(&*into), &limits, site.outside.cancel)?;
        let fingerprint = site.layers.put_difference(&unpacked.difference)?;
        store.keep(scratch, &inner, &site.workplace.shelf(store), &fingerprint.hex())?;
        store.put_record(&SHELF, &key, fingerprint.as_bytes())?;
        Ok((State::default().with(LayerName::Own(fingerprint)), Outcome::Done))
    })
}
