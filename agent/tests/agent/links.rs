//! Links that come, go, change their names and their neighbours.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use rtnetlink::{LinkUnspec, LinkVeth};
use viaduct::links::LinkEvent;
use viaduct_lab::Namespace;

use crate::world::World;

fn added(index: u32, name: &str) -> LinkEvent {
    LinkEvent::Added { index, name: name.into() }
}

async fn rename(node: &Namespace, index: u32, name: &str) -> Result<()> {
    let name = name.to_owned();
    change(node, async move |handle| {
        let down = LinkUnspec::new_with_index(index).down().build();
        handle.link().set(down).execute().await?;
        let renamed = LinkUnspec::new_with_index(index).name(name).up().build();
        Ok(handle.link().set(renamed).execute().await?)
    })
    .await
}

/// Runs a request in a namespace.
async fn change(
    namespace: &Namespace,
    request: impl AsyncFnOnce(rtnetlink::Handle) -> Result<()> + Send + 'static,
) -> Result<()> {
    namespace
        .run(move || async move {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::task::spawn_local(connection);
            request(handle).await
        })
        .await
}

#[tokio::test]
async fn links_are_listed_then_followed() -> Result<()> {
    let world = World::new().await?;
    let first = world.add_link("first").await?;
    world.node.add_bridge("br0", [2, 0, 0, 0, 0, 1]).await?;
    let mut told = world.follow(&[]).await?;
    assert_eq!(told.next().await?, added(first, "first"));
    assert_eq!(told.next().await?, LinkEvent::Listed);

    let second = world.add_link("second").await?;
    assert_eq!(told.next().await?, added(second, "second"));
    // Ports of bridges are told of with messages of the same type.
    world.node.join_bridge("second", "br0").await?;
    rename(&world.node, second, "other").await?;
    assert_eq!(told.next().await?, LinkEvent::Renamed { index: second, name: "other".into() });
    change(&world.node, async move |handle| {
        Ok(handle.link().set(LinkUnspec::new_with_index(second).nocontroller().build()).execute().await?)
    })
    .await?;
    world.node.remove_link("other").await?;
    assert_eq!(told.next().await?, LinkEvent::Removed { index: second, name: "other".into() });
    assert_eq!(told.until_quiet().await, []);
    Ok(())
}

/// Some CNIs make both ends on the node and move one of them into the pod.
#[tokio::test]
async fn a_pair_becomes_a_pod_link_when_one_end_moves() -> Result<()> {
    let world = World::new().await?;
    let mut told = world.follow(&[]).await?;
    assert_eq!(told.next().await?, LinkEvent::Listed);
    change(&world.node, async |handle| Ok(handle.link().add(LinkVeth::new("host", "guest").build()).execute().await?)).await?;
    assert_eq!(told.until_quiet().await, [], "both ends are on the node");

    let (host, guest) = (world.node.link_index("host").await?, world.node.link_index("guest").await?);
    let pods = std::fs::File::open(world.pods.net_path())?;
    change(&world.node, async move |handle| {
        let moved = LinkUnspec::new_with_index(guest).setns_by_fd(std::os::fd::AsRawFd::as_raw_fd(&pods)).build();
        Ok(handle.link().set(moved).execute().await?)
    })
    .await?;
    assert_eq!(told.next().await?, added(host, "host"));
    Ok(())
}

#[tokio::test]
async fn globs_choose_links_by_name() -> Result<()> {
    let world = World::new().await?;
    let mut told = world.follow(&["cali*", "lxc?"]).await?;
    assert_eq!(told.next().await?, LinkEvent::Listed);
    world.add_link("other").await?;
    world.add_link("lxc12").await?;
    let link = world.add_link("cali1").await?;
    assert_eq!(told.next().await?, added(link, "cali1"));
    rename(&world.node, link, "mine").await?;
    assert_eq!(told.next().await?, LinkEvent::Removed { index: link, name: "cali1".into() });
    Ok(())
}

/// More happens than the kernel keeps for a listener that is busy: what was lost is found again.
#[tokio::test]
async fn lost_messages_are_made_up_for() -> Result<()> {
    const LINKS: u32 = 150;
    const KEPT: u32 = LINKS / 3;
    let world = World::new().await?;
    let mut told = world.follow(&["storm*"]).await?;
    assert_eq!(told.next().await?, LinkEvent::Listed);
    let storm = world.beside(async |handle| {
        for n in 0..LINKS {
            let (name, peer) = (format!("storm{n}"), format!("p{n}"));
            handle.link().add(LinkVeth::new(&name, &peer).build()).execute().await?;
        }
        for n in KEPT..LINKS {
            let name = format!("storm{n}");
            let mut found = handle.link().get().match_name(name).execute();
            let Some(link) = futures::TryStreamExt::try_next(&mut found).await? else { bail!("no link {n}") };
            // Each change of a flag is another message.
            for _ in 0..3 {
                handle.link().set(LinkUnspec::new_with_index(link.header.index).up().build()).execute().await?;
                handle.link().set(LinkUnspec::new_with_index(link.header.index).down().build()).execute().await?;
            }
            handle.link().del(link.header.index).execute().await?;
        }
        Ok(())
    });
    // The thread that listens is stuck until the storm is over.
    world.node.run(move || async move { storm.join().expect("no panic") }).await?;
    let mut links = BTreeMap::new();
    for event in told.until_quiet().await {
        match &event {
            LinkEvent::Added { index, name } => drop(links.insert(*index, name.clone())),
            LinkEvent::Removed { index, .. } => drop(links.remove(index)),
            LinkEvent::Listed => {}
            LinkEvent::Renamed { .. } => bail!("{event:?}"),
        }
    }
    let mut names: Vec<String> = links.into_values().collect();
    names.sort();
    let mut expected: Vec<String> = (0..KEPT).map(|n| format!("storm{n}")).collect();
    expected.sort();
    assert_eq!(names, expected);
    Ok(())
}

/// Whoever no longer listens is not kept waiting for.
#[tokio::test]
async fn following_ends_with_its_listener() -> Result<()> {
    let world = World::new().await?;
    let (events, told) = tokio::sync::mpsc::channel(1);
    let selector = viaduct::links::LinkSelector::VethToElsewhere;
    let following = world.node.run(move || async move {
        viaduct::links::monitor::follow(selector, events).await;
        Ok(())
    });
    thread::sleep(Duration::from_millis(50));
    drop(told);
    tokio::time::timeout(Duration::from_secs(5), following).await?
}
