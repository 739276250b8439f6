//! What a record is: the number in its envelope, and its name in messages.

/// The kinds in one place: variant, number and name of each.
macro_rules! kinds {
    ($($kind:ident = $number:literal: $what:literal,)*) => {
        /// What a record is. The numbers are part of the disk format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum RecordKind {
            $($kind = $number,)*
        }

        impl RecordKind {
            /// Every kind, in no order that matters.
            #[cfg(test)]
            pub(crate) const ALL: &[RecordKind] = &[$(RecordKind::$kind),*];

            /// The kind that a record says it is of.
            pub(crate) fn of(record: &[u8]) -> Option<RecordKind> {
                match *record.get(1)? {
                    $($number => Some(RecordKind::$kind),)*
                    _ => None,
                }
            }

            /// The kind's name in messages.
            pub(crate) const fn what(self) -> &'static str {
                match self {
                    $(RecordKind::$kind => $what,)*
                }
            }
        }
    };
}

kinds! {
    Format = 1: "format record",
    Slots = 2: "slots record",
    Context = 3: "context record",
    HeadOfFormat3 = 4: "head record",
    Entry = 5: "entry",
    Event = 7: "event record",
    Application = 8: "application record",
    Name = 9: "name record",
    Author = 10: "author record",
    GraveOfFormat3 = 11: "grave record",
    Journal = 12: "record of the journal",
    Identity = 13: "identity record",
    JournalFile = 14: "record of the journal's file",
    Head = 15: "head record",
    Log = 16: "log record",
    Dag = 17: "record of a delta's past",
    Edit = 18: "edit",
    Litter = 19: "record of removed edits",
    Grave = 20: "grave record",
    Trie = 21: "node of a trie",
    Counters = 22: "record of positions and stamps",
    Attached = 30: "record of an attachment",
    AttachedSum = 31: "sum of attachments",
    Seal = 40: "seal",
    Fork = 41: "proof against an author",
    BacklogWithoutStamps = 42: "record of a backlog",
    EditSeen = 43: "record of what an edit had seen",
    Saved = 44: "saved list",
    SavedPart = 45: "part of a saved list",
    Answer = 46: "answer",
    AnswerAge = 47: "record of an answer's age",
    AnswerTally = 48: "tally of answers",
    Tally = 50: "record of a context's sizes",
    Mark = 51: "mark in a context's history",
    Members = 52: "record of a context's members",
    Ack = 53: "acknowledgement of a member",
    Quarantine = 54: "record of a quarantine",
    Aside = 55: "call that was put aside",
    Backlog = 60: "record of a backlog",
    EditAfterOthers = 61: "edit",
    LogWithBefores = 62: "log record",
    // What of numbers of authors was given and dropped.
    Authors = 63: "record of authors' numbers",
    DamageSeen = 64: "note of damage",
    LinkedEdit = 65: "edit",
    LinkedEditAfterOthers = 66: "edit",
    Pack = 67: "pack of edits",
    // One that is not as all were before there were settings.
    ApplicationWithSettings = 70: "application record",
}
