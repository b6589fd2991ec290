//! Services that clients can notice: as the generator makes them, but with a port for datagrams and endpoints in the lab.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use viaduct_apiserver::Generator;

/// Where backends listen, with TCP and UDP.
pub(crate) const TARGET: u16 = 8080;
/// The generator's port, for TCP.
pub(crate) const CONNECTIONS: u16 = 80;
/// The port for datagrams.
const DATAGRAMS: u16 = 7;
/// Its name, in Service and slice.
const NAME: &str = "echo";

/// A Service that is noticed.
pub(crate) fn service(number: u32) -> Value {
    let mut service = Generator::service(number);
    add_port(&mut service["spec"], json!({ "name": NAME, "port": DATAGRAMS, "protocol": "UDP", "targetPort": TARGET }));
    service
}

/// Its slice, with these endpoints.
pub(crate) fn slice(generator: Generator, number: u32, endpoints: &[IpAddr]) -> Value {
    let mut slice = generator.slice_with(number, 0..endpoints.len() as u32);
    for (index, address) in endpoints.iter().enumerate() {
        slice["endpoints"][index]["addresses"] = json!([address.to_string()]);
    }
    add_port(&mut slice, json!({ "name": NAME, "port": TARGET, "protocol": "UDP" }));
    slice
}

fn add_port(to: &mut Value, port: Value) {
    to["ports"].as_array_mut().expect("the generator gives every object a port").push(port);
}

/// Where datagrams notice it.
pub(crate) fn datagrams(number: u32) -> SocketAddr {
    (Generator::vip(number), DATAGRAMS).into()
}
