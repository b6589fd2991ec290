//! Programs that run on a node and are watched line by line.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::Namespace;

/// Lines of output that an error quotes.
const TAIL: usize = 20;

/// A program to be started.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    echo: bool,
}

impl Program {
    /// The program at `path`, without arguments.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), args: Vec::new(), env: Vec::new(), echo: false }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Writes each line of output to standard error too.
    #[must_use]
    pub fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// A program that was started. It is killed when this is dropped, and when the node or this process ends in any way.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    lines: watch::Receiver<Vec<Arc<str>>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    pub(crate) async fn start(namespace: &Namespace, program: Program) -> Result<Self> {
        let name = program.name();
        namespace.run(move || async move { spawn(&program) }).await.with_context(|| format!("cannot start {name}"))
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Every line that it wrote so far, to standard output and standard error, in the order of arrival.
    pub fn lines(&self) -> Vec<Arc<str>> {
        self.lines.borrow().clone()
    }

    /// Its last lines, for the message of a failure.
    pub fn tail(&self) -> String {
        let lines = self.lines.borrow();
        let tail: Vec<&str> = lines[lines.len().saturating_sub(TAIL)..].iter().map(AsRef::as_ref).collect();
        format!("{} wrote last:\n{}", self.name, tail.join("\n"))
    }

    /// How it ended, if it did.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Waits for a line that holds `text`, an earlier one too, and returns it. Fails with the last lines when the program
    /// ends without it or the time is up.
    pub async fn wait_for_line(&self, text: &str, patience: Duration) -> Result<Arc<str>> {
        self.wait_for_line_after(0, text, patience).await
    }

    /// The same, among the lines after the first `seen`.
    pub async fn wait_for_line_after(&self, seen: usize, text: &str, patience: Duration) -> Result<Arc<str>> {
        let find = |lines: &Vec<Arc<str>>| lines.iter().skip(seen).find(|line| line.contains(text)).cloned();
        let mut lines = self.lines.clone();
        let found = match timeout(patience, lines.wait_for(|lines| find(lines).is_some())).await {
            Ok(Ok(lines)) => find(&lines).context("no such line"),
            Ok(Err(_)) => Err(anyhow!("it ended")),
            Err(_) => Err(anyhow!("{patience:?} went by")),
        };
        found.with_context(|| format!("{} did not write {text:?}; {}", self.name, self.tail()))
    }

    /// Waits until it ends by itself.
    pub async fn wait(&self, patience: Duration) -> Result<ExitStatus> {
        let mut status = self.status.clone();
        match timeout(patience, status.wait_for(Option::is_some)).await {
            Ok(Ok(status)) => status.context("no status"),
            Ok(Err(_)) => Err(anyhow!("{} was lost with its node", self.name)),
            Err(_) => Err(anyhow!("{} runs for longer than {patience:?}; {}", self.name, self.tail())),
        }
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn terminate(&self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(patience).await
    }

    /// Ends it without warning (SIGKILL) and waits until it is gone.
    pub async fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.wait(Duration::from_secs(10)).await?;
        match status.signal() {
            Some(libc::SIGKILL) => Ok(()),
            _ => bail!("{} had ended before: {status}; {}", self.name, self.tail()),
        }
    }

    /// Sends a signal; fails if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The id is not another process's: the status is set as soon as the kernel may give it away.
        match self.status() {
            None => kill(self.pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name)),
            Some(status) => bail!("{} has ended: {status}; {}", self.name, self.tail()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by now, and there is nobody left to tell.
        let _ = self.signal(Signal::SIGKILL);
    }
}

/// Starts the program in the calling thread's namespaces, which the child inherits.
fn spawn(program: &Program) -> Result<Process> {
    let mut child = command(program).spawn()?;
    let pid = Pid::from_raw(child.id().context("ended at once")?.cast_signed());
    let (write, lines) = watch::channel(Vec::new());
    let (ended, status) = watch::channel(None);
    let write = Arc::new(write);
    let prefix = program.echo.then(|| program.name());
    if let Some(output) = child.stdout.take() {
        spawn_local(collect(output, write.clone(), prefix.clone()));
    }
    if let Some(output) = child.stderr.take() {
        spawn_local(collect(output, write, prefix));
    }
    spawn_local(reap(Kept(child), ended));
    Ok(Process { name: program.name(), pid, lines, status })
}

fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    #[expect(unsafe_code, reason = "only the child itself can ask to die with the thread that started it")]
    // SAFETY: between fork and exec this makes one system call, which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    command
}

async fn collect(output: impl AsyncRead + Unpin, write: Arc<watch::Sender<Vec<Arc<str>>>>, prefix: Option<String>) {
    let mut lines = BufReader::new(output).lines();
    // Output that is no text ends the collection, not the program.
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(prefix) = &prefix {
            eprintln!("{prefix}: {line}");
        }
        write.send_modify(|lines| lines.push(line.into()));
    }
}

/// A child that is killed and reaped when it is dropped, so that not even a zombie remains of it.
#[derive(Debug)]
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // Both fail once the child was reaped, and then there is nothing to do.
        let _ = self.0.start_kill();
        while let Ok(None) = self.0.try_wait() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn reap(mut child: Kept, ended: watch::Sender<Option<ExitStatus>>) {
    match child.0.wait().await {
        Ok(status) => drop(ended.send_replace(Some(status))),
        Err(error) => tracing::warn!(%error, "cannot wait for a child"),
    }
}
