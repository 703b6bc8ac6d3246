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
