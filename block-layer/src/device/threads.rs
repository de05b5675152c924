//! The thread-pool driver: blocking system calls on a few threads, where io_uring is missing or forbidden.
//!
//! Invariants: the queue is bounded, and a caller that finds it full waits for a place; that cannot deadlock,
//! because the pool's threads need nothing from any executor. The threads live as long as the process.

use super::request::Request;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

/// Threads, hence requests that the kernel has at once.
const THREADS: usize = 8;
/// Requests that wait for a thread.
const QUEUE_MAX: usize = 1024;

/// Hands `request` to the pool; where not one thread could be started it is done here and now.
pub(super) fn submit(request: Request) {
    static POOL: OnceLock<Option<SyncSender<Request>>> = OnceLock::new();
    match POOL.get_or_init(start) {
        Some(queue) => {
            if let Err(refused) = queue.send(request) {
                refused.0.run();
            }
        }
        None => request.run(),
    }
}

fn start() -> Option<SyncSender<Request>> {
    let (queue, requests) = sync_channel(QUEUE_MAX);
    let requests = Arc::new(Mutex::new(requests));
    let started = (0..THREADS)
        .filter(|n| {
            let requests = requests.clone();
            thread::Builder::new().name(format!("disk-io-{n}")).spawn(move || serve(&requests)).is_ok()
        })
        .count();
    (started > 0).then_some(queue)
}

fn serve(requests: &Mutex<Receiver<Request>>) {
    loop {
        // The lock is held while this thread waits: the others wait for the lock instead of the channel.
        let next = requests.lock().expect("nothing panics while it is held").recv();
        match next {
            Ok(request) => request.run(),
            Err(_) => return,
        }
    }
}
