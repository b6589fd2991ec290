//! Values of flags: each can be written on the command line and in the file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::levels_for;

/// How programs are attached to a link.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// tcx where the kernel has it, clsact otherwise.
    #[default]
    Auto,
    /// tcx links (Linux 6.6 and later).
    Tcx,
    /// Filters of the clsact qdisc.
    Clsact,
}

/// When translated packets may pass the kernel's stack by.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, clap::ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FastPathMode {
    /// Where nothing is seen that they would pass by.
    #[default]
    Auto,
    /// Wherever it can be done, whatever they pass by.
    On,
    /// Never.
    Off,
}

/// What a command prints.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, clap::ValueEnum)]
pub enum OutputForm {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A number or a text, as YAML has them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(u64),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// Lets a value be read from the file just as from the command line.
macro_rules! from_scalar {
    ($type:ty) => {
        impl TryFrom<Scalar> for $type {
            type Error = String;

            fn try_from(scalar: Scalar) -> Result<Self, String> {
                let text = scalar.to_string();
                text.parse().map_err(|problem| format!("{text}: {problem}"))
            }
        }
    };
}

/// A span of time in whole seconds, at least one: `90`, `90s`, `2m`, `5d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Seconds(pub u32);
from_scalar!(Seconds);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// The datapath counts in ticks of 32 bits.
        const MOST: u64 = 1 << 31;
        let seconds = match text.parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                humantime::parse_duration(text).map_err(|error| format!("{error}; write for instance 90s or 5d"))?.as_secs()
            }
        };
        match seconds {
            0 => Err("is shorter than a second; give at least 1s".into()),
            MOST.. => Err(format!("is longer than the {MOST} seconds that can be counted")),
            _ => Ok(Self(seconds as u32)),
        }
    }
}

/// A 32-bit number, decimal or hexadecimal with `0x`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Seed(pub u32);
from_scalar!(Seed);

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map(Self).map_err(|error| format!("{error}; give a number from 0 to 0xffffffff"))
    }
}

/// What is logged: a level, or levels by part as in `info,datapath=trace`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Levels(pub Targets);
from_scalar!(Levels);

impl Default for Levels {
    fn default() -> Self {
        Self(levels_for(LevelFilter::INFO))
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = |text: &str| {
            let parsed = text.parse::<LevelFilter>();
            parsed.map_err(|_| format!("{text:?} is no level; use off, error, warn, info, debug or trace"))
        };
        let mut overall = LevelFilter::INFO;
        let mut by_part = Vec::new();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None => overall = level(part)?,
                Some((target, text)) => by_part.push((target.to_owned(), level(text)?)),
            }
        }
        Ok(Self(levels_for(overall).with_targets(by_part)))
    }
}
