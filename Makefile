# Two commands for a fresh machine with rustup and nothing else. Each does its own set-up and says so.

# What a build needs beside Rust: a C compiler, pkg-config, and the ALSA headers.
BUILD_NEEDS := build-essential pkg-config libasound2-dev
# What the tests need beside that: a second reader of WAV files, a sound server without a sound card, and a browser.
TEST_NEEDS := sox pulseaudio pulseaudio-utils libasound2-plugins chromium chromium-driver

# Where `make install` puts things: program, manual pages and completions below it.
PREFIX ?= $(if $(filter 0,$(shell id -u)),/usr/local,$(HOME)/.local)

.PHONY: play serve soak soak-queue install test test-arm64 test-gpu test-memory test-memory-attention test-memory-others test-serve-load test-serve-kill test-machines measure-machines setup setup-tests setup-memory

## Play a song of the built-in demo model (or write song.wav where there is no loudspeaker).
play: setup
	cargo run --release --package heartstream-cli -- play

## Install the program with its manual pages and completions below PREFIX (default: /usr/local for root, else ~/.local).
install: PROGRAM := target/release/heartstream
install: SHARE := $(DESTDIR)$(PREFIX)/share
install: COMPLETIONS := bash-completion/completions zsh/site-functions fish/vendor_completions.d
install: setup
	cargo build --release --package heartstream-cli
	install -d "$(DESTDIR)$(PREFIX)/bin" $(COMPLETIONS:%="$(SHARE)/%")
	install -m 755 $(PROGRAM) "$(DESTDIR)$(PREFIX)/bin/heartstream"
	$(PROGRAM) man --out "$(SHARE)/man/man1"
	$(PROGRAM) completions bash > "$(SHARE)/bash-completion/completions/heartstream"
	$(PROGRAM) completions zsh > "$(SHARE)/zsh/site-functions/_heartstream"
	$(PROGRAM) completions fish > "$(SHARE)/fish/vendor_completions.d/heartstream.fish"
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) echo "$(PREFIX)/bin is not in PATH: add it to run heartstream by its name" ;; esac

## Serve songs of the built-in demo model, with a page at http://127.0.0.1:7878.
serve: setup
	cargo run --release --package heartstream-cli -- serve

## Sing hundreds of songs, ended in every way: memory, threads and files at the end are those after the tenth (SONGS=1000).
soak: setup
	cargo run --release --example soak

## The same with the engine's queue, AT_ONCE songs at a time, and their waits held against the forecasts
## (SONGS=1000 AT_ONCE=16).
soak-queue: setup
	cargo run --release --example soak_queue

# What the default build leaves out is tested, too, and all targets here have the same features, so that nothing is
# compiled twice.
TESTED := --workspace --features heartstream-cli/remote

## Run every test.
test: setup-tests
	cargo test $(TESTED) --all-targets
	cargo test $(TESTED) --doc

## Build for ARM64, but for integration tests, and run the kernels and the reference's numbers on emulated processors.
test-arm64: setup
	.ci/arm64

## Run what needs an NVIDIA GPU: its kernels beside the processor's, songs however they are written, the reference's numbers.
test-gpu: setup
	cargo test --release --workspace --features cuda --lib --test language_model_on_a_gpu --test songs_in_one_pass --test codec_on_a_gpu -- on_a_gpu
	cargo build --release --features cuda
	for data in half windows; do target/release/heartstream check tests/golden/$$data --device cuda:0 || exit 1; done

## Run the kernels' tests where every access to memory is watched. Valgrind hides AVX-512, so that set is left out there.
## Whether values are initialised is not watched: optimised iterators look at ones that they then make no use of.
## It knows one core: attention, which takes longest, has a process of its own, so that `make -j2 test-memory` has use for two.
test-memory: test-memory-attention test-memory-others
test-memory-attention: setup-memory
	$(call watched,kernels::cpu::kv_store)
test-memory-others: setup-memory
	$(call watched,kernels::cpu --skip kernels::cpu::kv_store)

## Serve the demo model to two hundred clients for five minutes: some slow, some that leave, some that send anything.
test-serve-load: setup
	HEARTSTREAM_LOAD_MODEL=demo HEARTSTREAM_LOAD_CLIENTS=200 HEARTSTREAM_LOAD_SECONDS=300 \
		cargo test --release --workspace --test serve_under_load -- --nocapture --test-threads 1

## Kill the server at fifty moments, and see that nothing finished is lost and the rest goes on to what it would have been.
test-serve-kill: setup
	HEARTSTREAM_KILLS=50 cargo test --release --workspace --test serve_survives_kill -- --nocapture

## Sing with workers on three hosts: network namespaces with delay and loss between. Needs root, and says so where it has none.
test-machines: setup
	HEARTSTREAM_NAMESPACES=1 cargo test $(TESTED) --test machines_in_namespaces -- --nocapture

## Measure flow matching by two workers on this machine beside one: CORES="0,1 2,3" are those of each. Fails below 1.8 times.
measure-machines: setup
	cargo build --release --workspace --bin heartstream --features heartstream-cli/remote
	.ci/measure-machines target/release/heartstream $(or $(CORES),0$(comma)1 2$(comma)3)

setup:
	@$(call install,{ command -v cc && pkg-config --exists alsa; },$(BUILD_NEEDS))
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs, then run make again"; exit 1; }

setup-tests: setup
	@$(call install,{ command -v sox && command -v pulseaudio && command -v parec && command -v chromedriver && command -v chromium && ls /usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so; },$(TEST_NEEDS))

setup-memory: setup
	@$(call install,command -v valgrind,valgrind)

comma := ,

# install(check, packages): installs Debian packages when the check fails on Linux.
define install
if [ "$$(uname -s)" = Linux ] && ! $(1) >/dev/null 2>&1; then \
	echo "setting up: installing $(2)"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	if [ -n "$$sudo" ] && ! command -v sudo >/dev/null; then \
		echo "there is no sudo: install these packages as root, then run make again"; exit 1; \
	fi; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; \
fi
endef

# watched(filter): the kernels' tests that the filter lets through, under Valgrind.
define watched
runner=CARGO_TARGET_$$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)_RUNNER; \
env "$$runner=valgrind --quiet --error-exitcode=1 --undef-value-errors=no" PROPTEST_CASES=8 \
	cargo test $(TESTED) --lib -- $(1)
endef
