//! One socket that talks to more Services than a bucket of the table of flows has room for.

use anyhow::{Context as _, Result, ensure};
use viaduct_common::{Hook, Tick, WAYS};
use viaduct_lab::{Family, Namespace};

use crate::datapath::{Datapath, Host};
use crate::kernel::{CONFIG, Kernel};
use crate::packet::Packet;
use crate::row::NOW;
use crate::world::World;

const SERVICES: u8 = 20;

/// Each of its flows is found again, both ways, and each has its rows once.
///
/// Needs root.
#[tokio::test]
async fn every_flow_of_a_socket_with_many_is_found_again() -> Result<()> {
    Namespace::new("crowd").await?.run(|| async { talk(&mut Host::new(CONFIG), &mut Kernel::load(CONFIG)) }).await
}

fn talk(host: &mut Host, kernel: &mut Kernel) -> Result<()> {
    let mut world = World::new(Family::V4);
    let places: Vec<_> = (0..SERVICES).map(|number| world.one_of_many(number)).collect();
    host.install(&world.tables);
    kernel.install(&world.tables);
    let client = world.client();
    // New, answered, known; and once more, when a tick has passed and the rows are written again.
    for now in [NOW, NOW, Tick(NOW.0 + 1)] {
        for (number, place) in places.iter().enumerate() {
            let question = Packet::udp(client, place.vip).bytes();
            let answer = Packet::udp(place.endpoint, client).bytes();
            for (hook, frame) in [(Hook::FROM_POD, question), (Hook::TO_POD, answer)] {
                let expected = host.run(hook, now, &frame, 0);
                ensure!(expected.out != frame, "not translated: a packet of {place:?}");
                let actual = kernel.run(hook, now, &frame, 0);
                ensure!(actual == expected, "Service {number}, {hook:?}, {now:?}: {actual:?} instead of {expected:?}");
            }
        }
        same(kernel, host).with_context(|| format!("{now:?}"))?;
        let elsewhere = 2 * usize::from(SERVICES) - WAYS;
        ensure!(kernel.overflows() == (1, elsewhere), "{:?}", kernel.overflows());
    }
    Ok(())
}

fn same(kernel: &mut Kernel, host: &mut Host) -> Result<()> {
    let (actual, expected) = (kernel.written(), host.written());
    ensure!(actual.flows == expected.flows, "{:#?}\ninstead of\n{:#?}", actual.flows, expected.flows);
    ensure!(actual.services == expected.services, "{:?} instead of {:?}", actual.services, expected.services);
    Ok(())
}
