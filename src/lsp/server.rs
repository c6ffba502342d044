//! The conversation: who may ask what when, and one function for each question.
//!
//! Approach:
//! - One thread reads frames, one writes them, one checks, one surveys; this loop owns all texts and answers
//!   each request at once, from an index that is made of them.
//! - A fault of ours in one request is answered as an error, and the next request is served.

use std::io::{BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, Response};
use lsp_types::{
    DidChangeTextDocumentParams, DidCloseTextDocumentParams, DidOpenTextDocumentParams, DidSaveTextDocumentParams,
    InitializeParams, PositionEncodingKind, TextDocumentPositionParams, Uri,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::check::{self, Checker, Remedies};
use super::documents::Documents;
use super::hints::{self, Standings, Surveyed};
use super::position::{Encoding, Lines};
use super::{answers, transport};
use crate::resolve::Facts;
use crate::resolve::symbols::{Index, Units};

/// What the server is started with.
pub struct Setup {
    pub facts: Facts,
    /// A folder where the standard library can be laid out for an editor to show.
    pub std: PathBuf,
    pub standings: Box<dyn Standings>,
    pub version: &'static str,
}

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// By `exit`, after `shutdown`.
    Properly,
    /// By `exit` alone, which the protocol calls an error.
    Abruptly,
    /// The client closed the stream.
    Closed,
    /// The stream holds no messages, or the machine gives no threads.
    Broken(String),
}

/// What is written: a frame, or nothing more.
enum Output {
    Frame(Value),
    End,
}

/// What the reading thread tells.
enum Event {
    Incoming(transport::Incoming),
    Closed,
    Broken(String),
}

/// Why a request is refused.
#[derive(Debug)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    /// The request is right, and cannot be done.
    pub fn failed(message: impl Into<String>) -> Refusal {
        Refusal { code: ErrorCode::RequestFailed, message: message.into() }
    }
}

/// The state of a conversation.
pub struct Server {
    pub documents: Documents,
    pub remedies: Remedies,
    pub surveyed: Surveyed,
    /// The client fills in places of a snippet.
    pub snippets: bool,
    out: Sender<Output>,
    check: Sender<check::Job>,
    survey: Sender<hints::Job>,
    version: &'static str,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Ready,
    ShutDown,
}

/// A file that a request is about, with the names around it.
pub struct Look {
    pub index: Index,
    pub file: usize,
    pub text: Arc<str>,
    pub encoding: Encoding,
}

impl Look {
    /// Lines and offsets of the file.
    pub fn lines(&self) -> Lines<'_> {
        Lines::new(&self.text, self.encoding)
    }
}

/// Serves one client until it leaves.
pub fn serve(input: Box<dyn Read + Send>, output: Box<dyn Write + Send>, setup: Setup) -> Ended {
    let (out, frames) = channel::<Output>();
    let (events, incoming) = channel::<Event>();
    let threads = || -> std::io::Result<(JoinHandle<()>, Server)> {
        let reading = events.clone();
        std::thread::Builder::new().name("read".to_owned()).spawn(move || read(input, &reading))?;
        let writer = std::thread::Builder::new().name("write".to_owned()).spawn(move || write(output, &frames))?;
        Ok((writer, Server::new(out.clone(), setup)?))
    };
    let (writer, mut server) = match threads() {
        Ok(started) => started,
        Err(error) => return Ended::Broken(format!("no thread can be started: {error}")),
    };
    let ended = loop {
        match incoming.recv() {
            Ok(Event::Incoming(transport::Incoming::Malformed(answer))) => server.send(answer),
            Ok(Event::Incoming(transport::Incoming::Message(Message::Request(request)))) => server.request(request),
            Ok(Event::Incoming(transport::Incoming::Message(Message::Notification(told)))) if told.method == "exit" => {
                break if server.phase == Phase::ShutDown { Ended::Properly } else { Ended::Abruptly };
            }
            Ok(Event::Incoming(transport::Incoming::Message(Message::Notification(told)))) => server.told(told),
            // Answers to what we asked say nothing that we need.
            Ok(Event::Incoming(transport::Incoming::Message(Message::Response(_)))) => {}
            Ok(Event::Closed) | Err(_) => break Ended::Closed,
            Ok(Event::Broken(why)) => break Ended::Broken(why),
        }
    };
    let _ = server.out.send(Output::End);
    // The writer ends by `End`, or has ended because nobody reads.
    let _ = writer.join();
    ended
}

fn read(input: Box<dyn Read + Send>, events: &Sender<Event>) {
    let mut input = BufReader::new(input);
    loop {
        let event = match transport::read(&mut input) {
            Ok(Some(incoming)) => Event::Incoming(incoming),
            Ok(None) => Event::Closed,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Event::Closed,
            Err(error) => Event::Broken(error.to_string()),
        };
        let last = !matches!(event, Event::Incoming(_));
        if events.send(event).is_err() || last {
            return;
        }
    }
}

fn write(mut output: Box<dyn Write + Send>, frames: &std::sync::mpsc::Receiver<Output>) {
    while let Ok(Output::Frame(value)) = frames.recv() {
        if transport::write(&mut output, &value).is_err() {
            return;
        }
    }
}

impl Server {
    fn new(out: Sender<Output>, setup: Setup) -> std::io::Result<Server> {
        let remedies = Remedies::default();
        let surveyed = Surveyed::default();
        let publishing = out.clone();
        let checker = Checker {
            facts: setup.facts,
            std: setup.std.clone(),
            remedies: remedies.clone(),
            publish: Box::new(move |params| {
                let told = Notification::new("textDocument/publishDiagnostics".to_owned(), params);
                let _ = publishing.send(Output::Frame(transport::value(&told.into())));
            }),
        };
        let refreshing = out.clone();
        let refresh = move || {
            let id = RequestId::from("refresh-hints".to_owned());
            let asked = Request::new(id, "workspace/inlayHint/refresh".to_owned(), Value::Null);
            let _ = refreshing.send(Output::Frame(transport::value(&asked.into())));
        };
        Ok(Server {
            documents: Documents::new(setup.std),
            check: check::start(checker)?,
            survey: hints::start(setup.standings, surveyed.clone(), Box::new(refresh))?,
            remedies,
            surveyed,
            snippets: false,
            out,
            version: setup.version,
            phase: Phase::New,
        })
    }

    fn send(&self, value: Value) {
        // Without a writer the client is gone, and the reader will say so.
        let _ = self.out.send(Output::Frame(value));
    }

    fn request(&mut self, request: Request) {
        let Request { id, method, params } = request;
        let answer = guarded(&method, || self.answer(&method, params));
        let response = match answer {
            Ok(value) => Response::new_ok(id, value),
            Err(refusal) => Response::new_err(id, refusal.code as i32, refusal.message),
        };
        self.send(transport::value(&response.into()));
    }

    fn answer(&mut self, method: &str, params: Value) -> Result<Value, Refusal> {
        match (self.phase, method) {
            (Phase::New, "initialize") => return self.initialize(parse(params)?),
            (Phase::New, _) => {
                let message = "the first request is `initialize`".to_owned();
                return Err(Refusal { code: ErrorCode::ServerNotInitialized, message });
            }
            (Phase::Ready, "shutdown") => {
                self.phase = Phase::ShutDown;
                return Ok(Value::Null);
            }
            (Phase::Ready, "initialize") | (Phase::ShutDown, _) => {
                let message = format!("`{method}` cannot be asked now");
                return Err(Refusal { code: ErrorCode::InvalidRequest, message });
            }
            (Phase::Ready, _) => {}
        }
        match method {
            "textDocument/completion" => value(answers::completion(self, parse(params)?)),
            "textDocument/hover" => value(answers::hover(self, parse(params)?)),
            "textDocument/definition" => value(answers::definition(self, parse(params)?)),
            "textDocument/references" => value(answers::references(self, parse(params)?)),
            "textDocument/documentHighlight" => value(answers::highlights(self, parse(params)?)),
            "textDocument/prepareRename" => value(answers::prepare_rename(self, parse(params)?)?),
            "textDocument/rename" => value(answers::rename(self, parse(params)?)?),
            "textDocument/documentSymbol" => value(answers::outline(self, parse(params)?)),
            "textDocument/codeAction" => value(answers::code_actions(self, parse(params)?)),
            "textDocument/inlayHint" => value(answers::inlay_hints(self, parse(params)?)),
            "textDocument/formatting" => value(answers::formatting(self, parse(params)?)?),
            _ => Err(Refusal { code: ErrorCode::MethodNotFound, message: format!("`pipe lsp` has no `{method}`") }),
        }
    }

    fn initialize(&mut self, params: InitializeParams) -> Result<Value, Refusal> {
        let capabilities = params.capabilities;
        let offered = capabilities.general.and_then(|general| general.position_encodings).unwrap_or_default();
        if offered.contains(&PositionEncodingKind::UTF8) {
            self.documents.encoding = Encoding::Utf8;
        }
        let completion = capabilities.text_document.and_then(|text| text.completion).and_then(|c| c.completion_item);
        self.snippets = completion.and_then(|item| item.snippet_support).unwrap_or(false);
        self.phase = Phase::Ready;
        let encoding = if self.documents.encoding == Encoding::Utf8 { "utf-8" } else { "utf-16" };
        Ok(json!({
            "serverInfo": {"name": "pipe", "version": self.version},
            "capabilities": {
                "positionEncoding": encoding,
                "textDocumentSync": {"openClose": true, "change": 2, "save": true},
                "completionProvider": {"triggerCharacters": ["(", "\"", "=", "/", "[", ","]},
                "hoverProvider": true,
                "definitionProvider": true,
                "referencesProvider": true,
                "documentHighlightProvider": true,
                "renameProvider": {"prepareProvider": true},
                "documentSymbolProvider": true,
                "documentFormattingProvider": true,
                "codeActionProvider": {"codeActionKinds": ["quickfix"]},
                "inlayHintProvider": true,
            },
        }))
    }

    fn told(&mut self, told: Notification) {
        if self.phase != Phase::Ready {
            return;
        }
        // Nobody waits for an answer to a notification: one that cannot be read, or that fails, is left out.
        let _ = catch_unwind(AssertUnwindSafe(|| self.notification(&told.method, told.params)));
    }

    fn notification(&mut self, method: &str, params: Value) -> Result<(), Refusal> {
        match method {
            "textDocument/didOpen" => {
                let opened: DidOpenTextDocumentParams = parse(params)?;
                let document = opened.text_document;
                let path = self.documents.open(document.uri.clone(), document.version, document.text);
                self.recheck(Some(path));
                self.resurvey(&document.uri);
            }
            "textDocument/didChange" => {
                let changed: DidChangeTextDocumentParams = parse(params)?;
                let document = changed.text_document;
                if self.documents.change(&document.uri, document.version, changed.content_changes) {
                    self.recheck(Some(self.documents.real(&document.uri)));
                }
            }
            "textDocument/didSave" => {
                let saved: DidSaveTextDocumentParams = parse(params)?;
                // What lies on the disk may have changed with it.
                self.recheck(None);
                self.resurvey(&saved.text_document.uri);
            }
            "textDocument/didClose" => {
                let closed: DidCloseTextDocumentParams = parse(params)?;
                self.documents.close(&closed.text_document.uri);
                self.recheck(Some(self.documents.real(&closed.text_document.uri)));
            }
            "workspace/didChangeWatchedFiles" => self.recheck(None),
            _ => {}
        }
        Ok(())
    }

    fn recheck(&self, changed: Option<PathBuf>) {
        let overlay = self.documents.overlay();
        let (open, encoding) = (self.documents.all().clone(), self.documents.encoding);
        let _ = self.check.send(check::Job { overlay, open, changed, encoding });
    }

    fn resurvey(&self, uri: &Uri) {
        if let Some(open) = self.documents.all().get(&self.documents.real(uri)) {
            let _ = self.survey.send(hints::Job { overlay: self.documents.overlay(), path: open.path.clone() });
        }
    }

    /// A file and all that it uses.
    pub fn look(&self, uri: &Uri) -> Option<Look> {
        self.look_at(uri, |documents, id| documents.index(id))
    }

    /// A file and all files of its project.
    pub fn look_around(&self, uri: &Uri) -> Option<Look> {
        self.look_at(uri, |documents, id| documents.project(id))
    }

    fn look_at(&self, uri: &Uri, index: impl Fn(&Documents, &Path) -> Index) -> Option<Look> {
        let id = self.documents.id(&self.documents.real(uri));
        let index = index(&self.documents, &id);
        let file = index.file(&id)?;
        let text = index.files[file].unit.text.clone();
        Some(Look { index, file, text, encoding: self.documents.encoding })
    }

    /// A file, all that it uses, and the byte of a position in it.
    pub fn at(&self, place: &TextDocumentPositionParams) -> Option<(Look, usize)> {
        let look = self.look(&place.text_document.uri)?;
        let offset = look.lines().offset(place.position);
        Some((look, offset))
    }
}

/// The answer to a request; a fault of ours is an answer too.
fn guarded(method: &str, answer: impl FnOnce() -> Result<Value, Refusal>) -> Result<Value, Refusal> {
    catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
        let message = format!("`pipe lsp` failed on `{method}`, by a fault of its own; other requests are served");
        Err(Refusal { code: ErrorCode::InternalError, message })
    })
}

fn parse<P: DeserializeOwned>(params: Value) -> Result<P, Refusal> {
    serde_json::from_value(params)
        .map_err(|error| Refusal { code: ErrorCode::InvalidParams, message: format!("these parameters: {error}") })
}

fn value(answer: impl serde::Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer)
        .map_err(|error| Refusal { code: ErrorCode::InternalError, message: format!("the answer: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_ours_is_an_answer() {
        let answer = guarded("textDocument/hover", || panic!("a fault"));
        let refusal = answer.expect_err("a refusal");
        assert_eq!(refusal.code as i32, -32603);
        assert!(refusal.message.contains("`textDocument/hover`"));
    }
}
