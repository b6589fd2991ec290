//! Builds the eBPF object and hands it to `object.rs`.
//!
//! The datapath needs one thing more than a plain `cargo build` brings: `bpf-linker`, which `cargo xtask build` installs
//! under `target/`, and the `rust-src` component. Where one is missing the agent is built without its object, so that
//! checking and linting work anywhere; such an agent says at start what to do.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The package that holds the programs, and the name of its binary.
const OBJECT: &str = "probe-ebpf";

/// What the nested compiler is told. `v3` is the instruction set of every kernel since 5.1: with 32-bit operations and
/// jumps, without which the verifier loses track of offsets. BTF is what the loader and the kernel name types by.
const RUSTFLAGS: &[&str] = &["-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3"];

fn main() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR is not set")?);
    let root = manifest_dir.parent().context("the agent's crate has no parent folder")?;
    let tools = root.join("target/tools/bin");
    let linker = tools.join("bpf-linker");
    for input in [&linker, &root.join("rust-toolchain.toml"), &root.join(OBJECT), &root.join("common")] {
        println!("cargo:rerun-if-changed={}", input.display());
    }
    if let Some(missing) = missing_part(&linker)? {
        println!("cargo:warning={missing} is missing: the agent is built without its eBPF programs; run `cargo xtask build`");
        return Ok(());
    }
    let object = build(root, &tools)?;
    println!("cargo:rustc-cfg=viaduct_object");
    println!("cargo:rustc-env=VIADUCT_OBJECT={}", object.display());
    Ok(())
}

/// Builds the object with a cargo of its own, in a target directory of its own, and copies it to where it is included from.
///
/// The pinned stable compiler builds `core` for BPF only with its unstable features on; no other crate may have them, so
/// the variable is set for this one command.
fn build(root: &Path, tools: &Path) -> Result<PathBuf> {
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN").context("CARGO_CFG_TARGET_ENDIAN is not set")?;
    let target = if endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH is not set")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let target_dir = out.join("bpf");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([tools.to_owned()].into_iter().chain(env::split_paths(&path)))?;
    let arch_flag = format!("--cfg=bpf_target_arch=\"{arch}\"");
    let flags: Vec<&str> = RUSTFLAGS.iter().copied().chain([arch_flag.as_str()]).collect();
    let mut cargo = Command::new(env::var_os("CARGO").context("CARGO is not set")?);
    cargo
        .args(["build", "--quiet", "--release", "--package", OBJECT, "--bin", OBJECT, "--target", target, "-Zbuild-std=core"])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("PATH", path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // A wrapper such as clippy's belongs to the build outside.
    for wrapper in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(wrapper);
    }
    let output = cargo.output().with_context(|| format!("cannot run {cargo:?}"))?;
    ensure!(output.status.success(), "{cargo:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let object = out.join(OBJECT);
    fs::copy(target_dir.join(target).join("release").join(OBJECT), &object).context("the eBPF object was not built")?;
    Ok(object)
}

/// The name of the first part that a build for BPF lacks.
fn missing_part(linker: &Path) -> Result<Option<&'static str>> {
    if !linker.exists() {
        return Ok(Some("bpf-linker"));
    }
    let rustc = env::var_os("RUSTC").context("RUSTC is not set")?;
    let output = Command::new(rustc).args(["--print", "sysroot"]).output()?;
    let sysroot = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let source = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    Ok((!source.exists()).then_some("the component rust-src"))
}
