//! How a process stops: asked once, it drains within a bound.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Waits until the process is asked to stop: SIGINT or SIGTERM.
///
/// # Errors
/// Where the signals cannot be listened to.
pub async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let name = tokio::select! {
        biased;
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    };
    tracing::info!(signal = name, "asked to stop");
    Ok(())
}

/// Runs `work` until it ends by itself or, asked to stop, has drained. A signal asks, or `work`
/// itself where it cannot go on; `stop` says so to all of it. A second signal, or
/// `drain_timeout` after the first word, ends the wait: `None`, and `work` is where it was.
///
/// # Errors
/// Where the signals cannot be listened to.
pub async fn until_signal<F: Future + Unpin>(
    drain_timeout: Duration,
    stop: &CancellationToken,
    work: &mut F,
) -> std::io::Result<Option<F::Output>> {
    tokio::select! {
        biased;
        output = &mut *work => return Ok(Some(output)),
        asked = signal() => asked?,
        () = stop.cancelled() => {}
    }
    stop.cancel();
    tokio::select! {
        biased;
        output = work => Ok(Some(output)),
        asked = signal() => { asked?; Ok(None) }
        () = tokio::time::sleep(drain_timeout) => {
            tracing::warn!(drain_timeout_ms = drain_timeout.as_millis(), "stopping without the rest");
            Ok(None)
        }
    }
}

/// Waits until every task of a tracker has ended, for at most `timeout`. Says whether they have.
pub async fn drain(tasks: &TaskTracker, timeout: Duration) -> bool {
    tasks.close();
    tokio::time::timeout(timeout, tasks.wait()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn draining_ends_with_the_tasks_or_with_the_time() {
        let tasks = TaskTracker::new();
        tasks.spawn(tokio::time::sleep(Duration::from_secs(2)));
        assert!(!drain(&tasks, Duration::from_secs(1)).await);
        assert!(drain(&tasks, Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn work_that_ends_by_itself_needs_no_signal() {
        let stop = CancellationToken::new();
        let mut work = Box::pin(async { 7 });
        let ended = until_signal(Duration::from_secs(1), &stop, &mut work).await;
        assert_eq!(ended.unwrap(), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_stops_itself_has_no_longer_than_who_is_asked_to() {
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let mut work = Box::pin(async move {
            stopping.cancel();
            std::future::pending::<()>().await;
        });
        let begun = tokio::time::Instant::now();
        let ended = until_signal(Duration::from_secs(3), &stop, &mut work).await;
        assert_eq!(ended.unwrap(), None);
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }
}
