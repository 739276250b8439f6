//! Subscriptions that are ended from outside: by an operator, whatever the application makes of it. Runs on
//! the shard of the listener.

use std::rc::Rc;

use corelet_store::ContextId;
use corelet_wasm_host::LogLevel;

use super::row::SubscriptionRow;
use crate::error::CallError;
use crate::sends::Word;
use crate::shard::Shard;

/// Which of a context's subscriptions are meant: those of which all is true that is given, so all of them if
/// nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhichSubscriptions {
    /// Those to the events of this context.
    pub source: Option<ContextId>,
    /// Those of this handler.
    pub handler: Option<String>,
}

impl WhichSubscriptions {
    fn has(&self, row: &SubscriptionRow) -> bool {
        let is_to = self.source.is_none_or(|source| source == row.source);
        let handler = self.handler.as_deref();
        is_to && handler.is_none_or(|handler| handler == row.handler)
    }
}

impl Shard {
    /// Ends subscriptions of a context, and tells how many. That is durable then, and their handlers are
    /// told nothing any more, nor that they have ended; a turn that tells one something ends before.
    pub(crate) async fn end_subscriptions_here(
        self: &Rc<Self>,
        id: ContextId,
        which: &WhichSubscriptions,
    ) -> Result<u64, CallError> {
        self.check_service(id)?;
        let end = self.try_end_subscriptions(id, which).await;
        self.quarantine_if_damaged(id, &end);
        end
    }

    async fn try_end_subscriptions(
        self: &Rc<Self>,
        id: ContextId,
        which: &WhichSubscriptions,
    ) -> Result<u64, CallError> {
        let context = self.reach(id).await?;
        let mut ended = Vec::new();
        self.write_alone(&context, |view| {
            ended = view.end_subscriptions(|row| which.has(row))?;
            Ok(word_of(ended.iter().map(|(_, row)| row)).map(Some))
        })
        .await?;
        for (key, _) in &ended {
            // Or it would be known until what was in its way is not any more.
            self.note_subscribed(id, *key);
        }
        Ok(ended.len() as u64)
    }
}

/// For the context's log, as its application is not told.
fn word_of<'a>(mut ended: impl ExactSizeIterator<Item = &'a SubscriptionRow>) -> Option<Word> {
    let SubscriptionRow {
        source, handler, ..
    } = ended.next()?;
    let message = match ended.len() {
        0 => format!("an operator has ended this handler's subscription to {source}"),
        others => format!(
            "an operator has ended this handler's subscription to {source}, and {others} more of this context"
        ),
    };
    Some(Word {
        method: handler.clone(),
        level: LogLevel::Warn,
        message,
    })
}
