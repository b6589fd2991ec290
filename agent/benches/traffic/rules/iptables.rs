//! The rules of kube-proxy's mode `iptables`: one rule after the other for each service port, and behind it chains that throw
//! dice for an endpoint.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use super::MARK;
use crate::cluster::{Cluster, Port, Service};

/// All of them, as `iptables-restore` reads them.
pub(super) fn rules(cluster: &Cluster) -> String {
    let mut text = FILTER.to_owned();
    write_nat(cluster, &mut text).expect("a string takes everything");
    text
}

fn write_nat(cluster: &Cluster, text: &mut String) -> fmt::Result {
    let ports = || cluster.services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    text.push_str(NAT_CHAINS);
    for (service, port) in ports() {
        writeln!(text, ":{} - [0:0]", chain_of(service, port))?;
        for index in 0..service.endpoints.len() {
            writeln!(text, ":{} - [0:0]", chain_of_endpoint(service, port, index))?;
        }
    }
    write!(text, "{}", fixed_rules())?;
    for (service, port) in ports() {
        write_port(text, cluster, service, port)?;
    }
    // The last one, for whatever is no Service's.
    writeln!(text, "-A KUBE-SERVICES -m comment --comment \"node ports\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT")
}

fn chain_of(service: &Service, port: &Port) -> String {
    format!("KUBE-SVC-{:08X}{:08X}", service.number, port.number)
}

fn chain_of_endpoint(service: &Service, port: &Port, endpoint: usize) -> String {
    format!("KUBE-SEP-{:08X}{:04X}{endpoint:04X}", service.number, port.number)
}

/// The rules of a service port.
fn write_port(text: &mut String, cluster: &Cluster, service: &Service, port: &Port) -> fmt::Result {
    let (protocol, chain, count) = (port.protocol.lower(), chain_of(service, port), service.endpoints.len());
    let bits = cluster.family.bits();
    let to_vip = format!("-d {}/{bits} -p {protocol}", service.vip);
    let comment = format!("-m comment --comment \"team/service-{}:{}", service.number, port.name);
    let at_port = format!("-m {protocol} --dport {}", port.number);
    writeln!(text, "-A KUBE-SERVICES {to_vip} {comment} cluster IP\" {at_port} -j {chain}")?;
    writeln!(text, "-A {chain} ! -s {} {to_vip} {comment} cluster IP\" {at_port} -j KUBE-MARK-MASQ", cluster.pod_range())?;
    for (index, address) in service.endpoints.iter().enumerate() {
        let (endpoint, target) = (chain_of_endpoint(service, port, index), SocketAddr::new(*address, port.target));
        let left = count - index;
        // The last one takes what is left.
        let dice = if left == 1 { String::new() } else { format!("-m statistic --mode random --probability {} ", share(left)) };
        writeln!(text, "-A {chain} {comment} -> {target}\" {dice}-j {endpoint}")?;
        writeln!(text, "-A {endpoint} -s {address}/{bits} {comment}\" -j KUBE-MARK-MASQ")?;
        writeln!(text, "-A {endpoint} -p {protocol} {comment}\" -m {protocol} -j DNAT --to-destination {target}")?;
    }
    Ok(())
}

/// One of so many, as a probability.
fn share(of: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a Service has few endpoints")]
    let share = 1.0 / of as f64;
    format!("{share:.11}")
}

fn fixed_rules() -> String {
    format!(
        "-A PREROUTING -m comment --comment \"service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark {MARK}
-A KUBE-POSTROUTING -m mark ! --mark {MARK}/{MARK} -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark {MARK}
-A KUBE-POSTROUTING -m comment --comment \"traffic that needs another source\" -j MASQUERADE --random-fully
"
    )
}

const NAT_CHAINS: &str = "*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
";

/// The table that lets packets pass: none of them is refused here.
const FILTER: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-FORWARD - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment \"load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment \"health check ports\" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment \"external portals\" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment \"forwarding rules\" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"service portals\" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"external portals\" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"service portals\" -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment \"forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment \"known connections\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";
