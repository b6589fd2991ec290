//! Child processes whose command line stands in every error.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs `command` with this process's own output and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to its standard output, without white space at the end.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("could not start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", line(command), output.status);
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no UTF-8", line(command)))?;
    Ok(text.trim_end().to_owned())
}

/// The command as one would type it, environment first.
pub(crate) fn line(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(key, value)| Some(format!("{}={}", key.to_string_lossy(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    set.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_command_as_one_would_type_it() {
        let mut command = Command::new("sh");
        command.env("WHAT", "it's").args(["-c", "exit 3"]);
        let error = run(&mut command).unwrap_err().to_string();
        assert_eq!(error, r"`WHAT='it'\''s' sh -c 'exit 3'` failed: exit status: 3");
    }

    #[test]
    fn output_comes_without_its_last_newline() {
        assert_eq!(read(Command::new("echo").arg("viaduct")).unwrap(), "viaduct");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = read(&mut Command::new("no-such-program-of-viaduct")).unwrap_err().to_string();
        assert_eq!(error, "could not start `no-such-program-of-viaduct`");
    }
}
