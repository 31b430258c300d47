//! The threads that read from the disk, so that no runtime thread ever waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::ReadError;
use super::store::Store;

const THREADS: usize = 2;
/// Reads that wait; further callers wait for a place.
const QUEUE_MAX: usize = 1024;

type Read = Box<dyn FnOnce(&Store) + Send>;

/// Marks the end of a job, however it ends.
struct Finished(Arc<AtomicBool>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The way to the reading threads. They end when it is closed or dropped.
#[derive(Debug)]
pub(super) struct Readers {
    job_under_way: Arc<AtomicBool>,
    queue: Mutex<Option<mpsc::Sender<Read>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// Starts the threads.
    pub(super) fn start(store: &Arc<Store>) -> std::io::Result<Self> {
        let (queue, reads) = mpsc::channel::<Read>(QUEUE_MAX);
        let reads = Arc::new(Mutex::new(reads));
        let mut threads = Vec::with_capacity(THREADS);
        for n in 0..THREADS {
            let (store, reads) = (Arc::clone(store), Arc::clone(&reads));
            let thread = thread::Builder::new().name(format!("outbox-read-{n}")).spawn(move || {
                loop {
                    let next = reads.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    match next {
                        // A read that panics fails alone: its caller is told, and the thread goes on for the others.
                        Some(read) => drop(catch_unwind(AssertUnwindSafe(|| read(&store)))),
                        None => return,
                    }
                }
            })?;
            threads.push(thread);
        }
        Ok(Self { job_under_way: Arc::default(), queue: Mutex::new(Some(queue)), threads: Mutex::new(threads) })
    }

    /// Runs `act` on a reading thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |store| drop(reply.send(act(store))));
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(ReadError::Stopped)?;
        queue.send(read).await.map_err(|_| ReadError::Stopped)?;
        answer.await.map_err(|_| ReadError::Panicked)?
    }

    /// Runs `act` on a reading thread where one is to be had and no other job of this kind is under way; nobody waits for it.
    pub(super) fn try_job(&self, act: impl FnOnce(&Store) + Send + 'static) {
        if self.job_under_way.swap(true, Ordering::Relaxed) {
            return;
        }
        let done = Finished(Arc::clone(&self.job_under_way));
        let job: Read = Box::new(move |store| {
            let _done = done;
            act(store);
        });
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(queue) = queue {
            // A full queue drops the job, and with it the mark that one is under way.
            let _ = queue.try_send(job);
        }
    }

    /// Lets the reads that wait finish and ends the threads. Blocks until they have.
    pub(super) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // They catch panics, so there is nothing to be told.
            let _ = thread.join();
        }
    }
}
