fn main() -> std::process::ExitCode {
    afn::cli::main().into()
}
