//! What a hot process says on stdout and stderr: one pipe, so that the order is kept, read only while a call runs. No
//! task watches it.

use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

use crate::seam::Heard;

const PIECE_BYTES: usize = 16 * 1024;
/// Pieces taken at one go from a process that never stops talking: a pipe holds 4.
const DRAIN_PIECES_MAX: usize = 8;

pub struct Output {
    pipe: Receiver,
    piece: Box<[u8]>,
    ended: bool,
}

impl Output {
    /// Leads both of a command's outputs here.
    pub fn of(command: &mut Command) -> std::io::Result<Output> {
        let (reader, writer) = std::io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let pipe = Receiver::from_owned_fd(reader.into())?;
        Ok(Output { pipe, piece: vec![0; PIECE_BYTES].into(), ended: false })
    }

    /// Reads until dropped.
    pub async fn collect(&mut self, heard: &Heard) {
        while !self.ended {
            match self.pipe.read(&mut self.piece).await {
                Ok(length) if length > 0 => heard.say(&self.piece[..length]),
                Ok(_) | Err(_) => self.ended = true,
            }
        }
        std::future::pending().await
    }

    /// Takes what has been said by now. Asks the pipe itself: the runtime learns of it later than a call's answer.
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
