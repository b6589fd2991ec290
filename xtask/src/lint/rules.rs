//! The rules of the architecture, one row each. Where a rule moves, its row moves with it.

/// What a file may not do.
pub(super) enum Check {
    /// Name one of these paths, or import something above one.
    Paths(&'static [&'static str]),
    /// Hold unsafe code.
    Unsafe,
    /// Switch a lint off without `expect` and a reason.
    SilentExceptions,
    /// Have one of these words in its path.
    Words(&'static [&'static str]),
    /// Have more lines than this, tests not counted.
    Length(usize),
}

/// One rule.
pub(super) struct Rule {
    /// What it is called.
    pub(super) name: &'static str,
    /// Where it holds (globs from the workspace's root).
    pub(super) within: &'static [&'static str],
    /// Where it does not.
    pub(super) except: &'static [&'static str],
    /// What it forbids.
    pub(super) check: Check,
    /// What it is for; stands behind every broken line.
    pub(super) why: &'static str,
}

use Check::{Length, Paths, SilentExceptions, Unsafe, Words};

/// All of them.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "only the watcher talks to the API server",
        within: &["agent/src/**"],
        except: &["agent/src/watch/**"],
        check: Paths(&["kube", "kube_client", "kube_runtime"]),
        why: "only agent/src/watch/ talks to the API server",
    },
    Rule {
        name: "aya stays at the edge",
        within: &["agent/src/**"],
        except: &[
            "agent/src/attach/**",
            "agent/src/features.rs",
            "agent/src/load.rs",
            "agent/src/object.rs",
            "agent/src/preflight.rs",
            "agent/src/store/kernel.rs",
            "agent/src/store/kernel/**",
            "agent/src/wire.rs",
        ],
        check: Paths(&["aya", "aya_log", "aya_obj"]),
        why: "the kernel is replaceable only while the store, the loader, the attacher and the checks at start alone know aya",
    },
    Rule {
        name: "only the store writes maps",
        within: &["agent/src/**"],
        except: &["agent/src/load.rs", "agent/src/preflight.rs", "agent/src/store/kernel.rs", "agent/src/store/kernel/**"],
        check: Paths(&["aya::maps", "bpf::update_batch"]),
        why: "only agent/src/store/ writes maps; the loader creates them, and the checks at start ask which kinds there are",
    },
    Rule {
        name: "netlink stays at the links",
        within: &["agent/src/**"],
        except: &["agent/src/attach/**", "agent/src/fast_path/observe/**", "agent/src/links/**"],
        check: Paths(&["rtnetlink"]),
        why: "only agent/src/links/, agent/src/attach/ and agent/src/fast_path/observe/ ask the kernel about links",
    },
    Rule {
        name: "the fast path decides purely",
        within: &["agent/src/fast_path/**"],
        except: &["agent/src/fast_path/driver.rs", "agent/src/fast_path/observe/**"],
        check: Paths(IMPURE),
        why: "what the fast path may do is a pure function of facts: only the observer asks the kernel, only the driver acts",
    },
    Rule {
        name: "the store attaches no program",
        within: &["agent/src/store/**"],
        // It runs a program that is attached nowhere: nothing else can take the lock of a bucket of flows.
        except: &["agent/src/store/kernel/flows.rs"],
        check: Paths(&["aya::programs", "crate::attach", "crate::links", "crate::manifests", "crate::watch", "crate::sync"]),
        why: "the store does what a plan says and knows nothing else",
    },
    Rule {
        name: "model is pure",
        within: &["agent/src/model/**"],
        except: &[],
        check: Paths(IMPURE),
        why: "the model is a pure function of Kubernetes objects: no I/O, no clock, no async",
    },
    Rule {
        name: "plan is pure",
        within: &["agent/src/plan/**"],
        except: &[],
        check: Paths(IMPURE),
        why: "a plan is a pure function of desired and observed state: no I/O, no clock, no async",
    },
    Rule {
        name: "model knows nothing below it",
        within: &["agent/src/model/**"],
        except: &[],
        check: Paths(&[
            "crate::attach",
            "crate::bpf",
            "crate::links",
            "crate::load",
            "crate::manifests",
            "crate::plan",
            "crate::store",
            "crate::sync",
            "crate::watch",
        ]),
        why: "one way: watch -> model -> plan -> store -> maps",
    },
    Rule {
        name: "plan knows nothing below it",
        within: &["agent/src/plan/**"],
        except: &[],
        check: Paths(&[
            "crate::attach",
            "crate::bpf",
            "crate::links",
            "crate::load",
            "crate::manifests",
            "crate::store",
            "crate::sync",
            "crate::watch",
            "k8s_openapi",
        ]),
        why: "one way: watch -> model -> plan -> store -> maps; a plan knows rows, not Kubernetes",
    },
    Rule {
        name: "watch programs nothing",
        within: &["agent/src/manifests/**", "agent/src/watch/**"],
        except: &[],
        check: Paths(&["crate::attach", "crate::links", "crate::load", "crate::plan", "crate::store"]),
        why: "one way: a source of objects hands them on and decides nothing",
    },
    Rule {
        name: "the wall clock decides nothing",
        within: &["agent/src/**"],
        except: &["agent/src/metrics/**"],
        check: Paths(&["std::time::SystemTime"]),
        why: "a clock that jumps must change nothing but timestamps: wait and measure by std::time::Instant or tokio's",
    },
    Rule {
        name: "anyhow ends at main",
        within: &["agent/src/**", "common/src/**", "probe-ebpf/src/**"],
        except: &["agent/src/main.rs"],
        check: Paths(&["anyhow"]),
        why: "each layer has its own error type; anyhow is for main, developer commands and tests",
    },
    Rule {
        name: "the datapath is host-testable",
        within: &["probe-ebpf/src/**"],
        except: &["probe-ebpf/src/host/**", "probe-ebpf/src/kernel/**"],
        check: Paths(&["aya_ebpf", "aya_log_ebpf", "std"]),
        why: "the stages compile for BPF and for the host; only src/kernel/ knows BPF, only src/host/ needs a host",
    },
    Rule {
        name: "unsafe has its places",
        within: &["**"],
        except: &[
            "agent/src/allocator.rs",
            "agent/src/bpf.rs",
            "agent/src/wire.rs",
            "common/src/flow_table.rs",
            "common/src/flow_table/tests.rs",
            "common/src/plain.rs",
            "probe-ebpf/src/headers.rs",
            "probe-ebpf/src/host/frame.rs",
            "probe-ebpf/src/kernel/**",
            "xtask/lab/src/offloads.rs",
            "xtask/lab/src/process.rs",
            "xtask/lab/src/traffic/sockopt.rs",
        ],
        check: Unsafe,
        why: "unsafe code lives in the few files that must own it (listed in xtask/src/lint/rules.rs)",
    },
    Rule {
        name: "exceptions have reasons",
        within: &["**"],
        except: &[],
        check: SilentExceptions,
        why: "an exception from a lint is `#[expect(…, reason = \"…\")]`",
    },
    Rule {
        name: "names say what a thing is",
        within: &["**"],
        except: &[],
        check: Words(&["util", "utils", "helper", "helpers", "manager", "managers", "data"]),
        why: "a name of that kind says nothing; name what the file is about",
    },
    Rule {
        name: "files are short",
        within: &["**"],
        except: &[],
        check: Length(500),
        why: "a file has one reason to change and at most 500 lines without tests; aim at 400",
    },
];

/// What reaches the outside world, or time.
const IMPURE: &[&str] = &[
    "aya",
    "futures",
    "kube",
    "libc",
    "nix",
    "rtnetlink",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
];
