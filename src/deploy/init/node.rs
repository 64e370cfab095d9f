//! Node.js, 14 and newer.

use super::Boilerplate;

pub fn boilerplate() -> Boilerplate {
    Boilerplate {
        files: vec![
            ("func.js", include_str!("../../../templates/node/func.js").to_owned()),
            ("serve.js", include_str!("../../../templates/node/serve.js").to_owned()),
        ],
        entrypoint: "node func.js",
        format: None,
    }
}
