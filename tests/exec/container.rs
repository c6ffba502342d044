//! A real container, of an image that holds one static program of ours.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipe::exec::container::{Container, ContainerSpec, Hints, Owner, Runtime};
use pipe::exec::image::{Image, ImageSpec, Layer};
use pipe_cache::Store;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::bed::{block, eventually, exe};

const LIMIT: Duration = Duration::from_secs(10);

struct Dock {
    folder: tempfile::TempDir,
    runtime: Runtime,
    image: String,
}

/// What the environment says, as `pipe` reads it.
fn hints() -> Hints {
    let var = |name| std::env::var(name).ok();
    Hints {
        docker_host: var("DOCKER_HOST"),
        docker_context: var("DOCKER_CONTEXT"),
        docker_config: var("DOCKER_CONFIG").map(Into::into),
        home: var("HOME").map(Into::into),
        runtime_dir: var("XDG_RUNTIME_DIR").map(Into::into),
    }
}

/// The runtime, or the reason for a test to be passed over.
async fn runtime() -> Option<Runtime> {
    match Runtime::connect(&hints()).await {
        Ok(runtime) => Some(runtime),
        Err(error) => {
            let required = std::env::var("PIPE_TEST_REQUIRE").is_ok_and(|value| value == "all");
            assert!(!required, "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn image(store: &Store, folder: &Path) -> Image {
    let tree = folder.join("tree");
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exec/probe.c");
    let program = tree.join("bin/probe");
    let built =
        std::process::Command::new("cc").args(["-static", "-w", "-o"]).arg(&program).arg(source).status().unwrap();
    assert!(built.success(), "cc makes a static program");
    let spec = ImageSpec {
        layers: vec![Layer { at: "/".into(), entry: store.put_tree(&tree).unwrap() }],
        entrypoint: vec!["/bin/probe".into()],
        env: BTreeMap::from([("MARK".into(), "image".into())]),
        architecture: std::env::consts::ARCH.into(),
    };
    Image::make(store, &spec).unwrap()
}

impl Dock {
    async fn new() -> Option<Dock> {
        let runtime = runtime().await?;
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("store")).unwrap());
        let image = image(&store, folder.path());
        let image = runtime.ensure_image(&image, store).await.unwrap();
        Some(Dock { folder, runtime, image })
    }

    fn spec(&self, run: &str) -> ContainerSpec {
        ContainerSpec {
            image: self.image.clone(),
            cpus: 1,
            memory: 64 << 20,
            env: Vec::new(),
            args: vec!["argument".into()],
            files: vec![("note".into(), b"hello".to_vec())],
            owner: Owner::current(run),
            exe: Some(exe()),
            log: self.folder.path().join("log"),
        }
    }

    async fn start(&self, run: &str) -> Container {
        self.runtime.start(&self.spec(run)).await.unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// A run that no other test and no other process has.
fn run_name(test: &str) -> String {
    format!("test-{test}-{}", std::process::id())
}

#[test]
fn an_engine_in_a_container_talks_and_is_held_in() {
    block(async {
        let Some(dock) = Dock::new().await else {
            return;
        };
        let facts = dock.runtime.facts().await.unwrap();
        assert!(facts.cpus > 0 && facts.memory_gib > 0 && facts.version.contains('.'), "{facts:?}");
        assert_eq!(facts.platform, format!("linux/{}", std::env::consts::ARCH));

        let mut container = dock.start(&run_name("talk")).await;
        let (reader, mut writer) = container.take_link().unwrap();
        let mut lines = BufReader::new(reader).lines();
        writer.write_all(b"hello\ninside\nwrite\n").await.unwrap();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "echo hello");
        assert_eq!(
            lines.next_line().await.unwrap().unwrap(),
            "uid=65534 gid=65534 cwd=/work cpus=1 root=0 in=0 out=1 tmp=1 net=0 \
             caps=0000000000000000 nnp=1 env=image note=hello"
        );
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "written");
        let out = dock.folder.path().join("fetched");
        std::fs::create_dir(&out).unwrap();
        container.fetch("out", &out).await.unwrap();
        assert_eq!(std::fs::read_to_string(out.join("folder/logits.npy")).unwrap(), "logits");

        drop(writer);
        let end = container.wait(LIMIT).await;
        assert_eq!((end.code, end.out_of_memory), (Some(0), false), "{end}");
        assert_eq!(dock.log(), "started with argument\n");
        assert_eq!(dock.runtime.remove_run(&run_name("talk")).await.unwrap(), []);
    });
}

#[test]
fn an_image_is_loaded_once() {
    block(async {
        let Some(dock) = Dock::new().await else {
            return;
        };
        let store = Arc::new(Store::open(&dock.folder.path().join("store")).unwrap());
        let image = image(&store, dock.folder.path());
        // A store that lost the layers shows that nothing is read again.
        let empty = Arc::new(Store::open(&dock.folder.path().join("empty")).unwrap());
        assert_eq!(dock.runtime.ensure_image(&image, empty).await.unwrap(), dock.image);
        let entry = image.store(&store).unwrap();
        assert_eq!(Image::read(&store, &entry).unwrap(), image);
    });
}

#[test]
fn a_store_without_the_layers_is_named() {
    block(async {
        let Some(runtime) = runtime().await else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let unique = format!("only of process {}", std::process::id());
        let entry = store.put_bytes(unique.as_bytes()).unwrap();
        let spec = ImageSpec {
            layers: vec![Layer { at: "/note".into(), entry }],
            entrypoint: vec!["/note".into()],
            env: BTreeMap::new(),
            architecture: std::env::consts::ARCH.into(),
        };
        let image = Image::make(&store, &spec).unwrap();
        let empty = Arc::new(Store::open(&folder.path().join("empty")).unwrap());
        let error = runtime.ensure_image(&image, empty).await.unwrap_err().to_string();
        assert!(error.contains("`note` of the image is not in the store"), "{error}");
    });
}

#[test]
fn ends_are_told_apart() {
    block(async {
        let Some(dock) = Dock::new().await else {
            return;
        };
        for (order, code, out_of_memory) in [("exit", 7, false), ("crash", 139, false), ("hog", 137, true)] {
            let mut container = dock.start(&run_name("ends")).await;
            let (mut reader, mut writer) = container.take_link().unwrap();
            writer.write_all(format!("{order}\n").as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).await.unwrap();
            let end = container.wait(LIMIT).await;
            assert_eq!((end.code, end.out_of_memory), (Some(code), out_of_memory), "{order}: {end}");
        }
    });
}

#[test]
fn a_container_that_hangs_is_gone_soon_after_it_is_stopped() {
    block(async {
        let Some(dock) = Dock::new().await else {
            return;
        };
        let run = run_name("hang");
        let mut container = dock.start(&run).await;
        let (_reader, mut writer) = container.take_link().unwrap();
        writer.write_all(b"hang\n").await.unwrap();
        let begun = Instant::now();
        let end = container.stop().await;
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert_eq!(end.code, Some(137), "{end}");
        assert_eq!(dock.runtime.remove_run(&run).await.unwrap(), []);
    });
}

#[test]
fn a_dropped_container_ends_by_itself() {
    block(async {
        let Some(dock) = Dock::new().await else {
            return;
        };
        let run = run_name("drop");
        let container = dock.start(&run).await;
        let id = container.id().to_owned();
        drop(container);
        let begun = Instant::now();
        loop {
            let left = dock.runtime.remove_run("nobody's").await.unwrap();
            assert_eq!(left, []);
            if !exists(&id) {
                break;
            }
            assert!(begun.elapsed() < LIMIT, "the container is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

/// Asked of the runtime's own client where there is one, for a second opinion.
fn exists(id: &str) -> bool {
    let listed = std::process::Command::new("docker").args(["ps", "-aq", "--no-trunc"]).output();
    listed.is_ok_and(|listed| String::from_utf8_lossy(&listed.stdout).contains(id))
}

/// Not a test of its own: the `pipe` that the two tests after it kill.
#[test]
fn runner() {
    let Ok(order) = std::env::var("PIPE_TEST_CONTAINER_RUNNER") else {
        return;
    };
    let (run, guarded) = order.split_once('|').unwrap();
    block(async {
        let dock = Dock::new().await.unwrap();
        let exe = (guarded == "guarded").then(exe);
        let mut container = dock.runtime.start(&ContainerSpec { exe, ..dock.spec(run) }).await.unwrap();
        let (mut reader, mut writer) = container.take_link().unwrap();
        writer.write_all(b"hang\nready\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        println!("started {}", container.id());
        let _ = reader.read_u8().await;
    });
}

/// Starts [`runner`], waits until its container hangs, and gives back both.
fn killable(scratch: &Path, run: &str, guarded: &str) -> (std::process::Child, String) {
    use std::io::BufRead;
    let mut runner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "container::runner", "--nocapture"])
        .env("TMPDIR", scratch)
        .env("PIPE_TEST_CONTAINER_RUNNER", format!("{run}|{guarded}"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(runner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let id = lines.find_map(|line| Some(line.split_once("started ")?.1.trim().to_owned())).unwrap();
    (runner, id)
}

#[test]
fn the_container_of_a_killed_runner_is_removed_though_its_engine_computes() {
    let scratch = tempfile::tempdir().expect("a folder that outlives the killed");
    block(async {
        let Some(_runtime) = runtime().await else {
            return;
        };
        let (mut runner, id) = killable(scratch.path(), &run_name("guarded"), "guarded");
        assert!(exists(&id));
        runner.kill().unwrap();
        runner.wait().unwrap();
        assert!(eventually(LIMIT, || !exists(&id)));
    });
}

#[test]
fn containers_that_no_guard_removed_are_reaped() {
    let scratch = tempfile::tempdir().expect("a folder that outlives the killed");
    block(async {
        let Some(runtime) = runtime().await else {
            return;
        };
        let run = run_name("unguarded");
        let (mut runner, id) = killable(scratch.path(), &run, "unguarded");
        // It lives, and so does its container.
        assert!(runtime.reap().await.unwrap().iter().all(|reaped| reaped.run != run));
        assert!(exists(&id));
        runner.kill().unwrap();
        runner.wait().unwrap();
        let reaped = runtime.reap().await.unwrap();
        assert!(reaped.iter().any(|reaped| reaped.id == id && reaped.run == run), "{reaped:?}");
        assert!(!exists(&id));
    });
}

#[test]
fn more_processors_than_there_are_is_said_before_the_start() {
    block(async {
        let Some(dock) = Dock::new().await else {
            return;
        };
        let spec = ContainerSpec { cpus: 10_000, ..dock.spec(&run_name("cpus")) };
        let error = dock.runtime.start(&spec).await.unwrap_err();
        assert!(error.is_unavailable() && error.to_string().contains("10000 were asked for"), "{error}");
    });
}
