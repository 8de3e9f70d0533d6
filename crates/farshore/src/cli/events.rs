//! Events of a vault, as they come: a connection that ends is taken up again after the last
//! event that was heard.

use std::time::Duration;

use farshore_channel::Following;

use super::operator::Operator;
use crate::{ProgramError, views::EventView};

/// Before a connection that ended is taken up again.
const PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of one event.
const EVENT_MAX: usize = 64 * 1024;

/// Follows a vault's events.
pub(crate) struct Events<'a> {
    operator: &'a Operator,
    stream: Option<Following>,
    reader: Reader,
    last: Option<String>,
}

impl<'a> Events<'a> {
    pub(crate) fn of(operator: &'a Operator) -> Events<'a> {
        Events { operator, stream: None, reader: Reader::default(), last: None }
    }

    /// The next events; a connection that ends is taken up again.
    ///
    /// # Errors
    /// What the vault refuses; that it is away is waited out.
    pub(crate) async fn next(&mut self) -> Result<Vec<EventView>, ProgramError> {
        loop {
            let Some(stream) = &mut self.stream else {
                match self.operator.follow(self.last.as_deref()).await {
                    Ok(stream) => (self.stream, self.reader) = (Some(stream), Reader::default()),
                    Err(error @ ProgramError::Refused { .. }) => return Err(error),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
                continue;
            };
            match stream.next().await {
                Ok(Some(bytes)) => {
                    let heard = self.reader.read(&bytes);
                    if let Some((id, _)) = heard.last() {
                        self.last = Some(id.clone());
                    }
                    if !heard.is_empty() {
                        return Ok(heard.into_iter().map(|(_, event)| event).collect());
                    }
                }
                Ok(None) | Err(_) => self.stream = None,
            }
        }
    }
}

/// Makes events of bytes; comments and kinds that are not known are passed over.
#[derive(Debug, Default)]
struct Reader {
    rest: Vec<u8>,
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) -> Vec<(String, EventView)> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            events.extend(event(&String::from_utf8_lossy(&block)));
        }
        if self.rest.len() > EVENT_MAX {
            self.rest.clear();
        }
        events
    }
}

fn event(block: &str) -> Option<(String, EventView)> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let event = serde_json::from_str(field("data")?).ok()?;
    Some((field("id")?.to_owned(), event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = ": nothing new\n\nid: r-1\nevent: reset\ndata: {\"kind\":\"reset\",\"why\":\"é\"}\n\n\
                    id: r-2\nevent: new\ndata: {\"kind\":\"of-later\"}\n\n\
                    id: r-3\nevent: reset\ndata: {\"kind\":\"reset\",\"why\":\"b\"}\n\nid: r-4\n";
        for size in 1..text.len() {
            let mut reader = Reader::default();
            let heard: Vec<_> = text.as_bytes().chunks(size).flat_map(|part| reader.read(part)).collect();
            let reset = |why: &str| EventView::Reset { why: why.to_owned() };
            let expected = [("r-1".to_owned(), reset("é")), ("r-3".to_owned(), reset("b"))];
            assert_eq!(heard, expected, "in parts of {size}");
        }
    }
}
