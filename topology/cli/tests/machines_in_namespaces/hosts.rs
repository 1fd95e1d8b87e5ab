//! Hosts: network namespaces of this machine, each with a TUN device on the wire.

use std::{fs::File, path::Path, process::Command, thread};

use nix::{
    sched::{CloneFlags, setns},
    unistd::Uid,
};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The hosts; they are gone when this is dropped.
pub struct Hosts(Vec<String>);

/// The address of a host.
pub fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

/// Why there can be no hosts here; `None` where there can be.
pub fn missing() -> Option<&'static str> {
    if !Uid::effective().is_root() {
        return Some("it needs root");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun");
    }
    let has_ip = Command::new("ip").args(["netns", "list"]).output().is_ok_and(|output| output.status.success());
    (!has_ip).then_some("there is no program ip with netns (iproute2)")
}

impl Hosts {
    /// Makes `count` hosts, and gives the devices that are their ends of the wire.
    pub fn new(count: usize) -> (Self, Vec<SyncDevice>) {
        let names: Vec<String> = (0..count).map(|host| format!("heartstream-{}-{host}", std::process::id())).collect();
        let hosts = Self(names);
        let devices = hosts.0.iter().enumerate().map(|(host, name)| {
            ip(&["netns", "add", name]);
            let file = namespace(name);
            // A device belongs to the namespace in which it is made; its file may be used anywhere.
            let made = thread::spawn(move || {
                enter(&file);
                DeviceBuilder::new().name("wire").mtu(1400).build_sync().expect("a TUN device")
            });
            let device = made.join().expect("a thread");
            let own = format!("{}/24", address(host));
            for arguments in [
                ["addr", "add", &own, "dev", "wire"].as_slice(),
                &["link", "set", "wire", "up"],
                &["link", "set", "lo", "up"],
            ] {
                ip(&[&["-n", name], arguments].concat());
            }
            device
        });
        let devices = devices.collect();
        (hosts, devices)
    }

    /// Runs a program on a host.
    pub fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0[host], program]);
        command
    }

    /// Has this thread, and those that it starts, be on a host.
    pub fn enter(&self, host: usize) {
        enter(&namespace(&self.0[host]));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).status(); // a failed test may not have made all
        }
    }
}

fn namespace(name: &str) -> File {
    File::open(format!("/run/netns/{name}")).expect("a namespace")
}

fn enter(namespace: &File) {
    setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("the program ip");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
