;; Says a line of 200 MiB.
;; BODY
      (drop (memory.grow (i32.const 3200)))
      (call $log (i32.const 1) (i32.const 0) (i32.const 209715200))
      (unreachable)
