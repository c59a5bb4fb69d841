//! What a person approves: exact bytes, not names.

use crate::{
    ids::RequestId,
    request::{Ask, Ecosystem},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One file that goes into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// Where from.
    pub ecosystem: Ecosystem,
    /// Normalised name.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// File name in the package store's index and in the build.
    pub file_name: String,
    /// Where the bytes came from.
    pub url: String,
    /// Licence as the registry or the package states it; none is unknown.
    pub licence: Option<String>,
    /// When it was uploaded (RFC 3339), where the registry tells; none is unknown.
    pub uploaded_at: Option<String>,
    /// Whether installing it would run scripts of the package.
    pub install_scripts: bool,
    /// Whether the agent named it; otherwise another package needs it.
    pub requested: bool,
    /// npm only: the folders in which it lies (`node_modules/a/node_modules/b`), in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
}

/// A resolved request: what would be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The request.
    pub request: RequestId,
    /// ID of the base image.
    pub base_image: String,
    /// ID of the image that the task has so far.
    pub parent_image: String,
    /// The task's whole approved set and what this request adds, in a fixed order.
    pub artefacts: Vec<Artefact>,
    /// The rendered Dockerfile.
    pub dockerfile: String,
    /// The policy version in force.
    pub policy_version: u32,
}

/// The part of an artefact that identity depends on.
#[derive(Serialize)]
struct Identity<'a> {
    ecosystem: Ecosystem,
    name: &'a str,
    version: &'a str,
    sha256: &'a str,
}

impl Candidate {
    /// SHA-256 over the RFC 8785 JSON of all that a decision is bound to, in hexadecimal.
    pub fn digest(&self) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Bound<'a> {
            request: RequestId,
            base_image: &'a str,
            parent_image: &'a str,
            artefacts: Vec<Identity<'a>>,
            dockerfile: &'a str,
            policy_version: u32,
        }
        let mut artefacts: Vec<_> = self
            .artefacts
            .iter()
            .map(|a| Identity { ecosystem: a.ecosystem, name: &a.name, version: &a.version, sha256: &a.sha256 })
            .collect();
        artefacts.sort_by(|a, b| {
            (a.ecosystem, a.name, a.version, a.sha256).cmp(&(b.ecosystem, b.name, b.version, b.sha256))
        });
        canonical_sha256(&Bound {
            request: self.request,
            base_image: &self.base_image,
            parent_image: &self.parent_image,
            artefacts,
            dockerfile: &self.dockerfile,
            policy_version: self.policy_version,
        })
    }
}

/// The digest of a request for which nothing is built: itself and its words (a question) or figures (a budget).
pub fn ask_digest(request: RequestId, ask: &Ask) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Bound<'a> {
        request: RequestId,
        ask: &'a Ask,
    }
    canonical_sha256(&Bound { request, ask })
}

fn canonical_sha256(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(hex::encode(Sha256::digest(serde_json_canonicalizer::to_vec(value)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn artefact(name: &str, sha: &str) -> Artefact {
        Artefact {
            ecosystem: Ecosystem::Pip,
            name: name.into(),
            version: "1.0".into(),
            sha256: sha.into(),
            size_bytes: 1,
            file_name: format!("{name}.whl"),
            url: String::new(),
            licence: None,
            uploaded_at: None,
            install_scripts: false,
            requested: true,
            places: Vec::new(),
        }
    }

    fn candidate() -> Candidate {
        Candidate {
            request: RequestId::from_uuid(Uuid::from_u128(1)),
            base_image: "sha256:aa".into(),
            parent_image: "sha256:bb".into(),
            artefacts: vec![artefact("a", "01"), artefact("b", "02")],
            dockerfile: "FROM sha256:aa\n".into(),
            policy_version: 1,
        }
    }

    #[test]
    fn the_digest_binds_every_part_and_no_order() {
        let base = candidate();
        let digest = base.digest().unwrap();
        let mut same = base.clone();
        same.artefacts.reverse();
        assert_eq!(same.digest().unwrap(), digest, "the order of artefacts does not matter");
        let changes: [fn(&mut Candidate); 7] = [
            |c| c.request = RequestId::from_uuid(Uuid::from_u128(2)),
            |c| c.base_image.push('0'),
            |c| c.parent_image.push('0'),
            |c| c.artefacts[0].sha256.push('0'),
            |c| c.artefacts[1].version.push('1'),
            |c| c.dockerfile.push('\n'),
            |c| c.policy_version += 1,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut other = base.clone();
            change(&mut other);
            assert_ne!(other.digest().unwrap(), digest, "change {i} must change the digest");
        }
    }
}
