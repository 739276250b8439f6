//! What is true: entries, deltas and contexts, in one LMDB environment per shard.
