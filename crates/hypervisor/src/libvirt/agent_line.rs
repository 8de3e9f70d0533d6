//! The line to a guest's agent itself, past libvirt: libvirt loses sight of an agent that began
//! to run while a backup was open (it gives up on that event after 30 s), and says until the
//! agent's next start that it is not connected. QEMU listens on the line all the same. This
//! module must never be used while libvirt has the agent: the line takes one at a time.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use socket2::{SockAddr, Socket, Type};
use virt::domain::Domain;

use crate::definition;

/// How long an agent that is there may take to say so.
const SYNC: Duration = Duration::from_secs(2);
/// Longest answer, in bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// What makes the agent forget the half of a command that an earlier one left.
const SENTINEL: u8 = 0xff;

/// A line on which an agent has just answered.
pub(super) struct AgentLine(UnixStream);

impl AgentLine {
    /// Opens the line of a started machine's agent; none where no agent answers on it.
    pub(super) fn open(domain: &Domain) -> Option<AgentLine> {
        let path = definition::agent_socket(&domain.get_xml_desc(0).ok()?)?;
        let line = AgentLine::at(&path);
        if line.is_some() {
            tracing::info!(path = %path.display(), "libvirt does not know the guest's agent, which answers all the same");
        }
        line
    }

    fn at(path: &Path) -> Option<AgentLine> {
        let mut line = AgentLine(connect(path).ok()?);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = since.subsec_nanos();
        // Not the delimited one, whose answer is no JSON: where libvirt gets the line before it has
        // come, it takes that for a fault, and asks this agent nothing any more.
        let ask = format!("{{\"execute\":\"guest-sync\",\"arguments\":{{\"id\":{number}}}}}");
        line.0.write_all(&[SENTINEL]).ok()?;
        line.say(&ask).ok()?;
        let until = Instant::now() + SYNC;
        // What an earlier one did not read comes first.
        while let Ok(answer) = line.hear(until) {
            if String::from_utf8_lossy(&answer).replace(' ', "").contains(&format!("\"return\":{number}}}")) {
                return Some(line);
            }
        }
        None
    }

    /// Gives a command, and its answer where it comes in time.
    pub(super) fn ask(&mut self, command: &str, patience: Duration) -> io::Result<String> {
        self.say(command)?;
        let answer = self.hear(Instant::now() + patience)?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// Gives a command.
    pub(super) fn say(&mut self, command: &str) -> io::Result<()> {
        self.0.write_all(format!("{command}\n").as_bytes())
    }

    /// The next line.
    fn hear(&mut self, until: Instant) -> io::Result<Vec<u8>> {
        let (mut heard, mut byte) = (Vec::new(), [0]);
        while heard.len() < ANSWER_MAX {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.0.set_read_timeout(Some(left))?;
            match self.0.read(&mut byte) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) if byte[0] == b'\n' => return Ok(heard),
                Ok(_) => heard.push(byte[0]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Err(ErrorKind::InvalidData.into())
    }
}

/// Connects, for which one has to wait where others stand in line already; neither that nor any
/// write afterwards takes longer than [`SYNC`].
fn connect(path: &Path) -> io::Result<UnixStream> {
    let line = Socket::new(socket2::Domain::UNIX, Type::STREAM, None)?;
    line.set_write_timeout(Some(SYNC))?;
    line.connect(&SockAddr::unix(path)?)?;
    Ok(line.into())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::net::UnixListener,
        path::PathBuf,
    };

    use super::*;

    /// An agent as qemu-ga is: it complains of the byte by which it is roused, then answers; and
    /// what nobody has read of earlier answers comes first.
    fn agent(dir: &std::path::Path, deaf: bool) -> PathBuf {
        let path = dir.join("agent");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            stream.write_all(b"{\"return\": \"thawed\"}\n").unwrap();
            stream.write_all(b"{\"error\": {\"desc\": \"JSON parse error, stray\"}}\n").unwrap();
            let mut asked = Vec::new();
            while lines.read_until(b'\n', &mut asked).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&asked).into_owned();
                let id: String = text.chars().filter(char::is_ascii_digit).collect();
                let answer = if text.contains("sync") { id } else { "2".to_owned() };
                if !deaf {
                    stream.write_all(format!("{{\"return\": {answer}}}\n").as_bytes()).unwrap();
                }
                asked.clear();
            }
        });
        path
    }

    #[test]
    fn an_agent_that_answers_is_asked_and_one_that_does_not_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut line = AgentLine::at(&agent(dir.path(), false)).expect("it answers");
        let answer = line.ask("{\"execute\":\"guest-fsfreeze-thaw\"}", SYNC).unwrap();
        assert_eq!(answer, "{\"return\": 2}");
        let dir = tempfile::tempdir().unwrap();
        assert!(AgentLine::at(&agent(dir.path(), true)).is_none());
        assert!(AgentLine::at(&dir.path().join("nowhere")).is_none());
    }

    #[test]
    fn a_line_that_others_wait_at_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let line = Socket::new(socket2::Domain::UNIX, Type::STREAM, None).unwrap();
        line.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        line.listen(0).unwrap();
        let begun = Instant::now();
        let _first = connect(&path).unwrap();
        assert!(AgentLine::at(&path).is_none(), "one waits already");
        assert!(begun.elapsed() < 5 * SYNC);
    }
}
