;; tries: to have a branch with sixty thousand targets.
;; update: answers null
(func (param i32) (block (br_table <<60000 * 0 >> (local.get 0))))
