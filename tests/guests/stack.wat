;; Calls itself for ever.
;; BODY
      (call $deeper (i32.const 1))
