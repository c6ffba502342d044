//! The serve loop: lines in, lines out, until the runner finishes or its end of the pipe closes.
//! Knows nothing of what a request means.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;

use crate::engine::Engine;
use crate::message::{Answer, Fault, Request};
use crate::service::Service;
use crate::{process, stdio};

/// How long an engine may go on with what it does after the runner has gone.
const GRACE: Duration = Duration::from_secs(2);

/// Runs an engine on this process's stdin and stdout. Called first thing in `main`.
///
/// Standard output is turned to standard error for everyone else, so that a library that prints cannot
/// break the protocol. The process ends with its stdin, even in the middle of a pass that never returns.
pub fn serve(engine: impl Engine) -> ExitCode {
    let process_ns = process::since_start();
    let outcome = stdio::claim().and_then(|mut out| {
        write_line(&mut out, &engine.hello())?;
        let mut service = Service::new(engine, process_ns);
        answer_all(&mut service, stdin_lines(), &mut out)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to hear the answer; standard error is what the runner keeps.
            let _ = writeln!(io::stderr(), "the engine lost its runner: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers line by line; returns after `finish`, or when the lines end.
pub(crate) fn answer_all<E: Engine>(
    service: &mut Service<E>,
    lines: impl Iterator<Item = io::Result<String>>,
    out: &mut impl Write,
) -> io::Result<()> {
    for line in lines {
        let line = line?;
        match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let reply = service.answer(&request);
                write_line(out, &reply.answer)?;
                if reply.last {
                    return Ok(());
                }
            }
            Err(error) => {
                let fault = Fault::failed(format!("not a request of this protocol: {error}"));
                write_line(out, &Answer::Failed(fault))?;
            }
        }
    }
    Ok(())
}

/// Writes one message.
pub(crate) fn write_line(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// The lines of stdin, read by a thread of their own, which ends the process once they have ended.
fn stdin_lines() -> impl Iterator<Item = io::Result<String>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let ended = line.is_err();
            if sender.send(line).is_err() || ended {
                break;
            }
        }
        drop(sender);
        // An idle engine has left by now; this is for one that is in the middle of something.
        std::thread::sleep(GRACE);
        // Nobody reads an exit code any more, and nothing of a pass is worth tidying up.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
    receiver.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Sim;

    fn talk(requests: &str) -> String {
        let mut service = Service::new(Sim::default(), None);
        let mut out = Vec::new();
        let lines = requests.lines().map(|line| Ok(line.to_owned()));
        answer_all(&mut service, lines, &mut out).expect("memory doesn't fail");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_no_request_is_answered_and_the_engine_goes_on() {
        let said = talk("nonsense\n{\"ask\":\"dance\"}\n");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        for line in lines {
            assert!(line.starts_with(r#"{"answer":"failed","kind":"failed","message":"not a request"#), "{line}");
        }
    }

    #[test]
    fn requests_out_of_turn_are_refused() {
        let said = talk("{\"ask\":\"measure\",\"samples\":1}\n{\"ask\":\"outputs\",\"folder\":\"x\"}\n");
        assert!(said.contains("`measure` came before a `prepare` that succeeded"), "{said}");
        assert!(said.contains("`outputs` came before a `prepare` that succeeded"), "{said}");
    }

    #[test]
    fn finish_is_the_last() {
        let said = talk("{\"ask\":\"finish\"}\n{\"ask\":\"finish\"}\n");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with(r#"{"answer":"finished","#), "{said}");
    }
}
