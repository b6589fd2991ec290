use std::fs;

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::plan::maglev_table_size;

fn parse(flags: &[&str]) -> Result<Config, ConfigError> {
    let arguments = ["viaduct", "run"].iter().chain(flags);
    match Cli::try_parse_from(arguments).expect("the flags are well-formed").command {
        Command::Run(options) => Config::try_from(*options),
        Command::Status(_) => unreachable!("the first word is run"),
    }
}

fn problem(flags: &[&str]) -> String {
    parse(flags).expect_err("the configuration is bad").to_string()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), text).expect("written");
    file
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_node_name_is_enough() {
    let config = parse(&["--node-name", "n1"]).expect("good");
    assert_eq!(config.node_name, "n1");
    assert_eq!(config.source, Source::Kubernetes { kubeconfig: None, api_server: None });
    assert_eq!(config.datapath.limits, Limits::DEFAULT);
    assert_eq!(config.datapath.lifetimes, Lifetimes::DEFAULT);
    assert!(!config.datapath.trace);
    assert_eq!(config.bpffs, PathBuf::from("/sys/fs/bpf/viaduct"));
    assert_eq!(config.metrics_bind, "127.0.0.1:10249".parse().expect("an address"));
}

/// The help names defaults in words; they must be the real ones.
#[test]
fn the_help_tells_the_truth_about_defaults() {
    let mut command = Cli::command();
    let help = command
        .find_subcommand_mut("run")
        .expect("run")
        .render_help()
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let limits = Limits::DEFAULT;
    for number in [limits.services, limits.frontends, limits.backends, limits.slots, limits.flows, limits.affinities] {
        assert!(help.contains(&format!("[default: {number}]")), "{number} in {help}");
    }
    let seconds = |text: &str| Tick::from_seconds(text.parse::<Seconds>().expect("a span").0);
    let lifetimes = [
        ("without an answer is remembered", Lifetimes::DEFAULT.tcp_new, "120s"),
        ("silent TCP", Lifetimes::DEFAULT.tcp_established, "5d"),
    ];
    for (words, lifetime, default) in lifetimes {
        assert_eq!(lifetime, seconds(default));
        assert!(help.contains(words) && help.contains(&format!("[default: {default}]")));
    }
    assert_eq!(Lifetimes::DEFAULT.tcp_closing, seconds("120s"));
    assert_eq!(Lifetimes::DEFAULT.udp_unreplied, seconds("30s"));
    assert_eq!(Lifetimes::DEFAULT.udp_replied, seconds("120s"));
    assert!(help.contains(&format!("[default: {:#x}]", viaduct_common::Config::DEFAULT.hash_seed)));
    assert!(help.contains(&format!("[default: {}]", options::DEFAULT_BPFFS)));
}

#[test]
fn flags_win_over_the_file() {
    let file = file(
        "node-name: from-file\nmax-backends: 7\nudp-replied-timeout: 3m\nhash-seed: 0x10\npod-links: [cali*, lxc?]\nlog-format: json\n",
    );
    let path = file.path().to_str().expect("UTF-8");
    let config = parse(&["--config", path, "--node-name", "from-flag"]).expect("good");
    assert_eq!(config.node_name, "from-flag");
    assert_eq!(config.datapath.limits.backends, 7);
    assert_eq!(config.datapath.lifetimes.udp_replied, Tick::from_seconds(180));
    assert_eq!(config.datapath.hash_seed, 16);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn an_empty_file_sets_nothing() {
    let file = file("# nothing\n");
    assert!(parse(&["--config", file.path().to_str().expect("UTF-8"), "--node-name", "n"]).is_ok());
}

#[test]
fn a_bad_file_is_named_with_its_key() {
    for (text, expected) in [
        ("max-backend: 1", "unknown field `max-backend`"),
        ("max-backends: 0", "max-backends"),
        ("tcp-new-timeout: soon", "soon"),
        ("config: x", "unknown field `config`"),
        ("log-level: loud", "\"loud\" is no level"),
    ] {
        let file = file(text);
        let message = problem(&["--config", file.path().to_str().expect("UTF-8"), "--node-name", "n"]);
        assert!(message.contains(expected) && message.contains("--config"), "{message}");
    }
    assert!(problem(&["--config", "/does/not/exist", "--node-name", "n"]).contains("/does/not/exist"));
}

#[test]
fn a_bad_value_is_named_with_its_flag_and_a_remedy() {
    for (flags, expected) in [
        (&[][..], "--node-name is missing; give the name"),
        (&["--node-name", ""], "--node-name : is empty"),
        (&["--node-name", "n", "--manifests", "a", "--kubeconfig", "b"], "--manifests and --kubeconfig exclude each other"),
        (&["--node-name", "n", "--manifests", "a", "--api-server", "b"], "--manifests and --api-server exclude each other"),
        (&["--node-name", "n", "--bpffs", "x"], "--bpffs x: is not an absolute path; start it with /"),
        (&["--node-name", "n", "--pod-links", "a,b["], "--pod-links b[:"),
        (&["--node-name", "n", "--max-slots", "4294967295"], "--max-slots 4294967295: is more than"),
        (&["--node-name", "n", "--max-affinities", "67108865"], "--max-affinities 67108865: is more than 67108864; give"),
        (&["--node-name", "n", "--max-services", "1048577"], "--max-services 1048577: is more than 1048576; give"),
    ] {
        let message = problem(flags);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn spans_of_time_are_seconds_or_have_units() {
    for (text, seconds) in [("90", 90), ("90s", 90), ("2m", 120), ("5d", 432_000), ("1h 30m", 5400)] {
        assert_eq!(text.parse(), Ok(Seconds(seconds)));
    }
    for text in ["0", "500ms", "", "never", "99999999999", "-1"] {
        assert!(text.parse::<Seconds>().is_err(), "{text}");
    }
}

#[test]
fn levels_are_overall_or_by_part() {
    let trace = |text: &str| text.parse::<Levels>().expect("good").0.would_enable(DATAPATH_TARGET, &tracing::Level::TRACE);
    assert!(trace("trace") && trace("info,datapath=trace") && trace("datapath=trace,warn"));
    assert!(!trace("debug") && !trace("info") && !trace("trace,datapath=info"));
    let quiet: Levels = "debug".parse().expect("good");
    assert!(quiet.0.would_enable("viaduct::sync", &tracing::Level::DEBUG));
    assert!(!quiet.0.would_enable("hyper", &tracing::Level::INFO));
}

/// A service port takes a frontend for itself and one for its VIP, and a run of slots.
fn fits(services: u32, endpoints: u32) -> bool {
    let limits = Limits::DEFAULT;
    limits.services >= services
        && limits.frontends >= 2 * services
        && limits.backends > services * endpoints
        && limits.slots >= services * maglev_table_size(endpoints).next_multiple_of(2)
}

#[test]
fn large_clusters_fit_the_defaults() {
    assert!(fits(10_000, 100) && fits(50_000, 10) && fits(50_000, 1) && fits(65_000, 7));
    assert!(!fits(10_000, 105), "the defaults are not larger than they must be");
}

#[test]
fn the_filter_has_room_for_the_backends_up_to_a_limit() {
    assert_eq!(Limits::DEFAULT.filter_words(), abi::FILTER_WORDS);
    assert_eq!(Limits { backends: 1, ..Limits::DEFAULT }.filter_words(), 1);
    assert_eq!(Limits { backends: 1 << 13, ..Limits::DEFAULT }.filter_words(), 1 << 11);
}

#[test]
fn counters_take_no_more_memory_where_there_are_many_cpus() {
    let rows = |cpus| Limits::DEFAULT.counter_rows(cpus);
    assert_eq!(rows(8), (CounterRows(65_537), CounterRows(131_072)), "everyone is counted");
    for cpus in [1, 2, 16, 64, 256] {
        let (services, backends) = rows(cpus);
        assert!((services.0 + backends.0) * cpus * 40 <= 64 << 20 && services.0 >= 2_000, "{cpus}");
    }
    let small = Limits { services: 10, backends: 20, ..Limits::DEFAULT };
    assert_eq!(small.counter_rows(64), (CounterRows(11), CounterRows(21)));
}
