//! What is known of images on their way from and to registries: which blobs move, since when, and what to tell of it.
//! Draws nothing.

use super::seconds;
use crate::net::transfer::{Act, News, Transfer};
use crate::ui::{sanitize, table};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After how long a log tells again how far a blob is.
const REMINDER: Duration = Duration::from_secs(15);
/// Columns of a bar at most.
const BAR: usize = 30;

/// All exchanges of a command, in the order in which they began.
#[derive(Debug, Default)]
pub struct Exchanges {
    list: Vec<Exchange>,
}

/// An image on its way.
#[derive(Debug)]
struct Exchange {
    name: String,
    /// `pull debian`; none where only something is said about it.
    title: Option<String>,
    since: Instant,
    ended: bool,
    moving: Vec<Moving>,
}

#[derive(Debug)]
struct Moving {
    transfer: Arc<Transfer>,
    since: Instant,
    /// When it was last told of.
    told: Instant,
}

/// What to tell of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of which exchange, counted from 0.
    pub exchange: usize,
    /// What happened, for a mark.
    pub kind: Kind,
    /// A line, safe to show.
    pub text: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An exchange, or a blob's move, begins or goes on.
    Going,
    /// A blob has arrived, after some time.
    Arrived(Duration),
    /// A blob was there.
    Known,
    /// Something to know.
    Said,
    /// An exchange has ended, after some time.
    Ended(Duration),
}

impl Exchanges {
    /// Takes news in; what there is to tell of them.
    pub fn apply(&mut self, name: &str, news: &News, now: Instant) -> Told {
        let open = self.list.iter().rposition(|e| e.name == name && !e.ended);
        let at = open.unwrap_or_else(|| {
            let act = if let News::Begun { act } = news { Some(*act) } else { None };
            let title = act.map(|act| sanitize::line(&format!("{act} {name}")));
            self.list.push(Exchange { name: name.to_owned(), title, since: now, ended: false, moving: Vec::new() });
            self.list.len() - 1
        });
        let exchange = &mut self.list[at];
        let (kind, text) = match news {
            News::Begun { .. } => (Kind::Going, exchange.title.clone().unwrap_or_default()),
            News::Said { text } if exchange.title.is_none() => (Kind::Said, sanitize::line(&format!("{name}: {text}"))),
            News::Said { text } => (Kind::Said, sanitize::line(text)),
            News::Moving(transfer) => {
                exchange.moving.push(Moving { transfer: transfer.clone(), since: now, told: now });
                (Kind::Going, begun(transfer))
            }
            News::Stopped(transfer) => {
                let known = exchange.moving.iter().position(|m| Arc::ptr_eq(&m.transfer, transfer));
                let since = known.map_or(now, |known| exchange.moving.remove(known).since);
                match transfer.is_complete() {
                    true => (Kind::Arrived(now.duration_since(since)), arrived(transfer)),
                    false => (Kind::Said, format!("{}: stopped", how_far(transfer))),
                }
            }
            News::Known { blob, size } => (Kind::Known, format!("present {} {}", blob.short(), table::size(*size))),
            News::Ended => {
                exchange.ended = true;
                (Kind::Ended(now.duration_since(exchange.since)), exchange.title.clone().unwrap_or_default())
            }
        };
        Told { exchange: at, kind, text }
    }

    /// Blobs of which nothing was told for a while.
    pub fn overdue(&mut self, now: Instant) -> Vec<Told> {
        let mut overdue = Vec::new();
        for (at, exchange) in self.list.iter_mut().enumerate() {
            for moving in exchange.moving.iter_mut().filter(|m| now.duration_since(m.told) >= REMINDER) {
                moving.told = now;
                overdue.push(Told { exchange: at, kind: Kind::Going, text: how_far(&moving.transfer) });
            }
        }
        overdue
    }

    /// The exchange that goes on, if one does.
    pub fn title(&self) -> Option<&str> {
        self.list.iter().rfind(|e| !e.ended).and_then(|e| e.title.as_deref())
    }

    /// A line for each blob that moves, with a bar, in at most `columns`; and since when it does.
    pub fn lines(&self, columns: usize) -> Vec<(String, Instant)> {
        let moving = self.list.iter().flat_map(|e| &e.moving);
        moving.map(|m| (line(&m.transfer, columns), m.since)).collect()
    }
}

fn begun(transfer: &Transfer) -> String {
    format!("{} {} {}", verb(transfer.act), transfer.blob.short(), table::size(transfer.size))
}

fn arrived(transfer: &Transfer) -> String {
    let verb = match transfer.act {
        Act::Fetch => "fetched",
        Act::Pack => "packed",
        Act::Send => "sent",
    };
    format!("{verb} {} {}", transfer.blob.short(), table::size(transfer.size))
}

fn how_far(transfer: &Transfer) -> String {
    let (done, size) = (table::size(transfer.done()), table::size(transfer.size));
    format!("{} {} {done} of {size}", verb(transfer.act), transfer.blob.short())
}

fn verb(act: Act) -> &'static str {
    match act {
        Act::Fetch => "fetch",
        Act::Pack => "pack",
        Act::Send => "send",
    }
}

/// `fetch 0123456789ab ███████░░░░░ 12MB of 28MB`.
fn line(transfer: &Transfer, columns: usize) -> String {
    let (head, sizes) = (format!("{:5} {} ", verb(transfer.act), transfer.blob.short()), sizes(transfer));
    let room = columns.saturating_sub(head.len() + sizes.len()).min(BAR);
    if room < 5 {
        return sanitize::fit(&format!("{head}{sizes}"), columns);
    }
    let filled = usize::try_from(u128::from(transfer.done()) * room as u128 / u128::from(transfer.size.max(1)));
    let filled = filled.unwrap_or(room).min(room);
    format!("{head}{}{}{sizes}", "█".repeat(filled), "░".repeat(room - filled))
}

fn sizes(transfer: &Transfer) -> String {
    format!(" {} of {}", table::size(transfer.done()), table::size(transfer.size))
}

impl Told {
    /// As a line of a log: what has ended tells how long it took.
    pub fn logged(&self) -> String {
        match self.kind {
            Kind::Arrived(time) => format!("{} in {}", self.text, seconds(time)),
            Kind::Ended(time) => format!("DONE {}", seconds(time)),
            Kind::Going | Kind::Known | Kind::Said => self.text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;
    use crate::net::transfer;
    use std::sync::Mutex;

    #[test]
    fn a_blob_is_told_of_when_it_begins_when_it_takes_long_and_when_it_has_arrived() {
        let told = Mutex::new(Vec::new());
        let exchanges = Mutex::new(Exchanges::default());
        let now = Instant::now();
        let after = Mutex::new(now);
        let watch = |name: &str, news: News| {
            let line = exchanges.lock().unwrap().apply(name, &news, *after.lock().unwrap());
            told.lock().unwrap().push(line.logged());
        };
        watch("a\x1b[2J:1", News::Begun { act: "pull" });
        let blob = Digest::of(b"x");
        let moving = transfer::Moving::begin(&watch, "a\x1b[2J:1", Act::Fetch, blob, 2_000_000);
        moving.transfer().set(500_000);
        assert_eq!(exchanges.lock().unwrap().title(), Some("pull a:1"));
        let lines = exchanges.lock().unwrap().lines(48);
        assert_eq!(lines[0].0, "fetch 2d711642b726 ████░░░░░░░░░░░░ 500kB of 2MB");
        assert_eq!(exchanges.lock().unwrap().lines(20)[0].0.chars().count(), 20);
        assert_eq!(exchanges.lock().unwrap().overdue(now + Duration::from_secs(14)), []);
        let overdue = exchanges.lock().unwrap().overdue(now + Duration::from_secs(15));
        assert_eq!(overdue[0].logged(), "fetch 2d711642b726 500kB of 2MB");
        *after.lock().unwrap() = now + Duration::from_millis(1500);
        moving.complete();
        drop(moving);
        drop(transfer::Moving::begin(&watch, "a\x1b[2J:1", Act::Send, blob, 7));
        watch("a\x1b[2J:1", News::Ended);
        let expected = [
            "pull a:1",
            "fetch 2d711642b726 2MB",
            "fetched 2d711642b726 2MB in 1.5s",
            "send 2d711642b726 7B",
            "send 2d711642b726 0B of 7B: stopped",
            "DONE 1.5s",
        ];
        assert_eq!(*told.lock().unwrap(), expected);
        let exchanges = exchanges.into_inner().unwrap();
        assert_eq!((exchanges.title(), exchanges.lines(80).len()), (None, 0));
    }
}
