//! The system's file dialogs, on a thread of their own: a portal may take its time, and the window must not wait.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::export::ExportView;
use crate::figure::Format;

/// What the path is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    ModelFolder,
    ModelFile,
    OpenSession,
    SaveSession,
    Export(ExportView, Format),
    Screenshot,
    Learned,
    Report,
}

/// At most one dialog at a time.
#[derive(Debug, Default)]
pub(super) struct Dialogs {
    open: Option<(Purpose, Receiver<Option<PathBuf>>)>,
}

impl Dialogs {
    /// Asks for a path. `name` is what a file to save is called at first.
    pub(super) fn ask(
        &mut self,
        purpose: Purpose,
        name: &str,
        ctx: &egui::Context,
    ) -> std::io::Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let (sender, receiver) = sync_channel(1);
        let (name, ctx) = (name.to_owned(), ctx.clone());
        thread::Builder::new()
            .name("file dialog".into())
            .spawn(move || {
                let path = block_on(pick(purpose, &name));
                // A closed window no longer listens.
                sender.send(path).ok();
                ctx.request_repaint();
            })?;
        self.open = Some((purpose, receiver));
        Ok(())
    }

    /// The path, once the user has chosen one.
    pub(super) fn poll(&mut self) -> Option<(Purpose, PathBuf)> {
        let (purpose, receiver) = self.open.as_ref()?;
        match receiver.try_recv() {
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.open = None;
                None
            }
            Ok(path) => {
                let purpose = *purpose;
                self.open = None;
                Some((purpose, path?))
            }
        }
    }
}

async fn pick(purpose: Purpose, name: &str) -> Option<PathBuf> {
    let dialog = rfd::AsyncFileDialog::new();
    let picked = match purpose {
        Purpose::ModelFolder => dialog.set_title("Open model folder").pick_folder().await,
        Purpose::ModelFile => {
            let dialog = dialog
                .set_title("Open model file")
                .add_filter("Model", &["safetensors", "gguf", "json"]);
            dialog.pick_file().await
        }
        Purpose::OpenSession => {
            let dialog = dialog
                .set_title("Open session")
                .add_filter("Headscope session", &["json"]);
            dialog.pick_file().await
        }
        Purpose::SaveSession => {
            let dialog = dialog
                .set_title("Save session")
                .set_file_name(name)
                .add_filter("Headscope session", &["json"]);
            dialog.save_file().await
        }
        Purpose::Export(_, format) => {
            let extension = format.extension();
            let dialog = dialog
                .set_title("Export")
                .set_file_name(name)
                .add_filter(extension.to_uppercase(), &[extension]);
            dialog.save_file().await
        }
        Purpose::Learned => {
            let dialog = dialog
                .set_title("Save what was learned")
                .set_file_name(name)
                .add_filter("Vectors", &["safetensors"]);
            dialog.save_file().await
        }
        Purpose::Report => {
            let dialog = dialog
                .set_title("Export the report")
                .set_file_name(name)
                .add_filter("Picture", &["png"])
                .add_filter("Drawing", &["svg"])
                .add_filter("Data", &["csv", "json"]);
            dialog.save_file().await
        }
        Purpose::Screenshot => {
            let dialog = dialog
                .set_title("Save a picture of the window")
                .set_file_name(name)
                .add_filter("PNG", &["png"]);
            dialog.save_file().await
        }
    };
    picked.map(|handle| handle.path().to_owned())
}

/// Runs a future on this thread, asleep between its steps.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_is_woken_later_is_run_to_its_end() {
        let mut left = 3;
        let value = block_on(std::future::poll_fn(|cx| {
            left -= 1;
            if left == 0 {
                return Poll::Ready(7);
            }
            let waker = cx.waker().clone();
            thread::Builder::new().spawn(move || waker.wake()).unwrap();
            Poll::Pending
        }));
        assert_eq!(value, 7);
    }
}
