//! The kustomizations, and what they are made of.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::super::workspace::{files, root, text_of};
use super::{Document, documents, list, texts, version};

const BASE: &str = "deploy/kustomize/base";
const EXAMPLE: &str = "deploy/kustomize/overlays/example";
const COMPONENTS: &str = "deploy/kustomize/components";

/// A kustomization with all that it leads to.
#[derive(Debug, Default)]
struct Resolved {
    /// The files of manifests.
    manifests: BTreeSet<String>,
    /// All files, its own and those of configuration included.
    files: BTreeSet<String>,
}

/// Follows `resources` and `components` of the kustomization in a folder.
fn resolve(folder: &str, into: &mut Resolved) {
    let file = format!("{folder}/kustomization.yaml");
    let found = documents(&file);
    let [kustomization] = found.as_slice() else {
        panic!("{file} is not one document")
    };
    into.files.insert(file.clone());
    for pointer in ["/resources", "/components"] {
        for entry in texts(kustomization.at(pointer)) {
            let path = joined(folder, entry);
            if root().join(&path).is_dir() {
                resolve(&path, into);
            } else {
                assert!(
                    root().join(&path).is_file(),
                    "{file} names {entry}, which is not there"
                );
                into.files.insert(path.clone());
                into.manifests.insert(path);
            }
        }
    }
    for generator in list(kustomization.at("/configMapGenerator")) {
        for entry in texts(&generator["files"]) {
            let path = joined(folder, entry);
            assert!(
                root().join(&path).is_file(),
                "{file} names {entry}, which is not there"
            );
            into.files.insert(path);
        }
    }
}

/// A path without `..`, seen from the top of the repository.
fn joined(folder: &str, entry: &str) -> String {
    let mut parts = PathBuf::new();
    for part in Path::new(folder).join(entry).components() {
        if part == Component::ParentDir {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.to_str().unwrap().to_owned()
}

fn manifests_of(folder: &str) -> Vec<Document> {
    let mut resolved = Resolved::default();
    resolve(folder, &mut resolved);
    resolved
        .manifests
        .iter()
        .flat_map(|file| documents(file))
        .collect()
}

/// The manifests of the base.
pub(super) fn base() -> Vec<Document> {
    manifests_of(BASE)
}

/// The folders of the components.
fn components() -> BTreeSet<String> {
    let inside = |name: &str| {
        let (folder, file) = name.rsplit_once('/')?;
        (file == "kustomization.yaml" && folder.starts_with(COMPONENTS)).then(|| folder.to_owned())
    };
    files().iter().filter_map(|(name, _)| inside(name)).collect()
}

/// The manifests of one component.
pub(super) fn component(name: &str) -> Vec<Document> {
    manifests_of(&format!("{COMPONENTS}/{name}"))
}

/// Every manifest there is.
pub(super) fn all() -> Vec<Document> {
    let mut found = manifests_of(EXAMPLE);
    for folder in components() {
        found.extend(manifests_of(&folder));
    }
    found
}

/// The kustomization of the example.
fn example() -> Document {
    documents(&format!("{EXAMPLE}/kustomization.yaml")).remove(0)
}

#[test]
fn no_file_of_the_kustomizations_is_forgotten() {
    let mut reached = Resolved::default();
    resolve(EXAMPLE, &mut reached);
    for folder in components() {
        resolve(&folder, &mut reached);
    }
    let present: BTreeSet<String> = files()
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("deploy/kustomize/"))
        .cloned()
        .collect();
    assert_eq!(reached.files, present);
}

#[test]
fn every_manifest_says_what_it_is() {
    let mut seen = BTreeSet::new();
    for document in base()
        .iter()
        .chain(&component("keda"))
        .chain(&component("monitoring"))
        .chain(&component("otlp"))
    {
        let Document { file, .. } = document;
        assert!(!document.text("/apiVersion").is_empty(), "{file}: no apiVersion");
        assert!(
            !document.name().is_empty(),
            "{file}: {} without a name",
            document.kind()
        );
        assert_eq!(
            document.at("/metadata/labels/app.kubernetes.io~1name"),
            "lockflight",
            "{file}: {} {}",
            document.kind(),
            document.name()
        );
        assert_eq!(
            document.at("/metadata/namespace"),
            &Value::Null,
            "{file}: the overlay says where"
        );
        let id = (document.kind().to_owned(), document.name().to_owned());
        assert!(seen.insert(id.clone()), "{file}: {id:?} is there twice");
    }
}

#[test]
fn the_example_takes_the_image_of_the_base() {
    let images = example();
    let [image] = list(images.at("/images")) else {
        panic!("one image")
    };
    assert_eq!(image["name"], "lockflight");
    assert_eq!(image["newTag"], version());
}

#[test]
fn what_scales_by_itself_has_no_number_in_the_manifests() {
    let keda = documents(&format!("{COMPONENTS}/keda/kustomization.yaml")).remove(0);
    let patched: BTreeSet<&str> = list(keda.at("/patches"))
        .iter()
        .filter(|patch| {
            patch["patch"]
                .as_str()
                .unwrap_or_default()
                .contains("path: /spec/replicas")
        })
        .filter_map(|patch| patch["target"]["name"].as_str())
        .collect();
    let scaled = component("keda");
    let scaled: BTreeSet<&str> = scaled
        .iter()
        .filter(|document| document.kind() == "ScaledObject")
        .map(|document| document.text("/spec/scaleTargetRef/name"))
        .collect();
    assert_eq!(
        patched, scaled,
        "KEDA and `kubectl apply` would fight over the number"
    );
    for name in scaled {
        assert!(
            base().iter().any(|document| document.name() == name),
            "there is no {name} to scale"
        );
    }
}

#[test]
fn the_configuration_of_the_base_has_one_that_can_be_read() {
    for file in [
        format!("{BASE}/lockflight.toml"),
        format!("{EXAMPLE}/lockflight.toml"),
    ] {
        let parsed: toml::Table =
            toml::from_str(text_of(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let listen = parsed["http"]["listen"].as_str().unwrap();
        assert!(
            listen.ends_with(":8080") && !listen.starts_with("127."),
            "{file}: probes can't reach {listen}"
        );
    }
}
