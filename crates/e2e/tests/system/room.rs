//! A target without room for the initial copy: found before anything is copied.

use std::{io, path::Path, sync::Arc};

use farshore_capture::CaptureError;
use farshore_e2e::world::World;
use farshore_env::{File, Files, OpenMode, RealFiles};

/// Real files on a file system that says how little is free.
struct Cramped(u64);

impl Files for Cramped {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        RealFiles.open(path, mode)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFiles.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFiles.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFiles.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealFiles.sync_dir(dir)
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initial_copy_that_does_not_fit_is_refused_before_anything_is_copied() {
    let mut world = World::new().await;
    world.write("vda", 0, &farshore_sim::driver::content(3, 5 << 20));
    world.target_files = Arc::new(Cramped(4 << 20));
    world.restart_target().await;
    world.start();
    let error = world.failure().await;
    assert!(matches!(error, CaptureError::NoRoom { free, .. } if free == 4 << 20), "{error}");
    let text = error.to_string();
    assert!(text.contains("4194304 free") && text.contains("make room there"), "{text}");
    assert!(world.points().await.is_empty());
    assert!(world.checkpoints().await.is_empty(), "nothing is left at the host");
    // With room, the same replication goes through.
    world.target_files = Arc::new(RealFiles);
    world.restart_target().await;
    world.start();
    world.check_newest().await;
}
