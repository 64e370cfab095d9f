//! Go. Builds with Go 1.18 and newer.

use super::Boilerplate;

const FDK_VERSION: &str = "v0.0.53";

pub fn boilerplate(fdk: bool) -> Boilerplate {
    let module = "module func\n\ngo 1.18\n".to_owned();
    let files = match fdk {
        false => vec![
            ("func.go", include_str!("../../../templates/go/func.go").to_owned()),
            ("serve.go", include_str!("../../../templates/go/serve.go").to_owned()),
            ("go.mod", module),
        ],
        true => vec![
            ("func.go", include_str!("../../../templates/go-fdk/func.go").to_owned()),
            ("go.mod", format!("{module}\nrequire github.com/fnproject/fdk-go {FDK_VERSION}\n")),
        ],
    };
    Boilerplate { files, entrypoint: "./func", format: None }
}
