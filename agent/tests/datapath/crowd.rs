//! Sockets that talk to more Services than a bucket of the table of flows has room for, and tables without room.

use anyhow::{Context as _, Result, ensure};
use viaduct_common::{Config, Hook, Protocol, Tick, WAYS};
use viaduct_lab::{Family, Namespace};

use crate::datapath::{Datapath, Host};
use crate::flow::Flow;
use crate::kernel::{CONFIG, Kernel};
use crate::packet::Packet;
use crate::row::NOW;
use crate::world::{Place, World};

const SERVICES: u8 = 20;

/// One client, many Services, and both builds with their tables.
struct Crowd {
    world: World,
    places: Vec<Place>,
    host: Host,
    kernel: Kernel,
}

impl Crowd {
    /// With so many buckets.
    fn new(buckets: u32) -> Self {
        let config = Config { flow_buckets: buckets, ..CONFIG };
        let (mut host, mut kernel) = (Host::new(config), Kernel::load(config));
        let mut world = World::new(Family::V4);
        let places = (0..SERVICES).map(|number| world.one_of_many(number)).collect();
        host.install(&world.tables);
        kernel.install(&world.tables);
        Self { world, places, host, kernel }
    }

    /// The packets are translated, in the kernel as on the host.
    fn translates(&mut self, now: Tick, packets: &[(Hook, Packet)]) -> Result<()> {
        for (hook, packet) in packets {
            let frame = packet.bytes();
            let expected = self.host.run(*hook, now, &frame, 0);
            ensure!(expected.out != frame, "not translated: {packet:?}");
            let actual = self.kernel.run(*hook, now, &frame, 0);
            ensure!(actual == expected, "{hook:?}, {now:?}: {actual:?} instead of {expected:?}");
        }
        Ok(())
    }

    fn question(&self, place: &Place) -> (Hook, Packet) {
        (Hook::FROM_POD, Packet::udp(self.world.client(), place.vip))
    }

    fn answer(&self, place: &Place) -> (Hook, Packet) {
        (Hook::TO_POD, Packet::udp(place.endpoint, self.world.client()))
    }

    /// Questions and their answers.
    fn talks(&mut self, now: Tick, places: &[Place]) -> Result<()> {
        for place in places {
            self.translates(now, &[self.question(place), self.answer(place)]).with_context(|| format!("{place:?}"))?;
        }
        Ok(())
    }
}

/// Each flow is found again, both ways, and each has its rows once.
///
/// Needs root.
#[tokio::test]
async fn every_flow_of_a_socket_with_many_is_found_again() -> Result<()> {
    let case = || async {
        let mut crowd = Crowd::new(CONFIG.flow_buckets);
        let places = crowd.places.clone();
        // New, known; and once more, when a tick has passed and the rows are written again.
        for now in [NOW, NOW, Tick(NOW.0 + 1)] {
            crowd.talks(now, &places)?;
            let (actual, expected) = (crowd.kernel.written(), crowd.host.written());
            ensure!(actual.flows == expected.flows, "{:#?}\ninstead of\n{:#?}", actual.flows, expected.flows);
            ensure!(actual.services == expected.services, "{:?} instead of {:?}", actual.services, expected.services);
            let elsewhere = 2 * usize::from(SERVICES) - WAYS;
            ensure!(crowd.kernel.overflows() == (1, elsewhere), "{:?}", crowd.kernel.overflows());
        }
        Ok(())
    };
    Namespace::new("crowd").await?.run(case).await
}

/// Where there is no room at all, new flows take the place of others, but not of their own other half: each question is answered.
///
/// Needs root.
#[tokio::test]
async fn a_new_flow_has_both_rows_where_there_is_no_room() -> Result<()> {
    let case = || async {
        for buckets in [1, 2, 3] {
            let mut crowd = Crowd::new(buckets);
            let places = crowd.places.clone();
            for round in 0..4 {
                let talk = crowd.talks(Tick(NOW.0 + round), &places);
                talk.with_context(|| format!("{buckets} buckets, round {round}"))?;
            }
        }
        Ok(())
    };
    Namespace::new("room").await?.run(case).await
}

/// Who asks without being answered takes nothing from those who are, in neither bucket.
///
/// Needs root.
#[tokio::test]
async fn a_flood_takes_nothing_from_those_who_are_answered() -> Result<()> {
    const SETTLED: usize = 9;
    let case = || async {
        let mut crowd = Crowd::new(2);
        let settled = crowd.places[..SETTLED].to_vec();
        crowd.talks(NOW, &settled)?;
        crowd.talks(NOW, &settled)?;
        let client = crowd.world.client();
        let flood = crowd.places[SETTLED];
        for port in 0..300 {
            let packet = Packet::udp((client.ip(), 1024 + port).into(), flood.vip);
            crowd.translates(Tick(NOW.0 + 1), &[(Hook::FROM_POD, packet)])?;
        }
        let flows = crowd.kernel.written().flows;
        for place in &settled {
            ensure!(place.protocol == Protocol::UDP);
            for (key, _) in Flow::new(client, *place).rows() {
                ensure!(flows.contains_key(&key), "a row of {place:?} is gone: {key:?}");
            }
        }
        Ok(())
    };
    Namespace::new("flood").await?.run(case).await
}
