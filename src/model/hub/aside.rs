//! Talking on a thread of its own: whoever waits looks up several times a second, so that stopping never waits for a silent
//! network.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::HubError;
use super::remote::Refusal;

/// Messages that may wait: the network shall not run far ahead of the disk.
const WAITING: usize = 4;
const LOOK_UP: Duration = Duration::from_millis(50);

/// What a talk gave, or why it gave nothing.
pub(super) type Heard<T> = Result<T, Refusal>;

/// Runs `talk` aside and hands each message to `hear`; `go_on` is asked between messages, however long they take.
pub(super) fn listen<T: Send + 'static>(
    talk: impl FnOnce(&SyncSender<T>) -> Heard<()> + Send + 'static,
    go_on: &mut dyn FnMut() -> bool,
    mut hear: impl FnMut(T, &mut dyn FnMut() -> bool) -> Result<(), HubError>,
) -> Result<Heard<()>, HubError> {
    let (sender, receiver) = sync_channel(WAITING);
    let (end, ended) = sync_channel(1);
    thread::Builder::new()
        .name("hub".into())
        .spawn(move || {
            // Nobody may be left to hear it.
            end.send(talk(&sender)).ok();
        })
        .map_err(|source| HubError::Io {
            doing: "start a thread for",
            path: "the network".into(),
            source,
        })?;
    while let Some(message) = next(&receiver, go_on)? {
        hear(message, go_on)?;
    }
    // Its sender is gone: it has ended, or broken off on a fault of its own.
    let fault = || Refusal::Garbled("it cannot be understood".into());
    Ok(ended.recv().unwrap_or_else(|_| Err(fault())))
}

/// One answer, fetched aside.
pub(super) fn ask<T: Send + 'static>(
    question: impl FnOnce() -> Heard<T> + Send + 'static,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Heard<T>, HubError> {
    let mut answer = None;
    let ended = listen(
        move |sender| {
            // Nobody may be left to hear it.
            sender.send(question()?).ok();
            Ok(())
        },
        go_on,
        |message, _| {
            answer = Some(message);
            Ok(())
        },
    )?;
    Ok(ended.and_then(|()| answer.ok_or_else(|| Refusal::Garbled("nothing came".into()))))
}

/// Waits, asking meanwhile whether to go on.
pub(super) fn wait(time: Duration, go_on: &mut dyn FnMut() -> bool) -> Result<(), HubError> {
    let mut left = time;
    while !left.is_zero() {
        if !go_on() {
            return Err(HubError::Stopped);
        }
        let step = left.min(LOOK_UP);
        thread::sleep(step);
        left -= step;
    }
    Ok(())
}

fn next<T>(receiver: &Receiver<T>, go_on: &mut dyn FnMut() -> bool) -> Result<Option<T>, HubError> {
    loop {
        if !go_on() {
            return Err(HubError::Stopped);
        }
        match receiver.recv_timeout(LOOK_UP) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}
