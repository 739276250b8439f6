//! Hooks beyond those of upgrades, on the host in memory: looks at updates, the stop, little memory.

use corelet_sdk::prelude::*;
use corelet_sdk::testing::{Context, Failed};

/// What people have brought in, up to a bound.
#[corelet::application]
pub struct LetterBox {
    letters: List<String>,
    stopped: Register<String>,
}

#[corelet::methods]
impl LetterBox {
    /// Brings a letter in.
    #[update]
    pub fn bring(&mut self, text: String) {
        self.letters.push(&text);
    }

    /// How many there are.
    #[query]
    pub fn count(&self) -> u64 {
        self.letters.len()
    }

    /// Who was told of the stop.
    #[query]
    pub fn stopped(&self) -> Option<String> {
        self.stopped.get()
    }

    /// Two letters, and none that nobody has written.
    #[inspect]
    pub fn look(&self, method: &str, args: &[u8]) -> Result<(), Error> {
        info!("{method} by {}", context::caller());
        if args == br#"{"text":""}"# {
            return Err(Error::new("empty", "there is nothing in it"));
        }
        if args == br#"{"text":"panic"}"# {
            panic!("as asked");
        }
        let other = ContextId::from_bytes([9; 32]);
        for other in [other, ContextId::from_bytes(context::id())] {
            let asked = calls::query::<u64>(&other, "count", &json!({}));
            assert_eq!(asked, Err(QueryError::TooDeep));
        }
        match self.letters.len() < 2 {
            true => Ok(()),
            false => Err(Error::new("full", "two letters are enough")),
        }
    }

    /// Writes down who has told it.
    #[stop]
    pub fn end(&mut self) -> Result<(), Error> {
        if self.letters.is_empty() {
            return Err(Error::new("empty", "nothing is lost"));
        }
        self.stopped.set(&context::caller());
        Ok(())
    }

    /// It keeps nothing.
    #[low_memory]
    pub fn shrink(&self) {
        let other = ContextId::from_bytes([9; 32]);
        let asked = calls::query::<u64>(&other, "count", &json!({}));
        assert_eq!(asked, Err(QueryError::TooDeep));
        info!("there is nothing to let go of");
    }
}

fn bring(letters: &mut Context<LetterBox>, text: &str) -> Result<(), Failed> {
    letters.update("bring", json!({ "text": text })).map(drop)
}

#[test]
fn an_update_is_looked_at_before_it_is_called_and_a_query_is_not() {
    let mut letters = Context::<LetterBox>::new();
    letters.set_others(|_, _, _| Ok(json!(1)));
    letters.set_caller("ada");
    for _ in 0..2 {
        bring(&mut letters, "dear").unwrap();
    }
    let refused = bring(&mut letters, "dear").unwrap_err();
    assert!(matches!(refused, Failed::Refused(_)), "{refused}");
    assert_eq!(refused.code(), Some("full"));
    assert_eq!(bring(&mut letters, "").unwrap_err().code(), Some("empty"));
    let panicked = bring(&mut letters, "panic").unwrap_err();
    assert_eq!(panicked, Failed::Panicked("as asked".to_owned()));
    assert_eq!(letters.query("count", json!({})).unwrap(), 2);
    assert_eq!(letters.logs().len(), 5);
    assert!(
        letters
            .logs()
            .iter()
            .all(|(_, line)| line == "bring by ada")
    );
    // What is none, or none of its updates, is not looked at.
    assert!(letters.update("count", json!({})).is_err());
    assert!(letters.update("nothing", json!({})).is_err());
    assert_eq!(letters.logs().len(), 5);
}

#[test]
fn the_node_tells_of_the_stop_and_of_little_memory() {
    let mut letters = Context::<LetterBox>::new();
    letters.set_others(|_, _, _| Ok(json!(1)));
    assert_eq!(letters.stop().unwrap_err().code(), Some("empty"));
    assert_eq!(letters.query("stopped", json!({})).unwrap(), json!(null));
    bring(&mut letters, "dear").unwrap();
    letters.stop().unwrap();
    assert_eq!(letters.query("stopped", json!({})).unwrap(), "corelet:node");
    letters.low_memory().unwrap();
    assert!(
        letters
            .logs()
            .iter()
            .any(|(_, line)| line.contains("let go"))
    );
}

/// Says goodbye.
#[corelet::application(name = "letters")]
pub struct Old {}

#[corelet::methods]
impl Old {
    /// Nothing.
    #[query]
    pub fn nothing(&self) {}

    /// Says so.
    #[before_upgrade]
    pub fn leave(&mut self) {
        info!("goodbye");
    }
}

/// Keeps its state in another form, and knows of no other.
#[corelet::application(name = "letters", schema_version = 1)]
pub struct New {}

#[corelet::methods]
impl New {
    /// Nothing.
    #[query]
    pub fn nothing(&self) {}
}

#[test]
fn an_upgrade_that_cannot_be_is_not_begun() {
    let mut old = Context::<Old>::new();
    let refused = old.upgrade::<New>().map(drop).unwrap_err();
    assert_eq!(refused.code(), Some("no_migration"));
    assert!(old.logs().is_empty(), "{:?}", old.logs());
    old.upgrade::<Old>().unwrap();
}
