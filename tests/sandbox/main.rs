//! What a `run` step can reach, and what of that is in its key, with the real binary.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use support::{Bed, Said, said};

/// Whether this kernel can hold a step to what it declared. Where it cannot, that is what the tests look for.
fn is_held(bed: &Bed) -> bool {
    let held = !bed.flowrun(&["plan", "p.yaml"]).ok().stderr.contains("have no sandbox here");
    if !held {
        support::skip("what is refused", "this kernel has no Landlock");
    }
    held
}

/// A program in a folder that stands first on the PATH.
fn program(bed: &Bed, name: &str, text: &str) {
    bed.write(&format!("bin/{name}"), text);
    std::fs::set_permissions(bed.path(&format!("bin/{name}")), std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn with_path(bed: &Bed, args: &[&str]) -> Said {
    let path = format!("{}:{}", bed.path("bin").display(), std::env::var("PATH").expect("PATH"));
    said(bed.command(args).env("PATH", path).output().expect("starts"))
}

#[test]
fn what_is_not_declared_is_refused_by_name() {
    let rows: [(&str, &str, &str); 9] = [
        ("read", "cat {secret}", "the sandbox refused `{secret}`: declare it under `inputs`"),
        ("read by a link", "ln -s {secret} l; cat l", "Permission denied"),
        ("list", "ls {root}", "the sandbox refused `{root}`"),
        ("write", "echo x > {root}/made", "the sandbox refused `{root}/made`: a step writes only in its own folder"),
        ("write its input", "echo x > {{ inputs.data }}", "its input `data/data.txt` is read-only"),
        ("add to its inputs", "touch in/more", "read-only"),
        ("remove its input", "rm -f {{ inputs.data }}", "read-only"),
        ("call by path", "X={root}/bin; \"$X/hidden\"", "declare it under `tools` to call it"),
        ("the store", "ls {root}/.flowrun/v1/blobs", "the sandbox refused"),
    ];
    let bed = Bed::new("flowrun: 1\nsteps: { a: { run: 'true' } }\n");
    if !is_held(&bed) {
        return;
    }
    bed.write("secret.txt", "sesame\n");
    bed.write("data.txt", "data\n");
    let root = std::fs::canonicalize(bed.root()).expect("real").display().to_string();
    let fill = |text: &str| text.replace("{secret}", "{root}/secret.txt").replace("{root}", &root);
    program(&bed, "hidden", "#!/bin/sh\necho hidden\n");
    for (what, script, told) in rows {
        let script = fill(script);
        bed.write(
            "p.yaml",
            &format!(
                "flowrun: 1\nsources: {{ data: {{ path: data.txt }} }}\nsteps:\n  a:\n    run: |\n      {script}\n    inputs: {{ data: sources.data }}\n"
            ),
        );
        let said = bed.flowrun(&["run", "p.yaml"]).fails(1);
        assert!(said.stderr.contains(&fill(told)), "{what}: `{}` is not in\n{}", fill(told), said.stderr);
        assert!(!said.stderr.contains("sesame"), "{what}: it was read");
        assert_eq!(bed.read("data.txt"), "data\n", "{what}");
        assert!(!bed.path("made").exists(), "{what}");
        // The same without a sandbox shows that it was the sandbox that refused.
        if ["read", "list", "write", "call by path", "the store"].contains(&what) {
            bed.write("p.yaml", &(bed.read("p.yaml") + "    sandbox: off\n"));
            bed.flowrun(&["run", "p.yaml"]).ok();
            let _ = std::fs::remove_file(bed.path("made"));
        }
    }
}

#[test]
fn a_step_that_goes_on_without_what_was_refused_says_so() {
    let bed = Bed::new("flowrun: 1\nsteps: { a: { run: 'true' } }\n");
    if !is_held(&bed) {
        return;
    }
    bed.write("secret.txt", "x");
    bed.write(
        "p.yaml",
        &format!("flowrun: 1\nsteps:\n  a: {{ run: \"cat {} || true\" }}\n", bed.path("secret.txt").display()),
    );
    bed.flowrun(&["run", "p.yaml"]).ok().says("`a`: it went on although the sandbox refused");
}

/// Whatever a link in the place of `out` leads to would be moved into the store, away from where it is.
#[test]
fn what_took_the_place_of_the_output_folder_is_left_alone() {
    let bed = Bed::new("");
    bed.write("mine/x", "precious\n");
    let mine = bed.path("mine").display().to_string();
    for (outputs, sandbox) in [("{ x: x }", "on"), ("{ x: x }", "off"), ("{ mine: dir }", "on")] {
        let to = if outputs.contains("dir") { bed.root().display().to_string() } else { mine.clone() };
        bed.write(
            "p.yaml",
            &format!("flowrun: 1\nsteps:\n  a: {{ run: 'rm -r out; ln -s {to} out', outputs: {outputs}, sandbox: {sandbox} }}\n"),
        );
        bed.flowrun(&["run", "p.yaml"]).fails(1).says("`out` is not the folder that it was given");
        assert_eq!(bed.read("mine/x"), "precious\n", "{outputs} {sandbox}");
    }
}

#[test]
fn a_file_beside_the_pipeline_is_told_of_where_it_is_looked_for() {
    let bed = Bed::new("flowrun: 1\nsteps:\n  a: { run: head -n 1 data.csv }\n");
    bed.write("data.csv", "1\n");
    bed.flowrun(&["run", "p.yaml"]).fails(1).says("`data.csv` lies beside the pipeline");
    bed.write("more/data.csv", "");
    bed.write("p.yaml", "flowrun: 1\nsteps:\n  a: { run: 'true', code: [data.csv, more/data.csv] }\n");
    bed.flowrun(&["check", "p.yaml"]).fails(2).says("would lie in the folder of step `a` as `data.csv`");
}

#[test]
fn ordinary_things_work() {
    let bed = Bed::new(
        r#"
flowrun: 1
sources: { data: { path: data } }
steps:
  a:
    code: [count.sh, lib, start]
    run: |
      ./start | grep -q started
      mkdir -p deep/er "$TMPDIR/t" && cp {{ inputs.data }}/x.txt deep/er/y.txt && chmod u+w deep/er/y.txt && echo more >> deep/er/y.txt
      mv deep/er/y.txt out/moved.txt
      echo home > "$HOME/file"
      sh count.sh < out/moved.txt > {{ outputs.count }}
      cat lib/words.txt > /dev/null; echo x | tee /dev/null | sort -u | head -n 1 > /dev/stderr
      test -r /etc/passwd && test -e /usr/lib && head -c 4 /dev/urandom > /dev/null
      ls in/data | xargs -n 1 echo > names.txt
      ln in/data/x.txt linked.txt 2> /dev/null || cp in/data/x.txt linked.txt
      test "$(cat linked.txt)" = one
    inputs: { data: sources.data }
    outputs: { count: count.txt, moved: moved.txt }
results: { count: a.count, moved: a.moved }
"#,
    );
    bed.write("data/x.txt", "one\n");
    bed.write("count.sh", "# counts\nwc -l | tr -d ' '\n");
    bed.write("lib/words.txt", "w\n");
    bed.write("lib/more.sh", "seq 2 | paste -s -d, -\n");
    bed.write("start", "#!/usr/bin/env bash\nprintf 'started %s\\n' \"$(sh lib/more.sh | tr -d ,)\"\n");
    std::fs::set_permissions(bed.path("start"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    bed.flowrun(&["run", "p.yaml"]).ok();
    assert_eq!(bed.read("results/p/count.txt"), "2\n");
    assert_eq!(bed.read("results/p/moved.txt"), "one\nmore\n");
}

#[test]
fn programs_are_leaves_and_others_are_not_found() {
    let bed = Bed::marking(
        r#"
flowrun: 1
steps:
  named: { run: "MARK named; mine > {{ outputs.x }}", outputs: { x: x.txt } }
  behind:
    run: |
      MARK behind
      X=mi; "${X}ne" > {{ outputs.x }}
    tools: [mine]
    outputs: { x: x.txt }
  other: { run: "MARK other; echo mined > {{ outputs.x }}", outputs: { x: x.txt } }
results: { x: named.x }
"#,
    );
    program(&bed, "mine", "#!/bin/sh\necho 1\n");
    let ran = |args: &[&str]| {
        let _ = std::fs::remove_file(bed.outside("ran"));
        with_path(&bed, &[&["run", "p.yaml"], args].concat()).ok();
        bed.marks()
    };
    assert_eq!(ran(&[]), ["behind", "named", "other"]);
    assert_eq!(bed.read("results/p/x.txt"), "1\n");
    assert!(ran(&[]).is_empty());
    program(&bed, "mine", "#!/bin/sh\necho 2\n");
    with_path(&bed, &["plan", "p.yaml"]).ok().says("tool.mine");
    assert_eq!(ran(&[]), ["behind", "named"], "a program that changed is another program");
    assert_eq!(bed.read("results/p/x.txt"), "2\n");
    program(&bed, "mine", "#!/bin/sh\necho 1\n");
    assert!(ran(&[]).is_empty(), "and the old one is the old one");
    assert_eq!(bed.read("results/p/x.txt"), "1\n");
    program(&bed, "unrelated", "#!/bin/sh\n");
    assert!(ran(&[]).is_empty(), "what no step calls is in no key");
    with_path(&bed, &["explain", "named", "p.yaml"]).ok().says("tool.mine").says("tool.sh");

    let undeclared = bed.marked("flowrun: 1\nsteps:\n  a:\n    run: |\n      X=mi; \"${X}ne\"\n");
    bed.write("p.yaml", &undeclared);
    with_path(&bed, &["run", "p.yaml"]).fails(1).says("add `tools: [mine]`");
    bed.write("p.yaml", "flowrun: 1\nsteps:\n  a: { run: 'true', tools: [no_such_program] }\n");
    bed.flowrun(&["run", "p.yaml"]).fails(3).says("there is no program `no_such_program` on the PATH");
    bed.write("p.yaml", "flowrun: 1\nsteps:\n  a: { run: 'true', tools: [./mine] }\n");
    bed.flowrun(&["check", "p.yaml"]).fails(2).says("is not a program");
}

#[test]
fn a_program_replaced_while_the_step_runs_keeps_no_result() {
    let bed = Bed::marking(
        r#"
flowrun: 1
steps:
  a:
    run: |
      mine > {{ outputs.x }}
      echo up > {outside}/up
      while [ ! -e {outside}/go ]; do sleep 0.02; done
    outputs: { x: x.txt }
"#,
    );
    program(&bed, "mine", "#!/bin/sh\necho 1\n");
    let path = format!("{}:{}", bed.path("bin").display(), std::env::var("PATH").expect("PATH"));
    let mut command = bed.command(&["run", "p.yaml"]);
    let run = command.env("PATH", &path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    support::wait_for("the step", || bed.outside("up").exists());
    program(&bed, "mine", "#!/bin/sh\necho 2\n");
    std::fs::write(bed.outside("go"), "").expect("write");
    said(run.wait_with_output().expect("ends")).fails(3).says("`mine` was replaced while the step ran");
    with_path(&bed, &["run", "p.yaml"]).ok().says("1 ran");
}

#[test]
fn a_step_without_a_network_has_a_loopback_and_nothing_else() {
    let bed = Bed::new(
        r#"
flowrun: 1
steps:
  a:
    run: |
      sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' ' > {{ outputs.links }}
    network: false
    outputs: { links: links.txt }
results: { links: a.links }
"#,
    );
    let said = bed.flowrun(&["run", "p.yaml"]);
    if said.code == 3 {
        support::skip("a step without a network", "this kernel keeps nobody from it");
        said.says("could not be kept from the network");
        return;
    }
    said.ok();
    assert_eq!(bed.read("results/p/links.txt"), "lo\n");
    bed.write("p.yaml", &bed.read("p.yaml").replace("    network: false\n", ""));
    bed.flowrun(&["plan", "p.yaml"]).ok().says("network");
}

#[test]
fn a_step_without_a_sandbox_is_seen_in_the_plan_and_marked() {
    let bed = Bed::marking(
        "flowrun: 1\nsteps:\n  a: { run: \"MARK a; echo 1 > {{ outputs.x }}\", outputs: { x: x.txt }, sandbox: off }\n",
    );
    bed.flowrun(&["plan", "p.yaml"]).ok().says("sandbox: off");
    assert_eq!(bed.ran(&[]), ["a"]);
    bed.flowrun(&["plan", "p.yaml"]).ok().says("sandbox: off");
    assert!(entries(&bed).iter().all(|entry| entry.contains("\"sandbox\":\"off\"")), "{:?}", entries(&bed));
    bed.write("p.yaml", &bed.read("p.yaml").replace(", sandbox: off", ""));
    bed.flowrun(&["plan", "p.yaml"]).ok().says("sandbox");
    assert_eq!(bed.ran(&[]), ["a"], "what a sandbox hides may change what is made");
    if is_held(&bed) {
        assert!(entries(&bed).iter().any(|entry| entry.contains("\"sandbox\":\"landlock\"")), "{:?}", entries(&bed));
    }
}

fn entries(bed: &Bed) -> Vec<String> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(bed.path(".flowrun/v1/entries")).expect("entries").flatten() {
        for entry in std::fs::read_dir(folder.path()).expect("folder").flatten() {
            found.push(std::fs::read_to_string(entry.path()).expect("entry"));
        }
    }
    found
}

#[test]
fn a_step_does_not_see_the_secrets_of_flowrun() {
    let bed = Bed::new(
        r#"
flowrun: 1
steps:
  a:
    run: |
      for file in /proc/[0-9]*/environ; do cat "$file" 2> /dev/null || true; done | tr '\0' '\n' > {{ outputs.all }}
    outputs: { all: all.txt }
results: { all: a.all }
"#,
    );
    if !is_held(&bed) {
        return;
    }
    said(bed.command(&["run", "p.yaml"]).env("MY_TOKEN", "sesame-4711").output().expect("starts")).ok();
    assert!(bed.read("results/p/all.txt").contains("HOME="), "its own environment it sees");
    assert!(!bed.read("results/p/all.txt").contains("sesame-4711"));
}

#[test]
fn a_kernel_without_landlock_is_told_of_once_and_marked() {
    let bed = Bed::marking(
        r#"
flowrun: 1
steps:
  a: { run: "MARK a; echo 1 > {{ outputs.x }}", outputs: { x: x.txt } }
  b: { run: "MARK b; echo 2 > {{ outputs.x }}", outputs: { x: x.txt } }
"#,
    );
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("tempdir");
    let shim = folder.path().join("no_landlock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sandbox/no_landlock.c");
    let mut compiler = std::process::Command::new("cc");
    let Ok(built) = compiler.args(["-shared", "-fPIC", "-o"]).arg(&shim).args([source, "-ldl"]).output() else {
        return support::skip("a kernel without Landlock", "there is no C compiler, `cc`");
    };
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let told = said(bed.command(&["run", "p.yaml"]).env("LD_PRELOAD", &shim).output().expect("starts")).ok();
    assert_eq!(told.stderr.matches("have no sandbox here").count(), 1, "{}", told.stderr);
    assert_eq!(bed.marks(), ["a", "b"]);
    assert!(entries(&bed).iter().all(|entry| entry.contains("\"sandbox\":\"unavailable\"")), "{:?}", entries(&bed));
}

/// What is inheritable would come back with the next program, whatever else root has lost.
#[test]
fn root_brings_no_capabilities_in() {
    let bed = Bed::new(
        "flowrun: 1\nsteps:\n  a: { run: \"grep Cap /proc/self/status > {{ outputs.o }}\", outputs: { o: o.txt } }\nresults: { o: a.o }\n",
    );
    if !is_held(&bed) {
        return;
    }
    let mut command = std::process::Command::new("setpriv");
    let flowrun = bed.command(&["run", "p.yaml"]);
    command.arg("--inh-caps=+sys_admin,+sys_ptrace").arg(flowrun.get_program()).args(flowrun.get_args());
    command.current_dir(bed.root()).env("FLOWRUN_CACHE", support::cache());
    let ran = match command.output() {
        Ok(output) if output.status.success() => said(output),
        _ => return support::skip("inheritable capabilities", "only root with `setpriv` can hand them on"),
    };
    ran.ok();
    let told = bed.read("results/p/o.txt");
    let bits = |name: &str| {
        let line =
            told.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}:\n{told}"));
        u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
    };
    // capabilities(7): CAP_SYS_PTRACE is 19, CAP_SYS_ADMIN 21.
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(bits(name) & (1 << 19 | 1 << 21), 0, "{name}\n{told}");
    }
}

/// An input is the store's own file under another name, and a step may take from it the right to read it.
#[test]
fn an_input_that_nobody_may_read_any_more_is_put_right() {
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let bed = Bed::new(
        r#"
flowrun: 1
sources: { data: { path: data.txt } }
steps:
  a: { run: "chmod 000 {{ inputs.data }}", inputs: { data: sources.data } }
  b: { run: "cat {{ inputs.data }} > {{ outputs.o }}", inputs: { data: sources.data }, outputs: { o: o.txt }, needs: [a] }
results: { o: b.o }
"#,
    );
    bed.write("data.txt", "data\n");
    let mut command = bed.command(&["run", "p.yaml"]);
    // Root reads everything, so this is somebody else's run; who is not root is that already.
    if chown(bed.root(), Some(NOBODY), Some(NOBODY)).is_ok() {
        let binary = bed.path("flowrun");
        std::fs::copy(env!("CARGO_BIN_EXE_flowrun"), &binary).expect("copy");
        chown(bed.path(".flowrun"), Some(NOBODY), Some(NOBODY)).expect("chown");
        command = std::process::Command::new(binary);
        command.args(["run", "p.yaml"]).current_dir(bed.root()).uid(NOBODY).gid(NOBODY);
    }
    command.env("FLOWRUN_CACHE", bed.path("cache")).env("HOME", bed.root());
    said(command.output().expect("starts")).ok();
    assert_eq!(bed.read("results/p/o.txt"), "data\n");
}
