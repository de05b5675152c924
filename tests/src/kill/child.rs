//! The parent's end of a child: its pipes and its death.

use super::{Command, Setup};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command as Program, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// An answer: the command's ID, and the payload or the reason.
pub(super) type Answer = (u64, Result<String, String>);

/// How long a child may be silent while something is asked of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of waiting.
pub(super) enum Heard {
    /// An answer.
    Answer(Answer),
    /// Nothing until the moment given.
    Nothing,
}

/// A running child. Dropped, it is killed.
pub(super) struct Child {
    process: Process,
    stdin: ChildStdin,
    answers: Receiver<Answer>,
    pub(super) started: Instant,
}

impl Child {
    /// Starts `program` on the pool of `setup`.
    pub(super) fn start(program: &Path, setup: &Setup) -> Child {
        let mut program = Program::new(program);
        program.args(setup.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = program.spawn().expect("the child's program starts");
        let stdin = process.stdin.take().expect("it has a pipe");
        let mut stdout = BufReader::new(process.stdout.take().expect("it has a pipe"));
        let (send, answers) = channel();
        std::thread::spawn(move || loop {
            let mut line = String::new();
            // A child that was killed in the middle of a line has not answered.
            let whole = stdout.read_line(&mut line).is_ok() && line.ends_with('\n');
            if !whole || send.send(parse(&line)).is_err() {
                return;
            }
        });
        Child { process, stdin, answers, started: Instant::now() }
    }

    /// Sends a command.
    pub(super) fn send(&mut self, id: u64, command: &Command) {
        let line = format!("{id} {}\n", command.line());
        self.stdin.write_all(line.as_bytes()).expect("the child lives and reads");
    }

    /// The next answer, or nothing at `until`.
    ///
    /// # Panics
    /// When the child is silent for too long, or has died by itself.
    pub(super) fn hear(&mut self, until: Option<Instant>) -> Heard {
        let patience = until.map_or(PATIENCE, |until| until.saturating_duration_since(Instant::now()));
        match self.answers.recv_timeout(patience) {
            Ok(answer) => Heard::Answer(answer),
            Err(RecvTimeoutError::Timeout) if until.is_some() => Heard::Nothing,
            Err(RecvTimeoutError::Timeout) => panic!("the child was silent for {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the child died by itself: {:?}", self.process.wait())
            }
        }
    }

    /// Kills it, by its own number; it may still be dying when this returns.
    pub(super) fn kill(&mut self) {
        self.process.kill().expect("a child can be killed until it was waited for");
    }

    /// What it had answered before it was killed, and was not heard yet.
    pub(super) fn last_words(mut self) -> Vec<Answer> {
        let words = self.answers.iter().collect();
        self.process.wait().expect("a killed child ends");
        words
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn parse(line: &str) -> Answer {
    let line = line.trim_end_matches('\n');
    let (id, rest) = line.split_once(' ').unwrap_or((line, ""));
    let id = id.parse().unwrap_or_else(|_| panic!("the child said {line:?}"));
    match rest.split_once(' ') {
        Some(("ok", payload)) => (id, Ok(payload.to_owned())),
        _ => (id, Err(rest.to_owned())),
    }
}
