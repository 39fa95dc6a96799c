//! Compiles `bpf/steer.bpf.c` with clang into `OUT_DIR/steer.bpf.o`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), String> {
    let bpf = variable("CARGO_MANIFEST_DIR")?.join("../../bpf");
    let source = bpf.join("steer.bpf.c");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed={}", bpf.join("steer.h").display());
    println!("cargo::rerun-if-env-changed=CLANG");

    // libbpf-sys tells its dependents where the libbpf headers are that it vendors.
    let headers = variable("DEP_BPF_INCLUDE")?;
    if !headers.join("bpf/bpf_helpers.h").is_file() {
        return Err(format!(
            "bpf/bpf_helpers.h of libbpf is not in {}: libbpf-sys must be built with its feature vendored-libbpf",
            headers.display()
        ));
    }
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let output = Command::new(&clang)
        .args(["-target", "bpf", "-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-mcpu=v3"])
        .arg("-isystem")
        .arg(headers)
        // <linux/types.h> includes <asm/types.h>, which Debian keeps in the host's multiarch folder.
        .arg("-isystem")
        .arg(multiarch())
        .arg("-c")
        .arg(&source)
        .arg("-o")
        .arg(variable("OUT_DIR")?.join("steer.bpf.o"))
        .output()
        .map_err(|error| {
            format!("{clang} can't be run ({error}) and is needed to compile the XDP program: apt install clang")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    if messages.contains("asm/types.h") || messages.contains("linux/bpf.h") {
        return Err(format!("the kernel's headers for user space are missing: apt install linux-libc-dev\n{messages}"));
    }
    Err(format!("{clang} failed to compile {}:\n{messages}", source.display()))
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"))
}

fn multiarch() -> PathBuf {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    Path::new("/usr/include").join(format!("{arch}-linux-gnu"))
}
