//! Requests of OpenAI's batch files, one JSON object a line: `{"custom_id", "method", "url", "body"}`. The function gets `body`,
//! and the path in the header `Afn-Path`.

use super::record_key::key;
use crate::limits;
use crate::model::json_object::{members, text};

pub(super) const PATH_HEADER: &str = "Afn-Path";

pub(super) struct Request<'a> {
    pub custom_id: String,
    pub path: String,
    /// As it is written: a JSON object.
    pub body: &'a str,
}

/// A request, or why a record is none.
pub(super) fn request(record: &[u8]) -> Result<Request<'_>, String> {
    let members = members(record).ok_or("it is no JSON object with custom_id, method, url and body")?;
    let member = |name: &str| members.iter().find(|member| member.name == name).map(|member| member.json);
    let custom_id = key("custom_id", member("custom_id"))?;
    if member("method").is_none_or(|method| text(method) != "POST") {
        return Err("its `method` is not POST".to_owned());
    }
    let path = member("url").map(text).unwrap_or_default().into_owned();
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_path || (path.len() + PATH_HEADER.len()) as u64 > limits::HEADERS_BYTES_MAX {
        return Err("its `url` is no path like /v1/chat/completions".to_owned());
    }
    let body = member("body").filter(|body| body.starts_with('{'));
    let body = body.ok_or("its `body` is no JSON object")?;
    Ok(Request { custom_id, path, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_told() {
        let good = request(br#" {"body":{"model":"m","seed":18446744073709551616},"url":"/v1/embeddings","method":"POST","custom_id":7} "#);
        let good = good.map(|request| (request.custom_id, request.path, request.body)).unwrap();
        let body = r#"{"model":"m","seed":18446744073709551616}"#;
        assert_eq!(good, ("7".to_owned(), "/v1/embeddings".to_owned(), body));
        for (record, why) in [
            ("[]", "it is no JSON object"),
            (r#"{"method":"POST","url":"/x","body":{}}"#, "it has no key `custom_id`"),
            (r#"{"custom_id":"a","url":"/x","body":{}}"#, "its `method` is not POST"),
            (r#"{"custom_id":"a","method":"post","url":"/x","body":{}}"#, "its `method` is not POST"),
            (r#"{"custom_id":"a","method":"POST","body":{}}"#, "its `url` is no path"),
            (r#"{"custom_id":"a","method":"POST","url":"https://api/x","body":{}}"#, "its `url` is no path"),
            (r#"{"custom_id":"a","method":"POST","url":"/x y","body":{}}"#, "its `url` is no path"),
            (r#"{"custom_id":"a","method":"POST","url":"/x"}"#, "its `body` is no JSON object"),
            (r#"{"custom_id":"a","method":"POST","url":"/x","body":"{}"}"#, "its `body` is no JSON object"),
        ] {
            let error = request(record.as_bytes()).map(|request| request.custom_id).unwrap_err();
            assert!(error.starts_with(why), "{record}: {error}");
        }
    }
}
