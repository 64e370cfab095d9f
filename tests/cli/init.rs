//! afn as the first process of a process namespace, as in a container. Only root makes such a namespace without asking.

use std::fs;
use std::process::Command;

use super::world::World;
use crate::support::command::Running;

fn first(world: &World, line: &str) -> Command {
    let afn = world.command(&world.work());
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(afn.get_program());
    command.args(line.split_whitespace()).current_dir(world.work()).env_clear();
    command.envs(afn.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// The process that `unshare` has started.
fn child_of(pid: u32) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next().map(str::to_owned)
}

#[test]
fn orphans_are_waited_for() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    world.deploy("litter", "shop", "", "sleep 1000 & sleep 1000 & echo ok");
    let count = "for try in $(seq 100); do
                     zombies=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l)
                     [ $zombies = 0 ] && break
                     sleep 0.05
                 done
                 echo $zombies zombies, first is $(cat /proc/1/comm); head -c 1 /proc/1/environ 2>&1 | wc -l";
    world.deploy("count", "shop", "", count);
    let submit = |function: &str| world.args(&["submit", "shop", function]).ok().trim().to_owned();
    let run = || {
        let ended = first(&world, "worker --drain -j 4").output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    };
    let calls: Vec<String> = (0..40).map(|_| submit("/litter")).collect();
    // Last in, and mostly last out: whatever runs beside it, zombies go within its patience.
    let counted = submit("/count");
    run();
    for call in &calls {
        assert_eq!(world.args(&["get", "result", "shop", call]).ok(), "ok\n");
    }
    let said = world.args(&["get", "result", "shop", &counted]).ok();
    assert_eq!(said, "0 zombies, first is afn\n1\n", "the first process is as hidden as the worker");
}

#[test]
fn signals_and_exit_codes_pass_through_the_first_process() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let ended = first(&world, "list functions nowhere").output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    world.block_on(async {
        let worker = Running::start(first(&world, "worker").into());
        worker.said("at once").await;
        let first = child_of(worker.pid()).expect("unshare has a child");
        crate::support::proc::signal(first.parse().unwrap(), rustix::process::Signal::TERM);
        assert_eq!(worker.end().await.code, 0);
    });
}
