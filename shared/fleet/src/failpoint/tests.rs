use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use super::reached;

#[test]
#[ignore = "it is run by the other one, in a process of its own"]
fn reaches_three_points() {
    for _ in 0..3 {
        reached("test.point");
        println!("went on");
    }
}

#[test]
fn a_point_that_is_armed_ends_the_process_there() {
    for (points, ended, went_on) in [
        ("test.other=1*return", false, 3),
        ("test.point=1*return", true, 0),
        ("test.point=2*off->1*return", true, 2),
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--ignored",
                "--nocapture",
                "failpoint::tests::reaches_three_points",
            ])
            .env("FAILPOINTS", points)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.signal().is_some(), ended, "{points}: {said}");
        assert_eq!(said.matches("went on").count(), went_on, "{points}: {said}");
    }
}
