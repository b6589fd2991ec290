//! A fixture row: tables, packets in, and everything that must come of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use probe_ebpf::Verdict;
use probe_ebpf::host::Frame;
use viaduct_common::{AffinityEntry, AffinityKey, Counters, Delivery, FragmentKind, Hook, Pod, Reason, Tick};
use viaduct_lab::Family;

use crate::datapath::{Datapath, Host, Ran, Written};
use crate::decode::difference;
use crate::flow::{Flow, FlowRows, normal};
use crate::kernel::{is_runnable, without_link};
use crate::packet::Packet;
use crate::uplink::UPLINK;
use crate::world::{Place, World};

/// The time at which packets come, unless a row says otherwise.
pub(crate) const NOW: Tick = Tick(100_000);

/// One behaviour of the datapath. Whatever a row does not expect must not happen: other flows, counters or reasons fail it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) world: World,
    before: Vec<Flow>,
    steps: Vec<Step>,
    after: Vec<Flow>,
    /// `AFFINITY` afterwards.
    affinity: BTreeMap<AffinityKey, AffinityEntry>,
    /// Numbers of rows that are not there: before and afterwards.
    absent: [Vec<usize>; 2],
    now: Tick,
    kinds: Vec<FragmentKind>,
    parked: usize,
}

/// A packet, and what becomes of it.
#[derive(Clone, Debug)]
struct Step {
    hook: Hook,
    now: Tick,
    frame: Vec<u8>,
    /// Payload of each segment, if the frame is a train of them; otherwise 0.
    segment: u32,
    expected: Ran,
    counted: Option<(Place, Counters)>,
    reasons: Vec<Reason>,
}

impl Row {
    pub(crate) fn new(world: &World, name: &'static str) -> Self {
        Self {
            name,
            world: world.clone(),
            before: Vec::new(),
            steps: Vec::new(),
            after: Vec::new(),
            affinity: world.tables.affinity.borrow().clone(),
            absent: [Vec::new(), Vec::new()],
            now: NOW,
            kinds: Vec::new(),
            parked: 0,
        }
    }

    /// This flow is there before.
    pub(crate) fn has(mut self, flow: Flow) -> Self {
        self.before.push(flow);
        self
    }

    /// Of the flow that was added last, only the row with this number is there before: 0 the client's, 1 the backend's.
    pub(crate) fn only(mut self, row: usize) -> Self {
        self.absent[0].push((self.before.len() - 1) * 2 + 1 - row);
        self
    }

    /// This flow, with both rows, is there afterwards.
    pub(crate) fn leaves(mut self, flow: Flow) -> Self {
        self.after.push(flow);
        self
    }

    /// This flow is there afterwards as a plain packet opens it. Of a TCP connection that is the backend's row alone: the
    /// answer brings the client's.
    pub(crate) fn begins(self, flow: Flow) -> Self {
        let answered_first = flow.is_tcp();
        let row = self.leaves(flow);
        if answered_first { row.leaves_only(1) } else { row }
    }

    /// The flows that are there before are there afterwards, unchanged.
    pub(crate) fn keeps(mut self) -> Self {
        self.after = self.before.clone();
        let [before, after] = &mut self.absent;
        after.clone_from(before);
        self
    }

    /// Of the flow that was added last, only the row with this number is there afterwards.
    pub(crate) fn leaves_only(mut self, row: usize) -> Self {
        self.absent[1].push((self.after.len() - 1) * 2 + 1 - row);
        self
    }

    /// Packets come at this time from here on.
    pub(crate) fn at(self, now: Tick) -> Self {
        Self { now, ..self }
    }

    /// A pod sends a packet. Unless told otherwise it must go on untouched.
    pub(crate) fn pod_sends(self, packet: &Packet) -> Self {
        self.frame(Hook::FROM_POD, packet.bytes())
    }

    /// A packet is on its way to a pod. Unless told otherwise it must go on untouched.
    pub(crate) fn pod_gets(self, packet: &Packet) -> Self {
        self.frame(Hook::TO_POD, packet.clone().turned().bytes())
    }

    /// As the two above, for a frame that no builder would build.
    pub(crate) fn frame(mut self, hook: Hook, frame: Vec<u8>) -> Self {
        let expected = Ran { verdict: Verdict::Pass, out: frame.clone(), replayed: Vec::new() };
        self.steps.push(Step { hook, now: self.now, frame, segment: 0, expected, counted: None, reasons: Vec::new() });
        self
    }

    fn step(&mut self) -> &mut Step {
        self.steps.last_mut().expect("a packet comes first")
    }

    /// It goes on as another packet.
    pub(crate) fn becomes(mut self, packet: &Packet) -> Self {
        let step = self.step();
        step.expected.out = if step.hook == Hook::FROM_POD { packet.bytes() } else { packet.clone().turned().bytes() };
        self
    }

    /// It goes back to its link as another packet.
    pub(crate) fn returns(mut self, packet: &Packet) -> Self {
        self.step().expected.verdict = Verdict::Reflect;
        self.becomes(packet)
    }

    /// It is a train of segments with so much payload each.
    pub(crate) fn train(mut self, segment: u32) -> Self {
        self.step().segment = segment;
        self
    }

    /// It is handed to a pod as another packet, past one router.
    pub(crate) fn handed_to(self, pod: &Pod, packet: &Packet) -> Self {
        self.switched_to(pod, &packet.clone().routed().framed(pod.destination, pod.source))
    }

    /// It is handed to a pod as this very packet.
    pub(crate) fn switched_to(mut self, pod: &Pod, packet: &Packet) -> Self {
        self.step().expected.verdict = Verdict::Deliver(pod.link);
        self.becomes(packet)
    }

    /// It is handed to the link to another node as another packet, past one router.
    pub(crate) fn forwarded(mut self, packet: &Packet) -> Self {
        self.step().expected.verdict = Verdict::Forward(UPLINK);
        self.becomes(&packet.clone().routed())
    }

    /// It is refused: the answer goes back to its link.
    pub(crate) fn refused(self, answer: &Packet, reason: Reason) -> Self {
        self.returns(&answer.clone().turned()).because(reason)
    }

    /// It is dropped.
    pub(crate) fn dropped(mut self, reason: Reason) -> Self {
        self.step().expected = Ran { verdict: Verdict::Drop, out: Vec::new(), replayed: Vec::new() };
        self.because(reason)
    }

    /// The reason is counted.
    pub(crate) fn because(mut self, reason: Reason) -> Self {
        self.step().reasons.push(reason);
        self
    }

    /// A parked packet is sent through the hook again before it.
    pub(crate) fn replays(mut self, packet: &Packet) -> Self {
        let step = self.step();
        let frame = if step.hook == Hook::FROM_POD { packet.bytes() } else { packet.clone().turned().bytes() };
        step.expected.replayed.push(frame);
        self
    }

    /// The client has the backend as its last one from now on.
    pub(crate) fn remembers(mut self, client: SocketAddr, place: Place) -> Self {
        let key = AffinityKey { client: client.ip().into(), service: place.service };
        self.affinity.insert(key, AffinityEntry::new(place.backend, self.now.nanos()));
        self
    }

    /// It counts as one packet to the backend.
    pub(crate) fn forward(mut self, place: Place) -> Self {
        let bytes = self.step().frame.len() as u64;
        self.step().counted = Some((place, Counters { packets: 1, bytes, ..Counters::default() }));
        self
    }

    /// The same, and as one connection.
    pub(crate) fn opens(self, place: Place) -> Self {
        let mut row = self.forward(place);
        row.step().counted.as_mut().expect("just set").1.connections = 1;
        row
    }

    /// It counts as one packet from the backend.
    pub(crate) fn reply(mut self, place: Place) -> Self {
        let reply_bytes = self.step().frame.len() as u64;
        self.step().counted = Some((place, Counters { reply_packets: 1, reply_bytes, ..Counters::default() }));
        self
    }

    /// `FRAGMENTS` holds rows of these kinds afterwards, and `PARKED` so many frames.
    pub(crate) fn fragments(self, kinds: &[FragmentKind], parked: usize) -> Self {
        Self { kinds: kinds.to_vec(), parked, ..self }
    }

    /// False if the row is about what a host test alone can arrange.
    pub(crate) fn runs_in_the_kernel(&self) -> bool {
        self.steps.iter().all(|step| is_runnable(&step.frame))
    }

    /// Reasons that the row expects.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = Reason> {
        self.steps.iter().flat_map(|step| step.reasons.iter().copied())
    }

    /// The verdicts for its packets, if their frames were tagged for a VLAN. The kernel takes no such frame for a test run.
    pub(crate) fn tagged(&self, host: &mut Host) -> Vec<Verdict> {
        let mut tables = self.world.tables.clone();
        tables.flows = rows(&self.before, &self.absent[0]).into();
        host.install(&tables);
        let tagged = |step: &Step| Frame { tagged: true, segment: step.segment, ..Frame::new(step.frame.clone()) };
        self.steps.iter().map(|step| host.run_frame(step.hook, step.now, tagged(step)).verdict).collect()
    }

    /// Runs the row. The answer tells what was not as expected.
    pub(crate) fn run<D: Datapath>(
        &self,
        datapath: &mut D,
        replayed: impl Fn(&mut D, usize) -> Vec<Vec<u8>>,
    ) -> Result<(), String> {
        let mut tables = self.world.tables.clone();
        tables.flows = rows(&self.before, &self.absent[0]).into();
        datapath.install(&tables);
        for (number, step) in self.steps.iter().enumerate() {
            let mut ran = datapath.run(step.hook, step.now, &step.frame, step.segment);
            ran.replayed.extend(replayed(datapath, step.expected.replayed.len()));
            step.compare(&ran).map_err(|problem| format!("packet {}: {problem}", number + 1))?;
        }
        self.compare(&datapath.written())
    }

    fn compare(&self, written: &Written) -> Result<(), String> {
        let mut expected = Written { flows: rows(&self.after, &self.absent[1]), ..Written::default() };
        for step in &self.steps {
            step.add_to(&mut expected);
        }
        same("flows", &normal(&written.flows), &normal(&expected.flows))?;
        same("affinity", &written.affinity, &self.affinity)?;
        same("service counters", &written.services, &expected.services)?;
        same("backend counters", &written.backends, &expected.backends)?;
        same("deliveries", &written.deliveries, &expected.deliveries)?;
        same("reasons", &named(&written.reasons), &named(&expected.reasons))?;
        let kinds: Vec<_> = written.fragments.values().map(|row| row.kind).collect();
        same("kinds of fragments", &kinds, &self.kinds)?;
        same("parked frames", &written.parked.len(), &self.parked)
    }
}

impl Step {
    fn compare(&self, ran: &Ran) -> Result<(), String> {
        if ran.verdict != without_link(self.expected.verdict) {
            same("verdict", &ran.verdict, &self.expected.verdict)?;
        }
        difference(&ran.out, &self.expected.out)?;
        same("number of frames sent again", &ran.replayed.len(), &self.expected.replayed.len())?;
        ran.replayed.iter().zip(&self.expected.replayed).try_for_each(|(actual, expected)| difference(actual, expected))
    }

    fn add_to(&self, written: &mut Written) {
        if let Some((place, count)) = self.counted {
            *written.services.entry(place.service).or_default() += count;
            *written.backends.entry(place.backend).or_default() += count;
        }
        match self.expected.verdict {
            Verdict::Deliver(_) => *written.deliveries.entry(Delivery::POD).or_default() += 1,
            Verdict::Forward(_) => *written.deliveries.entry(Delivery::NODE).or_default() += 1,
            _ => {}
        }
        for reason in &self.reasons {
            *written.reasons.entry(*reason).or_default() += 1;
        }
    }
}

/// The rows of `flows` but those with the numbers `absent`.
fn rows(flows: &[Flow], absent: &[usize]) -> FlowRows {
    let rows = flows.iter().flat_map(Flow::rows).enumerate();
    rows.filter(|(number, _)| !absent.contains(number)).map(|(_, row)| row).collect()
}

fn named(reasons: &BTreeMap<Reason, u64>) -> BTreeMap<&'static str, u64> {
    reasons.iter().map(|(reason, count)| (reason.name(), *count)).collect()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, actual: &T, expected: &T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("{what}\n  are      {actual:#?}\n  expected {expected:#?}")) }
}

/// All rows of one family.
pub(crate) type Rows = fn(Family) -> Vec<Row>;
