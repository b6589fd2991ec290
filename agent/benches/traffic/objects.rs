//! The Services as Kubernetes objects.

use serde_json::{Value, json};
use viaduct_apiserver::Generator;

use crate::cluster::{Cluster, ENDPOINTS, Port};

/// All of them, Services first.
pub(crate) fn all(cluster: &Cluster) -> Vec<Value> {
    let (family, generator) = (cluster.family, Generator { services: cluster.services.len() as u32, endpoints: ENDPOINTS });
    let services = cluster.services.iter().map(|service| {
        let mut object = Generator::service(service.number);
        let spec = &mut object["spec"];
        spec["clusterIP"] = json!(service.vip);
        spec["clusterIPs"] = json!([service.vip]);
        spec["ipFamilies"] = json!([family.to_string()]);
        spec["ports"] = service.ports.iter().map(of_service).collect();
        object
    });
    let slices = cluster.services.iter().map(|service| {
        let mut object = generator.slice(service.number);
        object["addressType"] = json!(family.to_string());
        for (index, address) in service.endpoints.iter().enumerate() {
            object["endpoints"][index]["addresses"] = json!([address]);
        }
        object["ports"] = service.ports.iter().map(of_slice).collect();
        object
    });
    services.chain(slices).collect()
}

fn of_service(port: &Port) -> Value {
    json!({ "name": port.name, "port": port.number, "protocol": port.protocol.upper(), "targetPort": port.target })
}

fn of_slice(port: &Port) -> Value {
    json!({ "name": port.name, "port": port.target, "protocol": port.protocol.upper() })
}
