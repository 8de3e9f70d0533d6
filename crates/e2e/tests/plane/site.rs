//! A site server: the shipped core, and a journal that keeps what was appended.

use farshore_control::sync::{POLL_SECS_MAX, Poll, SiteReport};
use farshore_site::{Core, Record};

use super::{
    chance::Chance,
    host::host_of,
    world::{Clock, HOUR, Message, Ms, Node, SECOND, Timer, World},
};

pub(crate) struct Site {
    pub(crate) run: Option<Run>,
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    pub(crate) journal: Vec<Record>,
    runs: u32,
}

pub(crate) struct Run {
    pub(crate) core: Core,
    held: Vec<Held>,
    poll: (u64, Ms),
    report: (u64, Ms),
    pause: Ms,
    transit: Ms,
}

struct Held {
    host: usize,
    call: u64,
    poll: Poll,
    until: Ms,
}

impl Site {
    pub(crate) fn new(_: usize, chance: &mut Chance) -> Site {
        let ahead = i64::try_from(chance.below(HOUR)).unwrap();
        Site { run: None, life: 0, clock: Clock::new(ahead), journal: Vec::new(), runs: 0 }
    }
}

impl World {
    fn site_core(&mut self, n: usize) -> Option<&mut Core> {
        self.sites[n].run.as_mut().map(|run| &mut run.core)
    }

    fn start_site(&mut self, n: usize) {
        let (now, id) = (self.now, self.vault.sites[n]);
        let site = &mut self.sites[n];
        site.runs += 1;
        site.life += 1;
        site.clock.began = now;
        let mono = site.clock.mono(now);
        let mut core = Core::new(id, site.runs, mono);
        for record in site.journal.clone() {
            core.apply(record, mono);
        }
        site.journal = core.records();
        core.take_events();
        let run = Run { core, held: Vec::new(), poll: (0, 0), report: (0, 0), pause: SECOND, transit: 0 };
        site.run = Some(run);
        self.note(|| format!("site {n} starts"));
        self.ask_vault(n);
        self.after(SECOND, Node::Site(n), Timer::Report(0));
        self.after(5 * SECOND, Node::Site(n), Timer::Tick);
    }

    fn ask_vault(&mut self, n: usize) {
        let (call, now) = (self.number(), self.now);
        let Some(run) = self.sites[n].run.as_mut() else { return };
        run.poll = (call, now);
        let poll = run.core.question(POLL_SECS_MAX);
        self.send(Node::Site(n), Node::Vault, call, Message::SitePoll(poll));
        self.after((POLL_SECS_MAX + 10) * SECOND, Node::Site(n), Timer::PollGivenUp(call));
    }

    fn vault_lost(&mut self, n: usize) {
        let Some(run) = self.sites[n].run.as_mut() else { return };
        run.core.vault_failed();
        run.poll.0 = 0;
        let pause = run.pause;
        run.pause = (pause * 2).min(15 * SECOND);
        self.after(pause, Node::Site(n), Timer::Poll(0));
    }

    pub(crate) fn site_hears(&mut self, n: usize, from: Node, call: u64, message: Message) {
        let now = self.now;
        let mono = self.sites[n].clock.mono(now);
        match (from, message) {
            (Node::Vault, Message::SiteDocuments(answer)) => {
                let site = &mut self.sites[n];
                let Some(run) = site.run.as_mut().filter(|run| run.poll.0 == call) else { return };
                let asked = site.clock.mono(run.poll.1);
                let judged = answer.and_then(|answer| run.core.judge(*answer, asked));
                let Some(judged) = judged else { return self.vault_lost(n) };
                site.journal.extend(judged.records.iter().cloned());
                run.core.take(judged, mono);
                (run.pause, run.poll.0) = (SECOND, 0);
                let term = run.core.term();
                self.truth.follows(from, Node::Site(n), term);
                self.serve_hosts(n);
                self.after(if now % 7 == 0 { 1 } else { 200 }, Node::Site(n), Timer::Poll(0));
            }
            (Node::Vault, Message::SiteReply(reply)) => {
                let Some(run) = self.sites[n].run.as_mut().filter(|run| run.report.0 == call) else { return };
                run.transit = now - run.report.1;
                run.report.0 = 0;
                run.core.reported(&reply);
                self.after(SECOND, Node::Site(n), Timer::Report(0));
            }
            (Node::Host(host), Message::Poll(poll)) => {
                let until = now + poll.wait_secs.min(POLL_SECS_MAX) * SECOND;
                let Some(run) = self.sites[n].run.as_mut() else { return };
                run.held.push(Held { host, call, poll, until });
                self.after(until - now, Node::Site(n), Timer::Held);
                self.serve_hosts(n);
            }
            (Node::Host(host), Message::Report(report)) => {
                let Some(core) = self.site_core(n) else { return };
                let Some(reply) = core.take_report(host_of(host), *report, mono) else { return };
                self.send(Node::Site(n), from, call, Message::Reply(Box::new(reply)));
                self.after(300, Node::Site(n), Timer::Report(0));
            }
            _ => {}
        }
    }

    fn serve_hosts(&mut self, n: usize) {
        let (now, mono) = (self.now, self.sites[n].clock.mono(self.now));
        let Some(run) = self.sites[n].run.as_mut() else { return };
        let mut answers = Vec::new();
        run.held.retain(|held| {
            let found = run.core.poll(host_of(held.host), &held.poll, mono);
            let answer = match found {
                None if now >= held.until => Some(run.core.nothing_new(&held.poll, mono)),
                None => None,
                found => Some(found),
            };
            let waits = answer.is_none();
            answers.extend(answer.map(|answer| (held.host, held.call, answer)));
            waits
        });
        for (host, call, answer) in answers {
            self.send(Node::Site(n), Node::Host(host), call, Message::Documents(answer.map(Box::new)));
        }
    }

    pub(crate) fn site_timer(&mut self, n: usize, timer: Timer) {
        let mono = self.sites[n].clock.mono(self.now);
        match timer {
            Timer::Start => self.start_site(n),
            Timer::Poll(_) if self.sites[n].run.as_ref().is_some_and(|run| run.poll.0 == 0) => {
                self.ask_vault(n);
            }
            Timer::PollGivenUp(call) if self.sites[n].run.as_ref().is_some_and(|run| run.poll.0 == call) => {
                self.vault_lost(n);
            }
            Timer::Report(_) => self.tell_vault(n),
            Timer::ReportGivenUp(call) => {
                let Some(run) = self.sites[n].run.as_mut().filter(|run| run.report.0 == call) else { return };
                run.report.0 = 0;
                self.after(SECOND, Node::Site(n), Timer::Report(0));
            }
            Timer::Held => self.serve_hosts(n),
            Timer::Tick => {
                if let Some(core) = self.site_core(n) {
                    core.tick(mono);
                    core.take_events();
                }
                self.after(5 * SECOND, Node::Site(n), Timer::Tick);
            }
            _ => {}
        }
    }

    fn tell_vault(&mut self, n: usize) {
        let (call, now, id) = (self.number(), self.now, self.vault.sites[n]);
        let site = &mut self.sites[n];
        let Some(run) = site.run.as_mut().filter(|run| run.report.0 == 0 && run.core.has_reports()) else {
            return;
        };
        run.report = (call, now);
        let hosts = run.core.report(500, site.clock.mono(now));
        let report = SiteReport {
            site: id,
            version: String::new(),
            clock_ms: site.clock.wall(now),
            transit_ms: run.transit,
            hosts,
        };
        self.send(Node::Site(n), Node::Vault, call, Message::SiteReport(Box::new(report)));
        self.after(15 * SECOND, Node::Site(n), Timer::ReportGivenUp(call));
    }
}
