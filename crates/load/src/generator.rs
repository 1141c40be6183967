//! Starts a plan's streams, paces them, and stops them. It speaks no protocol: `http` and
//! `websocket` do.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::counts::Counts;
use crate::http::Client;
use crate::plan::{Kind, LoadPlan, PlanError, Stream};
use crate::pulse::Pulse;
use crate::schedule::Schedule;
use crate::tally::Tally;
use crate::websocket;

/// A running load. Dropping it stops sending; outstanding requests then end uncounted.
#[derive(Debug)]
pub struct Handle {
    streams: Vec<Arc<Running>>,
    pulse: Arc<Pulse>,
    origin: Instant,
    stop: CancellationToken,
    tasks: TaskTracker,
    _stop_when_dropped: DropGuard,
}

/// One stream and its sums.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) plan: Stream,
    pub(crate) client: Client,
    pub(crate) tally: Tally,
}

impl LoadPlan {
    /// Starts the load on the current tokio runtime, which must have its I/O and time drivers on.
    pub fn start(self) -> Result<Handle, PlanError> {
        self.check()?;
        let origin = Instant::now();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let pulse = Arc::new(Pulse::default());
        let mut streams = Vec::with_capacity(self.streams.len());
        for plan in self.streams {
            let stream = Arc::new(Running {
                client: Client::new(self.target, &self.host, plan.kind, tasks.clone()),
                tally: Tally::new(&plan.name, origin, Arc::clone(&pulse)),
                plan,
            });
            start_stream(&stream, origin, &stop, &tasks);
            streams.push(stream);
        }
        let guard = stop.clone().drop_guard();
        Ok(Handle {
            streams,
            pulse,
            origin,
            stop,
            tasks,
            _stop_when_dropped: guard,
        })
    }
}

fn start_stream(
    stream: &Arc<Running>,
    origin: Instant,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    let rate = stream.plan.rate;
    match stream.plan.kind {
        Kind::Plain | Kind::Slow | Kind::KeepAlive { .. } => {
            let schedule = Schedule::new(origin, rate);
            tasks.spawn(pace(
                Arc::clone(stream),
                schedule,
                stop.clone(),
                tasks.clone(),
            ));
        }
        Kind::WebSocket { sessions } => {
            let mut starts = Schedule::new(origin, rate);
            let share = rate / f64::from(u32::try_from(sessions).unwrap_or(u32::MAX));
            for session in 0..sessions {
                let schedule = Schedule::new(starts.take(), share);
                let stream = Arc::clone(stream);
                tasks.spawn(websocket::keep_session(
                    stream,
                    session,
                    schedule,
                    stop.clone(),
                ));
            }
        }
    }
}

/// Starts each request of a stream when it is due, or as soon after as there is room.
async fn pace(
    stream: Arc<Running>,
    mut schedule: Schedule,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(stream.plan.max_in_flight));
    let mut number = 0_u64;
    loop {
        let intended = schedule.take();
        let due = async {
            if intended > Instant::now() {
                sleep_until(intended).await;
            }
            Arc::clone(&room).acquire_owned().await
        };
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            permit = due => permit,
        };
        stream.tally.sent();
        let request = Arc::clone(&stream);
        tasks.spawn(async move {
            request.ask(number, intended).await;
            drop(permit);
        });
        number += 1;
    }
    stream.client.close_idle();
}

impl Handle {
    /// The sums of all streams up to now.
    pub fn snapshot(&self) -> Counts {
        let mut sum = Counts::default();
        for stream in &self.streams {
            sum.add(&stream.tally.snapshot());
        }
        sum
    }

    /// The sums of each stream up to now, in the plan's order.
    pub fn snapshot_by_stream(&self) -> Vec<(String, Counts)> {
        self.streams
            .iter()
            .map(|stream| (stream.plan.name.clone(), stream.tally.snapshot()))
            .collect()
    }

    /// Time since the start: the clock of [`FailureNote::at`](crate::FailureNote) and
    /// [`Answers::last_sent_at`](crate::Answers).
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Returns the longest time since a moment of the load's clock in which no request of any stream
    /// was answered as it should be. It is not known further back than some tens of thousands of
    /// answers.
    pub fn longest_silence(&self, since: Duration) -> Duration {
        self.pulse.longest_silence(since, self.elapsed())
    }

    /// Starts no more requests, waits for the outstanding ones (each at most its stream's timeout),
    /// closes the WebSocket sessions, and returns the final sums, in which nothing is in flight.
    pub async fn stop(self) -> Counts {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.snapshot()
    }
}
