//! The program starts. Having this test makes cargo build the program whenever it builds tests; what the program does
//! is tested at the top level, in `tests/`.

#[test]
fn the_program_says_its_version() {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_heartstream")).arg("--version").output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("heartstream ", env!("CARGO_PKG_VERSION"), "\n"));
}
