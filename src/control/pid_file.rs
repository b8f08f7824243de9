//! The file of `--pid-file`: names the process that serves, and is gone when none does.

use std::fs;
use std::io;
use std::path::PathBuf;

/// The file, written by this process; removed when dropped, unless it names another one by then.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Names this process, at one stroke: whoever reads the file finds the old process or the new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(path: PathBuf) -> io::Result<PidFile> {
        let mut fresh = path.clone().into_os_string();
        fresh.push(format!(".{}", std::process::id()));
        fs::write(&fresh, format!("{}\n", std::process::id()))?;
        fs::rename(&fresh, &path).inspect_err(|_| _ = fs::remove_file(&fresh))?;
        Ok(PidFile(path))
    }

    /// Names this process again, after another one was there in vain.
    pub fn restore(&self) {
        if !self.names_us()
            && let Err(error) = PidFile::write(self.0.clone()).map(std::mem::forget)
        {
            tracing::warn!(%error, "cannot write {} again", self.0.display());
        }
    }

    fn names_us(&self) -> bool {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.trim().parse() == Ok(std::process::id())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.names_us() {
            let _ = fs::remove_file(&self.0);
        }
    }
}
