//! What `corelet doctor` says of a machine that cannot run the server.

use std::process::Command;

use corelet_tests::binary;

#[test]
fn the_doctor_does_not_send_its_patients_to_the_doctor() {
    let home = tempfile::tempdir().expect("a directory for data");
    // No executor finds a ring: the first one is the probe for what a ring can do.
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_setup"])
        .args(["-e", "inject=io_uring_setup:error=EPERM:when=2+"])
        .arg(binary())
        .args(["doctor", "--data-dir"])
        .arg(home.path().join("data"))
        .output()
        .expect("strace is there; scripts/setup.sh test installs it");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let table = String::from_utf8_lossy(&output.stdout);
    let finding = table.lines().find(|line| line.starts_with("io_uring"));
    let finding = finding.expect("a line about io_uring");
    assert!(finding.contains("BLOCKER"), "{finding}");
    assert!(finding.contains("cannot start"), "{finding}");
    assert!(!finding.contains("doctor`"), "{finding}");
}
