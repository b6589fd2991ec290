//! What remains on the terminal when the demonstration is over.

use super::board::Board;
use super::cluster::Cluster;
use super::text;

/// Columns of the bars.
const WIDTH: usize = 60;

/// Prints the whole board.
pub(super) fn print(board: &Board) {
    println!();
    for part in [text::services(board), text::backends(board, WIDTH), text::latencies(board), text::checks(board)] {
        for (_, line) in part {
            println!("  {line}");
        }
        println!();
    }
}

/// Prints what one can try in the lab.
pub(super) fn print_commands(cluster: &Cluster) {
    let inside = |path: std::path::PathBuf| path.display().to_string();
    let client = format!("nsenter --net={}", inside(cluster.client.namespace().net_path()));
    let node = cluster.node().namespace();
    let node = format!("nsenter --net={} --mount={}", inside(node.net_path()), inside(node.mount_path()));
    println!("The lab stays until Ctrl-C. As root, in another terminal:");
    for (what, command) in [
        ("ask a Service (its backend answers with its name)", format!("{client} bash -c 'head -1 < /dev/tcp/10.96.0.10/80'")),
        ("the same over IPv6", format!("{client} bash -c 'head -1 < /dev/tcp/fd00:96::a/80'")),
        ("a Service without endpoints", format!("{client} bash -c ': < /dev/tcp/10.96.0.20/443'")),
        ("change Services while the agent runs", format!("${{EDITOR:-vi}} {}", cluster.manifests.file("web").display())),
        ("look around on the node", format!("{node} bash")),
    ] {
        println!("\n  # {what}\n  {command}");
    }
    println!();
}
