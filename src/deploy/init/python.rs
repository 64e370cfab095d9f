//! Python 3.

use super::Boilerplate;

pub fn boilerplate(fdk: bool) -> Boilerplate {
    let files = match fdk {
        false => vec![
            ("func.py", include_str!("../../../templates/python/func.py").to_owned()),
            ("serve.py", include_str!("../../../templates/python/serve.py").to_owned()),
        ],
        true => vec![
            ("func.py", include_str!("../../../templates/python-fdk/func.py").to_owned()),
            ("requirements.txt", "fdk>=0.1.100\n".to_owned()),
        ],
    };
    Boilerplate { files, entrypoint: "python3 func.py", format: None }
}
