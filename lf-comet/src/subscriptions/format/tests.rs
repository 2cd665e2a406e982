use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn names() -> impl Strategy<Value = BTreeMap<u32, String>> {
    prop::collection::btree_map(2048u32..3072, "[A-Za-z0-9._~-]{1,128}|[0-9]{1,20}", 0..60)
        // These two are no ids.
        .prop_map(|names| names.into_iter().filter(|(_, name)| name != "." && name != "..").collect())
}

fn block_of(rows: &BTreeMap<u8, std::collections::BTreeSet<u32>>) -> Block {
    let mut block = Block::default();
    for (row, cells) in rows {
        cells.iter().for_each(|cell| assert!(block.set(*row, *cell, true)));
    }
    block.merged()
}

proptest! {
    #[test]
    fn names_are_read_as_they_were_written(names in names()) {
        let record = encode_names(2, names.iter().map(|(number, name)| (*number, name.as_str().into())));
        prop_assert_eq!(record.is_some(), !names.is_empty());
        let mut read = BTreeMap::new();
        if let Some(record) = record {
            decode_names(2, &record, |number, name| drop(read.insert(number, name.to_string()))).unwrap();
        }
        prop_assert_eq!(read, names);
    }

    #[test]
    fn blocks_are_read_as_they_were_written(
        rows in prop::collection::btree_map(any::<u8>(), prop::collection::btree_set(any::<u32>(), 1..40), 0..20),
    ) {
        let record = encode_block(7, &block_of(&rows));
        prop_assert_eq!(record.is_some(), !rows.is_empty());
        if let Some(record) = record {
            let block = decode_block(7, &record).unwrap();
            for (row, cells) in block.rows() {
                let expected: Vec<u32> = rows.get(&row).into_iter().flatten().copied().collect();
                prop_assert_eq!(cells, &expected[..]);
            }
            prop_assert!(decode_block(8, &record).is_err(), "a record in another place");
        }
    }

    #[test]
    fn a_flipped_bit_or_a_missing_end_is_noticed(names in names(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        prop_assume!(!names.is_empty());
        let record = encode_names(2, names.iter().map(|(number, name)| (*number, name.as_str().into()))).unwrap();
        let mut flipped = record.clone();
        flipped[at.index(record.len())] ^= 1 << bit;
        prop_assert!(decode_names(2, &flipped, |_, _| ()).is_err());
        prop_assert!(decode_names(2, &record[..at.index(record.len())], |_, _| ()).is_err());
    }

    #[test]
    fn bytes_with_a_right_checksum_never_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
        let sealed = |kind, number| seal(Key { kind, number }, body.clone());
        let _ = Meta::decode(&sealed(Kind::Meta, 0));
        let _ = decode_names(u32::MAX, &sealed(Kind::Names, u32::MAX.into()), |_, _| ());
        let _ = decode_log(3, &sealed(Kind::Log, 3), |_| ());
        if let Ok(block) = decode_block(3, &sealed(Kind::Sources, 3)) {
            for (_, cells) in block.rows() {
                prop_assert!(cells.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
    }
}

#[test]
fn the_log_is_read_as_it_was_written() {
    let changes = [
        Change::Name(0, "alice".into()),
        Change::Name(u32::MAX, "18446744073709551615".into()),
        Change::Follow(0, u32::MAX),
        Change::Unfollow(300, 0),
        Change::Forget(70_000),
    ];
    let record = encode_log(u64::MAX, 5, changes.into_iter());
    let mut read = Vec::new();
    assert_eq!(decode_log(u64::MAX, &record, |change| read.push(change)).unwrap(), 5);
    assert_eq!(read, changes);
    assert!(decode_log(1, &record, |_| ()).is_err());
}

#[test]
fn a_store_of_a_later_format_is_told_apart_from_a_damaged_one() {
    let meta = Meta { edges: 30_000_000, log_first: 1 << 40, is_closed: true };
    assert_eq!(Meta::decode(&meta.encode()).unwrap(), meta);
    let later = seal(Meta::KEY, vec![2]);
    assert!(matches!(Meta::decode(&later), Err(Unreadable::Format(2))));
    assert!(matches!(Meta::decode(b"abc"), Err(Unreadable::Damaged(_))));
}
