//! A shell script: needs nothing at all.

use super::Boilerplate;

pub fn boilerplate() -> Boilerplate {
    Boilerplate {
        files: vec![("func.sh", include_str!("../../../templates/shell/func.sh").to_owned())],
        entrypoint: "sh func.sh",
        format: None,
    }
}
