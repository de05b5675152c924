//! Devices that hang, fail or lag when a test says so. Only in builds with the feature `fault-injection`.
//!
//! A program calls [`listen`] before it opens its devices; each device that is opened after that obeys what
//! is said over the socket, a line each way. Without that call, devices are what they always are.
//!
//! | line | from now on |
//! |---|---|
//! | `pass KINDS` | requests are done as usual; those that were held are done now, in their order |
//! | `hang KINDS` | requests are held: neither done nor answered |
//! | `fail KINDS` | requests are answered with EIO, nothing of them is done |
//! | `fail KINDS N` | the next N are, of each kind; then they pass |
//! | `delay KINDS MS` | requests are done so many milliseconds later |
//! | `held` | nothing changes; the answer says how many reads, writes and flushes are held |
//!
//! KINDS are `read`, `write` and `flush`, parted by commas. The answer is `ok READS WRITES FLUSHES`, the
//! requests that are held then; or `bad`, for a line that is none of these.
//!
//! Invariants: a request that is held is not lost: it is done when its kind passes again, even if nobody
//! waits for it any more, and until then it keeps its device open and locked, as one inside a kernel does.

use super::{Buf, Disk, Geometry, Io};
use crate::error::{DiskError, IoCause};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::{pending, Future};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Flush,
}

const KINDS: [(&str, Kind); 3] = [("read", Kind::Read), ("write", Kind::Write), ("flush", Kind::Flush)];

/// What becomes of requests of a kind.
#[derive(Clone, Copy)]
enum Fate {
    Pass,
    Hang,
    Fail(u32),
    Delay(Duration),
}

type Held = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What all devices of the process obey.
struct Board {
    state: Mutex<State>,
    /// Where requests are done that were held or delayed.
    runtime: Handle,
}

struct State {
    fates: [Fate; 3],
    held: VecDeque<(Kind, Held)>,
}

static BOARD: OnceLock<Arc<Board>> = OnceLock::new();

/// Takes orders over a socket at `path`, which is made: from now on, each device that is opened obeys.
///
/// # Errors
/// The socket cannot be made, or it was called before.
pub fn listen(path: &Path) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let state = State { fates: [Fate::Pass; 3], held: VecDeque::new() };
    let board = Arc::new(Board { state: Mutex::new(state), runtime: runtime.handle().clone() });
    if BOARD.set(board.clone()).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("faults-io").spawn(move || runtime.block_on(pending::<()>()))?;
    thread("faults").spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever goes away in the middle of a line has ordered nothing.
            let _ = board.serve(&stream);
        }
    })?;
    Ok(())
}

/// The device, obedient if somebody listens.
pub(super) fn obedient(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    match BOARD.get() {
        Some(board) => Arc::new(Obedient { disk, board: board.clone() }),
        None => disk,
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: &UnixStream) -> io::Result<()> {
        for line in BufReader::new(stream).lines() {
            let answer = match self.obey(&line?) {
                Some([reads, writes, flushes]) => format!("ok {reads} {writes} {flushes}\n"),
                None => "bad\n".to_owned(),
            };
            stream.write_all(answer.as_bytes())?;
        }
        Ok(())
    }

    /// Does what a line says; what is held then, by kind.
    fn obey(&self, line: &str) -> Option<[usize; 3]> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (fate, kinds) = match words[..] {
            ["held"] => (Fate::Pass, Vec::new()),
            ["pass", kinds] => (Fate::Pass, parse(kinds)?),
            ["hang", kinds] => (Fate::Hang, parse(kinds)?),
            ["fail", kinds] => (Fate::Fail(u32::MAX), parse(kinds)?),
            ["fail", kinds, times] => (Fate::Fail(times.parse().ok()?), parse(kinds)?),
            ["delay", kinds, ms] => (Fate::Delay(Duration::from_millis(ms.parse().ok()?)), parse(kinds)?),
            _ => return None,
        };
        let mut state = self.lock();
        for kind in kinds {
            state.fates[kind as usize] = fate;
        }
        let free = |state: &State, kind: Kind| !matches!(state.fates[kind as usize], Fate::Hang);
        for (kind, request) in std::mem::take(&mut state.held) {
            match free(&state, kind) {
                true => drop(self.runtime.spawn(request)),
                false => state.held.push_back((kind, request)),
            }
        }
        let held = |kind| state.held.iter().filter(|(k, _)| *k == kind).count();
        Some(KINDS.map(|(_, kind)| held(kind)))
    }

    /// What becomes of the next request of a kind.
    fn next(state: &mut State, kind: Kind) -> Fate {
        let fate = &mut state.fates[kind as usize];
        let next = *fate;
        if let Fate::Fail(left) = fate {
            *left = left.saturating_sub(u32::from(*left < u32::MAX));
            if *left == 0 {
                *fate = Fate::Pass;
            }
        }
        next
    }
}

fn parse(kinds: &str) -> Option<Vec<Kind>> {
    let kind = |word| KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
    kinds.split(',').map(kind).collect()
}

/// A device that obeys.
struct Obedient {
    disk: Arc<dyn Disk>,
    board: Arc<Board>,
}

impl Obedient {
    fn request<T: Send + Unpin + 'static>(
        &self,
        kind: Kind,
        (at, len): (u64, u64),
        start: impl FnOnce(&dyn Disk) -> Io<T> + Send + 'static,
    ) -> Io<T> {
        let mut state = self.board.lock();
        let fate = Board::next(&mut state, kind);
        match fate {
            Fate::Pass => {
                drop(state);
                start(&*self.disk)
            }
            Fate::Fail(_) => Io::ready(Err(self.error(kind, at, len))),
            Fate::Hang | Fate::Delay(_) => {
                let (answer, io) = Io::pending(self.disk.name().into());
                let disk = self.disk.clone();
                let request = async move {
                    if let Fate::Delay(time) = fate {
                        tokio::time::sleep(time).await;
                    }
                    answer.answer(start(&*disk).await);
                };
                match fate {
                    Fate::Hang => state.held.push_back((kind, Box::pin(request))),
                    _ => drop(self.board.runtime.spawn(request)),
                }
                io
            }
        }
    }

    fn error(&self, kind: Kind, at: u64, len: u64) -> DiskError {
        let cause = IoCause::from(&io::Error::from_raw_os_error(libc::EIO));
        DiskError::Io { device: self.disk.name().to_owned(), op: KINDS[kind as usize].0, at, len, cause }
    }
}

impl Disk for Obedient {
    fn name(&self) -> &str {
        self.disk.name()
    }

    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn mode(&self) -> &'static str {
        self.disk.mode()
    }

    fn is_volatile(&self) -> bool {
        self.disk.is_volatile()
    }

    fn extend(&self, len: u64) -> Result<(), DiskError> {
        self.disk.extend(len)
    }

    fn read(&self, at: u64, buf: Buf) -> Io<Buf> {
        let len = buf.len() as u64;
        self.request(Kind::Read, (at, len), move |disk| disk.read(at, buf))
    }

    fn write(&self, at: u64, data: Vec<Bytes>) -> Io<()> {
        let len = data.iter().map(|piece| piece.len() as u64).sum();
        self.request(Kind::Write, (at, len), move |disk| disk.write(at, data))
    }

    fn flush(&self) -> Io<()> {
        self.request(Kind::Flush, (0, 0), |disk| disk.flush())
    }
}
