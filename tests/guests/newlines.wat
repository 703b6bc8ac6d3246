;; Says a hundred million lines in one call.
;; BODY
      (drop (memory.grow (i32.const 1600)))
      (memory.fill (i32.const 0) (i32.const 10) (i32.const 104857600))
      (i32.store8 (i32.const 104857599) (i32.const 120))
      (call $log (i32.const 1) (i32.const 0) (i32.const 104857600))
      (unreachable)
