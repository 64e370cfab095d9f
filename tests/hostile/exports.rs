//! Exports of results, a form at a turn.

use std::path::Path;

use afn::results::export::{self, CsvText, Format, RowForm};
use afn::results::rows::{Finished, Options, Rows};
use afn::results::{batch, export::joblog, reasons};

use crate::world::World;

pub async fn all(world: &World, turn: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    for id in &world.batches {
        let options = Options { input: true, names: true, finished: Finished::NeedNot, ..Options::default() };
        let Ok(rows) = Rows::open(&world.deps, *id, options).await else { continue };
        match turn % 8 {
            form @ 0..=4 => {
                let formats = [Format::JsonLines, Format::Csv, Format::Parquet];
                let form = [(0, false), (0, true), (1, true), (2, true), (2, false)][form as usize];
                let options =
                    export::Options { flatten: form.1, csv: CsvText::Escaped, ..Default::default() };
                let out = &mut std::io::sink();
                let _ = export::to_writer(&world.deps, rows, out, formats[form.0], options).await;
            }
            5 => {
                let options = export::Options { form: RowForm::OpenAi, force: true, ..Default::default() };
                let path = folder.path().join("results.jsonl");
                let _ = export::to_path(&world.deps, rows, &path, Format::JsonLines, options).await;
            }
            6 => {
                let path = folder.path().join(id.to_string());
                let _ = export::to_path(&world.deps, rows, &path, Format::Folder, Default::default()).await;
            }
            _ => inputs(world, rows, folder.path()).await,
        }
    }
}

/// What failed, and logs of all.
async fn inputs(world: &World, rows: Rows, folder: &Path) {
    let id = rows.batch();
    let lines = folder.join("failed.jsonl");
    let _ = export::write_inputs(&world.deps, rows.again(), &lines, true).await;
    let _ = export::write_inputs(&world.deps, rows, &folder.join("failed.csv"), true).await;
    let _ = joblog::write(&world.deps, id, "run", &folder.join("log"), true).await;
    if let Ok(view) = batch::load(&world.deps, id).await {
        let _ = reasons::of_failures(&world.deps, &view).await;
        let _ = reasons::of_first_calls(&world.deps, &view).await;
    }
}
