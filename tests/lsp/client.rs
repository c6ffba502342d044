//! A client of `pipe lsp`: what an editor would send, as short calls that a test can read.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests start programs, and say what they pass over"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};

use serde_json::{Value, json};

/// A client, with a project of its own.
pub struct Editor {
    child: Child,
    pub to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    pub folder: tempfile::TempDir,
    next: i64,
    pub version: i64,
    /// What was told of files, the newest last.
    pub published: Vec<Value>,
}

impl Editor {
    /// Starts a server in an empty project.
    pub fn start() -> Editor {
        Editor::with(json!({}))
    }

    pub fn with(capabilities: Value) -> Editor {
        let mut editor = Editor::silent();
        let answer =
            editor.ask("initialize", json!({"processId": null, "rootUri": null, "capabilities": capabilities}));
        assert_eq!(answer["serverInfo"]["name"], "pipe");
        editor.tell("initialized", json!({}));
        editor
    }

    /// A server that was told nothing yet.
    pub fn silent() -> Editor {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(".git")).expect("a folder");
        let store = folder.path().join("cache/store");
        let mut child = Command::new(env!("CARGO_BIN_EXE_pipe"))
            .args(["lsp", "--stdio", "--store"])
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let (to, from) = (child.stdin.take(), child.stdout.take().expect("its output"));
        Editor { child, to, from: BufReader::new(from), folder, next: 0, version: 0, published: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn uri(&self, name: &str) -> String {
        uri(&self.path(name))
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    pub fn frame(&mut self, text: &str) {
        let to = self.to.as_mut().expect("an open stream");
        write!(to, "Content-Length: {}\r\n\r\n{text}", text.len()).and_then(|()| to.flush()).expect("the server reads");
    }

    pub fn tell(&mut self, method: &str, params: Value) {
        self.frame(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
    }

    /// The next message, or `None` where the server has gone.
    pub fn receive(&mut self) -> Option<Value> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line).expect("text") == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse().expect("a number"),
                Some(other) => panic!("the header {other:?}"),
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).expect("a whole message");
        let message: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(message["jsonrpc"], "2.0");
        Some(message)
    }

    /// The whole answer to a request; what is told meanwhile is kept.
    pub fn answer(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.frame(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        loop {
            let message = self.receive().expect("an answer");
            if message["id"] == id {
                return message;
            }
            if message["method"] == "textDocument/publishDiagnostics" {
                self.published.push(message["params"].clone());
            }
        }
    }

    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Runs `pipe` in the project, with its store.
    pub fn pipe(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipe"));
        command.args(args).arg("--store").arg(self.path("cache/store")).current_dir(self.folder.path());
        command.output().expect("it runs")
    }

    /// Opens a text, saved or not.
    pub fn open(&mut self, name: &str, text: &str) {
        self.version += 1;
        let document = json!({"uri": self.uri(name), "languageId": "kdl", "version": self.version, "text": text});
        self.tell("textDocument/didOpen", json!({"textDocument": document}));
    }

    pub fn change(&mut self, name: &str, text: &str) {
        self.version += 1;
        let document = json!({"uri": self.uri(name), "version": self.version});
        self.tell("textDocument/didChange", json!({"textDocument": document, "contentChanges": [{"text": text}]}));
    }

    /// What was told of a file's newest version, as `CODE LINE:COLUMN-LINE:COLUMN`.
    pub fn findings(&mut self, name: &str) -> Vec<String> {
        self.diagnostics(name).iter().map(short).collect()
    }

    pub fn diagnostics(&mut self, name: &str) -> Vec<Value> {
        let (uri, version) = (self.uri(name), self.version);
        loop {
            let newest =
                self.published.iter().rev().find(|told| told["uri"] == uri.as_str() && told["version"] == version);
            if let Some(told) = newest {
                return told["diagnostics"].as_array().expect("a list").clone();
            }
            let message = self.receive().expect("diagnostics");
            if message["method"] == "textDocument/publishDiagnostics" {
                self.published.push(message["params"].clone());
            }
        }
    }

    /// A request at a place.
    pub fn at(&mut self, method: &str, name: &str, (line, column): (usize, usize)) -> Value {
        let uri = self.uri(name);
        self.ask(method, place(&uri, line, column))
    }

    /// Opens a text with a cursor, and gives the place of the cursor.
    pub fn cursor(&mut self, name: &str, text: &str) -> (usize, usize) {
        let at = text.find('|').expect("a cursor");
        self.open(name, &text.replacen('|', "", 1));
        let before = &text[..at];
        (before.matches('\n').count(), before.rsplit('\n').next().unwrap_or("").encode_utf16().count())
    }

    /// What completion offers at the cursor: the labels.
    pub fn offers(&mut self, text: &str) -> Vec<String> {
        self.items(text).iter().map(|item| item["label"].as_str().expect("a label").to_owned()).collect()
    }

    pub fn items(&mut self, text: &str) -> Vec<Value> {
        let cursor = self.cursor("typed.kdl", text);
        let mut items = self.at("textDocument/completion", "typed.kdl", cursor).as_array().cloned().unwrap_or_default();
        items.sort_by_key(|item| item["sortText"].as_str().map(str::to_owned));
        items
    }

    /// The text after the item of this label is taken.
    pub fn taken(&mut self, text: &str, label: &str) -> String {
        let items = self.items(text);
        let item = items.iter().find(|item| item["label"] == label);
        let item = item.unwrap_or_else(|| panic!("no `{label}` in {:?}", labels(&items)));
        let mut edits = vec![item["textEdit"].clone()];
        edits.extend(item["additionalTextEdits"].as_array().cloned().unwrap_or_default());
        edited(&text.replacen('|', "", 1), &edits)
    }

    pub fn hover(&mut self, text: &str) -> String {
        let cursor = self.cursor("typed.kdl", text);
        let answer = self.at("textDocument/hover", "typed.kdl", cursor);
        answer["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// Ends the session as the protocol asks.
    pub fn leave(mut self) -> ExitStatus {
        assert_eq!(self.ask("shutdown", Value::Null), Value::Null);
        self.tell("exit", Value::Null);
        self.end()
    }

    /// The server's end, once it is asked for.
    pub fn end(&mut self) -> ExitStatus {
        drop(self.to.take());
        while self.receive().is_some() {}
        self.child.wait().expect("it ends")
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

pub fn place(uri: &str, line: usize, column: usize) -> Value {
    json!({"textDocument": {"uri": uri}, "position": {"line": line, "character": column}})
}

pub fn labels(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["label"].as_str()).collect()
}

pub fn span(range: &Value) -> String {
    let at = |end: &str| format!("{}:{}", range[end]["line"], range[end]["character"]);
    format!("{}-{}", at("start"), at("end"))
}

pub fn short(diagnostic: &Value) -> String {
    format!("{} {}", diagnostic["code"].as_str().unwrap_or("?"), span(&diagnostic["range"]))
}

/// A text with edits made; columns count UTF-16 units.
pub fn edited(text: &str, edits: &[Value]) -> String {
    let offset = |position: &Value| {
        let (line, column) =
            (position["line"].as_u64().expect("a line"), position["character"].as_u64().expect("a column"));
        let start: usize = text.split_inclusive('\n').take(line as usize).map(str::len).sum();
        let mut left = column as usize;
        let rest = text[start..].chars().take_while(|c| {
            let inside = left > 0;
            left = left.saturating_sub(c.len_utf16());
            inside
        });
        start + rest.map(char::len_utf8).sum::<usize>()
    };
    let mut edits: Vec<(usize, usize, &str)> = edits
        .iter()
        .map(|edit| {
            let (start, end) = (offset(&edit["range"]["start"]), offset(&edit["range"]["end"]));
            (start, end, edit["newText"].as_str().expect("text"))
        })
        .collect();
    edits.sort();
    let mut out = text.to_owned();
    for (start, end, new) in edits.into_iter().rev() {
        out.replace_range(start..end, new);
    }
    out
}

/// What a script says that drives Neovim, with our configuration for it, on a text; `None` where there is none.
pub fn neovim(script: &str, text: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let editor = Editor::silent();
    editor.write("p.kdl", text);
    let started = Command::new("nvim")
        .args(["--headless", "--clean", "--cmd"])
        .arg(format!("let g:pipe_command='{}'", env!("CARGO_BIN_EXE_pipe")))
        .arg("-u")
        .arg(root.join("editors/neovim.lua"))
        .args(["p.kdl", "-c"])
        .arg(format!("luafile {}", root.join("tests").join(script).display()))
        .env("PIPE_STORE", editor.path("cache/store"))
        .env("XDG_STATE_HOME", editor.path("state"))
        .current_dir(editor.folder.path())
        .stdin(Stdio::null())
        .output();
    match started {
        Ok(output) => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
        }
        Err(error) => {
            let required = std::env::var("PIPE_TEST_REQUIRE").is_ok_and(|value| value == "all");
            assert!(!required, "Neovim is required, but {error}");
            eprintln!("passed over: Neovim: {error}");
            None
        }
    }
}
