;; Makes a table larger until it cannot, and then breaks.
;; WANTED
    (table $all 1 funcref)
;; BODY
      (loop $again (br_if $again (i32.ne (table.grow $all (ref.null func) (i32.const 1000)) (i32.const -1))))
      (unreachable)
