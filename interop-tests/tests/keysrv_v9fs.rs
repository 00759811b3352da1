//! The kernel's own 9P client on the tree that keyfs serves ("keysrv spec 10.4, 19.3"), in a machine of its own, since
//! few kernels have that client.

use std::path::Path;
use std::time::Duration;

use interop_tests::machine;
use interop_tests::subject::subject;

#[test]
fn the_kernel_mounts_what_keyfs_serves() {
    let name = "the_kernel_mounts_what_keyfs_serves";
    if !machine::can_be_had(name) {
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script =
        std::fs::read_to_string(here.join("tests/keysrv_v9fs/mount.sh")).expect("the script");
    let program = subject().program("inferno-auth");
    let directory = program.parent().expect("a directory");
    // No processor is emulated fast beside other work.
    let limit = Duration::from_secs(600);
    let mut command = machine::command(directory, limit);
    command.args(["--", "bash", "-c", &script]);
    let finished = machine::run(&mut command, limit);
    let text = finished.stdout_text().replace('\r', "");
    let expected = "\
secret: alice in wonderland
mode and length: -rw------- 19
status: disabled
unreadable
log: 1
expire: 2147483647
chmod: Permission denied
change written
users: alice carol
hash: a1fc568e8104d91580079594101035b92e3fcce1
left: alicia
again: alicia
";
    assert_eq!(text, expected, "{}", finished.stderr_text());
}
