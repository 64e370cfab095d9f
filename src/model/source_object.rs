//! An object in a bucket of the user that a call of a batch gets as its payload. The worker reads it where it is.

use serde::{Deserialize, Serialize};

use super::text::text_types;
use crate::error::Error;
use crate::limits;

text_types! {
    /// A bucket: 1 to 255 ASCII letters, digits, `.`, `_` and `-`. S3 itself decides which names exist.
    BucketName: |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > limits::BUCKET_NAME_BYTES_MAX || !text.chars().all(plain) {
            return Err(Error::invalid(format!("`{text}` cannot name a bucket")).with_hint(format!(
                "give the name alone, without s3://: 1 to {} letters, digits, `.`, `_` and `-`",
                limits::BUCKET_NAME_BYTES_MAX
            )));
        }
        Ok(())
    };

    /// A region of AWS, like `eu-central-1`. It becomes a part of a host name that signed requests go to, so it has no dot
    /// and no slash.
    Region: |text| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > limits::REGION_BYTES_MAX || !text.chars().all(plain) {
            return Err(Error::invalid(format!("`{text}` cannot name a region"))
                .with_hint("regions are named like eu-central-1"));
        }
        Ok(())
    };
}

/// An object as it was listed. A worker reads it only while it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceObject {
    pub bucket: BucketName,
    /// Any key that S3 allows.
    pub key: String,
    pub bytes: u64,
    /// As it is on the wire, with its quotes.
    pub etag: String,
    /// The id of its version, if the list named it.
    pub version: Option<String>,
}

impl SourceObject {
    /// Why no list of S3 can have named this object.
    pub fn check(&self) -> Result<(), String> {
        // Both become parts of a request.
        let is_plain = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.chars().all(|c| matches!(c, '!'..='~'))
        };
        if !(1..=limits::OBJECT_KEY_BYTES_MAX).contains(&self.key.len()) {
            let (bytes, most) = (self.key.len(), limits::OBJECT_KEY_BYTES_MAX);
            return Err(format!("an object's key has 1 to {most} bytes, not {bytes}"));
        }
        if self.bytes > limits::BODY_BYTES_MAX {
            let most = limits::BODY_BYTES_MAX;
            return Err(format!("an object that is a payload has at most {most} bytes, not {}", self.bytes));
        }
        if !is_plain(&self.etag, limits::ETAG_BYTES_MAX) {
            return Err("an object's ETag has characters that no ETag has, or too many".to_owned());
        }
        if self.version.as_ref().is_some_and(|version| !is_plain(version, limits::VERSION_ID_BYTES_MAX)) {
            return Err("an object's version has characters that no version has, or too many".to_owned());
        }
        Ok(())
    }

    pub fn location(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    /// What `--pass ref` hands over, and what rows show as the input.
    pub fn reference(&self) -> serde_json::Value {
        let mut place = serde_json::json!({
            "bucket": self.bucket.as_str(),
            "key": self.key,
            "size": self.bytes,
            "etag": self.etag.trim_matches('"'),
        });
        if let Some(version) = &self.version {
            place["version"] = version.as_str().into();
        }
        place
    }
}

/// Of a batch whose records are objects that workers read: where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchSource {
    pub bucket: BucketName,
    /// If the submitter named one. Else a worker takes the region of its context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> SourceObject {
        SourceObject {
            bucket: "b".parse().unwrap(),
            key: "a/../b c\n".into(),
            bytes: 7,
            etag: "\"0\"".into(),
            version: None,
        }
    }

    #[test]
    fn what_no_list_names_is_refused() {
        assert_eq!(object().check(), Ok(()));
        let long = |bytes: usize| "x".repeat(bytes);
        for (bad, why) in [
            (SourceObject { key: String::new(), ..object() }, "has 1 to 1024 bytes, not 0"),
            (SourceObject { key: long(1_025), ..object() }, "has 1 to 1024 bytes, not 1025"),
            (SourceObject { bytes: limits::BODY_BYTES_MAX + 1, ..object() }, "has at most 268435456 bytes"),
            (SourceObject { etag: String::new(), ..object() }, "ETag"),
            (SourceObject { etag: "a\r\nb".into(), ..object() }, "ETag"),
            (SourceObject { etag: long(limits::ETAG_BYTES_MAX + 1), ..object() }, "ETag"),
            (SourceObject { version: Some("a b".into()), ..object() }, "version"),
            (SourceObject { version: Some(long(1_025)), ..object() }, "version"),
        ] {
            let said = bad.check().unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn names_that_could_lead_a_request_elsewhere_are_refused() {
        for bad in ["", "s3://b", "a/b", "b?x", "b\n", "ü", &"x".repeat(256)] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad}");
        }
        for good in ["b", "my.bucket-1", "Old_Bucket"] {
            assert_eq!(good.parse::<BucketName>().unwrap().as_str(), good);
        }
        for bad in ["", "eu.example.org", "eu/", "EU", "eu@x", &"x".repeat(65)] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
        assert_eq!("us-gov-west-1".parse::<Region>().unwrap().as_str(), "us-gov-west-1");
    }

    #[test]
    fn a_reference_names_the_version_if_there_is_one() {
        let text = object().reference().to_string();
        assert_eq!(text, r#"{"bucket":"b","key":"a/../b c\n","size":7,"etag":"0"}"#);
        let object = SourceObject { version: Some("v1".into()), ..object() };
        assert!(object.reference().to_string().ends_with(r#","etag":"0","version":"v1"}"#));
    }
}
