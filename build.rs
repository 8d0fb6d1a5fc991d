//! Compiles the helper that owns a user namespace and runs as process 1 of a step: `src/sandbox/helper` in, a static program out.
//!
//! It is compiled by the same compiler as the library and for the same target, without Cargo, since it has no dependencies.

use std::path::PathBuf;
use std::process::Command;

const MAIN: &str = "src/sandbox/helper/main.rs";

#[expect(clippy::disallowed_methods, reason = "a build script takes its orders from the environment and starts the compiler")]
fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=src/sandbox/helper");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var_os(name).ok_or_else(|| format!("Cargo sets {name}"));
    let helper = PathBuf::from(variable("OUT_DIR")?).join("helper");
    let mut compiler = Command::new(variable("RUSTC")?);
    compiler.args(["--edition", "2024", "--crate-name", "lapstrake_helper", "--crate-type", "bin", "--cap-lints", "warn"]);
    compiler.arg("--target").arg(variable("TARGET")?);
    // Static: nothing of the step's root is loaded into it. Its paths are not those of the machine that compiled it.
    let codegen = ["target-feature=+crt-static", "panic=abort", "opt-level=s", "strip=symbols", "lto=fat", "codegen-units=1"];
    for option in codegen {
        compiler.args(["-C", option]);
    }
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        compiler.arg("-C").arg(option);
    }
    compiler.arg("-o").arg(&helper).arg(MAIN);
    let status = compiler.status().map_err(|error| format!("cannot start the compiler for {MAIN}: {error}"))?;
    if !status.success() {
        return Err(format!("{MAIN} does not compile; a static C library is needed (on Debian: libc6-dev)"));
    }
    println!("cargo::rustc-env=LAPSTRAKE_HELPER={}", helper.display());
    Ok(())
}
