//! A terminal as a screen: frames drawn over each other, keys read one by one. It is as before when the
//! screen is dropped, which a signal to end leads to as well.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Another screen than the one with the shell's history, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal that tells no size is taken for this one.
const COLUMNS_IF_UNKNOWN: u16 = 80;
const LINES_IF_UNKNOWN: u16 = 24;

/// What has ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The time is over.
    Time,
    /// A key was pressed.
    Key(char),
    /// It is time to go: a signal, or the keys that stand for it.
    End,
}

/// Standard output, and the keys of standard input if that is a terminal, too.
pub(super) struct Screen {
    // How standard input was before.
    keys: Option<Termios>,
    ended: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> io::Result<Screen> {
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&ended))?;
        }
        let input = io::stdin();
        let keys = match input.is_terminal() {
            true => Some(tcgetattr(&input)?),
            false => None,
        };
        let screen = Screen { keys, ended };
        if let Some(before) = &screen.keys {
            let mut modes = before.clone();
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            // A shell that comes in between would be on the wrong screen.
            modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
            // It would end with the terminal as it is now.
            modes.special_codes[SpecialCodeIndex::VQUIT] = 0;
            tcsetattr(&input, OptionalActions::Now, &modes)?;
        }
        let mut out = io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        let known = tcgetwinsize(io::stdout()).ok();
        let or = |number: Option<u16>, or: u16| {
            usize::from(number.filter(|number| *number > 0).unwrap_or(or))
        };
        (
            or(known.map(|size| size.ws_col), COLUMNS_IF_UNKNOWN),
            or(known.map(|size| size.ws_row), LINES_IF_UNKNOWN),
        )
    }

    /// Draws a frame over the last one. Lines that do not fit are left out.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let (_, height) = self.size();
        let lines: Vec<&str> = lines.iter().take(height).map(String::as_str).collect();
        let frame = format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"));
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }

    /// Waits for a key until a moment.
    pub(super) fn wait(&self, until: Instant) -> io::Result<Event> {
        loop {
            if self.ended.load(Ordering::Relaxed) {
                return Ok(Event::End);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Event::Time);
            }
            if !self.has_input(left)? {
                continue;
            }
            let mut bytes = [0; 16];
            let count = io::stdin().lock().read(&mut bytes)?;
            match &bytes[..count] {
                // Nobody is at the other end any more, Ctrl-D, or Escape alone.
                [] | [b'q' | b'Q' | 3 | 4 | 0x1b] => return Ok(Event::End),
                [key] if key.is_ascii_graphic() => return Ok(Event::Key(char::from(*key))),
                // Arrows and the like.
                _ => {}
            }
        }
    }

    /// Whether something was typed, after at most so long. A signal ends the wait early.
    fn has_input(&self, left: Duration) -> io::Result<bool> {
        let input = io::stdin();
        let mut watched = [PollFd::new(&input, PollFlags::IN)];
        let watched = match &self.keys {
            Some(_) => &mut watched[..],
            None => &mut watched[..0],
        };
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(watched, Some(&left)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
        if let Some(before) = &self.keys {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
