//! Names of the files of a replica's directory.
//!
//! ```text
//! replica.json            whose replica this is, epoch, session, pins, brought up or not
//! lock                    held by the agent that has it open
//! vda.qcow2               one image per disk
//! vda.adopted             the disk that was adopted, where one was; the image's backing file
//! vda.active.qcow2        the overlay a brought-up machine runs on
//! nvram.active            its firmware's variables
//! vda.kept-1-42           the overlay on which it ran at another point, until that is committed
//! chain/1-42.delta        one file per chain element
//! quarantine/…            damaged files, moved aside
//! ```

use std::path::{Path, PathBuf};

use farshore_types::{DiskKey, PointId};

#[derive(Clone, Debug)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    pub(crate) fn new(dir: &Path) -> Layout {
        Layout(dir.to_owned())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("replica.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.0.join("chain")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.0.join("quarantine")
    }

    pub(crate) fn delta(&self, id: PointId) -> PathBuf {
        self.chain().join(format!("{id}{DELTA_SUFFIX}"))
    }

    pub(crate) fn image(&self, disk: &DiskKey) -> PathBuf {
        self.0.join(format!("{disk}{IMAGE_SUFFIX}"))
    }

    pub(crate) fn adopted(&self, disk: &DiskKey) -> PathBuf {
        self.0.join(format!("{disk}.adopted"))
    }

    pub(crate) fn overlay(&self, disk: &DiskKey) -> PathBuf {
        self.0.join(format!("{disk}{OVERLAY_SUFFIX}"))
    }
}

/// Suffix of a disk's image.
pub(crate) const IMAGE_SUFFIX: &str = ".qcow2";

/// Suffix of the overlays of a brought-up machine.
pub(crate) const OVERLAY_SUFFIX: &str = ".active.qcow2";

/// The variables of a brought-up machine's firmware, beside its overlays.
pub const NVRAM: &str = "nvram.active";

/// Suffix of a delta file.
pub(crate) const DELTA_SUFFIX: &str = ".delta";

/// Suffix of a file that is not yet what it will be; removed at open.
pub(crate) const UNFINISHED_SUFFIX: &str = ".tmp";

/// A file's name without its directory: relative to a file beside it.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The unfinished form of a file.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED_SUFFIX);
    PathBuf::from(name)
}
