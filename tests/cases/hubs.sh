# shellcheck shell=bash
# Hubs that misbehave, the cache of the hub's own programs, and what was planted in the directory; sourced by tests/cases/run.

# hub MODE: starts one of hub.py's; $address is where, and $hub its process.
hub() {
	rm -f .port
	python3 "$cases/hub.py" "$1" "$tiny" >.port 2>/dev/null &
	hub=$!
	hubs+=("$hub")
	# As long as a busy machine may take to start Python, unless it has failed.
	for _ in $(seq 1200); do [ ! -s .port ] && kill -0 "$hub" 2>/dev/null || break; sleep 0.1; done
	address=http://127.0.0.1:$(cat .port)
}
# pulled NAME [VARIABLE=VALUE...]: a machine that has nothing but a home of that name pulls from $address into $home/model.
pulled() {
	home=$place/$1
	mkdir -p "$home"
	local more=("${@:2}")
	env -u ALL_PROXY -u all_proxy -u HTTPS_PROXY -u https_proxy -u HTTP_PROXY -u http_proxy -u no_proxy -u HF_TOKEN \
		-u HF_HUB_CACHE -u HF_HUB_OFFLINE NO_PROXY='*' HF_HOME="$home" HF_ENDPOINT="$address" "${more[@]}" \
		timeout 300 "$program" pull --out "$home/model" >.out 2>.err </dev/null
	echo $? >.code
}
# whole: what was pulled is the model, and nothing else.
whole() { diff -r -x pulled.json "$tiny" "$home/model" >/dev/null; }

if command -v python3 >/dev/null; then
	# What takes half a minute runs beside all other rows.
	hub hang
	(
		mkdir hanging && cd hanging || exit
		HF_HOME=$PWD HF_ENDPOINT=$address NO_PROXY='*' timeout 300 "$program" pull --out model >.out 2>.err </dev/null
		echo $? >.code
	) &
	hanging=$!
	hub_that_hangs() {
		wait "$hanging"
		cp hanging/.out hanging/.err hanging/.code .
		outcome K7 "hang" 1 "does not answer .no answer within 10 seconds.*next try" "cannot reach 127.0.0.1" "HF_ENDPOINT"
	}
	late+=(hub_that_hangs)

	for mode in plain nolength head405; do
		hub $mode; pulled $mode; outcome K7 "$mode" 0
		holds K7 "… and the model is whole" whole
	done
	hub html; pulled html; outcome K7 "html" 1 "web page" "log in"
	holds K7 "… and no page is kept" sh -c "! grep -rqs 'log in' '$home/model'"
	hub plain; pulled proxy NO_PROXY= HTTP_PROXY=http://me:secret@127.0.0.1:1
	outcome K7 "HTTP_PROXY" 1 "127.0.0.1:1 .HTTP_PROXY" "!secret"

	for offline in HF_HUB_OFFLINE=1 HF_ENDPOINT=http://127.0.0.1:1; do
		pulled "empty${offline%%=*}" "$offline"
		outcome K4 "nothing in the cache, $offline" 1 "HF_HUB_OFFLINE|cannot reach"
		python3 "$cases/spoil.py" cache "$tiny" "$place/cached${offline%%=*}"
		pulled "cached${offline%%=*}" "$offline"
		outcome K4 "all of it in the cache, $offline" 0
		holds K4 "… and the model is whole" whole
	done

	# Planted in the directory.
	hub plain
	echo mine >victim
	hash=$(sha256sum "$tiny/HeartMuLa-oss-3B/model.safetensors" | head -c 16)
	mkdir -p planted/model/HeartMuLa-oss-3B
	ln -s "$place/victim" "planted/model/HeartMuLa-oss-3B/model.safetensors.$hash.partial"
	pulled planted; outcome losses "a partial file that is a link" 1 "cannot write.*partial"
	rm "planted/model/HeartMuLa-oss-3B/model.safetensors.$hash.partial"
	ln -s "$place/victim" planted/model/pulled.json.new
	pulled planted; outcome losses "a record that is a link" 1 "cannot write.*pulled.json.new"
	holds losses "… to a file that is as it was" grep -qx mine victim
	rm -f planted/model/pulled.json*
	mkfifo planted/model/pulled.json
	pulled planted; outcome losses "a record that is a pipe" 0
	holds losses "… and the model is whole" whole
else
	echo "skipped: hubs that misbehave are Python programs"
fi
