//! Fetches from a server of this test on the loopback address, and from files.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::super::control::uncontrolled;
use super::*;
use crate::pipeline::{Origin, Spanned};

/// A server on this machine that answers each path with fixed bytes.
struct Server {
    base: String,
    requests: Arc<AtomicUsize>,
}

/// A whole answer, from its status line on.
fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

impl Server {
    /// `answers` makes the answer to a path; the first `{base}` in a header is the server's own address.
    fn start(answers: impl Fn(&str, &str) -> Vec<u8> + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(AtomicUsize::new(0));
        let (own_base, counter) = (base.clone(), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                serve(stream, |path| answers(path, &own_base));
            }
        });
        Server { base, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn serve(mut stream: TcpStream, answers: impl Fn(&str) -> Vec<u8>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut first = String::new();
    let mut line = String::new();
    let _ = reader.read_line(&mut first);
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or("/");
    // A client that gave up is what some tests are about.
    let _ = stream.write_all(&answers(path));
}

fn sha(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn spanned(value: String) -> Spanned<String> {
    Spanned { value, origin: Origin::Builtin("a test") }
}

fn get_with(url: &str, sha256: &str, limits: Limits, env: &NetworkEnv) -> Result<Vec<u8>, FetchError> {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("file");
    let file = FetchFile { url: spanned(url.to_owned()), sha256: spanned(sha256.to_owned()), name: "file".to_owned() };
    let result = fetch(&file, &target, env, limits, &uncontrolled());
    assert_eq!(result.is_ok(), target.exists(), "what failed leaves no file");
    result.map(|()| std::fs::read(&target).expect("the file"))
}

fn get(url: &str, sha256: &str) -> Result<Vec<u8>, FetchError> {
    let limits = Limits { silence: Duration::from_secs(5), ..Limits::default() };
    get_with(url, sha256, limits, &NetworkEnv::default())
}

fn message(result: Result<Vec<u8>, FetchError>) -> String {
    result.expect_err("an error").to_string()
}

#[test]
fn a_file_with_the_wanted_bytes_comes() {
    let server = Server::start(|_, _| answer("200 OK", "", b"weights"));
    let url = server.url("/model.bin");
    assert_eq!(get(&url, &sha(b"weights")).expect("bytes"), b"weights");
    let prefixed = format!("sha256:{}", sha(b"weights").to_uppercase());
    assert_eq!(get(&url, &prefixed).expect("bytes"), b"weights");
}

#[test]
fn other_bytes_are_told_with_both_digests_and_a_hint() {
    let server = Server::start(|path, _| match path {
        "/page" => answer("200 OK", "", b"\n<!DOCTYPE html><title>Sign in</title>"),
        "/lfs" => answer("200 OK", "", b"version https://git-lfs.github.com/spec/v1\n"),
        "/empty" => answer("200 OK", "", b""),
        _ => answer("200 OK", "", b"other"),
    });
    let wanted = sha(b"weights");
    let text = message(get(&server.url("/x?token=secret"), &wanted));
    assert!(text.contains(&wanted) && text.contains(&sha(b"other")) && !text.contains("secret"), "{text}");
    assert!(message(get(&server.url("/page"), &wanted)).contains("HTML page"));
    assert!(message(get(&server.url("/lfs"), &wanted)).contains("Git LFS pointer"));
    assert!(message(get(&server.url("/empty"), &wanted)).contains("it is empty"));
}

#[test]
fn errors_of_the_server_say_whether_to_try_again() {
    let server = Server::start(|path, _| answer(&format!("{} X", &path[1..]), "", b"no"));
    for (status, passing) in
        [("404", false), ("403", false), ("500", true), ("503", true), ("429", true), ("206", false)]
    {
        let error = get(&server.url(&format!("/{status}")), &sha(b"no")).expect_err("an error");
        assert!(matches!(&error, FetchError::Status { status: s, .. } if s.to_string() == status), "{error}");
        assert_eq!(error.is_passing(), passing, "{status}");
    }
}

#[test]
fn redirects_are_followed_as_far_as_they_are_safe() {
    let server = Server::start(|path, base| {
        let to = |location: &str| answer("302 Found", &format!("Location: {location}\r\n"), b"");
        match path {
            "/absolute" => to(&format!("{base}/a/file")),
            "/rooted" => to("/a/file"),
            "/a/relative" => to("file"),
            "/scheme" => to(&base.replace("http:", "")),
            "/" | "/a/file" => answer("200 OK", "", b"weights"),
            "/local" => to("file:///etc/passwd"),
            "/script" => to("javascript:alert(1)"),
            "/ftp" => to("ftp://example.com/x"),
            "/metadata" => to("http://169.254.169.254/latest/"),
            "/mapped" => to("http://[::ffff:169.254.169.254]/"),
            "/v6" => to("http://[fe80::1]/"),
            "/none" => answer("302 Found", "", b""),
            _ => to("/loop"),
        }
    });
    let wanted = sha(b"weights");
    for path in ["/absolute", "/rooted", "/a/relative", "/scheme"] {
        assert_eq!(get(&server.url(path), &wanted).expect(path), b"weights");
    }
    for (path, why) in [
        ("/local", "neither http nor https"),
        ("/script", "neither http nor https"),
        ("/ftp", "neither http nor https"),
        ("/metadata", "link-local"),
        ("/mapped", "link-local"),
        ("/v6", "link-local"),
        ("/none", "no address"),
    ] {
        let text = message(get(&server.url(path), &wanted));
        assert!(text.contains(why), "{path}: {text}");
    }
    let before = server.requests.load(std::sync::atomic::Ordering::SeqCst);
    assert!(message(get(&server.url("/loop"), &wanted)).contains("one redirect too many"));
    assert_eq!(server.requests.load(std::sync::atomic::Ordering::SeqCst) - before, 11);
}

#[test]
fn a_redirect_never_leads_from_https_to_http_nor_home_from_elsewhere() {
    let from: Uri = "https://example.com/a/b".parse().expect("a URL");
    let why = |to: &str, home: bool| redirect(&from, to, home).map_err(|error| error.to_string());
    assert!(why("http://example.com/a", false).expect_err("a refusal").contains("not encrypted"));
    assert!(why("https://localhost/a", false).expect_err("a refusal").contains("this machine"));
    assert!(why("https://127.0.0.1/a", false).expect_err("a refusal").contains("this machine"));
    assert!(why("https://0.0.0.0/a", false).expect_err("a refusal").contains("this machine"));
    assert_eq!(why("c?x=1", false).expect("a URL").to_string(), "https://example.com/a/c?x=1");
    assert_eq!(why("//other.org/d", false).expect("a URL").to_string(), "https://other.org/d");
}

#[test]
fn too_much_too_slow_and_too_little_are_told_apart() {
    let server = Server::start(|path, _| match path {
        "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec(),
        "/slow" => {
            std::thread::sleep(Duration::from_millis(600));
            answer("200 OK", "", b"weights")
        }
        _ => answer("200 OK", "", &[b'x'; 5000]),
    });
    let limits = Limits { bytes: 4000, silence: Duration::from_millis(200), ..Limits::default() };
    let get = |path: &str| get_with(&server.url(path), &sha(b""), limits, &NetworkEnv::default());
    assert!(matches!(get("/large"), Err(FetchError::TooLarge { limit: 4000, .. })));
    let short = get("/short").expect_err("an error");
    assert!(matches!(short, FetchError::Broken { received: 9, .. }) && short.is_passing(), "{short}");
    assert!(matches!(get("/slow"), Err(FetchError::Network { .. })));
}

#[test]
fn nobody_listening_is_a_passing_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/x", listener.local_addr().expect("an address"));
    drop(listener);
    let error = get(&url, &sha(b"")).expect_err("an error");
    assert!(matches!(error, FetchError::Network { .. }) && error.is_passing());
}

#[test]
fn a_proxy_of_the_environment_is_used_and_can_be_passed_by() {
    let proxy = Server::start(|_, _| answer("200 OK", "", b"by proxy"));
    let direct = Server::start(|_, _| answer("200 OK", "", b"direct"));
    let env = |no_proxy: &str| {
        let vars = [("http_proxy", proxy.base.as_str()), ("no_proxy", no_proxy)];
        NetworkEnv::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    let by =
        |env: &NetworkEnv, wanted: &[u8]| get_with(&direct.url("/x"), &sha(wanted), Limits::default(), env).is_ok();
    assert!(by(&env("127.0.0.1"), b"direct"));
    assert!(!by(&env("example.com"), b"direct"), "it went by the proxy");
    assert!(proxy.requests.load(std::sync::atomic::Ordering::SeqCst) > 0);
}

#[test]
fn local_files_come_by_their_url() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a b.bin");
    std::fs::write(&path, b"weights").expect("a file");
    let wanted = sha(b"weights");
    let url = format!("file://{}", path.display().to_string().replace(' ', "%20"));
    assert_eq!(get(&url, &wanted).expect("bytes"), b"weights");
    assert_eq!(get(&url.replace("file://", "file:"), &wanted).expect("bytes"), b"weights");
    assert!(matches!(get(&format!("file://{}", folder.path().display()), &wanted), Err(FetchError::File { .. })));
    assert!(matches!(get("file:relative", &wanted), Err(FetchError::Url { .. })));
    assert!(matches!(get("file:///a%2", &wanted), Err(FetchError::Url { .. })));
}

#[test]
fn urls_and_digests_that_can_not_be_are_told_before_anything_is_asked() {
    let wanted = sha(b"");
    for url in ["", "model.bin", "ftp://example.com/x", "http://", "https:///x", "http://a b/"] {
        assert!(matches!(get(url, &wanted), Err(FetchError::Url { .. })), "{url}");
    }
    for digest in ["", "abc", &wanted[1..], "md5:d41d8cd98f00b204e9800998ecf8427e", &"g".repeat(64)] {
        assert!(matches!(get("http://127.0.0.1:1/x", digest), Err(FetchError::BadDigest(_))), "{digest}");
    }
}

#[test]
fn messages_hold_no_login() {
    assert_eq!(shown("https://user:secret@example.com/a?sig=1#f"), "https://example.com/a");
    assert_eq!(shown("http://example.com"), "http://example.com");
}
