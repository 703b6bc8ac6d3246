#!/usr/bin/env bash
# Builds every plugin from source and pins it: built/NAME.wasm and built/index.json (digests, and the compiler that made them).
#   ./build.sh            build, copy to built/, pin again
#   ./build.sh --check    build in a scratch folder and compare with built/ byte for byte, if the compiler is the recorded one
#   ./build.sh NAME...    build only these (such as boxes-check); the other pins stay
#   ./build.sh --compiler print the compiler that would be used, made first where there is none
# The compiler: $RUSTC where set; else rustup's, if `rustup target add wasm32-wasip2` was run; else the toolchain that
# toolchain.sh makes in $FLOWRUN_WASM_TOOLCHAIN (default ~/.cache/flowrun-wasm-toolchain; Debian only). Where several are
# there, the one that made the pinned components is taken first. The same compiler gives the same bytes in any folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); cd "$here"
target=wasm32-wasip2
toolchain=${FLOWRUN_WASM_TOOLCHAIN:-$HOME/.cache/flowrun-wasm-toolchain}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target}

check=; only_compiler=; names=()
for arg; do case $arg in --check) check=1;; --compiler) only_compiler=1;; -*) sed -n 2,6p "$0" >&2; exit 2;; *) names+=("$arg");; esac; done
all=()
for manifest in */Cargo.toml; do  # a plugin is a member that makes a cdylib
  if grep -q '"cdylib"' "$manifest"; then all+=("${manifest%/Cargo.toml}"); fi
done
if [ ${#names[@]} -eq 0 ]; then names=("${all[@]}"); fi

has_target() { [ -n "$(find "$("$1" --print target-libdir --target $target 2>/dev/null)" -name 'libstd-*.rlib' 2>/dev/null | head -1)" ]; }
compiler_of() { echo "$("$1" -V), $(cargo -V | cut -d' ' -f1,2)"; }
recorded=$(sed -n 's/^ *"compiler": *"\(.*\)",$/\1/p' built/index.json 2>/dev/null || true)

pick() {
  if [ -n "${RUSTC:-}" ]; then echo "$RUSTC"; return; fi
  local found=() one
  one=$(rustup which rustc 2>/dev/null || command -v rustc || true)
  if [ -n "$one" ] && has_target "$one"; then found+=("$one"); fi
  if [ -x "$toolchain/bin/rustc" ] && has_target "$toolchain/bin/rustc"; then found+=("$toolchain/bin/rustc"); fi
  if [ ${#found[@]} -eq 0 ]; then
    echo "no compiler for $target here (\`rustup target add $target\` gives one): making one in $toolchain" >&2
    ./toolchain.sh "$toolchain" "$target" >&2 || exit 1
    found+=("$toolchain/bin/rustc")
  fi
  for one in "${found[@]}"; do if [ "$(compiler_of "$one")" = "$recorded" ]; then echo "$one"; return; fi; done
  echo "${found[0]}"
}
RUSTC=$(pick); export RUSTC
if [ -n "$only_compiler" ]; then echo "$RUSTC"; exit; fi
compiler=$(compiler_of "$RUSTC")
PATH=$(dirname "$RUSTC"):$PATH; export PATH   # wasm-component-ld and its linker lie beside the compiler

# Nothing of this machine may get into the bytes: no paths, and no flags of the user's own cargo configuration.
sep=$'\x1f'
export CARGO_ENCODED_RUSTFLAGS="-Ctarget-feature=+simd128${sep}--remap-path-prefix=$cargo_home=/cargo${sep}--remap-path-prefix=$here=/plugins"
unset RUSTFLAGS CARGO_BUILD_RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_RUSTC_WRAPPER "${!CARGO_PROFILE_@}"
export CONST_RANDOM_SEED=flowrun   # `ahash` is seeded while it is compiled
export CARGO_INCREMENTAL=0   # incremental code is cut into other pieces

build() { # build TARGET_DIR: makes each component in TARGET_DIR/wasm32-wasip2/release
  local args=() name
  # All of them, whichever are asked for: the features of a dependency are those that any of them wants.
  for name in "${all[@]}"; do args+=(-p "$name"); done
  CARGO_TARGET_DIR=$1 cargo build --release --locked --lib --target $target -j "${JOBS:-2}" "${args[@]}" >&2
}
made() { echo "$1/$target/release/${2//-/_}.wasm"; }

if [ -n "$check" ]; then
  if [ "$compiler" != "$recorded" ]; then
    echo "not compared: built/ was made by $recorded, here is $compiler (the tests run the components themselves)"
    exit 0
  fi
  scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
  build "$scratch"
  bad=0
  for name in "${names[@]}"; do
    if cmp -s "$(made "$scratch" "$name")" "built/$name.wasm"; then echo "same: $name"
    else echo "different: built/$name.wasm is not what the source gives; run plugins/build.sh"; bad=1; fi
  done
  exit $bad
fi

if [ -n "$recorded" ] && [ "$compiler" != "$recorded" ]; then
  names=("${all[@]}")  # an index names one compiler: all or none
fi
build "$CARGO_TARGET_DIR"
mkdir -p built
for name in "${names[@]}"; do cp "$(made "$CARGO_TARGET_DIR" "$name")" "built/$name.wasm"; done

version_of() { # the crate's own version, else the workspace's
  sed -n 's/^version = "\(.*\)"$/\1/p' "$1/Cargo.toml" Cargo.toml | head -1
}
{
  printf '{\n  "format": 1,\n  "compiler": "%s",\n  "plugins": [\n' "$compiler"
  first=1
  for file in built/*.wasm; do
    name=$(basename "$file" .wasm)
    [ -e "$name/Cargo.toml" ] || { echo "no source for $file" >&2; exit 1; }
    [ -n "$first" ] || printf ',\n'; first=
    printf '    {"name": "flowrun/%s", "version": "%s", "file": "%s.wasm", "sha256": "%s", "size": %d}' \
      "$name" "$(version_of "$name")" "$name" "$(sha256sum "$file" | cut -d' ' -f1)" "$(stat -c %s "$file" 2>/dev/null || stat -f %z "$file")"
  done
  printf '\n  ]\n}\n'
} > built/index.json.new
mv built/index.json.new built/index.json
cat built/index.json
