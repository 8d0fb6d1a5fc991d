//! What comes from the helper is believed only when it is exactly a message.

use proptest::prelude::*;

use super::wire::{self, AgentReply, AgentRequest, Job, OwnerReply, StepReply};
use super::{Bytes, EntryMetadata, Operation};

fn some_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes)
}

prop_compose! {
    fn some_metadata()(
        uid: u32, gid: u32, mode: u16, mtime_seconds: i64, mtime_nanoseconds: u32,
        xattrs in prop::collection::vec((some_bytes(), some_bytes()), 0..3),
    ) -> EntryMetadata {
        EntryMetadata { uid, gid, mode, mtime_seconds, mtime_nanoseconds, xattrs }
    }
}

proptest! {
    #[test]
    fn a_value_comes_back_as_it_was_sent(at in some_bytes(), to in some_bytes(), metadata in some_metadata()) {
        let request = AgentRequest::Apply {
            operations: vec![
                Operation::Rename { from: at.clone(), to },
                Operation::SetMetadata { at: at.clone(), metadata },
                Operation::Remove { at },
            ],
        };
        let body = wire::encode(&request);
        prop_assert_eq!(wire::decode::<AgentRequest>(&body), Some(request));
        prop_assert_eq!(wire::decode::<AgentRequest>(&body[..body.len() - 1]), None, "cut short");
        prop_assert_eq!(wire::decode::<AgentRequest>(&[body.as_slice(), &[0]].concat()), None, "with more behind");
    }

    #[test]
    fn no_bytes_break_the_reader(body in prop::collection::vec(any::<u8>(), 0..200), header: [u8; wire::HEADER_BYTES]) {
        let _ = wire::decode::<AgentReply>(&body);
        let _ = wire::decode::<StepReply>(&body);
        let _ = wire::decode::<OwnerReply>(&body);
        let _ = wire::decode::<Job>(&body);
        if let Some((length, descriptors)) = wire::parse_header(header) {
            prop_assert!(length <= wire::LARGEST_BODY_BYTES && descriptors <= wire::MOST_DESCRIPTORS);
        }
    }
}

#[test]
fn a_list_that_claims_to_be_long_takes_no_memory() {
    // The third variant with a length of 4294967295 and nothing behind it.
    assert_eq!(wire::decode::<AgentReply>(&[1, 0xff, 0xff, 0xff, 0xff]), None);
}
