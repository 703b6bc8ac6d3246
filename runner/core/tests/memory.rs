//! How often memory is asked for while a pipeline is read, checked and planned: a guard against slowness that does not depend on how busy the
//! machine is. A step's share is what is added from a small pipeline to a larger one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;
use flowrun_core::expr::{self, Quote, Scope};
use flowrun_core::key::{Job, Work};
use flowrun_core::lang::{self, World};
use flowrun_core::plan::{self, Instance, Plan};
use flowrun_core::plugin::Described;
use flowrun_core::script;
use indexmap::IndexMap;
use serde_json::Map;

struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// All threads are counted, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

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

const FEW: usize = 100;
const MORE: usize = 1100;

/// What one step adds.
fn each(few: usize, more: usize) -> f64 {
    (more as f64 - few as f64) / (MORE - FEW) as f64
}

#[test]
fn what_a_step_asks_of_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What is made once is made before.
    asked(FEW);
    let (few, more) = (asked(FEW), asked(MORE));
    let (read, planned) = (each(few.0, more.0), each(few.1, more.1));
    println!("asked for memory, a step: {read} times to read and check, {planned} to plan");
    assert!(read <= MOST_READ, "{read} times to read and check, at most {MOST_READ} before");
    assert!(planned <= MOST_PLANNED, "{planned} times to plan, at most {MOST_PLANNED} before");
}

/// Of a step with its source, two inputs, an output and a script.
const MOST_READ: f64 = 77.0;
const MOST_PLANNED: f64 = 4.1;

/// A step that is run so many times, its names, and the programs that it may call.
struct Sweep {
    program: lang::Program,
    names: Scope,
    tools: Arc<BTreeMap<String, Artifact>>,
}

impl Sweep {
    fn of(steps: usize) -> Self {
        let items: Vec<String> = (0..steps / 10).map(|at| at.to_string()).collect();
        let text = format!(
            "flowrun: 1\nname: many\nsteps:\n  sweep:\n    matrix: {{ a: [{}], b: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] }}\n    \
             run: train --a {{{{ matrix.a }}}} > {{{{ outputs.made }}}}\n    outputs: {{ made: made.txt }}\n",
            items.join(", ")
        );
        let program = lang::load(&text, None, &Everything).expect("a sound pipeline");
        let names = plan::context(&Map::new(), &IndexMap::new());
        let tool = Artifact { mode: Mode::Executable, digest: Digest::of(b"sh"), size: 2 };
        Self { program, names, tools: Arc::new(BTreeMap::from([("sh".to_owned(), tool)])) }
    }

    fn key(&self, instance: &Instance, names: &Scope) -> Digest {
        let step = &self.program.pipeline.steps["sweep"];
        let mut names = names.clone();
        instance.item.as_ref().expect("of a matrix").add_to(&mut names);
        let script = expr::render(step.run.as_deref().expect("a script"), &names, Quote::Shell).expect("renders");
        assert_eq!(script::words(&script), ["train"]);
        let work = Work::Process {
            script,
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            code: BTreeMap::new(),
            python: None,
            tools: self.tools.clone(),
            system: String::new(),
            network: true,
            sandbox: true,
            platform: "linux-x86_64".to_owned(),
        };
        let outputs = step.outputs.clone();
        Job { work, inputs: IndexMap::new(), outputs, values: Vec::new(), part: None }.leaves().key()
    }

    /// How often memory was asked for: for the instances, and for their keys.
    fn asked(&self) -> (usize, usize) {
        let step = &self.program.pipeline.steps["sweep"];
        let names = plan::with_paths(self.names.clone(), &IndexMap::new(), step);
        let before = ASKED.load(Ordering::Relaxed);
        let instances = plan::instances(step, &self.names).expect("lists");
        let made = ASKED.load(Ordering::Relaxed);
        let keys: std::collections::HashSet<Digest> =
            instances.iter().map(|instance| self.key(instance, &names)).collect();
        assert!(keys.len() * 10 == instances.len(), "`b` is not in the script");
        (made - before, ASKED.load(Ordering::Relaxed) - made)
    }
}

#[test]
fn what_an_instance_asks_of_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Sweep::of(FEW).asked();
    let (few, more) = (Sweep::of(FEW).asked(), Sweep::of(MORE).asked());
    let (made, keyed) = (each(few.0, more.0), each(few.1, more.1));
    println!("asked for memory, an instance: {made} times to make it, {keyed} to find its key");
    assert!(made <= MOST_MADE, "{made} times to make it, at most {MOST_MADE} before");
    assert!(keyed <= MOST_KEYED, "{keyed} times to find its key, at most {MOST_KEYED} before");
}

/// Of an instance of a matrix with two lists.
const MOST_MADE: f64 = 1.3;
/// With its script rendered and its words read.
const MOST_KEYED: f64 = 24.0;
