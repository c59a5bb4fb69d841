//! The same files read by code that is not ours: the crates `tlog_tiles` and `signed_note`.
//!
//! Checked: the root of every signed size, inclusion and consistency proofs in both directions, leaf and node hashes,
//! tile paths, the checkpoint text, the verifier key, our signature by their verifier and theirs by ours.

use crate::common::{Made, ORIGIN, files, key, leaf, vkey};
use audit::{Checkpoint, Hash, Log, Tile, VerifierKey, leaf_hash, node_hash, verify_consistency, verify_inclusion};
use signed_note::{Note, Signer, StandardSigner, StandardVerifier, VerifierList};
use std::{fs, path::PathBuf};
use tlog_tiles::{
    tile::{Tile as ForeignTile, TileHashReader, TileReader},
    tlog,
};

/// Hands our files to the foreign reader, which authenticates every tile that it uses against the root.
struct Folder(PathBuf);

impl TileReader for Folder {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[ForeignTile]) -> Result<Vec<Vec<u8>>, tlog::Error> {
        let read =
            |t: &ForeignTile| fs::read(self.0.join(path(t))).map_err(|e| tlog::Error::InvalidInput(e.to_string()));
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[ForeignTile], _: &[Vec<u8>]) {}
}

/// The foreign crate writes the tile height into paths, which C2SP fixes at 8 and leaves out.
fn path(tile: &ForeignTile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1).replacen("tile/data/", "tile/entries/", 1)
}

const SIZES: [u64; 5] = [1, 255, 256, 511, 66_000];

#[test]
fn roots_and_proofs_agree() {
    let made = Made::new(&SIZES);
    let log = Log::open(made.path(), key(), ORIGIN).unwrap();
    let (size, root) = (made.last().size(), tlog::Hash(*made.last().root()));
    let folder = Folder(made.path().to_path_buf());
    let reader = TileHashReader::new(size, root, &folder);
    for checkpoint in &made.checkpoints {
        let n = checkpoint.size();
        assert_eq!(tlog::tree_hash(n, &reader).unwrap().0, *checkpoint.root());
        let theirs = tlog::prove_tree(size, n, &reader).unwrap();
        let ours = log.prove_consistency(n).unwrap();
        // Both encode "a prefix of itself" as an empty proof.
        assert_eq!(theirs.iter().map(|h| h.0).collect::<Vec<Hash>>(), ours);
        tlog::check_tree(&ours.iter().map(|h| tlog::Hash(*h)).collect(), size, root, n, tlog::Hash(*checkpoint.root()))
            .unwrap();
        verify_consistency(n, checkpoint.root(), size, &root.0, &ours).unwrap();
    }
    for index in [0, 1, 254, 255, 256, 510, 65_535, 65_536, size - 1] {
        let theirs = tlog::prove_record(size, index, &reader).unwrap();
        let ours = log.prove_inclusion(index).unwrap();
        assert_eq!(theirs.iter().map(|h| h.0).collect::<Vec<Hash>>(), ours);
        let hash = tlog::record_hash(&leaf(index));
        assert_eq!(hash.0, leaf_hash(&leaf(index)));
        tlog::check_record(&theirs, size, root, index, hash).unwrap();
        verify_inclusion(&hash.0, index, size, &ours, &root.0).unwrap();
    }
    assert_eq!(tlog::node_hash(root, root).0, node_hash(&root.0, &root.0));
}

#[test]
fn the_files_are_those_that_the_foreign_crate_expects() {
    let made = Made::new(&[66_000]);
    let ours: Vec<String> = files(made.path()).into_iter().filter(|f| f.starts_with("tile/")).collect();
    let mut theirs: Vec<String> = Vec::new();
    for mut tile in ForeignTile::new_tiles(8, 0, 66_000) {
        theirs.push(path(&tile));
        if tile.level() == 0 {
            tile.set_is_data();
            theirs.push(path(&tile));
        }
    }
    theirs.sort();
    assert_eq!(ours, theirs);
    for index in [0, 7, 999, 1_000, 1_234_067, u64::MAX / 256] {
        for width in [1, 17, 255, 256] {
            let foreign = path(&ForeignTile::new(8, 3, index, width, false));
            assert_eq!(foreign.parse::<Tile>().unwrap().to_string(), foreign);
        }
    }
}

#[test]
fn checkpoints_are_read_and_verified_by_the_foreign_crates() {
    let made = Made::new(&SIZES);
    for checkpoint in &made.checkpoints {
        let note = Note::from_bytes(checkpoint.note().as_bytes()).unwrap();
        let verifier = StandardVerifier::new(&vkey().to_string()).unwrap();
        let (verified, unverified) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        assert_eq!((verified[0].name(), verified[0].id()), (ORIGIN, vkey().id()));
        let foreign = tlog_tiles::checkpoint::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!(foreign.origin(), ORIGIN);
        assert_eq!((foreign.size(), foreign.hash().0), (checkpoint.size(), *checkpoint.root()));
        assert!(foreign.extension().starts_with(&format!("checkpoint {} 20", checkpoint.number().unwrap())));
    }
}

#[test]
fn notes_signed_by_the_foreign_crate_are_accepted_and_altered_ones_are_not() {
    let (skey, vkey) = foreign_key(3);
    let signer = StandardSigner::new(&skey).unwrap();
    let key: VerifierKey = vkey.parse().unwrap();
    assert_eq!((key.to_string(), key.id()), (vkey, signer.key_id()));
    let text = tlog_tiles::checkpoint::Checkpoint::new(ORIGIN, 9, tlog::Hash([5; 32]), "").unwrap();
    let mut note = Note::new(&text.to_bytes(), &[]).unwrap();
    let (stranger, _) = foreign_key(4);
    note.add_sigs(&[&StandardSigner::new(&stranger).unwrap(), &signer]).unwrap();
    let signed = String::from_utf8(note.to_bytes()).unwrap();
    let read = Checkpoint::open(&signed, &key).unwrap();
    assert_eq!((read.size(), *read.root(), read.number(), read.time()), (9, [5; 32], None, None));
    let unsigned: String = signed.lines().take(5).map(|l| format!("{l}\n")).collect();
    assert!(Checkpoint::open(&unsigned, &key).is_err(), "only the stranger signed this one");
    assert!(Checkpoint::open(&signed.replacen("\n9\n", "\n10\n", 1), &key).is_err());
}

/// A foreign key pair from a fixed seed, in the text forms of the foreign crate.
fn foreign_key(seed: u8) -> (String, String) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let pair = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let vkey = signed_note::new_ed25519_verifier_key(ORIGIN, &pair.verifying_key());
    let id = vkey.split('+').nth(1).unwrap();
    let secret = STANDARD.encode([&[1u8][..], &[seed; 32]].concat());
    (format!("PRIVATE+KEY+{ORIGIN}+{id}+{secret}"), vkey)
}
