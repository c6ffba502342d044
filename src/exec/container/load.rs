//! Bringing an image into the runtime, where it is not there yet.

use std::io::{self, Write};
use std::sync::Arc;

use bollard::errors::Error;
use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures_util::StreamExt;
use pipe_cache::Store;
use tokio::sync::mpsc;

use super::error::RuntimeError;
use super::{ANSWER_LIMIT, Runtime};
use crate::exec::image::{Image, ImageError};

/// Pieces in which the archive travels.
const PIECE: usize = 1 << 20;
/// Pieces that may wait: memory stays small however slow the runtime reads.
const PIECES: usize = 4;

impl Runtime {
    /// Makes sure that the runtime has the image, and gives back the name by which it knows it: the digest of
    /// the configuration, or that of the manifest on runtimes with a containerd store.
    pub async fn ensure_image(&self, image: &Image, store: Arc<Store>) -> Result<String, RuntimeError> {
        if let Some(known) = self.known_as(image).await? {
            return Ok(known);
        }
        let heard = self.load(image, store).await?;
        match self.known_as(image).await? {
            Some(known) => Ok(known),
            None => Err(RuntimeError::NotLoaded { image: image.digest().to_string(), heard }),
        }
    }

    async fn known_as(&self, image: &Image) -> Result<Option<String>, RuntimeError> {
        for digest in [image.digest(), image.manifest_digest()] {
            match self.within(ANSWER_LIMIT * 2, self.inspect(&digest.to_string())).await? {
                true => return Ok(Some(digest.to_string())),
                false => continue,
            }
        }
        Ok(None)
    }

    async fn inspect(&self, name: &str) -> Result<bool, Error> {
        match self.docker.inspect_image(name).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends the archive; gives back what the runtime said.
    async fn load(&self, image: &Image, store: Arc<Store>) -> Result<String, RuntimeError> {
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
        let image = image.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut pieces = Pieces { sender, piece: Vec::with_capacity(PIECE) };
            let written = image.write_archive(&store, &mut pieces).and_then(|()| Ok(pieces.flush()?));
            if let Err(error) = &written {
                // The runtime must see the request break off, or it would take half an image for a whole one.
                let _ = pieces.sender.blocking_send(Err(io::Error::other(error.to_string())));
            }
            written
        });
        let body = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        let answers = self.docker.import_image_stream(ImportImageOptions::default(), body, None);
        let mut answers = std::pin::pin!(answers);
        let mut heard = String::new();
        let mut refused = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(info) => heard.push_str(info.stream.as_deref().unwrap_or_default().trim()),
                Err(error) => {
                    refused = Some(RuntimeError::from_api(&self.address, error));
                    break;
                }
            }
        }
        let written = writing.await.unwrap_or_else(|error| Err(ImageError::Write(io::Error::other(error))));
        match (written, refused) {
            // A reader that went away is told of by itself, and better.
            (Err(ImageError::Write(_)), Some(refused)) => Err(refused),
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(refused)) => Err(refused),
            (Ok(()), None) => Ok(heard),
        }
    }
}

/// Collects small writes into pieces and sends them.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if piece.is_empty() {
            return Ok(());
        }
        self.sender
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the runtime reads no further"))
    }
}
