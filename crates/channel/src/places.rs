//! The addresses of one peer: mostly one, several where another of its processes may take
//! over. One is used at a time; who finds it dead moves on, and takes the others along.

use tokio::sync::watch;

/// What stands between addresses in a text.
const BETWEEN: char = ',';

/// Addresses, and which one is used now.
#[derive(Debug)]
pub(crate) struct Places {
    all: Vec<String>,
    at: watch::Sender<usize>,
}

impl Places {
    /// Of a text, `host:port`, or several with commas between.
    pub(crate) fn of(text: &str) -> Places {
        let all: Vec<String> = text.split(BETWEEN).map(|one| one.trim().to_owned()).collect();
        Places { all, at: watch::channel(0).0 }
    }

    /// Which one is used now; any number from [`Places::in_turn`] until somebody moves on.
    pub(crate) fn at(&self) -> usize {
        *self.at.borrow()
    }

    /// All of them, the one that is used now first.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = (usize, &str)> {
        let (from, count) = (self.at(), self.all.len());
        (0..count).map(move |n| (from + n) % count).map(|at| (at, self.all[at].as_str()))
    }

    /// This one answers.
    pub(crate) fn settle(&self, at: usize) {
        self.at.send_if_modified(|now| std::mem::replace(now, at) != at);
    }

    /// This one, where it is the one that is used, is of no use: the next one's turn.
    pub(crate) fn leave(&self, at: usize) {
        let count = self.all.len();
        self.at.send_if_modified(|now| {
            let leaves = count > 1 && *now == at;
            if leaves {
                *now = (at + 1) % count;
            }
            leaves
        });
    }

    /// Waits until another one than this is used.
    pub(crate) async fn left(&self, at: usize) {
        let mut changes = self.at.subscribe();
        if changes.wait_for(|now| *now != at).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(places: &Places) -> Vec<&str> {
        places.in_turn().map(|(_, place)| place).collect()
    }

    #[test]
    fn who_finds_an_address_dead_moves_everybody_on_once() {
        let places = Places::of("a:1, b:2,c:3");
        assert_eq!(turn(&places), ["a:1", "b:2", "c:3"]);
        places.leave(0);
        // Another call that was at the first one finds out later: that says nothing new.
        places.leave(0);
        assert_eq!(turn(&places), ["b:2", "c:3", "a:1"]);
        places.settle(2);
        assert_eq!(places.at(), 2);
        places.leave(2);
        assert_eq!(turn(&places), ["a:1", "b:2", "c:3"]);
        let alone = Places::of("a:1");
        alone.leave(0);
        assert_eq!(turn(&alone), ["a:1"]);
    }
}
