//! A context of its own on LocalStack, a home, a function, and what has to come of its calls.

use std::path::PathBuf;

use afn::context::Opened;

use super::audit::Right;
pub use crate::support::world::{APP, World};

const FUNCTION: &str = include_str!("func.py");

/// What `func.py` comes to.
pub fn right(n: u64) -> Right {
    match n {
        _ if n % 20 == 3 => Right::Failure(format!("refused {n}")),
        _ if n % 50 == 7 => Right::Answer(format!("{n:020000}").into_bytes()),
        _ => Right::Answer(format!("{}\n", n * 7 + 3).into_bytes()),
    }
}

/// Where the function's processes leave a byte for each execution.
pub fn ran(world: &World) -> PathBuf {
    world.path("ran")
}

/// With the function deployed.
pub async fn world() -> (World, Opened) {
    let world = crate::services::world("chaos").await;
    world.write("func.py", FUNCTION);
    let ran = ran(&world).display().to_string();
    world.write(
        "func.yaml",
        format!(
            "name: f\nversion: 0.0.1\ntype: async\nformat: http-stream\nentrypoint: python3 func.py\nconfig:\n  RAN: {ran}\n"
        ),
    );
    world.afn(&format!("deploy --local --app {APP}")).await.ok();
    let opened = world.open().await;
    (world, opened)
}
