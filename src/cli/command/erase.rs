//! `afn batch delete`, and `afn delete app --with-data`

use std::time::Duration;

use serde_json::json;

use crate::cli::find;
use crate::cli::format::{bytes, plural};
use crate::cli::options::BatchArgs;
use crate::cli::session::Session;
use crate::cli::signal::or_interrupted;
use crate::embedded::Engine;
use crate::error::{Code, Result, if_found};
use crate::layout::batch::Fired;
use crate::layout::key;
use crate::model::{AppName, BatchId, BatchRef};
use crate::outcomes::{BatchFacts, deleted_error};
use crate::results::list::{Filter, list};
use crate::seam::StoreExt as _;
use crate::seam::store::List;
use crate::submit::{cancel, cancel_batch};
use crate::worker::delete::{self, Report};

/// The pause between two looks whether a batch has ended.
const LOOK: Duration = Duration::from_secs(1);

pub async fn batch(session: &Session, args: BatchArgs) -> Result<()> {
    let (engine, batch) = find::batch(session, args.batch).await?;
    let app = crate::outcomes::app_of(&engine.deps, batch).await?;
    let of = BatchRef::new(&app, batch);
    let deleted = or_interrupted(delete_batch(session, &engine, &of)).await?;
    let line = format!(
        "content of batch {batch} deleted: {}; its summary stays for about two weeks",
        spent(&deleted)
    );
    session.printer.done(line, &json!({ "batch_id": batch, "deleted": deleted }))
}

async fn delete_batch(session: &Session, engine: &Engine, of: &BatchRef) -> Result<Report> {
    let (store, mut facts) = (&*engine.deps.store, BatchFacts::default());
    facts.look(store, of).await?;
    let (by, before) = (session.user()?, facts.deleted.read(store, of).await?);
    if !facts.fired.is_there() {
        end_batch(session, engine, of, &by).await?;
    }
    let deleted = delete::delete_batch(&engine.deps, of, &by, &format!("by {by}")).await?;
    // Otherwise an earlier deletion died midway.
    match before.filter(|_| deleted.objects == 0) {
        Some(before) => Err(deleted_error(of, &before)),
        None => Ok(deleted),
    }
}

/// Cancels a batch unless it is over.
async fn cancel_batch(session: &Session, engine: &Engine, batch: BatchId, by: &str) -> Result<()> {
    match cancel_batch::cancel(&engine.deps, batch, by, &format!("deleted by {by}")).await {
        Ok(_) => session.printer.note(format!("{batch} is being cancelled")),
        Err(error) if error.code() == Code::Conflict => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Cancels a batch unless it is over, and waits until its follow-ups are done.
async fn end_batch(session: &Session, engine: &Engine, of: &BatchRef, by: &str) -> Result<()> {
    let (deps, batch) = (&engine.deps, of.batch);
    cancel_batch(session, engine, batch, by).await?;
    session
        .printer
        .note(format!("waiting for a worker to end {batch}; Ctrl-C stops waiting, nothing is deleted yet"));
    while !deps.store.fact_exists::<Fired>(of).await? {
        deps.clock.sleep(LOOK).await;
    }
    Ok(())
}

pub async fn app(session: &Session, app: &AppName) -> Result<()> {
    let engine = session.open().await?;
    let deleted = or_interrupted(delete_app(session, &engine, app)).await?;
    let line = format!(
        "Successfully deleted app {app} with its data: {}; what says how calls ended stays for about two weeks",
        spent(&deleted)
    );
    session.printer.done(line, &json!({ "app": app, "deleted": deleted }))
}

async fn delete_app(session: &Session, engine: &Engine, app: &AppName) -> Result<Report> {
    let (catalog, by) = (&engine.catalog, session.user()?);
    // First, so that nothing new is accepted.
    for function in catalog.list_functions(app).await? {
        catalog.delete_function(app, &function.name).await?;
        session.printer.note(format!("function {} deleted", function.name));
    }
    let cancelled = cancel_calls(engine, app, &by).await?;
    if cancelled > 0 {
        session.printer.note(format!("{} cancelled", plural(cancelled, "call")));
    }
    let (batches, mut all) = (batches(engine, app).await?, Report::default());
    // All of them before the first is waited for.
    for batch in &batches {
        if_found(cancel_batch(session, engine, *batch, &by).await)?;
    }
    for batch in batches {
        // Without one it was deleted before, or never begun.
        if let Some(deleted) = if_found(delete_batch(session, engine, &BatchRef::new(app, batch)).await)? {
            all += deleted;
        }
    }
    all += delete::delete_calls(&engine.deps, app, &by).await?;
    // The app goes last, so that a deletion that dies midway can be repeated.
    all += delete::delete_code(&engine.deps, app, &by).await?;
    catalog.delete_app(app).await?;
    Ok(all)
}

/// Returns how many calls had no outcome.
async fn cancel_calls(engine: &Engine, app: &AppName, by: &str) -> Result<u64> {
    let (mut filter, mut cancelled) = (Filter::default(), 0);
    loop {
        let page = list(&engine.deps, app, &filter).await?;
        for call in page.calls.iter().filter(|call| !call.state.is_final()) {
            match cancel::cancel(&engine.deps, app, call.id, by).await {
                Ok(_) => cancelled += 1,
                // It ended meanwhile.
                Err(error) if error.code() == Code::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        match page.cursor {
            Some(_) => filter.cursor = page.cursor,
            None => return Ok(cancelled),
        }
    }
}

async fn batches(engine: &Engine, app: &AppName) -> Result<Vec<BatchId>> {
    let prefix = key::batches(app);
    Ok(engine.deps.store.list_all(List::grouped(&prefix)).await?.folders(&prefix).collect())
}

fn spent(deleted: &Report) -> String {
    format!("{}, {}", plural(deleted.objects, "object"), bytes(deleted.bytes))
}
