//! The rules of kube-proxy's mode `nftables`: one look-up in a map of verdicts leads to a chain for the service port, which
//! throws dice for the chain of an endpoint.

use std::fmt::{self, Write as _};

use viaduct_lab::Family;

use super::MARK;
use crate::cluster::{Cluster, Port, Service};

/// All of them, as `nft -f` reads them.
pub(super) fn rules(cluster: &Cluster) -> String {
    let mut text = String::new();
    write(cluster, &mut text).expect("a string takes everything");
    text
}

fn write(cluster: &Cluster, text: &mut String) -> fmt::Result {
    let (table, ip, address) = match cluster.family {
        Family::V4 => ("ip", "ip", "ipv4_addr"),
        Family::V6 => ("ip6", "ip6", "ipv6_addr"),
    };
    let port_key = format!("{ip} daddr . meta l4proto . th dport");
    let port_type = format!("type {address} . inet_proto . inet_service : verdict");
    writeln!(text, "table {table} kube-proxy {{")?;
    writeln!(text, "set cluster-ips {{ type {address}")?;
    elements(text, cluster.services.iter().map(|service| service.vip.to_string()))?;
    writeln!(text, "set nodeport-ips {{ type {address}; }}")?;
    writeln!(text, "map no-endpoint-services {{ {port_type}; }}")?;
    writeln!(text, "map no-endpoint-nodeports {{ type inet_proto . inet_service : verdict; }}")?;
    writeln!(text, "map firewall-ips {{ {port_type}; }}")?;
    writeln!(text, "map service-nodeports {{ type inet_proto . inet_service : verdict; }}")?;
    write!(text, "{}", fixed_chains(ip, &port_key))?;
    for (service, port) in cluster.services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, port))) {
        write_port(text, cluster, ip, service, port)?;
    }
    writeln!(text, "map service-ips {{ {port_type}")?;
    elements(text, cluster.services.iter().flat_map(|service| service.ports.iter().map(move |port| entry(service, port))))?;
    let to_node = format!("{ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports");
    writeln!(text, "chain services {{\n{port_key} vmap @service-ips\n{to_node}\n}}")?;
    writeln!(text, "{HOOKS}\n}}")
}

/// The elements of the set or map that was begun, and its end.
fn elements(text: &mut String, elements: impl Iterator<Item = String>) -> fmt::Result {
    text.push_str("elements = {");
    for element in elements {
        write!(text, "{element}, ")?;
    }
    writeln!(text, "}}\n}}")
}

fn chain_of(service: &Service, port: &Port) -> String {
    format!("service-{}/{}/{}", service.number, port.protocol.lower(), port.name)
}

fn chain_of_endpoint(service: &Service, port: &Port, endpoint: usize) -> String {
    format!("endpoint-{}/{}/{}__{endpoint}", service.number, port.protocol.lower(), port.name)
}

fn entry(service: &Service, port: &Port) -> String {
    format!("{} . {} . {} : goto {}", service.vip, port.protocol.lower(), port.number, chain_of(service, port))
}

/// The chains of a service port: of its endpoints first, as the other one leads there.
fn write_port(text: &mut String, cluster: &Cluster, ip: &str, service: &Service, port: &Port) -> fmt::Result {
    let (protocol, vip, count) = (port.protocol.lower(), service.vip, service.endpoints.len());
    for (index, address) in service.endpoints.iter().enumerate() {
        let target = std::net::SocketAddr::new(*address, port.target);
        writeln!(text, "chain {} {{", chain_of_endpoint(service, port, index))?;
        writeln!(text, "{ip} saddr {address} jump mark-for-masquerade\nmeta l4proto {protocol} dnat to {target}\n}}")?;
    }
    writeln!(text, "chain {} {{", chain_of(service, port))?;
    let from_outside = format!("{ip} saddr != {}", cluster.pod_range());
    writeln!(text, "{ip} daddr {vip} {protocol} dport {} {from_outside} jump mark-for-masquerade", port.number)?;
    let verdicts: Vec<_> =
        (0..count).map(|index| format!("{index} : goto {}", chain_of_endpoint(service, port, index))).collect();
    writeln!(text, "numgen random mod {count} vmap {{ {} }}\n}}", verdicts.join(", "))
}

/// The chains that there is one of, but for those with hooks.
fn fixed_chains(ip: &str, port_key: &str) -> String {
    format!(
        "chain mark-for-masquerade {{ mark set mark or {MARK}; }}
        chain masquerading {{
            mark and {MARK} == 0 return
            mark set mark xor {MARK}
            masquerade fully-random
        }}
        chain cluster-ips-check {{ {ip} daddr @cluster-ips reject; }}
        chain service-endpoints-check {{ {port_key} vmap @no-endpoint-services; }}
        chain nodeport-endpoints-check {{
            {ip} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
        }}
        chain firewall-check {{ {port_key} vmap @firewall-ips; }}
        "
    )
}

/// Where packets enter.
const HOOKS: &str = "
    chain filter-prerouting {
        type filter hook prerouting priority -110; policy accept;
        ct state new jump firewall-check
    }
    chain filter-input {
        type filter hook input priority -110; policy accept;
        ct state new jump nodeport-endpoints-check
        ct state new jump service-endpoints-check
    }
    chain filter-forward {
        type filter hook forward priority -110; policy accept;
        ct state new jump service-endpoints-check
        ct state new jump cluster-ips-check
    }
    chain filter-output {
        type filter hook output priority -110; policy accept;
        ct state new jump service-endpoints-check
        ct state new jump firewall-check
    }
    chain filter-output-post-dnat {
        type filter hook output priority -90; policy accept;
        ct state new jump cluster-ips-check
    }
    chain nat-prerouting { type nat hook prerouting priority -100; policy accept; jump services; }
    chain nat-output { type nat hook output priority -100; policy accept; jump services; }
    chain nat-postrouting { type nat hook postrouting priority 100; policy accept; jump masquerading; }";
