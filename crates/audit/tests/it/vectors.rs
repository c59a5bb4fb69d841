//! Published vectors: RFC 6962 (Certificate Transparency's reference tree), RFC 8785, C2SP.

use crate::common::{ORIGIN, key};
use audit::{
    AuditError, CompactRange, Hash, Subtree, Tile, TileKind, VerifierKey, canonical, commitment, commitment_matches,
    consistency_proof, inclusion_proof, leaf_hash, root_from_leaves, verify_consistency, verify_inclusion,
};

const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn leaves() -> Vec<Hash> {
    LEAVES.iter().map(|l| leaf_hash(&hex::decode(l).unwrap())).collect()
}

fn subtrees(leaves: &[Hash]) -> impl FnMut(Subtree) -> Result<Hash, AuditError> {
    |s| Ok(root_from_leaves(&leaves[(s.index << s.height) as usize..((s.index + 1) << s.height) as usize]))
}

fn inclusion(index: u64, size: u64) -> Vec<String> {
    inclusion_proof(index, size, &mut subtrees(&leaves())).unwrap().iter().map(hex::encode).collect()
}

fn consistency(old: u64, new: u64) -> Vec<String> {
    consistency_proof(old, new, &mut subtrees(&leaves())).unwrap().iter().map(hex::encode).collect()
}

#[test]
fn roots_are_those_of_the_reference_tree() {
    let mut range = CompactRange::default();
    assert_eq!(hex::encode(range.root()), ROOTS[0]);
    for (n, leaf) in leaves().into_iter().enumerate() {
        range.push(leaf);
        assert_eq!(hex::encode(range.root()), ROOTS[n + 1], "size {}", n + 1);
    }
}

#[test]
fn proofs_are_those_of_the_reference_tree() {
    assert_eq!(inclusion(0, 1), [""; 0]);
    assert_eq!(
        inclusion(0, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        inclusion(5, 8),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert_eq!(inclusion(2, 3), [ROOTS[2]]);
    assert_eq!(
        consistency(6, 8),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert_eq!(
        consistency(2, 5),
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ]
    );
}

#[test]
fn every_proof_of_small_trees_holds_and_no_altered_one_does() {
    const SIZE: u64 = 40;
    let leaves: Vec<Hash> = (0..SIZE).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    let roots: Vec<Hash> = (0..=SIZE).map(|n| root_from_leaves(&leaves[..n as usize])).collect();
    let root = |n: u64| &roots[n as usize];
    for size in 1..=SIZE {
        for index in 0..size {
            let proof = inclusion_proof(index, size, &mut subtrees(&leaves)).unwrap();
            let check =
                |index, proof: &[Hash], root| verify_inclusion(&leaves[index as usize], index, size, proof, root);
            check(index, &proof, root(size)).unwrap();
            assert!(size == 1 || check((index + 1) % size, &proof, root(size)).is_err());
            assert!(check(index, &proof, root(size - 1)).is_err());
            assert!(check(index, &[&proof[..], &[[0; 32]]].concat(), root(size)).is_err());
            for n in 0..proof.len() {
                let mut other = proof.clone();
                other[n][31] ^= 1;
                assert!(check(index, &other, root(size)).is_err());
                assert!(check(index, &proof[..n], root(size)).is_err());
            }
        }
        for old in 0..=size {
            let proof = consistency_proof(old, size, &mut subtrees(&leaves)).unwrap();
            verify_consistency(old, root(old), size, root(size), &proof).unwrap();
            assert!(verify_consistency(old, root(old), size, root(size), &[&proof[..], &[[0; 32]]].concat()).is_err());
            if old > 0 {
                assert!(verify_consistency(old, root(old - 1), size, root(size), &proof).is_err());
                assert!(verify_consistency(old, root(old), size, root(size - 1), &proof).is_err());
            }
            for n in 0..proof.len() {
                assert!(verify_consistency(old, root(old), size, root(size), &proof[..n]).is_err());
            }
        }
    }
}

#[test]
fn proofs_outside_the_tree_are_refused() {
    let refused = inclusion_proof(8, 8, &mut subtrees(&leaves())).unwrap_err();
    assert!(matches!(refused, AuditError::OutOfRange { index: 8, size: 8 }), "{refused}");
    assert!(consistency_proof(9, 8, &mut subtrees(&leaves())).is_err());
    assert!(verify_inclusion(&[0; 32], 0, 0, &[], &[0; 32]).is_err());
    assert!(verify_consistency(2, &[0; 32], 1, &[0; 32], &[]).is_err());
}

fn canonical_text(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    String::from_utf8(canonical(&value).unwrap()).unwrap()
}

#[test]
fn canonical_json_is_that_of_rfc_8785() {
    let example = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    assert_eq!(
        canonical_text(example),
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
    let order = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
    assert_eq!(canonical_text(order), "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}");
}

#[test]
fn canonical_numbers_are_those_of_rfc_8785() {
    for (bits, text) in [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_eq!(canonical(&f64::from_bits(bits)).unwrap(), text.as_bytes(), "{bits:016x}");
    }
    assert!(canonical(&f64::NAN).is_err());
    assert!(canonical(&f64::INFINITY).is_err());
}

#[test]
fn commitments_are_hmacs_and_hold_for_one_body_only() {
    // RFC 4231, test case 1, has a 20-byte key: HMAC pads it with zeros, and so can a salt of 32 bytes.
    let mut salt = [0; 32];
    salt[..20].fill(0x0b);
    let hi_there = commitment(&salt, b"Hi There");
    assert_eq!(hi_there, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert!(commitment_matches(&hi_there, &salt, b"Hi There"));
    assert!(!commitment_matches(&hi_there, &salt, b"Hi there"));
    assert!(!commitment_matches(&hi_there, &[1; 32], b"Hi There"));
    assert!(!commitment_matches("not hexadecimal", &salt, b"Hi There"));
    assert!(!commitment_matches(&hi_there[..62], &salt, b"Hi There"));
}

#[test]
fn tile_paths_are_those_of_the_specification() {
    let path = |kind, index, width| Tile { kind, index, width }.to_string();
    assert_eq!(path(TileKind::Hashes(0), 0, 256), "tile/0/000");
    assert_eq!(path(TileKind::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(path(TileKind::Hashes(1), 1_234, 256), "tile/1/x001/234");
    assert_eq!(path(TileKind::Entries, 1_000, 17), "tile/entries/x001/000.p/17");
    assert_eq!(path(TileKind::Hashes(2), 999, 1), "tile/2/999.p/1");
    for tile in ["tile/0/000", "tile/0/x001/x234/067", "tile/entries/x001/000.p/17", "tile/7/x001/999.p/255"] {
        assert_eq!(tile.parse::<Tile>().unwrap().to_string(), tile);
    }
    let wrong = [
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/8/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/data/000",
        "tile/0/",
        "tile",
        "",
        "tile/0/-01",
    ];
    for path in wrong {
        assert!(path.parse::<Tile>().is_err(), "{path}");
    }
}

#[test]
fn verifier_keys_are_read_and_written_in_the_specified_form() {
    // The key of the golang.org/x/mod/sumdb/note documentation, from which the specification was made.
    let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let parsed: VerifierKey = text.parse().unwrap();
    assert_eq!((parsed.name(), parsed.id(), parsed.to_string().as_str()), ("PeterNeumann", 0xc74f_20a3, text));
    let own = key().verifier(ORIGIN).unwrap();
    assert_eq!(own.to_string().parse::<VerifierKey>().unwrap(), own);
    for wrong in ["", "a+b", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "x+00000000+AA=="] {
        assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
    }
    for origin in ["", "with space", "with+plus", "with\nline"] {
        assert!(matches!(key().verifier(origin), Err(AuditError::Origin(_))), "{origin:?}");
    }
}
