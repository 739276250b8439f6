;; tries: to have a branch with a hundred thousand targets.
;; install: not_an_application
;; says: br_table
(func (param i32) (block (br_table <<100000 * 0 >> (local.get 0))))
