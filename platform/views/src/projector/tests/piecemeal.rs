//! A database without transactions: a commit may stop between any two of its writes, or have
//! somebody else's between them, and the view is the fold of the log all the same.

use super::*;
use crate::{
    CheckpointError,
    memory::piecemeal::{Documents as Piecemeal, Failure},
};

/// A view that writes several rows a commit, as it does when it is busy.
fn busy(store: &Store, documents: &Arc<dyn Documents>) -> Projector<Names> {
    let options = Options {
        cached_rows: 1,
        max_pending: 4,
        min_linger_events: 1,
        ..Options::default()
    };
    Projector::new(Arc::new(store.clone()), Arc::clone(documents), options)
}

/// Every row is the fold of the log as far as it says, at any moment.
async fn assert_no_difference(store: &Store, documents: &dyn Documents) {
    let found = verify::compare::<Names>(store, documents).await.unwrap();
    assert_eq!(found.differences, []);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_stops_after_any_of_its_writes_leaves_the_fold() {
    let mut tried = 0;
    for (takes_effect, is_backwards, crash) in [
        (false, false, false),
        (false, true, true),
        (true, false, true),
        (true, true, false),
    ] {
        for fails_at in 0.. {
            let piecemeal = Piecemeal::failing(Failure {
                fails_at: Some(fails_at),
                takes_effect,
                is_backwards,
                ..Failure::default()
            });
            let documents: Arc<dyn Documents> = Arc::new(piecemeal.clone());
            let store = log().await;
            let mut projector = busy(&store, &documents);
            let mut failed = false;
            // In steps of three events after the failure: what is ahead is met in many places.
            let mut durable = 0;
            while durable < store.appended().await.unwrap().commit {
                durable += if failed { 3 } else { 11 };
                store.sync_up_to(Position::dense(durable));
                while let Err(error) = catch_up(&mut projector, &store).await {
                    assert!(error.is_transient(), "{error}");
                    failed = true;
                    // What a reader sees meanwhile.
                    assert_no_difference(&store, &piecemeal.copy()).await;
                    if crash {
                        projector = busy(&store, &documents);
                    }
                }
            }
            assert_equals_fold(&store, &piecemeal.copy()).await;
            if !failed {
                break;
            }
            tried += 1;
        }
    }
    assert!(tried > 200, "few steps: {tried}");
}

#[tokio::test(start_paused = true)]
async fn two_projectors_between_whose_writes_the_other_writes_do_no_harm() {
    // One begins earlier each time, so that every interleaving of their steps comes about.
    for behind in 0..60 {
        for is_backwards in [false, true] {
            let piecemeal = Piecemeal::failing(Failure {
                is_backwards,
                ..Failure::default()
            });
            let documents: Arc<dyn Documents> = Arc::new(piecemeal.clone());
            let store = log().await;
            store.sync_up_to(Position::dense(20));
            let mut one = busy(&store, &documents);
            // This one writes what it folded while the log was shorter, late.
            let mut two = projector(&store, &documents);
            let race = async {
                for _ in 0..behind {
                    tokio::task::yield_now().await;
                }
                store.sync();
                catch_up(&mut two, &store).await.unwrap()
            };
            let (moved_one, moved_two) =
                tokio::join!(async { catch_up(&mut one, &store).await.unwrap() }, race);
            let _ = (moved_one, moved_two);
            catch_up(&mut one, &store).await.unwrap();
            assert_equals_fold(&store, &piecemeal.copy()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_while_it_is_written_is_the_fold_as_far_as_it_says() {
    for behind in 0..40 {
        let documents: Arc<dyn Documents> = Arc::new(Piecemeal::default());
        let store = log().await;
        store.sync();
        let mut projector = projector(&store, &documents);
        let (filled, compared) =
            tokio::join!(async { catch_up(&mut projector, &store).await }, async {
                for _ in 0..behind * 5 {
                    tokio::task::yield_now().await;
                }
                verify::compare::<Names>(&store, &*documents).await
            });
        filled.unwrap();
        assert_eq!(compared.unwrap().differences, [], "{behind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_collection_restored_from_an_older_copy_catches_up() {
    let piecemeal = Piecemeal::default();
    let documents: Arc<dyn Documents> = Arc::new(piecemeal.clone());
    let store = log().await;
    store.sync_up_to(Position::dense(25));
    let mut projector = projector(&store, &documents);
    catch_up(&mut projector, &store).await.unwrap();
    let copy = piecemeal.copy();
    store.sync();
    catch_up(&mut projector, &store).await.unwrap();
    piecemeal.restore(&copy);
    // Under a projector that remembers, and for the next one.
    append(&store, "a-1", "a.happened.v1").await;
    store.sync();
    catch_up(&mut projector, &store).await.unwrap();
    assert_equals_fold(&store, &*documents).await;
    piecemeal.restore(&copy);
    let mut next = self::projector(&store, &documents);
    catch_up(&mut next, &store).await.unwrap();
    assert_equals_fold(&store, &*documents).await;
}

#[tokio::test(start_paused = true)]
async fn a_document_that_a_restored_log_does_not_bear_out_is_refused() {
    let store = log().await;
    store.sync_up_to(Position::dense(10));
    let piecemeal = Piecemeal::default();
    let documents: Arc<dyn Documents> = Arc::new(piecemeal.clone());
    let mut filled = projector(&store, &documents);
    catch_up(&mut filled, &store).await.unwrap();
    let steps_until_now = piecemeal.copy();
    // A commit stops after its first write.
    store.sync_up_to(Position::dense(20));
    let torn = Piecemeal::failing(Failure {
        fails_at: Some(5),
        ..Failure::default()
    });
    torn.restore(&steps_until_now);
    let documents: Arc<dyn Documents> = Arc::new(torn.clone());
    let mut torn_filler = busy(&store, &documents);
    let stopped = catch_up(&mut torn_filler, &store).await;
    assert!(stopped.unwrap_err().is_transient());
    let copy = torn.copy();
    let at = copy.checkpoint(&Names::collection()).await.unwrap();
    let furthest = copy.furthest(&Names::collection()).await.unwrap();
    assert_eq!(at.unwrap().position, Position::dense(10));
    assert!(furthest.unwrap().position > Position::dense(10));
    // The log is as it was at 10, and went on otherwise.
    let restored = Store::with_manual_sync(LOG);
    for n in 0..30 {
        // From the eleventh event on, others.
        let id = if n < 10 { 100 + n } else { 900 + n };
        let event = NewEvent::raw(Uuid::from_u128(id), "a.happened.v1", "{}", "{}");
        let append = Append {
            stream: StreamName::parse("a-9").unwrap(),
            expected: ExpectedRevision::Any,
            events: vec![event],
        };
        restored.append(vec![append]).await.remove(0).unwrap();
    }
    restored.sync();
    let documents: Arc<dyn Documents> = Arc::new(copy);
    let mut refused = projector(&restored, &documents);
    let error = refused.open().await.unwrap_err();
    assert!(
        matches!(error, Error::Checkpoint(CheckpointError::Refused { .. })),
        "{error:?}"
    );
}
