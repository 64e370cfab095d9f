//! Hands calls to the function, one after another: HTTP over the unix socket that FN_LISTENER names. Nothing here needs
//! changing.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One request to run the function.
pub struct Call {
    /// The same for every attempt.
    pub id: String,
    /// From 1.
    pub attempt: u32,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

pub struct Answer {
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(body: impl Into<String>) -> Answer {
        Answer { content_type: "text/plain; charset=utf-8", body: body.into().into_bytes() }
    }

    pub fn json(body: impl Into<String>) -> Answer {
        Answer { content_type: "application/json", body: body.into().into_bytes() }
    }

    pub fn bytes(body: impl Into<Vec<u8>>) -> Answer {
        Answer { content_type: "application/octet-stream", body: body.into() }
    }
}

pub fn forever(handle: impl Fn(&Call) -> Result<Answer, Box<dyn Error>>) -> io::Result<()> {
    let url = std::env::var("FN_LISTENER").unwrap_or_default();
    let Some(path) = url.strip_prefix("unix:") else {
        return Err(io::Error::other(
            "FN_LISTENER is not set: deploy this function and call it with `afn call`",
        ));
    };
    // Under another name until it listens: the socket is ready when it is found.
    let unready = format!("{path}.new");
    let listener = UnixListener::bind(&unready)?;
    fs::set_permissions(&unready, Permissions::from_mode(0o666))?;
    fs::rename(&unready, path)?;
    loop {
        let (stream, _) = listener.accept()?;
        // A connection that breaks is its caller's affair.
        let _ = serve(stream, &handle);
    }
}

fn serve(
    mut stream: UnixStream,
    handle: &impl Fn(&Call) -> Result<Answer, Box<dyn Error>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(call) = read(&mut reader)? {
        let done = catch_unwind(AssertUnwindSafe(|| handle(&call)));
        let (status, answer) = match done {
            Ok(Ok(answer)) => ("200 OK", answer),
            Ok(Err(error)) => {
                eprintln!("failed: {error}");
                ("502 Bad Gateway", Answer::text(error.to_string()))
            }
            Err(_) => ("502 Bad Gateway", Answer::text("it panicked, the log tells where")),
        };
        io::stdout().flush()?;
        let (content_type, length) = (answer.content_type, answer.body.len());
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
        let mut whole = head.into_bytes();
        whole.extend_from_slice(&answer.body);
        stream.write_all(&whole)?;
    }
    Ok(())
}

/// The next call on a connection; `None` at its end.
fn read(reader: &mut impl BufRead) -> io::Result<Option<Call>> {
    if line(reader)?.is_none() {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    while let Some(header) = line(reader)?.filter(|header| !header.is_empty()) {
        if let Some((name, value)) = header.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let mut body = Vec::new();
    if header("transfer-encoding").contains("chunked") {
        loop {
            let size = line(reader)?.unwrap_or_default();
            let size = u64::from_str_radix(&size, 16).map_err(io::Error::other)?;
            reader.by_ref().take(size).read_to_end(&mut body)?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else {
        let length = header("content-length").parse().unwrap_or(0);
        reader.by_ref().take(length).read_to_end(&mut body)?;
    }
    let (id, attempt) = (header("fn-call-id"), header("afn-attempt").parse().unwrap_or(1));
    Ok(Some(Call { id, attempt, headers, body }))
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    match reader.read_line(&mut line)? {
        0 => Ok(None),
        _ => Ok(Some(line.trim_end().to_owned())),
    }
}
