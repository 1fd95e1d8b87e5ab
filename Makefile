# Two commands for a fresh machine with rustup and nothing else. Each does its own set-up and says so.

# What a build needs beside Rust: a C compiler, pkg-config, and the ALSA headers.
NEEDS := build-essential pkg-config libasound2-dev

.PHONY: play test setup

## Play a song of the model inside the program (or write song.wav where there is no loudspeaker).
play: setup
	cargo run --release --package heartstream -- play --max-seconds 30

## Run every test.
test: setup
	cargo test --workspace --all-targets
	cargo test --workspace --doc

setup:
	@if [ "$$(uname -s)" = Linux ] && ! { command -v cc && pkg-config --exists alsa; } >/dev/null 2>&1; then \
		echo "setting up: installing $(NEEDS)"; \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(NEEDS) >/dev/null; \
	fi
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs, then run make again"; exit 1; }
