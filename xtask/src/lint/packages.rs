//! Which crate may depend on which.

use cargo_metadata::Package;

/// What a package may not depend on.
enum Never {
    /// On anything.
    Anything,
    /// On these packages.
    On(&'static [&'static str]),
}

struct Rule {
    package: &'static str,
    never: Never,
    why: &'static str,
}

const OUTSIDERS: &[&str] = &["viaduct-common", "probe-ebpf", "viaduct", "aya"];

const RULES: &[Rule] = &[
    Rule { package: "viaduct-common", never: Never::Anything, why: "the rows compile unchanged for BPF and for every host" },
    Rule {
        package: "probe-ebpf",
        never: Never::On(&["viaduct", "aya", "kube", "k8s-openapi", "tokio", "viaduct-lab"]),
        why: "the datapath knows rows and packets, nothing above them",
    },
    Rule { package: "viaduct-lab", never: Never::On(OUTSIDERS), why: "the lab sees the agent as users do: as a process" },
    Rule { package: "xtask", never: Never::On(OUTSIDERS), why: "developer commands must build while the product does not" },
    Rule { package: "viaduct-figures", never: Never::On(OUTSIDERS), why: "figures are the same for whoever measures them" },
    Rule { package: "viaduct-apiserver", never: Never::On(OUTSIDERS), why: "the API server knows Kubernetes, not who asks it" },
];

/// Every broken rule, in words.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for rule in RULES {
        let Some(package) = packages.iter().find(|package| package.name == rule.package) else {
            broken.push(format!("Cargo.toml: there is no package {} any more, but a rule about it", rule.package));
            continue;
        };
        let dependencies: Vec<&str> = package.dependencies.iter().map(|dependency| dependency.name.as_str()).collect();
        broken.extend(forbidden(rule, &dependencies).map(|name| format!("{} depends on {name}: {}", rule.package, rule.why)));
    }
    broken
}

fn forbidden<'a>(rule: &'a Rule, dependencies: &'a [&str]) -> impl Iterator<Item = &'a str> {
    dependencies.iter().copied().filter(|name| match rule.never {
        Never::Anything => true,
        Never::On(names) => names.contains(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_fires() {
        for rule in RULES {
            let bad = match rule.never {
                Never::Anything => "serde",
                Never::On(names) => names[0],
            };
            assert_eq!(forbidden(rule, &["no-matter", bad]).last(), Some(bad), "{}", rule.package);
        }
    }

    #[test]
    fn what_no_rule_names_is_free() {
        assert_eq!(forbidden(&RULES[3], &["anyhow", "viaduct-lab"]).next(), None);
    }
}
