//! A letter to another host's agent, and its answer. This module must never know what either
//! says.

use bytes::Bytes;
use farshore_wire::{Letter, RawFrame, TargetFrame};
use tokio::time::timeout;

use crate::{
    Dial, LinkError,
    limits::ANSWER_DEADLINE,
    pipe::{PipeError, frames_over},
};

/// Sends a letter and waits for the answer. One attempt: whether it was read is not known
/// where no answer comes, so it must be one that may be read twice.
///
/// # Errors
/// [`LinkError::Refused`] where the other agent does not answer it; else what kept the two
/// apart.
pub async fn ask(dial: &dyn Dial, letter: impl Into<Bytes>) -> Result<Bytes, LinkError> {
    let cut = |why: String| LinkError::Cut { peer: dial.peer(), why, tried: ANSWER_DEADLINE };
    let letter = Letter::new(letter).map_err(|error| cut(error.to_string()))?;
    let answered = timeout(ANSWER_DEADLINE, exchange(dial, &letter)).await;
    match answered {
        Err(_) => Err(cut("no answer to a letter".to_owned())),
        Ok(Err(Unanswered::Link(error))) => Err(error),
        Ok(Err(Unanswered::Pipe(error))) => Err(cut(error.to_string())),
        Ok(Ok(raw)) => answer(dial, raw).unwrap_or_else(|error| Err(cut(error.to_string()))),
    }
}

enum Unanswered {
    Link(LinkError),
    Pipe(PipeError),
}

async fn exchange(dial: &dyn Dial, letter: &Letter) -> Result<RawFrame, Unanswered> {
    let stream = dial.dial().await.map_err(Unanswered::Link)?;
    let (mut reader, mut writer) = frames_over(stream);
    writer.push(letter.encode());
    let wrote = writer.write_out().await;
    // A peer that will not have us says so before it closes: that is the better reason.
    let raw = reader.next().await.map_err(Unanswered::Pipe)?;
    wrote.map_err(Unanswered::Pipe)?;
    // All is said. Who closes first does not matter.
    drop(writer.finish().await);
    Ok(raw)
}

/// The answer in a frame, or the refusal.
fn answer(dial: &dyn Dial, raw: RawFrame) -> Result<Result<Bytes, LinkError>, farshore_wire::FrameError> {
    if let Ok(TargetFrame::Refuse(refusal)) = TargetFrame::decode(raw.clone()) {
        return Ok(Err(LinkError::Refused { peer: dial.peer(), refusal }));
    }
    Letter::decode_answer(raw).map(|letter| Ok(Bytes::copy_from_slice(letter.text())))
}
