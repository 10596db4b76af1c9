//! The folders of volumes on this node. One is made when the first unit mounts it and goes only when it is named to go.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use model::name::VolumeId;

/// Whatever user an image runs as may write; on the machine itself the folder above lets nobody in.
const OPEN: u32 = 0o777;

/// The folder that holds them.
#[derive(Debug, Clone)]
pub struct Volumes {
    folder: PathBuf,
    /// One is made at a time.
    turn: Arc<Mutex<()>>,
}

impl Volumes {
    /// In a folder that exists, as its full path.
    pub fn new(folder: PathBuf) -> Volumes {
        Volumes { folder, turn: Arc::default() }
    }

    /// Where a volume is.
    pub fn path(&self, volume: &VolumeId) -> PathBuf {
        self.folder.join(volume.as_str())
    }

    /// Makes a volume, if it is not there. Blocks.
    pub fn ensure(&self, volume: &VolumeId) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(volume);
        if path.try_exists()? {
            // As its app made it: its owner and mode are not ours any more.
            return Ok(());
        }
        let unfinished = self.folder.join(format!(".{volume}"));
        fs::create_dir_all(&unfinished)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(OPEN))?;
        fs::rename(&unfinished, &path)?;
        sync(&self.folder)
    }

    /// Deletes a volume and all that is in it; one that is not there is fine, too. Blocks.
    pub fn remove(&self, volume: &VolumeId) -> io::Result<()> {
        match fs::remove_dir_all(self.path(volume)) {
            Ok(()) => sync(&self.folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_keeps_what_is_in_it_until_it_is_named_to_go() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(folder.path().to_owned());
        let [one, other] = ["shop-data-1", "shop-data-2"].map(|id| id.parse::<VolumeId>().unwrap());
        for volume in [&one, &other] {
            volumes.ensure(volume).unwrap();
            fs::write(volumes.path(volume).join("file"), "kept").unwrap();
        }
        let mode = fs::metadata(volumes.path(&one)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OPEN);
        fs::set_permissions(volumes.path(&one), fs::Permissions::from_mode(0o700)).unwrap();
        volumes.ensure(&one).unwrap();
        let mode = fs::metadata(volumes.path(&one)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        volumes.remove(&other).unwrap();
        volumes.remove(&other).unwrap();
        assert_eq!(fs::read_to_string(volumes.path(&one).join("file")).unwrap(), "kept");
        assert!(!volumes.path(&other).exists());
    }
}
