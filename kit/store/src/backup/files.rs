//! Files that appear complete and on stable storage, or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// The name under which a file or folder is written before it gets its own. Beside the target, so that one rename is enough.
pub(super) fn partial_path(target: &Path) -> Result<PathBuf, StoreError> {
    let Some(name) = target.file_name() else {
        let cause = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
        return Err(StoreError::file("create", target, cause));
    };
    let mut partial = OsString::from(".");
    partial.push(name);
    partial.push(format!(".partial-{}", std::process::id()));
    Ok(target.with_file_name(partial))
}

/// Refuses a target that exists: nothing is ever overwritten.
pub(super) fn refuse_existing(target: &Path) -> Result<(), StoreError> {
    match std::fs::symlink_metadata(target) {
        Ok(_) => Err(StoreError::TargetExists { path: target.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::file("read", target, error)),
    }
}

/// Creates a file that only its owner can read.
pub(super) fn create_private(path: &Path) -> Result<File, StoreError> {
    // A link that somebody has put there is not followed; a rest of a process that was killed is replaced.
    let _ = std::fs::remove_file(path);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| StoreError::file("create", path, error))
}

/// Creates a folder that only its owner can read.
pub(super) fn create_private_folder(path: &Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| StoreError::file("create the folder", path, error))
}

/// Flushes a finished file and gives it its name, unless something has that name by now.
pub(super) fn publish(partial: &Path, target: &Path) -> Result<(), StoreError> {
    File::open(partial).and_then(|file| file.sync_all()).map_err(|error| StoreError::file("flush", partial, error))?;
    match std::fs::hard_link(partial, target) {
        Ok(()) => {
            std::fs::remove_file(partial).map_err(|error| StoreError::file("remove", partial, error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StoreError::TargetExists { path: target.to_owned() });
        }
        // A file system without hard links: nearly as good.
        Err(_) => {
            refuse_existing(target)?;
            std::fs::rename(partial, target).map_err(|error| StoreError::file("create", target, error))?;
        }
    }
    flush_folder_of(target)
}

/// Gives a finished folder its name.
pub(super) fn publish_folder(partial: &Path, target: &Path) -> Result<(), StoreError> {
    refuse_existing(target)?;
    std::fs::rename(partial, target).map_err(|error| StoreError::file("create", target, error))?;
    flush_folder_of(target)
}

/// A new name is only as durable as the folder it is in.
fn flush_folder_of(target: &Path) -> Result<(), StoreError> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    #[cfg(unix)]
    File::open(folder).and_then(|file| file.sync_all()).map_err(|error| StoreError::file("flush the folder", folder, error))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
