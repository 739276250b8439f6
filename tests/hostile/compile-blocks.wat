;; tries: to make the compiler nest: 20,000 blocks inside each other.
;; update: answers null
(func <<20000 * block >> <<20000 * end >>)
