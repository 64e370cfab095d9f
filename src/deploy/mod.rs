//! From a folder with a `func.yaml` to a published version.
