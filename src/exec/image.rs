//! Container images without a daemon: from the store's trees to a description, and from that to the archive
//! that a runtime loads.
//!
//! The same trees give the same bytes: members are sorted, without times and owners, with modes 0755 and 0644.
//! An image is a small tree of the store:
//!
//! | path | content |
//! |---|---|
//! | `config.json` | the OCI configuration; its SHA-256 is the image's identity |
//! | `manifest.json` | the OCI manifest |
//! | `layers.json` | for each layer: where in the image, digest and size of its archive |
//! | `layers/N` | the tree or file of layer N, so that the store keeps it and a copy of the image is whole |
//!
//! Layer archives are not kept: they are made again, and checked against their digests, while a runtime reads
//! them. This module knows no runtime and no process.

mod archive;
mod layer;

use std::collections::BTreeMap;
use std::io;

use pipe_cache::{Entry, Store, StoreError, TreeBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::archive::Hashed;

/// One layer to be: a tree, or a single file, at an absolute path of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub at: String,
    pub entry: Entry,
}

/// An image to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    pub layers: Vec<Layer>,
    pub entrypoint: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// As `host::Machine` names it: `x86_64`, `aarch64`.
    pub architecture: String,
}

/// A SHA-256 as container tools write it: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sha256(String);

impl Sha256 {
    /// The digits alone.
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl std::fmt::Display for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an image could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part that the image is made of is not in the store.
    #[error("`{part}` of the image is not in the store; run the step that makes it again")]
    Missing { part: String },
    /// A path that no image can hold.
    #[error("a layer can't be put at `{at}`: the path must be absolute, without `.` and `..`")]
    BadPath { at: String },
    /// A layer's archive is not what the description says.
    #[error("layer `{at}` came out as {got} instead of {wanted}; the image must be made again")]
    Changed { at: String, wanted: Sha256, got: Sha256 },
    /// A file of the description does not read.
    #[error("`{file}` of the image does not read: {source}")]
    Unreadable { file: &'static str, source: serde_json::Error },
    /// Writing failed, usually since the reader went away.
    #[error("the image could not be written: {0}")]
    Write(#[from] io::Error),
}

/// A layer as `layers.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Described {
    at: String,
    diff_id: Sha256,
    size: u64,
}

/// An image that was made: all that it takes to load it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    config: Vec<u8>,
    manifest: Vec<u8>,
    layers: Vec<(Described, Entry)>,
}

/// The types of the OCI image specification.
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// No image tells when it was made.
const CREATED: &str = "1970-01-01T00:00:00Z";

impl Image {
    /// Makes an image of what is in the store; reads every byte of it once.
    pub fn make(store: &Store, spec: &ImageSpec) -> Result<Image, ImageError> {
        let mut layers = Vec::new();
        for layer in &spec.layers {
            let mut hashed = Hashed::new(io::sink());
            layer::write(store, layer, &mut hashed)?;
            let (diff_id, size) = hashed.finish();
            layers.push((Described { at: layer.at.clone(), diff_id, size }, layer.entry.clone()));
        }
        let config = pretty(&config(spec, &layers));
        let manifest = pretty(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, &archive::sha256(&config), config.len() as u64),
            "layers": layers
                .iter()
                .map(|(layer, _)| descriptor(LAYER_TYPE, &layer.diff_id, layer.size))
                .collect::<Vec<_>>(),
        }));
        Ok(Image { config, manifest, layers })
    }

    /// Puts the description into the store.
    pub fn store(&self, store: &Store) -> Result<Entry, ImageError> {
        let described: Vec<&Described> = self.layers.iter().map(|(layer, _)| layer).collect();
        let mut tree = TreeBuilder::new();
        tree.insert("config.json", store.put_bytes(&self.config)?)?;
        tree.insert("manifest.json", store.put_bytes(&self.manifest)?)?;
        tree.insert("layers.json", store.put_bytes(&pretty(&json!(described)))?)?;
        for (at, (_, entry)) in self.layers.iter().enumerate() {
            tree.insert(&format!("layers/{at}"), entry.clone())?;
        }
        Ok(tree.build(store)?)
    }

    /// Reads a description back.
    pub fn read(store: &Store, image: &Entry) -> Result<Image, ImageError> {
        let part = |path: &str| store.lookup(image, path)?.ok_or_else(|| ImageError::Missing { part: path.to_owned() });
        let file = |path: &str| {
            let missing = || ImageError::Missing { part: path.to_owned() };
            let digest = part(path)?.digest().ok_or_else(missing)?;
            store.read(&digest)?.ok_or_else(missing)
        };
        let described: Vec<Described> = serde_json::from_slice(&file("layers.json")?)
            .map_err(|source| ImageError::Unreadable { file: "layers.json", source })?;
        let mut layers = Vec::new();
        for (at, layer) in described.into_iter().enumerate() {
            layers.push((layer, part(&format!("layers/{at}"))?));
        }
        Ok(Image { config: file("config.json")?, manifest: file("manifest.json")?, layers })
    }

    /// The image's identity: the digest of its configuration, which names every layer.
    pub fn digest(&self) -> Sha256 {
        archive::sha256(&self.config)
    }

    /// The digest by which runtimes with a containerd store know the image.
    pub fn manifest_digest(&self) -> Sha256 {
        archive::sha256(&self.manifest)
    }

    /// The name under which people find the image in a runtime's list; nothing is ever looked up by it.
    pub fn tag(&self) -> String {
        format!("pipe:{}", &self.digest().hex()[..12])
    }

    /// Bytes of all layers, unpacked.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|(layer, _)| layer.size).sum()
    }

    /// Writes the archive that `docker load` and `podman load` read. It is an OCI layout, and has beside it
    /// the `manifest.json` of the older format, which Docker 20.10 demands.
    pub fn write_archive(&self, store: &Store, out: &mut impl io::Write) -> Result<(), ImageError> {
        let blob = |digest: &Sha256| format!("blobs/sha256/{}", digest.hex());
        let layers: Vec<String> = self.layers.iter().map(|(layer, _)| blob(&layer.diff_id)).collect();
        let docker = json!([{ "Config": blob(&self.digest()), "RepoTags": [self.tag()], "Layers": layers }]);
        let mut manifest = descriptor(MANIFEST_TYPE, &self.manifest_digest(), self.manifest.len() as u64);
        manifest["annotations"] = json!({
            "io.containerd.image.name": format!("docker.io/library/{}", self.tag()),
            "org.opencontainers.image.ref.name": self.tag(),
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [manifest] });

        archive::file(out, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive::file(out, "index.json", &pretty(&index))?;
        archive::file(out, "manifest.json", &pretty(&docker))?;
        archive::file(out, &blob(&self.digest()), &self.config)?;
        archive::file(out, &blob(&self.manifest_digest()), &self.manifest)?;
        // Two equal layers are one blob.
        let mut written = std::collections::BTreeSet::new();
        for (described, entry) in self.layers.iter().filter(|(layer, _)| written.insert(&layer.diff_id)) {
            self.write_layer(store, described, entry, out)?;
        }
        archive::end(out)?;
        Ok(())
    }

    fn write_layer(
        &self,
        store: &Store,
        described: &Described,
        entry: &Entry,
        out: &mut impl io::Write,
    ) -> Result<(), ImageError> {
        archive::begin(out, &format!("blobs/sha256/{}", described.diff_id.hex()), described.size)?;
        let mut hashed = Hashed::new(&mut *out);
        layer::write(store, &Layer { at: described.at.clone(), entry: entry.clone() }, &mut hashed)?;
        let (got, size) = hashed.finish();
        if got != described.diff_id {
            return Err(ImageError::Changed { at: described.at.clone(), wanted: described.diff_id.clone(), got });
        }
        archive::pad(out, size)?;
        Ok(())
    }
}

fn config(spec: &ImageSpec, layers: &[(Described, Entry)]) -> serde_json::Value {
    let architecture = match spec.architecture.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let history =
        |(layer, _): &(Described, Entry)| json!({ "created": CREATED, "created_by": format!("pipe: {}", layer.at) });
    json!({
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": spec.entrypoint, "Env": env, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|(layer, _)| &layer.diff_id).collect::<Vec<_>>() },
        "history": layers.iter().map(history).collect::<Vec<_>>(),
    })
}

fn descriptor(media_type: &str, digest: &Sha256, size: u64) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

/// One spelling of a value: its keys stay in the order in which they stand in this file.
fn pretty(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = format!("{value:#}").into_bytes();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests;
