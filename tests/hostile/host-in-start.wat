;; tries: to ask for the time before there is a call.
;; install: not_an_application
;; says: context.now was called outside of a call
(func $early (drop (call $now)))
(start $early)
