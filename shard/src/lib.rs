//! One core's world: executor, mailbox, scheduler, pipelined commit, warm instances, cross-core mesh.
