//! What a host call costs in fuel: a fixed price and a price per byte or row.
//!
//! One unit of fuel is one plain WASM instruction, about a third of a
//! nanosecond to one nanosecond of work. Prices are set so that a host call's
//! fuel is not less than the time it takes, or slices would lie. The price of
//! instructions is in `engine.rs`; where it is charged is `functions/`.

/// The price of one host function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCost {
    /// Interface and function, as in the WIT world.
    pub function: &'static str,
    /// Charged for each call.
    pub fixed: u64,
    /// Charged for each byte that crosses the border, either way.
    pub per_byte: u64,
    /// Charged for each entry that the call walks over.
    pub per_row: u64,
}

macro_rules! host_costs {
    ($($constant:ident = $function:literal: $fixed:literal, $per_byte:literal, $per_row:literal;)+) => {
        $(pub(crate) const $constant: HostCost = HostCost {
            function: $function,
            fixed: $fixed,
            per_byte: $per_byte,
            per_row: $per_row,
        };)+

        /// The published price list of host functions.
        pub const HOST_COSTS: &[HostCost] = &[$($constant),+];
    };
}

host_costs! {
    // name                  function                 fixed  /byte  /row
    TURN                   = "a turn":                 500,    1,     0;
    CONTEXT_ID             = "context.id":             200,    1,     0;
    CONTEXT_CALLER         = "context.caller":         200,    1,     0;
    CONTEXT_AUTHOR         = "context.author":         200,    1,     0;
    CONTEXT_NOW            = "context.now":            100,    0,     0;
    CONTEXT_RANDOM         = "context.random":         500,    4,     0;
    CONTEXT_STATE_VERSION  = "context.state-version":  100,    0,     0;
    CONTEXT_FUEL_USED      = "context.fuel-used":      100,    0,     0;
    STORAGE_GET            = "storage.get":           1000,    1,     0;
    STORAGE_SET            = "storage.set":           3000,    4,     0;
    // Reading and writing at once.
    STORAGE_ADD            = "storage.add":           4000,    4,     0;
    STORAGE_INSERT         = "storage.insert":        4000,    4,     0;
    STORAGE_WRITE_ONCE     = "storage.write-once":    4000,    4,     0;
    STORAGE_REMOVE         = "storage.remove":        3000,    4,     0;
    // Walks like a scan, and pays for each removal what `storage.remove` costs.
    STORAGE_REMOVE_RANGE   = "storage.remove-range":  2000,    1,   500;
    STORAGE_SCAN           = "storage.scan":          2000,    1,   500;
    STORAGE_COUNT          = "storage.count":         2000,    1,   200;
    // Per row: an element. What it costs to bring a list into memory has no price.
    STORAGE_LIST_LENGTH    = "storage.list-length":   1000,    1,     0;
    STORAGE_LIST_INSERT    = "storage.list-insert":   6000,    6,   300;
    STORAGE_LIST_APPEND    = "storage.list-append":   6000,    6,   300;
    STORAGE_LIST_REMOVE    = "storage.list-remove":   6000,    4,   100;
    STORAGE_LIST_READ      = "storage.list-read":     2000,    1,   200;
    STORAGE_TEXT_LENGTH    = "storage.text-length":   1000,    1,     0;
    STORAGE_TEXT_INSERT    = "storage.text-insert":   6000,    6,     0;
    STORAGE_TEXT_APPEND    = "storage.text-append":   6000,    6,     0;
    STORAGE_TEXT_REMOVE    = "storage.text-remove":   6000,    4,     4;
    STORAGE_TEXT_READ      = "storage.text-read":     2000,    2,     0;
    // Per row: a block of 1 KiB that the turn comes to for the first time, which is read then, and
    // one that it writes for the first time, which becomes an entry in the end.
    STABLE_SIZE            = "stable.size":            200,    0,     0;
    STABLE_GROW            = "stable.grow":           6000,    0,     0;
    STABLE_READ            = "stable.read":            200,    1,  1000;
    STABLE_WRITE           = "stable.write":           200,    1,  7000;
    // What it takes to look for the blob on the disk has no price. Per row: what the turn has
    // detached before, and what the list has.
    BLOBS_ATTACH           = "blobs.attach":          6000,    4,     0;
    BLOBS_DETACH           = "blobs.detach":          4000,    4,   500;
    BLOBS_SIZE             = "blobs.size":            2000,    1,   500;
    BLOBS_ATTACHED         = "blobs.attached":        2000,    1,   700;
    // Two entries are written, and two are removed of one that is replaced.
    TIMERS_ARM             = "timers.arm":           14000,    4,     0;
    TIMERS_CANCEL          = "timers.cancel":        10000,    4,     0;
    TIMERS_ARMED           = "timers.armed":          2000,    1,   700;
    // Beside what the other guest uses, which its caller pays as if it were its own.
    CALLS_QUERY            = "calls.query":          10000,    2,     0;
    // Two entries are written, one of them read before, and one is removed when it has ended.
    CALLS_SEND             = "calls.send":           12000,    4,     0;
    // Two entries are written, one of them read before; and one is written again with each time that
    // the handler is told of events.
    SUBSCRIPTIONS_SUBSCRIBE   = "subscriptions.subscribe":   12000,    4,     0;
    SUBSCRIPTIONS_UNSUBSCRIBE = "subscriptions.unsubscribe": 10000,    4,     0;
    SUBSCRIPTIONS_SUBSCRIBED  = "subscriptions.subscribed":   2000,    1,   700;
    EVENTS_EMIT            = "events.emit":           1000,    2,     0;
    LOG_WRITE              = "log.write":             1000,    2,     0;
}

/// What a hidden row would cost if it cost fuel, as a row of a scan does.
pub(crate) const HIDDEN_WORK: u64 = STORAGE_SCAN.per_row;

/// The price of an elementary step of work in a list or text, of which a removal takes some
/// for every place where what it removes was put in.
pub(crate) const SEQUENCE_WORK: u64 = 100;

impl HostCost {
    /// The price of a call that moves `bytes`.
    #[inline]
    pub(crate) const fn of_bytes(&self, bytes: u64) -> u64 {
        self.fixed
            .saturating_add(self.per_byte.saturating_mul(bytes))
    }
}
