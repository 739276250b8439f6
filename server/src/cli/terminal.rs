//! A terminal as a screen: frames drawn over each other, keys read one by one. It is as before when the
//! screen is dropped, which a signal to end leads to as well.

use std::io::{self, IsTerminal, Write};
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

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const ESCAPE: u8 = 0x1b;

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
            let mut bytes = [0; 64];
            // Not by the standard library, whose buffer `poll` does not see.
            match rustix::io::read(io::stdin(), &mut bytes) {
                Ok(0) => return Ok(Event::End), // nobody is at the other end any more
                Ok(count) => {
                    if let Some(event) = typed(&bytes[..count]) {
                        return Ok(event);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
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

/// What was typed at once: the last key that means something, unless one before it is to end. What
/// arrows and the like send, which begins with an escape, is passed over.
fn typed(bytes: &[u8]) -> Option<Event> {
    if bytes == [ESCAPE] {
        return Some(Event::End);
    }
    let mut key = None;
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        rest = match (*first, behind) {
            (ESCAPE, [b'[' | b'O', sequence @ ..]) => {
                let ends = |byte: &u8| (0x40..0x7f).contains(byte);
                let end = sequence.iter().position(ends);
                end.map_or(&[], |end| &sequence[end + 1..])
            }
            (b'q' | b'Q' | CTRL_C | CTRL_D, _) => return Some(Event::End),
            (byte, _) if byte.is_ascii_graphic() => {
                key = Some(Event::Key(char::from(byte)));
                behind
            }
            _ => behind,
        };
    }
    key
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_other_keys_send() {
        let (end, key) = (Some(Event::End), |key| Some(Event::Key(key)));
        for (bytes, event) in [
            (&b"c"[..], key('c')),
            (b"ct", key('t')),
            (b"q", end),
            (b"\x03", end),
            (b"\x1b", end),
            (b"\x1b[A", None),
            (b"\x1bOP", None),
            (b"\x1b[1;5Ce", key('e')),
            (b"\x1b[Aq", end),
            (b"e\x1b[", key('e')),
            (b"\xc3\xa4\n", None),
        ] {
            assert_eq!(typed(bytes), event, "{bytes:?}");
        }
    }
}
