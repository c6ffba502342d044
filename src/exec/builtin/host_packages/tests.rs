//! Packages installed into a folder of the test, listed by a script that plays the interpreter.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pipe_cache::{Entry, Store};

use super::files::{base64, parse};
use super::*;

/// A folder of installed packages, and a script that plays the interpreter.
struct Site {
    folder: tempfile::TempDir,
    packages: Vec<serde_json::Value>,
}

impl Site {
    fn new() -> Site {
        Site { folder: tempfile::tempdir().expect("a folder"), packages: Vec::new() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("site-packages")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, bytes).expect("a file");
    }

    /// Installs a package whose `RECORD` is as pip would write it.
    fn install(&mut self, name: &str, version: &str, requires: &[&str], files: &[(&str, &[u8])]) {
        let info = format!("{name}-{version}.dist-info");
        let mut record = format!(
            "../../bin/{name},sha256=x,1\n{name}/__pycache__/a.pyc,,\n{info}/INSTALLER,sha256=y,4\n{info}/RECORD,,\n"
        );
        for (path, bytes) in files {
            self.write(path, bytes);
            record.push_str(&format!("{path},sha256={},{}\n", digest(bytes), bytes.len()));
        }
        self.write(&format!("{info}/RECORD"), record.as_bytes());
        self.packages.push(serde_json::json!({
            "name": name, "version": version, "requires": requires,
            "root": self.root(), "metadata": self.root().join(info),
        }));
    }

    fn python(&self) -> PathBuf {
        let answer = serde_json::json!({
            "markers": {
                "implementation_name": "cpython", "implementation_version": "3.11.7", "os_name": "posix",
                "platform_machine": "x86_64", "platform_python_implementation": "CPython",
                "platform_release": "6.1", "platform_system": "Linux", "platform_version": "#1",
                "python_full_version": "3.11.7", "python_version": "3.11", "sys_platform": "linux",
            },
            "path": ["", self.root()], "packages": self.packages,
        });
        fs::write(self.folder.path().join("answer"), answer.to_string()).expect("an answer");
        let python = self.folder.path().join("python");
        if !python.exists() {
            fs::write(&python, format!("#!/bin/sh\n/bin/cat {}/answer\n", self.folder.path().display()))
                .expect("a script");
            fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        python
    }

    fn inventory(&self, wanted: &[&str]) -> Result<Inventory, PackageError> {
        inventory(&self.python(), &names(wanted), &ToolEnv::default())
    }
}

fn names(wanted: &[&str]) -> Vec<String> {
    wanted.iter().map(|name| (*name).to_owned()).collect()
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    base64(&sha2::Sha256::digest(bytes))
}

fn torch() -> Site {
    let mut site = Site::new();
    let requires = [
        "typing-extensions>=4.10",
        "Jinja2",
        "triton==3.6; platform_system == \"Linux\"",
        "colorama; sys_platform == \"win32\"",
        "opt-einsum>=3.3; extra == \"opt-einsum\"",
        "nvidia-cudart[a]",
    ];
    site.install("torch", "2.11.0", &requires, &[("torch/__init__.py", b"torch"), ("torch/lib/x.so", b"so")]);
    site.install("typing_extensions", "4.16.0", &[], &[("typing_extensions.py", b"te")]);
    site.install("jinja2", "3.1.6", &["MarkupSafe"], &[("jinja2/__init__.py", b"j")]);
    site.install("markupsafe", "3.0.4", &[], &[("markupsafe/__init__.py", b"m")]);
    site.install("colorama", "0.4", &[], &[("colorama.py", b"c")]);
    site.install("opt_einsum", "3.4", &[], &[("opt_einsum.py", b"o")]);
    site.install("nvidia-cudart", "13", &["triton-a; extra == \"a\""], &[("nvidia/x", b"n")]);
    site.install("triton-a", "1", &[], &[("triton_a.py", b"a")]);
    site
}

fn members(inventory: &Inventory) -> Vec<&str> {
    inventory.packages.iter().map(|package| package.name.as_str()).collect()
}

#[test]
fn the_closure_follows_markers_and_extras() {
    let site = torch();
    let plain = site.inventory(&["torch"]).expect("an inventory");
    let expected = ["jinja2", "markupsafe", "nvidia-cudart", "torch", "triton-a", "typing-extensions"];
    assert_eq!(members(&plain), expected);
    assert_eq!(plain.absent.iter().collect::<Vec<_>>(), [(&"triton".to_owned(), &"torch".to_owned())]);
    let extra = site.inventory(&["Torch[opt-einsum]==2.11.0"]).expect("an inventory");
    assert!(members(&extra).contains(&"opt-einsum"));
    assert_eq!(plain.key_parts()["interpreter"], "CPython 3.11.7");
    assert!(plain.key_parts()["package torch"].starts_with("2.11.0 "));
    assert_eq!(plain.key_parts()["package triton"], "absent");
}

#[test]
fn what_is_missing_or_of_another_version_is_told_with_the_command() {
    let site = torch();
    let message = |wanted: &str| site.inventory(&[wanted]).expect_err("an error").to_string();
    assert!(message("numpy").contains("-m pip install 'numpy'`"));
    assert!(message("torch>=2.12").contains("is installed as 2.11.0, and `torch>=2.12` is wanted"));
    assert!(message("not a name").contains("`not a name` names no Python package"));
    let mut site = Site::new();
    site.install("bad", "1", &["%%%"], &[]);
    assert!(site.inventory(&["bad"]).expect_err("an error").to_string().contains("`%%%`"));
}

#[test]
fn the_tree_holds_what_the_wheels_held() {
    let site = torch();
    let exec = site.root().join("torch/lib/x.so");
    fs::set_permissions(&exec, fs::Permissions::from_mode(0o755)).expect("a mode");
    let inventory = site.inventory(&["torch"]).expect("an inventory");
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let two = std::num::NonZeroUsize::new(2).expect("not zero");
    let tree = materialise(&inventory, &store, two).expect("a tree");
    let mut found = Vec::new();
    store
        .walk(&tree, |path, entry| {
            if let Entry::File { executable, .. } = entry {
                found.push(format!("{path}{}", if *executable { "*" } else { "" }));
            }
        })
        .expect("a walk");
    let expected = [
        "jinja2/__init__.py",
        "markupsafe/__init__.py",
        "nvidia/x",
        "torch/__init__.py",
        "torch/lib/x.so*",
        "triton_a.py",
        "typing_extensions.py",
    ];
    assert_eq!(found, expected);

    fs::write(site.root().join("jinja2/__init__.py"), "edited").expect("a file");
    let error = materialise(&inventory, &store, two).expect_err("an edit").to_string();
    assert!(error.contains("`jinja2` is not the file that was installed"), "{error}");
}

#[test]
fn the_key_knows_contents_and_not_installers() {
    let digest_of = |change: fn(&Site)| {
        let mut site = Site::new();
        site.install("a", "1", &[], &[("a.py", b"1")]);
        change(&site);
        site.inventory(&["a"]).expect("an inventory").packages[0].files
    };
    let plain = digest_of(|_| ());
    let by_uv = digest_of(|site| {
        let record =
            format!("a-1.dist-info/RECORD,,\na-1.dist-info/uv_cache.json,sha256=q,9\na.py,sha256={},1\n", digest(b"1"));
        site.write("a-1.dist-info/RECORD", record.as_bytes());
    });
    assert_eq!(plain, by_uv, "the same wheel by another installer");
    let other =
        digest_of(|site| site.write("a-1.dist-info/RECORD", format!("a.py,sha256={},1\n", digest(b"2")).as_bytes()));
    assert_ne!(plain, other);
    let no_digest = digest_of(|site| site.write("a-1.dist-info/RECORD", b"a.py,,\n"));
    assert_eq!(plain, no_digest, "a file without a digest in the list is hashed");
}

#[test]
fn an_inventory_holds_until_something_is_installed() {
    let site = torch();
    let inventory = site.inventory(&["torch"]).expect("an inventory");
    let text = serde_json::to_string(&inventory).expect("JSON");
    let inventory: Inventory = serde_json::from_str(&text).expect("the same again");
    let python = site.folder.path().join("python");
    assert!(inventory.is_current(&python, &names(&["torch"])));
    assert!(!inventory.is_current(&python, &names(&["torch", "jinja2"])));
    assert!(!inventory.is_current(Path::new("/elsewhere"), &names(&["torch"])));
    site.write("another.py", b"x");
    assert!(!inventory.is_current(&python, &names(&["torch"])), "the folder of packages changed");
}

#[test]
fn packages_without_a_list_of_files_are_told() {
    let mut site = Site::new();
    site.install("a", "1", &[], &[]);
    fs::remove_file(site.root().join("a-1.dist-info/RECORD")).expect("no list");
    assert!(matches!(site.inventory(&["a"]), Err(PackageError::NoRecord { package }) if package == "a"));
}

#[test]
fn lines_of_a_record() {
    let path = |text: &str| {
        parse(text, "a-1.dist-info").map(|lines| lines.into_iter().map(|line| line.path).collect::<Vec<_>>())
    };
    assert_eq!(path("\"a,b.py\",sha256=x,1\r\n\n"), Ok(vec!["a,b.py".to_owned()]));
    assert_eq!(path("../../../bin/x,,\n/etc/passwd,,\na/../b,,\n"), Ok(vec![]));
    assert_eq!(
        path("a-1.dist-info/METADATA,,\na-1.dist-info/direct_url.json,,\n"),
        Ok(vec!["a-1.dist-info/METADATA".to_owned()])
    );
    assert!(path("nonsense").is_err() && path("a,b").is_err() && path(",,").is_err() && path("a,,x").is_err());
}

#[test]
fn base_64_as_in_the_standard() {
    let texts = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")];
    texts.iter().for_each(|(plain, coded)| assert_eq!(base64(plain.as_bytes()), *coded));
    assert_eq!(base64(&[0xfb, 0xff]), "-_8");
}

/// The script is run by a real interpreter, which building `pipe`'s pipelines needs anyway.
#[test]
fn a_real_interpreter_understands_the_script() {
    let vars = [("PATH".to_owned(), "/usr/bin:/bin:/usr/local/bin:/opt/homebrew/bin".into())];
    let env = ToolEnv::from_vars(vars);
    let python = crate::host::tools::find("python3", &env).expect("Python");
    let found = inventory(&python.tool.real, &[], &env).expect("an answer");
    assert!(found.interpreter.contains(" 3."), "{}", found.interpreter);
    assert!(found.packages.is_empty());
}
