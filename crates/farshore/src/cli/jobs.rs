//! Jobs: listed, shown, followed, cancelled; and how a command waits for those it began.
//! Waiting never holds a job up: it goes on in the vault whoever looks at it.

use std::{io::IsTerminal, time::Duration};

use axum::http::Method;
use clap::Subcommand;
use farshore_types::JobId;
use tokio::time::Instant;

use super::{
    Output,
    operator::{ListArgs, Operator, Query, path},
    show,
    watch::Watching,
};
use crate::{
    ProgramError,
    views::{EventView, JobState, JobView, Ordered, StepView},
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// How soon it is looked again at first.
const SOON: Duration = Duration::from_millis(40);
/// How often a step is told anew of which only the seconds have changed.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a step waits for one thing before it is told what gives that up.
const LONG: Duration = Duration::from_secs(15);

/// How jobs can stand: the API's words.
const STATES: [&str; 8] =
    ["open", "ended", "running", "undoing", "succeeded", "partly", "failed", "cancelled"];

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Lists jobs, the newest first.
    #[command(
        after_help = "Examples:\n  farshore job list --state open --machine web1 --limit 10\n  farshore job list --watch"
    )]
    List {
        #[command(flatten)]
        watch: Watching,
        /// Only those that stand so.
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// Only those about this machine.
        #[arg(long)]
        machine: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Shows a job with its steps.
    #[command(after_help = "Example:\n  farshore job show 5f0c2a10-3b7e-4c55-9d62-1e8f4b7a9c03")]
    Show {
        /// Its id.
        job: JobId,
    },
    /// Follows a job to its end.
    #[command(after_help = "Example:\n  farshore job watch 5f0c2a10-3b7e-4c55-9d62-1e8f4b7a9c03")]
    Watch {
        /// Its id.
        job: JobId,
    },
    /// Cancels a job where that is safe; what it did is taken back.
    ///
    /// Of a failover, and of all that a protection goes through, only the waiting ends: what was
    /// ordered goes on, and an order of its own gives it up, which is told. A move that is not sealed
    /// yet gets another job, which keeps its deadlines.
    #[command(after_help = "Example:\n  farshore job cancel 5f0c2a10-3b7e-4c55-9d62-1e8f4b7a9c03")]
    Cancel {
        /// Its id.
        job: JobId,
        /// Does not wait until that is done.
        #[arg(long)]
        no_wait: bool,
    },
}

/// Whether a command waits for the jobs that it begins.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Waiting {
    /// Does not wait until it is done: `farshore job` shows how far it is.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

pub(super) async fn run(operator: &Operator, command: JobCommand) -> Result<(), ProgramError> {
    match command {
        JobCommand::List { watch, state, machine, list } => {
            let query = Query::default().with("state", state).with("machine", machine);
            let of_interest = |event: &EventView| matches!(event, EventView::Job { .. });
            watch.show(operator, of_interest, async || list_jobs(operator, &query, &list).await).await
        }
        JobCommand::Show { job } => {
            let job = get(operator, job).await?;
            show::one(operator.output, &job, text_of(&job).trim_end());
            Ok(())
        }
        JobCommand::Watch { job } => {
            let ended = until_ended(operator, &[job]).await;
            if let (Output::Json, Ok(_)) = (operator.output, &ended) {
                show::one(operator.output, &get(operator, job).await?, "");
            }
            ended
        }
        JobCommand::Cancel { job, no_wait } => {
            let path = path(&["jobs", &job.0.to_string(), "cancel"]);
            let done = operator.order_bare(Method::POST, &path).await?;
            operator.told(&done, "it is being cancelled");
            if no_wait {
                return Ok(());
            }
            // That it was cancelled is what was wanted.
            match Follower::new(operator).follow(&[job]).await?.first().map(|job| job.state) {
                Some(JobState::Cancelled) => Ok(()),
                _ => Err(ProgramError::usage(
                    "it ended before it could be cancelled",
                    format!("`farshore job show {job}` shows how"),
                )),
            }
        }
    }
}

async fn get(operator: &Operator, job: JobId) -> Result<JobView, ProgramError> {
    operator.get(&format!("jobs/{}", job.0)).await
}

async fn list_jobs(operator: &Operator, query: &Query, list: &ListArgs) -> Result<String, ProgramError> {
    let jobs: Vec<JobView> = operator.list("jobs", list, query.clone()).await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    Ok(show::list_text(operator.output, &jobs, &["job", "state", "done", "age", "what"], |job| {
        let age = show::time(now.saturating_sub(job.created_ms));
        let done = format!("{} %", job.permille / 10);
        vec![job.id.to_string(), job.state.word().to_owned(), done, age, job.title.clone()]
    }))
}

/// A job and its steps, for people.
fn text_of(job: &JobView) -> String {
    let mut text = format!("{}\n  {} ({})\n", job.title, job.state.word(), job.id);
    for step in &job.steps {
        text += &format!("  {}{}\n", "  ".repeat(step.depth), line_of(step));
    }
    text + &end_of(job)
}

/// A step in a line.
fn line_of(step: &StepView) -> String {
    let mut line = format!("{}: {}", step.title, step.state);
    if let Some(permille) = step.permille {
        line += &format!(" {} %", permille / 10);
    }
    let more = step.waits.clone().or_else(|| step.cause.as_ref().map(|cause| cause.what.clone()));
    line + &more.or_else(|| step.note.clone()).map(|more| format!(" ({more})")).unwrap_or_default()
}

/// Why a job did not succeed, and what is left to do.
fn end_of(job: &JobView) -> String {
    let cause = job.cause.as_ref().map(|cause| format!("  {}\n  {}\n", cause.what, cause.advice));
    let left: String = job.left.iter().map(|left| format!("  not taken back: {left}\n")).collect();
    cause.unwrap_or_default() + &left
}

/// Says what was ordered, and waits for the jobs that see to it.
pub(crate) async fn wait_for(
    operator: &Operator,
    done: &Ordered,
    waiting: Waiting,
) -> Result<(), ProgramError> {
    if waiting.no_wait {
        for job in done.jobs.iter().filter(|_| operator.output == Output::Table) {
            show::complain(&format!("it goes on; look with: farshore job watch {job}\n"));
        }
        return Ok(());
    }
    until_ended(operator, &done.jobs).await
}

/// Follows jobs to their ends; an error where one of them failed or was cancelled.
async fn until_ended(operator: &Operator, jobs: &[JobId]) -> Result<(), ProgramError> {
    let ended = Follower::new(operator).follow(jobs).await?;
    let bad: Vec<&JobView> =
        ended.iter().filter(|job| matches!(job.state, JobState::Failed | JobState::Cancelled)).collect();
    let Some(first) = bad.first() else { return Ok(()) };
    let what = match &first.cause {
        Some(cause) => format!("{}: {}: {}", first.title, first.state.word(), cause.what),
        None => format!("{}: {}", first.title, first.state.word()),
    };
    let more = if bad.len() > 1 { format!(" ({} more failed)", bad.len() - 1) } else { String::new() };
    let advice = first.cause.as_ref().map(|cause| cause.advice.clone()).filter(|advice| !advice.is_empty());
    let advice = advice.unwrap_or_else(|| format!("`farshore job show {}` shows its steps", first.id));
    Err(ProgramError::usage(what + &more, advice))
}

/// What can be done about a job that nobody waits for any more. To cancel one of a protection's
/// life would end nothing but the waiting.
fn how_to_go_on(job: &JobView) -> String {
    let look = format!("look with `farshore job watch {}`", job.id);
    match &job.given_up_by {
        Some(order) => format!("{look}, give it up with `farshore {order}`"),
        None if job.goes_on => look,
        None => format!("{look}, end it with `farshore job cancel {}`", job.id),
    }
}

/// The vault is not reached any more: what it does is not told, and goes on.
fn lost(id: JobId, error: ProgramError) -> ProgramError {
    let ProgramError::Channel(error) = error else { return error };
    let what = format!("no longer waiting; job {id} goes on in the vault: {error}");
    ProgramError::usage(what, format!("look with `farshore job watch {id}` when the vault answers again"))
}

/// What gives up what a step waits for; none where nothing does.
fn way_out(job: &JobView, step: &StepView) -> Option<String> {
    let (order, waits) = (job.given_up_by.as_ref()?, step.waits.as_ref()?);
    let mut text = format!("this can be given up with `farshore {order}`");
    // The first step of a move is the source's.
    let source_is_silent = job.kind == "planned-failover" && step.name == "stop" && waits.contains("silent");
    if let Some(machine) = order.strip_prefix("protection abort ").filter(|_| source_is_silent) {
        text += &format!(
            "; `farshore protection failover {machine} --unplanned` then needs nothing of that host"
        );
    }
    Some(text)
}

/// What was seen of a step, and said.
#[derive(Clone, Debug)]
struct Seen {
    /// As it was said last.
    said: String,
    /// When that was.
    said_at: Instant,
    /// What it is about, whatever the seconds in it, and since when.
    about: (String, Instant),
}

impl Seen {
    fn new(now: Instant) -> Seen {
        Seen { said: String::new(), said_at: now, about: (String::new(), now) }
    }

    /// Whether this is news. Seconds that go by are not, for a while.
    fn is_news(&mut self, known: &str, now: Instant) -> bool {
        let about: String = known.chars().filter(|c| !c.is_ascii_digit()).collect();
        let other = self.about.0 != about;
        if other {
            self.about = (about, now);
        }
        let news = other || (self.said != known && now.duration_since(self.said_at) >= AGAIN);
        if news {
            (self.said, self.said_at) = (known.to_owned(), now);
        }
        news
    }

    /// Whether it has been about one thing for long.
    fn is_long(&self, now: Instant) -> bool {
        now.duration_since(self.about.1) >= LONG
    }
}

/// Somebody who looks on.
struct Follower<'a> {
    operator: &'a Operator,
    /// Whether one line is written over and over.
    live: bool,
    /// What was seen of each step of each job.
    seen: Vec<Vec<Seen>>,
    /// Of which jobs it was told what gives them up.
    told: Vec<bool>,
}

impl<'a> Follower<'a> {
    fn new(operator: &'a Operator) -> Follower<'a> {
        Follower { operator, live: std::io::stderr().is_terminal(), seen: Vec::new(), told: Vec::new() }
    }

    /// Says what happens until all have ended, and gives them as they are then.
    async fn follow(mut self, jobs: &[JobId]) -> Result<Vec<JobView>, ProgramError> {
        (self.seen, self.told) = (vec![Vec::new(); jobs.len()], vec![false; jobs.len()]);
        let mut ended: Vec<Option<JobView>> = vec![None; jobs.len()];
        let mut seen: Vec<Option<JobView>> = ended.clone();
        let begun = Instant::now();
        loop {
            for (at, id) in jobs.iter().enumerate().filter(|(at, _)| ended[*at].is_none()).collect::<Vec<_>>()
            {
                let job = get(self.operator, *id).await.map_err(|error| lost(*id, error))?;
                self.say(at, &job, jobs.len() > 1);
                if !job.state.is_open() {
                    self.line(&end_of(&job));
                    ended[at] = Some(job);
                } else {
                    seen[at] = Some(job);
                }
            }
            if ended.iter().all(Option::is_some) {
                return Ok(ended.into_iter().flatten().collect());
            }
            tokio::select! {
                // What is short is told when it is over, not half a second later.
                () = tokio::time::sleep(EVERY.min(begun.elapsed() / 8 + SOON)) => {}
                _ = tokio::signal::ctrl_c() => {
                    let open = seen.iter().zip(&ended).find(|(_, ended)| ended.is_none());
                    let advice = open.and_then(|(job, _)| job.as_ref()).map(how_to_go_on).unwrap_or_default();
                    return Err(ProgramError::usage("no longer waiting; the job goes on", advice));
                }
            }
        }
    }

    /// Says what is different now. On a terminal what is under way is one line that changes;
    /// elsewhere a step is told when its state changes, and what it waits for when that does. What
    /// gives it up is told once, when it waits for long.
    fn say(&mut self, at: usize, job: &JobView, several: bool) {
        let (mut under_way, now) = (String::new(), Instant::now());
        let steps: Vec<&StepView> = job.steps.iter().filter(|step| !step.group).collect();
        self.seen[at].resize(steps.len(), Seen::new(now));
        for (n, step) in steps.into_iter().enumerate() {
            let runs = matches!(step.state.as_str(), "running" | "retrying" | "undoing");
            let prefix = if several { format!("{}: ", job.title) } else { String::new() };
            let line = format!("{prefix}{}", line_of(step));
            // Each percent would be a line of its own.
            let known = if runs { format!("{} {:?}", step.state, step.waits) } else { step.state.clone() };
            let news = step.state != "waiting" && self.seen[at][n].is_news(&known, now);
            if runs && self.live {
                under_way = line;
            } else if news {
                self.line(&format!("  {line}\n"));
            }
            let long = runs && !self.told[at] && self.seen[at][n].is_long(now);
            if let Some(way_out) = way_out(job, step).filter(|_| long) {
                self.line(&format!("  {prefix}{way_out}\n"));
                self.told[at] = true;
            }
        }
        if self.live && self.operator.output == Output::Table {
            show::complain(&format!("\r\x1b[K{}", under_way.chars().take(LINE_MAX).collect::<String>()));
        }
    }

    fn line(&self, text: &str) {
        if self.operator.output == Output::Table && !text.is_empty() {
            let clear = if self.live { "\r\x1b[K" } else { "" };
            show::complain(&format!("{clear}{text}"));
        }
    }
}

/// Most characters of the line that is written over: longer ones would wrap and stay.
const LINE_MAX: usize = 78;

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobView {
        let text = serde_json::json!({
            "id": uuid::Uuid::nil(), "kind": "enable", "title": "Protect machine 'web1'", "state": "failed",
            "permille": 500, "created_ms": 1, "cause": { "what": "no room", "advice": "make room" },
            "left": ["order: host 'b' is gone"],
            "steps": [
                { "name": "work", "title": "Work", "depth": 0, "group": true, "state": "running" },
                { "name": "copy", "title": "First copy", "depth": 1, "state": "running", "permille": 421,
                  "waits": "host 'b' has been silent for 90 s" },
            ],
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn whoever_stops_waiting_is_told_what_ends_the_job_and_what_only_the_waiting() {
        let ends = how_to_go_on(&job());
        assert!(ends.contains("farshore job cancel"), "{ends}");
        let life = JobView { goes_on: true, ..job() };
        assert!(!how_to_go_on(&life).contains("job cancel"));
        let given_up_by = Some("protection abort web1".to_owned());
        let move_ = how_to_go_on(&JobView { given_up_by, ..life });
        assert!(
            move_.contains("`farshore protection abort web1`") && !move_.contains("job cancel"),
            "{move_}"
        );
        let id = JobId(uuid::Uuid::nil());
        let gone =
            farshore_channel::ChannelError::Broken { peer: "v:7400".to_owned(), why: "reset".to_owned() };
        let gone = lost(id, gone.into()).to_string();
        assert!(gone.contains(&id.to_string()) && gone.contains("goes on"), "{gone}");
        assert!(!gone.contains("tried again"), "{gone}");
    }

    #[test]
    fn seconds_that_go_by_are_told_now_and_then_and_what_changes_at_once() {
        let begun = Instant::now();
        let mut seen = Seen::new(begun);
        let told =
            |seen: &mut Seen, secs: u64, text: &str| seen.is_news(text, begun + Duration::from_secs(secs));
        let silent = |secs: u64| format!("running Some(\"host 'b' has been silent for {secs} s\")");
        let lines = (0..65).filter(|secs| told(&mut seen, *secs, &silent(60 + secs))).collect::<Vec<_>>();
        assert_eq!(lines, [0, 30, 60]);
        assert!(!seen.is_long(begun + Duration::from_secs(14)) && seen.is_long(begun + LONG));
        assert!(told(&mut seen, 66, "running Some(\"until host 'b' accepts it\")"));
        assert!(!seen.is_long(begun + Duration::from_secs(67)), "it waits for something else");
        assert!(told(&mut seen, 67, "done") && !told(&mut seen, 300, "done"));
    }

    #[test]
    fn whoever_waits_for_long_is_told_the_way_out_where_there_is_one() {
        let mut job = job();
        assert_eq!(way_out(&job, &job.steps[1]), None);
        job.given_up_by = Some("protection abort web1".to_owned());
        assert_eq!(way_out(&job, &job.steps[0]), None, "it waits for nothing");
        let told = way_out(&job, &job.steps[1]).unwrap();
        assert_eq!(told, "this can be given up with `farshore protection abort web1`");
        (job.kind, job.steps[1].name) = ("planned-failover".to_owned(), "stop".to_owned());
        let told = way_out(&job, &job.steps[1]).unwrap();
        assert!(told.contains("`farshore protection failover web1 --unplanned`"), "{told}");
        job.steps[1].waits = Some("until host 'b' shuts it down".to_owned());
        assert!(!way_out(&job, &job.steps[1]).unwrap().contains("--unplanned"));
    }

    #[test]
    fn a_job_reads_as_a_tree_with_what_it_waits_for_and_why_it_failed() {
        let text = text_of(&job());
        assert!(
            text.contains("\n    First copy: running 42 % (host 'b' has been silent for 90 s)\n"),
            "{text}"
        );
        assert!(
            text.ends_with("  no room\n  make room\n  not taken back: order: host 'b' is gone\n"),
            "{text}"
        );
    }
}
