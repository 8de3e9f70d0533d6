//! Against qemu-nbd and nbdkit.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use farshore_extent::Run;
use farshore_nbd::{Client, Error, Options, Status};
use tempfile::TempDir;

const MIB: u64 = 1024 * 1024;

/// A server process on a socket; killed when dropped.
struct Server {
    child: Child,
    socket: PathBuf,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn serve(directory: TempDir, program: &str, arguments: &[&str]) -> Server {
    let socket = directory.path().join("s");
    let path = socket.to_str().unwrap();
    let arguments = arguments
        .iter()
        .map(|a| a.replace("SOCKET", path).replace("DIR", directory.path().to_str().unwrap()));
    let child = Command::new(program).args(arguments).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    // The file is there a moment before anybody listens.
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "{program} does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    Server { child, socket, _directory: directory }
}

fn nbdkit(arguments: &[&str]) -> Server {
    let all: Vec<&str> = ["-f", "-U", "SOCKET"].iter().chain(arguments).copied().collect();
    serve(tempfile::tempdir().unwrap(), "nbdkit", &all)
}

fn run(program: &str, arguments: &[&str], directory: &Path) {
    let arguments = arguments.iter().map(|a| a.replace("DIR", directory.to_str().unwrap()));
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn connect(server: &Server, contexts: &[&str]) -> Result<Client, Error> {
    let contexts = contexts.iter().map(|c| (*c).to_owned()).collect();
    let options = Options { export: String::new(), contexts, deadline: Duration::from_secs(10) };
    Client::connect_unix(&server.socket, options).await
}

const BITMAP: &str = "qemu:dirty-bitmap:b";

/// A 64 MiB qcow2 image with data at 1 MiB, and since then a bitmap with a write at 8 MiB.
fn image_with_bitmap() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    run("qemu-img", &["create", "-q", "-f", "qcow2", "DIR/i", "64M"], path);
    run("qemu-io", &["-c", "write -P 7 1M 1M", "DIR/i"], path);
    run("qemu-img", &["bitmap", "--add", "DIR/i", "b"], path);
    run("qemu-io", &["-c", "write -P 8 8M 64k", "DIR/i"], path);
    serve(
        directory,
        "qemu-nbd",
        &["-t", "-r", "-e", "0", "-f", "qcow2", "-A", "-B", "b", "-k", "SOCKET", "-x", "", "DIR/i"],
    )
}

#[tokio::test]
async fn allocation_and_dirty_bitmap_of_qemu_are_read() {
    let server = image_with_bitmap();
    let client = connect(&server, &["base:allocation", BITMAP]).await.unwrap();
    assert_eq!(client.size(), 64 * MIB);
    let whole = Run { start: 0, len: 64 * MIB };
    let dirty: Vec<Run> = client
        .block_status(BITMAP, whole)
        .await
        .unwrap()
        .into_iter()
        .filter(|s| s.flags & Status::DIRTY != 0)
        .map(|s| s.run)
        .collect();
    assert_eq!(dirty, [Run { start: 8 * MIB, len: 65536 }]);
    let statuses = client.block_status("base:allocation", whole).await.unwrap();
    let data: Vec<Run> = statuses.iter().filter(|s| s.flags == 0).map(|s| s.run).collect();
    assert_eq!(data, [Run { start: MIB, len: MIB }, Run { start: 8 * MIB, len: 65536 }]);
    assert_eq!(statuses.iter().map(|s| s.run.len).sum::<u64>(), 64 * MIB, "all is covered");
    let part = Run { start: MIB + 4096, len: 4096 };
    assert_eq!(client.block_status("base:allocation", part).await.unwrap(), [Status { run: part, flags: 0 }]);
    let other = client.block_status("no:such", whole).await.unwrap_err();
    assert!(matches!(other, Error::Invalid { .. }), "{other}");
    client.close().await;
}

#[tokio::test]
async fn a_read_over_data_and_holes_is_one_buffer() {
    let server = image_with_bitmap();
    let client = connect(&server, &[]).await.unwrap();
    let bytes = client.read(MIB - 65536, 1024 * 1024 + 2 * 65536).await.unwrap();
    let expected = [vec![0; 65536], vec![7; 1024 * 1024], vec![0; 65536]].concat();
    assert!(bytes[..] == expected[..]);
}

#[tokio::test]
async fn many_reads_in_flight_each_get_their_own_bytes() {
    // nbdkit's pattern: every eight bytes hold their own offset.
    let server = nbdkit(&["pattern", "64M"]);
    let client = connect(&server, &[]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1000u64 {
        let (client, offset) = (client.clone(), n * 7919 * 8 % (63 * MIB));
        tasks.spawn(async move { (offset, client.read(offset, 4096).await.unwrap()) });
    }
    while let Some(read) = tasks.join_next().await {
        let (offset, bytes) = read.unwrap();
        for (i, word) in bytes.chunks_exact(8).enumerate() {
            assert_eq!(u64::from_be_bytes(word.try_into().unwrap()), offset + 8 * i as u64);
        }
    }
}

#[tokio::test]
async fn an_error_of_the_server_fails_one_read_and_not_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let trigger = directory.path().join("trigger");
    fs::write(&trigger, "").unwrap();
    let file = format!("error-file={}", trigger.display());
    let server =
        nbdkit(&["--filter=error", "pattern", "1M", "error-pread=EIO", "error-pread-rate=100%", &file]);
    let client = connect(&server, &[]).await.unwrap();
    let error = client.read(512, 1024).await.unwrap_err();
    assert!(matches!(error, Error::Server { errno: 5, offset: 512, len: 1024, .. }), "{error}");
    fs::remove_file(&trigger).unwrap();
    assert_eq!(client.read(512, 1024).await.unwrap().len(), 1024);
}

#[tokio::test]
async fn a_read_that_takes_too_long_ends_at_its_deadline() {
    let server = nbdkit(&["--filter=delay", "pattern", "1M", "delay-read=20"]);
    // It holds for the negotiation, too, which a busy machine must get through.
    let options = Options { deadline: Duration::from_secs(2), ..Options::export("") };
    let client = Client::connect_unix(&server.socket, options).await.unwrap();
    let started = Instant::now();
    let error = client.read(0, 512).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn what_the_server_does_not_have_is_named() {
    let server = image_with_bitmap();
    let missing = connect(&server, &["qemu:dirty-bitmap:other"]).await.err().unwrap();
    assert!(missing.to_string().contains("qemu:dirty-bitmap:other"), "{missing}");
    let export = Client::connect_unix(&server.socket, Options::export("other")).await.err().unwrap();
    assert!(matches!(&export, Error::Refused { option, .. } if option.contains("'other'")), "{export}");
    let nobody = Client::connect_unix(Path::new("/nowhere/s"), Options::export("")).await.err().unwrap();
    assert!(matches!(nobody, Error::Connect { .. }), "{nobody}");
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused_before_they_are_sent() {
    let server = nbdkit(&["pattern", "1M"]);
    let client = connect(&server, &[]).await.unwrap();
    for (offset, len) in [(0, 0), (MIB - 512, 1024), (u64::MAX, 512), (0, client.max_read() + 1)] {
        let error = client.read(offset, len).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{offset} {len}: {error}");
    }
}

#[tokio::test]
async fn a_killed_server_ends_all_reads_at_once() {
    let mut server = nbdkit(&["--filter=delay", "pattern", "1M", "delay-read=30"]);
    let client = connect(&server, &[]).await.unwrap();
    let reads = tokio::spawn({
        let client = client.clone();
        async move { tokio::join!(client.read(0, 512), client.read(512, 512)) }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.child.kill().unwrap();
    let (one, two) = reads.await.unwrap();
    assert!(matches!(one, Err(Error::Lost { .. })) && matches!(two, Err(Error::Lost { .. })));
    assert!(matches!(client.read(0, 512).await, Err(Error::Lost { .. })), "and all later ones");
}
