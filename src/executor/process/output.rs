//! The stdout and stderr of a hot process: one pipe, so that the order is kept, read only while a call runs. No task
//! watches it.

use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

use crate::seam::ExecutionLog;

const PIECE_BYTES: usize = 16 * 1024;
/// Pieces taken at once from a process that never stops writing: a pipe holds 4.
const DRAIN_PIECES_MAX: usize = 8;

pub struct Output {
    pipe: Receiver,
    piece: Box<[u8]>,
    ended: bool,
}

impl Output {
    /// Redirects stdout and stderr of a command.
    pub fn of(command: &mut Command) -> std::io::Result<Output> {
        let (reader, writer) = std::io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let pipe = Receiver::from_owned_fd(reader.into())?;
        Ok(Output { pipe, piece: vec![0; PIECE_BYTES].into(), ended: false })
    }

    /// Reads until dropped.
    pub async fn collect(&mut self, execution_log: &ExecutionLog) {
        while !self.ended {
            match self.pipe.read(&mut self.piece).await {
                Ok(length) if length > 0 => execution_log.append(&self.piece[..length]),
                Ok(_) | Err(_) => self.ended = true,
            }
        }
        std::future::pending().await
    }

    /// Takes what has been written by now. It reads the pipe itself: the runtime may notice output later than an answer.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        for _ in 0..DRAIN_PIECES_MAX {
            match rustix::io::read(&self.pipe, &mut *self.piece) {
                Ok(length) if length > 0 => take(&self.piece[..length]),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}
