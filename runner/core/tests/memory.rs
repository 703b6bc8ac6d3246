//! How often memory is asked for while a pipeline is read, checked and planned: a guard against slowness that does not depend on how busy the
//! machine is. A step's share is what is added from a small pipeline to a larger one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flowrun_core::lang::{self, World};
use flowrun_core::plan::Plan;
use flowrun_core::plugin::Described;

struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is the system's, which keeps the promises of an allocator; counting asks for no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All files are there, and no plugins.
struct Everything;

impl World for Everything {
    fn exists(&self, _: &str) -> Option<bool> {
        Some(true)
    }

    fn plugins(&self) -> Vec<String> {
        Vec::new()
    }

    fn describe(&self, _: &str) -> Result<Option<Arc<Described>>, String> {
        Ok(None)
    }
}

/// Steps that each copy a file and what the one before made.
fn pipeline(steps: usize) -> String {
    let mut text = "flowrun: 1\nname: many\nsources:\n".to_owned();
    (0..steps).for_each(|at| text.push_str(&format!("  f{at}: {{ path: data/f{at}.txt }}\n")));
    text.push_str("steps:\n  s0:\n    run: echo > {{ outputs.made }}\n    outputs: { made: s0.txt }\n");
    for at in 1..steps {
        text.push_str(&format!(
            "  s{at}:\n    run: cat {{{{ inputs.a }}}} {{{{ inputs.b }}}} > {{{{ outputs.made }}}}\n    inputs:\n      a: sources.f{at}\n      \
             b: s{}.made\n    outputs: {{ made: s{at}.txt }}\n",
            at - 1
        ));
    }
    text
}

/// How often memory was asked for: to read and check, and to plan.
fn asked(steps: usize) -> (usize, usize) {
    let text = pipeline(steps);
    let before = ASKED.load(Ordering::Relaxed);
    let program = lang::load(&text, None, &Everything).expect("a sound pipeline");
    let read = ASKED.load(Ordering::Relaxed);
    let plan = Plan::new(&program);
    assert_eq!(plan.steps.len(), steps);
    (read - before, ASKED.load(Ordering::Relaxed) - read)
}

#[test]
fn what_a_step_asks_of_memory() {
    const FEW: usize = 100;
    const MORE: usize = 1100;
    // What is made once is made before.
    asked(FEW);
    let (few, more) = (asked(FEW), asked(MORE));
    let each = |few: usize, more: usize| (more as f64 - few as f64) / (MORE - FEW) as f64;
    let (read, planned) = (each(few.0, more.0), each(few.1, more.1));
    println!("asked for memory, a step: {read} times to read and check, {planned} to plan");
    assert!(read <= MOST_READ, "{read} times to read and check, at most {MOST_READ} before");
    assert!(planned <= MOST_PLANNED, "{planned} times to plan, at most {MOST_PLANNED} before");
}

/// Of a step with its source, two inputs, an output and a script.
const MOST_READ: f64 = 80.0;
const MOST_PLANNED: f64 = 4.5;
