//! What `corelet doctor` says of a machine that cannot run the server.

use std::process::Command;

use corelet_tests::{SmallDisk, binary};

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

/// As after an error of the disk, when the system mounts it so.
#[test]
fn the_doctor_sees_that_a_data_directory_cannot_be_written() {
    let Some(disk) = SmallDisk::new(16 << 20) else {
        return;
    };
    let inside = |command: &[&str]| {
        let [program, arguments @ ..] = disk.inside();
        let output = Command::new(program).args(arguments).args(command).output();
        output.expect("nsenter, of util-linux")
    };
    let (path, corelet) = (disk.path().to_owned(), binary());
    let (path, corelet) = (
        path.to_str().expect("text"),
        corelet.to_str().expect("text"),
    );
    let doctor = || {
        let output = inside(&[corelet, "doctor", "--data-dir", &format!("{path}/data")]);
        let table = String::from_utf8_lossy(&output.stdout);
        let finding = table
            .lines()
            .find(|line| line.starts_with("data directory"));
        (output.status.code(), finding.expect("a line").to_owned())
    };
    assert_eq!(doctor().0, Some(0));
    let mounted = inside(&["mount", "-o", "remount,ro", path]);
    assert!(mounted.status.success(), "{mounted:?}");
    let (code, finding) = doctor();
    assert_eq!(code, Some(1), "{finding}");
    assert!(finding.contains("BLOCKER"), "{finding}");
    assert!(finding.contains("read-only"), "{finding}");
}
