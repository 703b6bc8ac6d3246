//! Packages that are made for CUDA: chosen by an extra, or by the local part of a version that an index has.

use crate::bench::{Bench, here, other};
use crate::support;

const ONE: &str = "flowrun: 1
steps:
  say:
    run: python -c 'import t; print(t.says())' > {{ outputs.said }}
    PYTHON [t==1.0+cu130]
    outputs: { said: said.txt }
results: { said: say.said }
";

fn wheel(version: &str, platform: &str) -> String {
    format!("t-{version}-py3-none-manylinux_2_28_{}.whl", platform.split_once('-').expect("a platform").1)
}

#[test]
fn a_local_version_is_locked_exactly_and_installed() {
    if !here().starts_with("linux") {
        return support::skip("local versions", "their packages are made for Linux");
    }
    let bench = Bench::new(&format!("{ONE}platforms: [{}]\n", here()));
    for version in ["1.0", "1.0+cpu", "1.0+cu128", "1.0+cu130", "1.1+cu130"] {
        bench.package(&wheel(version, &here()), &[]);
    }
    bench.package(&wheel("1.0", other()), &[]);
    bench.flowrun(&["lock"]).ok().says("with 1 package");
    assert!(bench.lock().contains("name = \"t\"\nversion = \"1.0+cu130\"\n"), "{}", bench.lock());
    bench.line(&wheel("1.0+cu130", &here()));
    bench.run(&["--locked"]);
    assert_eq!(bench.bed.read("results/p/said.txt").trim(), wheel("1.0+cu130", &here()));
    // Where there is none, no other is taken in its place.
    let lock = bench.lock();
    let said = bench.flowrun(&["lock", "--platform", other()]).fails(2).says("`t` has no wheel for");
    said.says(other()).says("--> p.yaml:5:").says("asked for here");
    let said = bench.flowrun(&["lock", "--platform", "macos-aarch64"]).fails(2);
    said.says("`t` has no wheel for macos-aarch64").says("there are some for manylinux_2_28_");
    assert_eq!(bench.lock(), lock, "nothing is written");
}

#[test]
fn an_extra_brings_its_packages_and_a_marker_leaves_it_out_elsewhere() {
    if !here().starts_with("linux") {
        return support::skip("extras of a platform", "their packages are made for Linux");
    }
    let requirements = "[\"t[cuda] ; sys_platform == 'linux'\", \"t ; sys_platform != 'linux'\"]";
    let bench = Bench::new(&ONE.replace("[t==1.0+cu130]", requirements));
    bench.package("t-1.0-py3-none-any.whl", &["nv ; extra == 'cuda'\nProvides-Extra: cuda"]);
    for platform in [&here()[..], other()] {
        bench.package(&wheel("2.0", platform).replace("t-", "nv-"), &[]);
    }
    bench.flowrun(&["lock", "--platform", "macos-aarch64"]).ok();
    let nv = bench.line(&wheel("2.0", &here()).replace("t-", "nv-"));
    assert!(nv.contains("platforms = [") && !nv.contains("macos"), "{nv}");
    bench.line("t-1.0-py3-none-any.whl");
    bench.run(&["--locked"]);
}

#[test]
fn wheels_are_for_the_oldest_glibc_that_is_asked_for() {
    if !here().starts_with("linux") {
        return support::skip("glibc", "there is none here");
    }
    let bench = Bench::new(&format!("{}platforms: [{}]\n", ONE.replace("t==1.0+cu130", "t"), here()));
    let made_for = |version: &str, glibc: &str| wheel(version, &here()).replace("2_28", glibc);
    for (version, glibc) in [("1.0", "2_17"), ("2.0", "2_28"), ("3.0", "2_34")] {
        bench.package(&made_for(version, glibc), &[]);
    }
    let text = bench.bed.read("p.yaml");
    let ask = |requirement: &str, glibc: &str| {
        bench
            .bed
            .write("p.yaml", &text.replace("requirements: [t] }", &format!("requirements: [{requirement}]{glibc} }}")));
    };
    let locked = |version: &str, glibc: &str| {
        bench.flowrun(&["lock"]).ok();
        bench.line(&made_for(version, glibc));
    };
    locked("2.0", "2_28");
    assert!(!bench.lock().contains("glibc ="), "nothing is said of what is usual: {}", bench.lock());
    ask("t", ", glibc: \"2.34\"");
    bench.flowrun(&["run", "--locked"]).fails(5).says("step `say` asks for glibc 2.34, and 2.28 is locked");
    bench.flowrun(&["lock", "--upgrade"]).ok();
    locked("3.0", "2_34");
    assert!(bench.lock().contains("\nglibc = \"2.34\"\n"), "{}", bench.lock());
    bench.flowrun(&["lock"]).ok().says("up to date");
    ask("t", ", glibc: \"2.17\"");
    bench.flowrun(&["lock", "--upgrade"]).ok();
    locked("1.0", "2_17");
    let lock = bench.lock();
    ask("t==3.0", "");
    let said = bench.flowrun(&["lock"]).fails(2).says(&format!("`t` has no wheel for {} with glibc 2.28", here()));
    said.says("there are some for manylinux_2_34_").says("or set `glibc: \"2.34\"`").says("asked for here");
    assert_eq!(bench.lock(), lock, "nothing is written");
    ask("t", ", glibc: \"2.5\"");
    bench.flowrun(&["check"]).fails(2).says("2.5").says("2.28");
}
