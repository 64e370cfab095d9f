//! The payloads of calls in the form of their source, so that they can be fed again: lines of JSON, CSV, text lines, or requests
//! of OpenAI.

use std::path::Path;

use super::file::{self, Output};
use super::{Exported, RowWriter, failed, write};
use crate::error::{Error, Result};
use crate::layout::batch::BatchSource;
use crate::layout::chunk::Record;
use crate::model::json_object::{Member, is_json, members, one_line, text};
use crate::results::rows::{ResultRow, Rows};
use crate::seam::Deps;

/// How a payload is written as a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordForm {
    /// One JSON value a line.
    Jsonl,
    /// A header, and fields that this separates.
    Table(u8),
    /// One text a line.
    Lines,
    /// What OpenAI's batch files have around a payload.
    OpenAi,
}

const OPENAI_PATH: &str = "Afn-Path";

impl RecordForm {
    /// By the source, and by the name of the file, which must agree.
    fn of(source: &BatchSource, path: &Path) -> Result<RecordForm> {
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
        let is_json = matches!(suffix, "jsonl" | "ndjson" | "json") || file::is_stream(path);
        let delimiter = if suffix == "tsv" { b'\t' } else { delimiter(source) };
        let kind = source.format.split('.').next().unwrap_or_default();
        let (form, suffixes) = match kind {
            "jsonl" | "json" | "parquet" => (is_json.then_some(RecordForm::Jsonl), ".jsonl"),
            "openai" => (is_json.then_some(RecordForm::OpenAi), ".jsonl"),
            "csv" | "tsv" if is_json => (Some(RecordForm::Jsonl), ""),
            "csv" | "tsv" => (
                matches!(suffix, "csv" | "tsv").then_some(RecordForm::Table(delimiter)),
                ".csv, .tsv or .jsonl",
            ),
            "lines" => {
                let is_text = matches!(suffix, "txt" | "lines" | "list") || file::is_stream(path);
                (is_text.then_some(RecordForm::Lines), ".txt")
            }
            _ => {
                return Err(Error::invalid(format!(
                    "the records of a source `{kind}` cannot be written to one file"
                ))
                .with_hint("`afn batch retry` runs the calls that failed again, from what is stored"));
            }
        };
        form.ok_or_else(|| {
            Error::invalid(format!("records of `{kind}` cannot be written to {}", path.display()))
                .with_hint(format!("end its name in {suffixes}"))
        })
    }
}

/// Of a CSV. One that was found in the header is not stored: a comma says the same.
fn delimiter(source: &BatchSource) -> u8 {
    match source.delimiter.as_deref() {
        Some("tab") => b'\t',
        Some(one) if one.len() == 1 => one.as_bytes()[0],
        _ => b',',
    }
}

/// What was written, and how many refused records were left out because they have not the form of a record.
pub struct FailedInputs {
    pub exported: Exported,
    pub left_out: u64,
}

/// Writes the payloads of rows. `rows`: those of the calls that failed, with their inputs and names.
pub async fn write_inputs(deps: &Deps, rows: Rows, path: &Path, force: bool) -> Result<FailedInputs> {
    let source = rows.source().ok_or_else(|| Error::internal("rows were opened without their source"))?;
    let form = RecordForm::of(source, path)?;
    let has_source_form = match form {
        RecordForm::Jsonl => source.format.starts_with("jsonl"),
        RecordForm::Table(_) | RecordForm::Lines => true,
        RecordForm::OpenAi => false,
    };
    let mut output = Output::create(path, force)?;
    let mut writer = Inputs { out: output.writer(), form, has_source_form, header: Vec::new(), left_out: 0 };
    let exported = write(deps, rows, &mut writer).await?;
    let left_out = writer.left_out;
    output.commit()?;
    Ok(FailedInputs { exported, left_out })
}

struct Inputs<'a> {
    out: &'a mut (dyn std::io::Write + Send),
    form: RecordForm,
    /// Refused records, whose payload is what the source had, are in this form.
    has_source_form: bool,
    /// The columns of a table, once they are written.
    header: Vec<String>,
    left_out: u64,
}

impl Inputs<'_> {
    /// `None`: it has not the form of a record.
    fn record(&self, record: &Record) -> Option<String> {
        let payload = std::str::from_utf8(&record.payload).ok()?;
        if record.refused.is_some() {
            let line = payload.trim_end_matches(['\r', '\n']);
            let is_line = !line.is_empty() && !line.contains(['\r', '\n']);
            // The first line of a table is its header.
            let is_header = matches!(self.form, RecordForm::Table(_)) && self.header.is_empty();
            return (self.has_source_form && is_line && !is_header).then(|| line.to_owned());
        }
        match self.form {
            RecordForm::Jsonl => is_json(payload).then(|| one_line(payload.trim_ascii()).into_owned()),
            RecordForm::Lines => (!payload.contains('\n')).then(|| payload.to_owned()),
            RecordForm::Table(delimiter) => {
                let members = members(payload.as_bytes())?;
                let is_same = members.iter().map(|member| &member.name).eq(&self.header);
                is_same.then(|| {
                    table_line(members.iter().map(|member| text(member.json).into_owned()), delimiter)
                })
            }
            RecordForm::OpenAi => {
                let path = record.headers.get(OPENAI_PATH)?;
                let json = |text: &str| serde_json::to_string(text).ok();
                let (id, url, body) =
                    (json(record.key.as_deref()?)?, json(path)?, one_line(payload.trim_ascii()));
                Some(format!(r#"{{"custom_id":{id},"method":"POST","url":{url},"body":{body}}}"#))
            }
        }
    }

    fn write_header(&mut self, record: &Record) -> std::io::Result<()> {
        if let RecordForm::Table(delimiter) = self.form
            && self.header.is_empty()
            && record.refused.is_none()
            && let Some(members) = members(&record.payload)
        {
            self.header = members.into_iter().map(|Member { name, .. }| name).collect();
            writeln!(self.out, "{}", table_line(self.header.iter().cloned(), delimiter))?;
        }
        Ok(())
    }
}

fn table_line(fields: impl Iterator<Item = String>, delimiter: u8) -> String {
    let delimiter = char::from(delimiter);
    let fields: Vec<String> = fields
        .map(|field| match field.contains([delimiter, '"', '\n', '\r']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field,
        })
        .collect();
    // An empty line would be no record.
    if fields.len() == 1 && fields[0].is_empty() {
        "\"\"".to_owned()
    } else {
        fields.join(&delimiter.to_string())
    }
}

impl RowWriter for Inputs<'_> {
    fn row(&mut self, row: &ResultRow) -> Result<()> {
        let Some(input) = &row.input else { return Ok(()) };
        self.write_header(input).map_err(failed)?;
        match self.record(input) {
            Some(line) => writeln!(self.out, "{line}").map_err(failed),
            None => {
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.out.flush().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn lines(form: RecordForm, payloads: &[&str]) -> (String, u64) {
        let mut out = Vec::new();
        let mut inputs =
            Inputs { out: &mut out, form, has_source_form: true, header: Vec::new(), left_out: 0 };
        for payload in payloads {
            let refused = payload.starts_with('!').then(|| "bad".to_owned());
            let payload = payload.trim_start_matches('!').to_owned().into();
            let headers = BTreeMap::from([(OPENAI_PATH.to_owned(), "/v1/x".to_owned())]);
            let record =
                Record { payload, refused, headers, key: Some("k\"".to_owned()), ..Record::default() };
            inputs.write_header(&record).unwrap();
            match inputs.record(&record) {
                Some(line) => writeln!(inputs.out, "{line}").unwrap(),
                None => inputs.left_out += 1,
            }
        }
        let left_out = inputs.left_out;
        (String::from_utf8(out).unwrap(), left_out)
    }

    #[test]
    fn payloads_have_the_form_of_their_source() {
        let jsonl = lines(RecordForm::Jsonl, &["{\"n\":\n18446744073709551616}", "!{\"n\":", "!a\nb", "!"]);
        assert_eq!(jsonl, ("{\"n\": 18446744073709551616}\n{\"n\":\n".to_owned(), 2));
        let table = [
            "!head",
            r#"{"a":"x,\"y\"","b":""}"#,
            "!1,2,3",
            r#"{"a":"l1\nl2","b":"é"}"#,
            r#"{"b":"1","a":"2"}"#,
        ];
        let csv = lines(RecordForm::Table(b','), &table);
        assert_eq!(csv, ("a,b\n\"x,\"\"y\"\"\",\n1,2,3\n\"l1\nl2\",é\n".to_owned(), 2));
        assert_eq!(
            lines(RecordForm::Table(b'\t'), &[r#"{"a":""}"#, r#"{"a":"x\ty"}"#]).0,
            "a\n\"\"\n\"x\ty\"\n"
        );
        assert_eq!(lines(RecordForm::Lines, &["a b", ""]), ("a b\n\n".to_owned(), 0));
        let request = "{\"custom_id\":\"k\\\"\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{\"n\":1}}\n";
        assert_eq!(lines(RecordForm::OpenAi, &["{\"n\":1}"]).0, request);
    }

    #[test]
    fn the_name_of_the_file_agrees_with_the_source() {
        let form = |format: &str, path: &str| {
            let source = BatchSource { format: format.to_owned(), ..BatchSource::default() };
            RecordForm::of(&source, Path::new(path)).ok()
        };
        assert_eq!(form("jsonl.gz", "x.jsonl"), Some(RecordForm::Jsonl));
        assert_eq!(form("csv.zst", "x.csv"), Some(RecordForm::Table(b',')));
        assert_eq!(form("csv", "x.tsv"), Some(RecordForm::Table(b'\t')));
        assert_eq!(form("tsv", "x.jsonl"), Some(RecordForm::Jsonl));
        assert_eq!(form("lines", "x.txt"), Some(RecordForm::Lines));
        assert_eq!(form("openai", "x.jsonl"), Some(RecordForm::OpenAi));
        for (format, path) in
            [("jsonl", "x.csv"), ("lines", "x.jsonl"), ("files", "x.txt"), ("array", "x.txt")]
        {
            assert_eq!(form(format, path), None, "{format}");
        }
    }
}
