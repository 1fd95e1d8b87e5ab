//! A loudspeaker that is heard without one: PulseAudio with a null sink, ALSA's default routed to it, its monitor
//! recorded.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// What must be installed, as Debian calls it.
const PACKAGES: &str = "pulseaudio pulseaudio-utils libasound2-plugins";
/// Longest wait for a program to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether it is.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A sound server of its own, with one sink.
pub struct NullSink {
    folder: tempfile::TempDir,
    rate: u32,
    server: Child,
}

/// Everything that is played, as long as it runs.
pub struct Recording {
    recorder: Child,
    path: PathBuf,
}

impl NullSink {
    /// Starts the server with a stereo sink of floats at `rate` Hz.
    pub fn start(rate: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("runtime")).expect("a folder");
        fs::write(folder.path().join("alsa.conf"), "pcm.!default { type pulse }\nctl.!default { type pulse }\n")
            .expect("a file");
        let server = Self::spawn(folder.path(), rate);
        let sink = Self { folder, rate, server };
        sink.wait_until_ready();
        sink
    }

    /// Without rewinds: with them, a stream that starts replaces silence that the recorder already has.
    fn spawn(folder: &Path, rate: u32) -> Child {
        let mut server = Command::new("pulseaudio");
        environment(&mut server, folder);
        server.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "-L"]);
        server.arg(format!("module-null-sink sink_name=null rate={rate} channels=2 format=float32le norewinds=1"));
        server.args(["-L", "module-native-protocol-unix"]);
        spawn(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn wait_until_ready(&self) {
        wait_until("the sound server answers", || {
            let mut ask = Command::new("pactl");
            self.environment(&mut ask);
            ask.args(["list", "short", "sinks"]).stderr(Stdio::null());
            let answer = ask.output().unwrap_or_else(|error| missing("pactl", &error));
            String::from_utf8_lossy(&answer.stdout).contains("null")
        });
    }

    /// Lets a program play on this sink.
    pub fn environment(&self, command: &mut Command) {
        environment(command, self.folder.path());
    }

    /// Pulls the cable.
    pub fn kill(&mut self) {
        self.server.kill().expect("the server runs");
        self.server.wait().expect("the server ends");
        // A killed server leaves its socket, which the next one would take for a server that runs.
        let _ = fs::remove_dir_all(self.folder.path().join("runtime/pulse"));
    }

    /// Puts the cable back.
    pub fn restart(&mut self) {
        self.server = Self::spawn(self.folder.path(), self.rate);
        self.wait_until_ready();
    }

    /// Records the sink into a file called `name`.
    pub fn record(&self, name: &str) -> Recording {
        let path = self.folder.path().join(name);
        let file = fs::File::create(&path).expect("a file");
        let mut recorder = Command::new("parec");
        self.environment(&mut recorder);
        recorder.args(["-d", "null.monitor", "--format=float32le", "--channels=2", "--latency-msec=20"]);
        recorder.arg(format!("--rate={}", self.rate));
        let recorder = spawn(recorder.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()));
        let recording = Recording { recorder, path };
        wait_until("the recorder records", || recording.bytes() > 0);
        recording
    }
}

impl Drop for NullSink {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Recording {
    fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// What was recorded, interleaved. Half a second more is waited for: what was played last is still on
    /// its way.
    pub fn stop(mut self, rate: u32) -> Vec<f32> {
        let until = self.bytes() + u64::from(rate) * 4;
        wait_until("the recorder has the end", || self.bytes() >= until);
        self.end();
        let bytes = fs::read(&self.path).expect("the recording");
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
    }

    fn end(&mut self) {
        let _ = self.recorder.kill();
        let _ = self.recorder.wait();
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where the sound server of `folder` is found, by itself, by its clients, and through ALSA.
fn environment(command: &mut Command, folder: &Path) {
    let alsa = format!("/usr/share/alsa/alsa.conf:{}", folder.join("alsa.conf").display());
    command.env("HOME", folder).env("XDG_RUNTIME_DIR", folder.join("runtime")).env("ALSA_CONFIG_PATH", alsa);
    for other in ["PULSE_SERVER", "PULSE_SINK", "PULSE_RUNTIME_PATH", "PULSE_LATENCY_MSEC", "XDG_CONFIG_HOME"] {
        command.env_remove(other);
    }
}

fn spawn(command: &mut Command) -> Child {
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().unwrap_or_else(|error| missing(&program, &error))
}

fn missing(program: &str, error: &std::io::Error) -> ! {
    panic!("{program} does not start ({error}): install {PACKAGES}, and this test records what is played")
}

/// Waits for something that takes its time, but not for ever.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "waited for {PATIENCE:?} until {what}; are these installed: {PACKAGES}?");
        sleep(BETWEEN_LOOKS);
    }
}
