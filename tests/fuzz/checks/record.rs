//! Any bytes: what the store keeps of an action, as a body and as a whole record with its checksum; read as it was written, or none.

use lapstrake::build::Preimage;
use lapstrake::cache::{Fingerprint, Shelf, Store};
use lapstrake::tree::Difference;

/// A store of this thread, and the shelf of its records.
struct Place {
    directory: tempfile::TempDir,
    store: Store,
    shelf: Shelf,
}

/// Where a record has its key: behind what it begins with, its format, its time, and the name of the shelf with its length.
const KEY_AT: usize = 8 + 4 + 8 + 1 + SHELF.len();

const SHELF: &str = "actions";

thread_local! {
    static PLACE: Option<Place> = open();
}

fn open() -> Option<Place> {
    let directory = tempfile::tempdir().ok()?;
    let store = Store::open(&directory.path().join("store")).ok()?;
    let shelf = Shelf::new(SHELF).ok()?;
    // Which makes the directory of the shelf.
    store.put_record(&shelf, &Fingerprint::of(b""), b"").ok()?;
    Some(Place { directory, store, shelf })
}

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(difference) = Difference::decode(bytes) {
        assert!(difference.check().is_ok());
        assert_eq!(Difference::decode(&difference.encode()).ok().as_ref(), Some(&difference));
    }
    if let Some(preimage) = Preimage::decode(bytes) {
        assert_eq!(Preimage::decode(&preimage.encode()).as_ref(), Some(&preimage));
    }
    PLACE.with(|place| {
        let Some(Place { directory, store, shelf }) = place else { panic!("there is no place for a store") };
        let key = bytes.get(KEY_AT..KEY_AT + 32).and_then(|key| key.try_into().ok()).map_or(Fingerprint::of(b""), Fingerprint::from_bytes);
        let file = directory.path().join("store/records").join(shelf.as_str()).join(key.hex());
        let record = [bytes, Fingerprint::of(bytes).as_bytes()].concat();
        assert!(std::fs::write(&file, record).is_ok());
        let Ok(found) = store.record(shelf, &key) else { panic!("a damaged record is none, and no mistake of the system") };
        if let Some(body) = found {
            // What is read stood there; and it is what can be put.
            assert!(bytes.ends_with(&body));
            assert!(store.put_record(shelf, &key, &body).is_ok());
            assert_eq!(store.record(shelf, &key).ok().flatten(), Some(body));
        }
        assert!(std::fs::remove_file(&file).is_ok());
    });
}
