//! Progress for people: a bar or a spinner on standard error, once a wait has
//! lasted a second. Scripts and pipes see nothing.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Out;

/// Waits shorter than this are nobody's business.
const WORTH_SHOWING: Duration = Duration::from_secs(1);

/// Something that takes time. Dropping it clears the line.
pub(crate) struct Progress {
    bar: ProgressBar,
    // Closed to end the thread that shows the bar.
    done: Option<Sender<()>>,
    shower: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to wait for `what`; `length` in bytes where it has one.
    pub(crate) fn begin(out: &Out, what: &str, length: Option<u64>) -> Progress {
        let bar = ProgressBar::hidden();
        bar.set_message(what.to_owned());
        if let Some(length) = length {
            bar.set_length(length);
        }
        if !out.is_watched() {
            return Progress {
                bar,
                done: None,
                shower: None,
            };
        }
        let (done, ended) = channel();
        let shown = bar.clone();
        let shower = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || show(&shown, &ended))
            .ok();
        Progress {
            bar,
            done: Some(done),
            shower,
        }
    }

    /// Says what it is at.
    pub(crate) fn say(&self, what: String) {
        self.bar.set_message(what);
    }

    /// So much of its length is done.
    pub(crate) fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Counts what is read through it; says `then` at the end.
    pub(crate) fn reading<R: Read>(&self, inner: R, then: &'static str) -> Counted<R> {
        Counted {
            inner,
            bar: self.bar.clone(),
            then,
        }
    }
}

/// Does something that may take time, with progress shown meanwhile.
pub(crate) fn during<T>(out: &Out, what: &str, work: impl FnOnce() -> T) -> T {
    let _shown = Progress::begin(out, what, None);
    work()
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(shower) = self.shower.take() {
            let _ = shower.join();
        }
    }
}

fn show(bar: &ProgressBar, ended: &Receiver<()>) {
    if ended.recv_timeout(WORTH_SHOWING) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    let template = match bar.length() {
        Some(_) => "{spinner} {msg} {wide_bar} {bytes} of {total_bytes}",
        None => "{spinner} {msg} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        bar.tick();
    }
    bar.finish_and_clear();
}

/// A reader that moves a bar.
pub(crate) struct Counted<R> {
    inner: R,
    bar: ProgressBar,
    then: &'static str,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bar.inc(count as u64);
        if count == 0 {
            self.bar.set_message(self.then);
        }
        Ok(count)
    }
}
