//! What to type for a second server where another one is in the way: the command
//! that was given, with a data directory and a port of its own.

use std::io::ErrorKind;

use corelet_store::StoreError;

use super::{program, shell};
use crate::serve::ServeError;

/// A port that is free, whichever that is; clients find it by the data directory.
const ANY_PORT: &str = "127.0.0.1:0";

/// The command, if a second server is what helps against this, and if all of it
/// can be shown: words that are not UTF-8 cannot.
pub(super) fn command(error: &ServeError) -> Option<String> {
    let given = std::env::args_os().skip(1);
    let given: Vec<String> = given
        .map(|word| word.into_string().ok())
        .collect::<Option<_>>()?;
    let given = given.into_iter();
    let changed = match error {
        ServeError::Data(StoreError::Locked { path, .. }) => another_place(given, path.to_str()?),
        ServeError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => {
            another_port(given)
        }
        _ => return None,
    };
    let words: Vec<String> = std::iter::once(program()).chain(changed).collect();
    let words: Vec<String> = words.iter().map(|word| shell(word)).collect();
    Some(words.join(" "))
}

fn another_place(given: impl Iterator<Item = String>, taken: &str) -> Vec<String> {
    let mut words = another_port(without(given, "--data-dir").into_iter());
    words.push("--data-dir".to_owned());
    words.push(format!("{taken}-2"));
    words
}

fn another_port(given: impl Iterator<Item = String>) -> Vec<String> {
    let mut words = without(given, "--listen");
    words.extend(["--listen", ANY_PORT].map(str::to_owned));
    words
}

/// The words but for a flag and its value.
fn without(given: impl Iterator<Item = String>, flag: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut is_value = false;
    for word in given {
        let with_value = word
            .strip_prefix(flag)
            .is_some_and(|rest| rest.starts_with('='));
        if is_value || with_value {
            is_value = false;
        } else if word == flag {
            is_value = true;
        } else {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_stays_but_for_what_is_taken() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let check = |given: &str, expected: &str| {
            let changed = another_place(words(given).into_iter(), "corelet-data");
            assert_eq!(changed, words(expected));
        };
        let free = "--listen 127.0.0.1:0 --data-dir corelet-data-2";
        check("dev guestbook", &format!("dev guestbook {free}"));
        check(
            "--data-dir=corelet-data dev --listen 127.0.0.1:7700 guestbook -q",
            &format!("dev guestbook -q {free}"),
        );
        assert_eq!(
            another_port(words("serve --data-dir d --listen=[::]:1").into_iter()),
            words("serve --data-dir d --listen 127.0.0.1:0")
        );
    }
}
