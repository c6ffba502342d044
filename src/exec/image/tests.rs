//! Tests of images as bytes; no container runtime is asked.

use super::*;
use std::io::Read;
use std::path::Path;

fn store_at(folder: &Path) -> Store {
    Store::open(&folder.join("store")).unwrap()
}

/// A tree with a program, a file, a link, an empty folder and a path longer than any tar header holds.
fn spec(store: &Store, folder: &Path) -> ImageSpec {
    use std::os::unix::fs::PermissionsExt;
    let tree = folder.join("tree");
    let deep = tree.join("d".repeat(90)).join("e".repeat(90)).join("f".repeat(90));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("g".repeat(120)), "deep").unwrap();
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    std::fs::create_dir_all(tree.join("empty")).unwrap();
    std::fs::write(tree.join("bin/run"), vec![7; 1000]).unwrap();
    std::fs::set_permissions(tree.join("bin/run"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(tree.join("note"), "").unwrap();
    std::os::unix::fs::symlink("bin/run", tree.join("start")).unwrap();
    ImageSpec {
        layers: vec![
            Layer { at: "/".into(), entry: store.put_tree(&tree).unwrap() },
            Layer { at: "/data/tokens.npy".into(), entry: store.put_bytes(b"tokens").unwrap() },
        ],
        entrypoint: vec!["/bin/run".into()],
        env: BTreeMap::from([("B".into(), "2".into()), ("A".into(), "1".into())]),
        architecture: "x86_64".into(),
    }
}

fn members(archive: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    let mut members = Vec::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let header = entry.header();
        let link = entry.link_name().unwrap().map(|link| format!(" -> {}", link.display())).unwrap_or_default();
        let about = format!(
            "{:o} {}:{} {}{link}",
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap()
        );
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        members.push((path, about, content));
    }
    members
}

#[test]
fn the_same_trees_give_the_same_bytes_in_another_store() {
    let archives: Vec<Vec<u8>> = (0..2)
        .map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let store = store_at(folder.path());
            let image = Image::make(&store, &spec(&store, folder.path())).unwrap();
            let mut archive = Vec::new();
            image.write_archive(&store, &mut archive).unwrap();
            archive
        })
        .collect();
    assert!(archives[0] == archives[1]);
}

#[test]
fn an_image_survives_the_store_and_its_archive_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_at(folder.path());
    let made = Image::make(&store, &spec(&store, folder.path())).unwrap();
    let entry = made.store(&store).unwrap();
    assert_eq!(Image::read(&store, &entry).unwrap(), made);
    assert!(store.complete(&entry));

    let mut archive = Vec::new();
    made.write_archive(&store, &mut archive).unwrap();
    let blobs = members(&archive);
    for (path, _, content) in &blobs {
        if let Some(digest) = path.strip_prefix("blobs/sha256/") {
            assert_eq!(archive::sha256(content).hex(), digest);
        }
    }
    let docker: serde_json::Value =
        serde_json::from_slice(&blobs.iter().find(|(path, ..)| path == "manifest.json").unwrap().2).unwrap();
    let layer = docker[0]["Layers"][0].as_str().unwrap();
    let layer = members(&blobs.iter().find(|(path, ..)| path == layer).unwrap().2);
    let listing: Vec<String> = layer.iter().map(|(path, about, _)| format!("{path} {about}")).collect();
    let (d, e, f, g) = ("d".repeat(90), "e".repeat(90), "f".repeat(90), "g".repeat(120));
    assert_eq!(
        listing,
        [
            "bin/ 755 0:0 0".to_owned(),
            "bin/run 755 0:0 0".to_owned(),
            format!("{d}/ 755 0:0 0"),
            format!("{d}/{e}/ 755 0:0 0"),
            format!("{d}/{e}/{f}/ 755 0:0 0"),
            format!("{d}/{e}/{f}/{g} 644 0:0 0"),
            "empty/ 755 0:0 0".to_owned(),
            "note 644 0:0 0".to_owned(),
            "start 777 0:0 0 -> bin/run".to_owned(),
        ]
    );
    let second = docker[0]["Layers"][1].as_str().unwrap();
    let second = members(&blobs.iter().find(|(path, ..)| path == second).unwrap().2);
    let paths: Vec<&str> = second.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(paths, ["data/", "data/tokens.npy"]);
}

#[test]
fn the_identity_depends_on_what_is_inside_and_how_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_at(folder.path());
    let spec = spec(&store, folder.path());
    let digest = |spec: &ImageSpec| Image::make(&store, spec).unwrap().digest();
    let same = digest(&spec);
    assert_eq!(same, digest(&spec.clone()));
    let mut moved = spec.clone();
    moved.layers[1].at = "/data/other.npy".into();
    let mut started = spec.clone();
    started.entrypoint.push("--fast".into());
    let mut elsewhere = spec.clone();
    elsewhere.architecture = "aarch64".into();
    for other in [moved, started, elsewhere] {
        assert_ne!(same, digest(&other));
    }
}

#[test]
fn odd_places_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_at(folder.path());
    let entry = store.put_bytes(b"x").unwrap();
    for at in ["", "relative", "/../x", "/a/./b", "/"] {
        let spec = ImageSpec {
            layers: vec![Layer { at: at.into(), entry: entry.clone() }],
            entrypoint: Vec::new(),
            env: BTreeMap::new(),
            architecture: "x86_64".into(),
        };
        let error = Image::make(&store, &spec).unwrap_err();
        assert!(matches!(error, ImageError::BadPath { .. }), "{at}: {error}");
    }
}

#[test]
fn records_count_their_own_length() {
    for length in [1, 80, 88, 89, 90, 91, 92, 93, 986, 987, 988, 989, 990, 991, 992] {
        let tree = "n".repeat(length);
        let mut archive = Vec::new();
        // Doubled, so that the name never fits a header.
        let path = format!("{tree}/{}", "m".repeat(200));
        archive::file(&mut archive, &path, b"x").unwrap();
        archive::end(&mut archive).unwrap();
        assert_eq!(members(&archive)[0].0, path, "{length}");
    }
}
