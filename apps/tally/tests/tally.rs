//! The first tally without a server.

use corelet_app_tally::Tally;
use corelet_sdk::prelude::*;
use corelet_sdk::testing::Context;

#[test]
fn it_counts_by_name() {
    let mut tally = Context::<Tally>::new();
    let count = |by| json!({ "name": "apples", "by": by });
    assert_eq!(tally.update("count", count(Some(3))).unwrap(), 3);
    assert_eq!(tally.update("count", count(None)).unwrap(), 4);
    let total = |name| json!({ "name": name });
    assert_eq!(tally.query("total", total("apples")).unwrap(), 4);
    assert_eq!(tally.query("total", total("pears")).unwrap(), 0);
    let refused = tally.update("count", count(Some(u64::MAX))).unwrap_err();
    assert_eq!(refused.code(), Some("overflow"));
}
