//! The rules of "which endpoints are usable" and of the verdicts, one row each.
//!
//! The node is called `me`. An endpoint is its name (the last letter of its address), its state, `here` if it runs on this
//! node, and its hints. States: `ready`; `unready`; `warming` serves but is not ready; `leaving` serves and terminates;
//! `gone` terminates and does not serve; `published` is ready without serving (publishNotReadyAddresses).

use serde_json::{Value, json};

use super::*;

/// What is true; policies and ways in; the node's zone; the endpoints; the cluster set, the local set, who still serves;
/// and where a connection to the ClusterIP goes.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Conditions.
    ("no endpoint at all: refuse",                      "", "z1", "", "", "", "", "refuse"),
    ("a ready endpoint is used",                        "", "z1", "a ready", "a", "", "a", "a"),
    ("wherever it runs",                                "", "z1", "a ready; b ready here", "a b", "", "a b", "a b"),
    ("an unready one is not",                           "", "z1", "a ready; b unready", "a", "", "a", "a"),
    ("none but unready ones: refuse",                   "", "z1", "a unready; b unready here", "", "", "", "refuse"),
    ("to serve without being ready is not enough",      "", "z1", "a warming", "", "", "a", "refuse"),
    ("the leaving ones, where none is ready",           "", "z1", "a leaving; b leaving here", "a b", "", "a b", "a b"),
    ("not while one is ready",                          "", "z1", "a ready; b leaving", "a", "", "a b", "a"),
    ("the gone ones never",                             "", "z1", "a gone", "", "", "", "refuse"),
    ("only the leaving ones stand in",                  "", "z1", "a leaving; b gone; c unready; d warming", "a", "", "a d", "a"),
    ("ready counts without serving",                    "", "z1", "a published; b leaving", "a", "", "a b", "a"),
    // iTP Local without a way in from outside.
    ("local: only the endpoints of this node",          "iTP=Local", "z1", "a ready here; b ready; c ready here", "", "a c", "a b c", "a c"),
    ("endpoints, but none here: drop",                  "iTP=Local", "z1", "a ready; b ready", "", "", "a b", "drop"),
    ("no endpoint anywhere: refuse",                    "iTP=Local", "z1", "", "", "", "", "refuse"),
    ("none usable anywhere: refuse",                    "iTP=Local", "z1", "a unready here; b gone; c warming", "", "", "c", "refuse"),
    ("unready here, ready elsewhere: drop",             "iTP=Local", "z1", "a unready here; b ready", "", "", "b", "drop"),
    ("warming here, ready elsewhere: drop",             "iTP=Local", "z1", "a warming here; b ready", "", "", "a b", "drop"),
    ("leaving elsewhere counts as usable: drop",        "iTP=Local", "z1", "a gone here; b leaving", "", "", "b", "drop"),
    ("the local set falls back by itself",              "iTP=Local", "z1", "a leaving here; b ready", "", "a", "a b", "a"),
    ("but not while one here is ready",                 "iTP=Local", "z1", "a leaving here; b ready here", "", "b", "a b", "b"),
    ("ready without serving counts here too",           "iTP=Local", "z1", "a published here; b leaving here", "", "a", "a b", "a"),
    // Ways in from outside: NodePorts, load-balancer IPs, externalIPs.
    ("eTP means nothing without a way in",              "eTP=Local", "z1", "a ready here; b ready", "a b", "", "a b", "a b"),
    ("a NodePort is a way in",                          "eTP=Local nodePort", "z1", "a ready here; b ready", "a b", "a", "a b", "a b"),
    ("a load-balancer IP is one",                       "eTP=Local lb", "z1", "a ready here; b ready", "a b", "a", "a b", "a b"),
    ("so with ipMode VIP",                              "eTP=Local lbVip", "z1", "a ready here; b ready", "a b", "a", "a b", "a b"),
    ("with ipMode Proxy it is none",                    "eTP=Local lbProxy", "z1", "a ready here; b ready", "a b", "", "a b", "a b"),
    ("a hostname is none",                              "eTP=Local lbName", "z1", "a ready here; b ready", "a b", "", "a b", "a b"),
    ("one of the other family is none",                 "eTP=Local lb6", "z1", "a ready here; b ready", "a b", "", "a b", "a b"),
    ("an externalIP is one",                            "eTP=Local externalIP", "z1", "a ready here; b ready", "a b", "a", "a b", "a b"),
    ("one of the other family is none",                 "eTP=Local externalIP6", "z1", "a ready here; b ready", "a b", "", "a b", "a b"),
    ("eTP Cluster needs no local set",                  "nodePort", "z1", "a ready here; b ready", "a b", "", "a b", "a b"),
    ("a way in brings the cluster set to iTP Local",    "iTP=Local nodePort", "z1", "a ready here; b ready", "a b", "a", "a b", "a"),
    ("none here: drop all the same",                    "iTP=Local nodePort", "z1", "a ready; b ready", "a b", "", "a b", "drop"),
    ("and with eTP Local too",                          "iTP=Local eTP=Local nodePort", "z1", "a ready here; b ready", "a b", "a", "a b", "a"),
    ("both Local without a way in: no cluster set",     "iTP=Local eTP=Local", "z1", "a ready here; b ready", "", "a", "a b", "a"),
    ("the sets fall back apart: only local",            "eTP=Local nodePort", "z1", "a leaving here; b ready", "b", "a", "a b", "b"),
    ("the sets fall back apart: only cluster",          "iTP=Local nodePort", "z1", "a ready here; b leaving", "a", "a", "a b", "a"),
    ("the sets fall back apart: both",                  "eTP=Local nodePort", "z1", "a leaving here; b leaving", "a b", "a", "a b", "a b"),
    // Hints for zones.
    ("those for this zone",                             "", "z1", "a ready zones:z1; b ready zones:z2", "a", "", "a b", "a"),
    ("an endpoint may be for several",                  "", "z1", "a ready zones:z2,z1; b ready zones:z2; c ready zones:z1", "a c", "", "a b c", "a c"),
    ("one ready without hints: none hold",              "", "z1", "a ready zones:z1; b ready", "a b", "", "a b", "a b"),
    ("none for this zone: none hold",                   "", "z1", "a ready zones:z2; b ready zones:z3", "a b", "", "a b", "a b"),
    ("a node without a zone: none hold",                "", "", "a ready zones:z1; b ready zones:z2", "a b", "", "a b", "a b"),
    ("unready ones without hints change nothing",       "", "z1", "a ready zones:z1; b ready zones:z2; c unready; d warming", "a", "", "a b d", "a"),
    ("leaving ones without hints neither",              "", "z1", "a ready zones:z1; b ready zones:z2; c leaving", "a", "", "a b c", "a"),
    ("hints of unready ones do not count",              "", "z1", "a ready zones:z2; b unready zones:z1; c leaving zones:z1", "a", "", "a c", "a"),
    ("leaving ones stand in whatever their hints",      "", "z1", "a leaving zones:z1; b leaving zones:z2", "a b", "", "a b", "a b"),
    ("hints never touch the local set",                 "iTP=Local", "z1", "a ready here zones:z2; b ready zones:z1", "", "a", "a b", "a"),
    ("nor if both sets are used",                       "eTP=Local nodePort", "z1", "a ready here zones:z2; b ready zones:z1", "b", "a", "a b", "b"),
    ("nor do they make refuse of drop",                 "iTP=Local", "z1", "a ready zones:z2", "", "", "a", "drop"),
    // Hints for nodes.
    ("those for this node",                             "", "z1", "a ready nodes:me; b ready nodes:n2", "a", "", "a b", "a"),
    ("whether they run here or not",                    "", "z1", "a ready nodes:me; b ready here nodes:n2; c ready here nodes:n2,me", "a c", "", "a b c", "a c"),
    ("nodes go before zones",                           "", "z1", "a ready nodes:n2 zones:z1; b ready nodes:me zones:z2", "b", "", "a b", "b"),
    ("none for this node: zones",                       "", "z1", "a ready nodes:n2 zones:z1; b ready nodes:n3 zones:z2", "a", "", "a b", "a"),
    ("one ready without: zones",                        "", "z1", "a ready nodes:me zones:z2; b ready zones:z1", "b", "", "a b", "b"),
    ("nodes without a zone of the own",                 "", "", "a ready nodes:me zones:z1; b ready nodes:n2 zones:z1", "a", "", "a b", "a"),
    ("neither sort holds: no filter",                   "", "z1", "a ready nodes:n2 zones:z2; b ready nodes:n3", "a b", "", "a b", "a b"),
    ("unready ones without change nothing",             "", "z1", "a ready nodes:me; b ready nodes:n2; c unready; d leaving", "a", "", "a b d", "a"),
    ("they never touch the local set",                  "iTP=Local", "z1", "a ready here nodes:n2; b ready nodes:me", "", "a", "a b", "a"),
];

#[test]
fn each_rule_holds() {
    assert!(ROWS.len() >= 40);
    let mut wrong = Vec::new();
    for (rule, asks, zone, endpoints, cluster, local, serving, goes) in ROWS {
        let desired = desired(asks, zone, endpoints);
        let [port] = &desired.ports[..] else { panic!("one port") };
        let names = |flag| {
            let backends = port.pools[0].backends.iter().filter(|backend| backend.flags.contains(flag));
            backends.map(|backend| letter(backend.address)).collect::<Vec<_>>().join(" ")
        };
        let frontend = port.frontends[0];
        let usable = names(frontend.set.flag());
        let verdict = match (usable.is_empty(), frontend.drops_when_empty) {
            (false, _) => usable,
            (true, true) => "drop".into(),
            (true, false) => "refuse".into(),
        };
        let found = [names(BackendFlags::CLUSTER), names(BackendFlags::LOCAL), names(BackendFlags::SERVING), verdict];
        if found != [*cluster, *local, *serving, *goes] {
            wrong.push(format!("{rule} ({asks}: {endpoints})\n  cluster, local, serving, goes to: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn desired(asks: &str, zone: &str, endpoints: &str) -> DesiredService {
    let endpoints: Vec<_> = endpoints.split(';').filter(|text| !text.is_empty()).map(endpoint).collect();
    let mut cluster = Cluster::for_node("me");
    let mut labels = json!({});
    if !zone.is_empty() {
        labels["topology.kubernetes.io/zone"] = zone.into();
    }
    let objects = [
        (Kind::Node, json!({ "metadata": { "name": "me", "labels": labels } })),
        (Kind::Service, asking(asks)),
        (Kind::EndpointSlice, slice("s", "s", json!({ "endpoints": endpoints }))),
    ];
    for (kind, value) in objects {
        cluster.take(Event::Seen(accepted(kind, &value)));
    }
    cluster.compile(&name("s")).desired
}

fn asking(asks: &str) -> Value {
    let mut service = service("s", web("10.96.0.1"));
    for word in asks.split_whitespace() {
        match word {
            "iTP=Local" => service["spec"]["internalTrafficPolicy"] = "Local".into(),
            "eTP=Local" => service["spec"]["externalTrafficPolicy"] = "Local".into(),
            "nodePort" => service["spec"]["ports"][0]["nodePort"] = 30000.into(),
            "externalIP" => service["spec"]["externalIPs"] = json!(["192.0.2.1"]),
            "externalIP6" => service["spec"]["externalIPs"] = json!(["2001:db8::1"]),
            "lb" => service["status"] = ingress(&json!({ "ip": "192.0.2.1" })),
            "lbVip" => service["status"] = ingress(&json!({ "ip": "192.0.2.1", "ipMode": "VIP" })),
            "lbProxy" => service["status"] = ingress(&json!({ "ip": "192.0.2.1", "ipMode": "Proxy" })),
            "lbName" => service["status"] = ingress(&json!({ "hostname": "lb.example" })),
            "lb6" => service["status"] = ingress(&json!({ "ip": "2001:db8::1" })),
            other => panic!("unknown word {other}"),
        }
    }
    service
}

fn ingress(entry: &Value) -> Value {
    json!({ "loadBalancer": { "ingress": [entry] } })
}

fn endpoint(text: &str) -> Value {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name");
    let mut endpoint = json!({ "addresses": [format!("10.1.0.{}", name.as_bytes()[0] - b'a' + 1)] });
    for word in words {
        let conditions = |ready, serving, terminating| json!({ "ready": ready, "serving": serving, "terminating": terminating });
        match word.split_once(':').unwrap_or((word, "")) {
            ("ready", _) => endpoint["conditions"] = conditions(true, true, false),
            ("unready", _) => endpoint["conditions"] = conditions(false, false, false),
            ("warming", _) => endpoint["conditions"] = conditions(false, true, false),
            ("leaving", _) => endpoint["conditions"] = conditions(false, true, true),
            ("gone", _) => endpoint["conditions"] = conditions(false, false, true),
            ("published", _) => endpoint["conditions"] = conditions(true, false, false),
            ("here", _) => endpoint["nodeName"] = "me".into(),
            ("nodes", names) => endpoint["hints"]["forNodes"] = hints(names),
            ("zones", names) => endpoint["hints"]["forZones"] = hints(names),
            other => panic!("unknown word {other:?}"),
        }
    }
    if endpoint["nodeName"].is_null() {
        endpoint["nodeName"] = "n2".into();
    }
    endpoint
}

fn hints(names: &str) -> Value {
    names.split(',').map(|name| json!({ "name": name })).collect()
}

fn letter(address: L4Address) -> String {
    let std::net::IpAddr::V4(ip) = address.addr.into() else { panic!("an IPv4 address") };
    char::from(b'a' + ip.octets()[3] - 1).to_string()
}
