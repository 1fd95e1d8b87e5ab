# Rows of files, checkpoints, hubs and limits; sourced by tests/cases/run.

lm=HeartMuLa-oss-3B
codec=HeartCodec-oss

# model NAME: a copy of the smallest model to spoil, which becomes the current one.
model() { rm -rf "$1"; cp -r "$tiny" "$1"; current=$PWD/$1; }
# sing [OPTION...]: renders a short song with the current model.
sing() { heartstream render -q --model "$current" -o song.wav --max-seconds 0.3 --top-k 5 --tags piano --lyrics la "$@"; }
# limited LIMIT COMMAND...: runs the program with a limit of the shell.
limited() { (eval "ulimit $1" && shift && exec "$program" "$@") >"$place/.out" 2>"$place/.err" </dev/null; echo $? >"$place/.code"; }

# --- K4: parts of a checkpoint
model names; mv names/$lm names/HeartMuLa-oss-3B-happy-new-year; mv names/$codec names/HeartCodec-oss-20260123
sing; outcome K4 "folders as on the hub" 0
current=$tiny/$lm; sing; outcome K4 "the folder of a part as the model" 0
mkdir outer; cp -r "$tiny" outer/unpacked; current=$PWD/outer
sing; outcome K4 "a directory with the model's in it" 0
model otherv; mv otherv/$lm/model.safetensors otherv/$lm/HeartMuLa-oss-3B-bf16.safetensors
sing; outcome K4 "weights of another name" 0
model bin; mv bin/$lm/model.safetensors bin/$lm/pytorch_model.bin
sing; outcome K4 "weights of PyTorch" 1 "pytorch_model.bin" "only safetensors"
model none; rm -r none/$codec
sing; outcome K4 "a part that is missing" 1 "holds HeartMuLa-oss-3B, gen_config.json, tokenizer.json"

# --- K5: foreign files
model lfs; printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4987654321\n' >lfs/$lm/model.safetensors
sing; outcome K5 "a pointer of Git LFS" 1 "Git LFS" "git lfs pull"
model html; echo '<!DOCTYPE html><html></html>' >html/$lm/model.safetensors
sing; outcome K5 "a web page" 1 "web page" "download it again"
model gguf; printf 'GGUF\003\0\0\0' >gguf/$lm/model.safetensors
sing; outcome K5 "a GGUF file" 1 "GGUF" "heartstream pull"
model zeros; head -c 4096 /dev/zero >zeros/$lm/model.safetensors
sing; outcome K5 "zeros" 1 "zeros at its beginning" "Download the file again"

# --- K8: errors of the disk
current=$tiny
sing --save-codes /nowhere/song.codes; outcome K8 "codes into a folder that is not there" 1 "in a directory that exists"
short=(--model "$tiny" --seed 3 --top-k 5 --tags piano --lyrics la)
"$program" render -q "${short[@]}" --max-seconds 0.3 -o - >whole.wav
# Pipes have no limit, so the shell carries the song and what is said.
said=$( { ( ulimit -f 0; exec "$program" render "${short[@]}" --max-seconds 0.3 -o - --save-codes full.codes ) | cat >full.wav
	echo "${PIPESTATUS[0]}" >.code; } 2>&1 </dev/null )
printf '%s\n' "$said" >.err
outcome K8 "a full disk under --save-codes" 0 "the song goes on without its codes being kept" "ulimit -f"
holds K8 "… and the song is whole" cmp -s full.wav whole.wav
(
	trap '' XFSZ
	ulimit -f 1
	exec "$program" convert -q --model "$tiny" --out converted
) >.out 2>.err; echo $? >.code
outcome K8 "a conversion beyond the limit of files" 1 "limit of the size of files" "!panicked"
holds K8 "which leaves nothing" test ! -e converted -a ! -e converted.unfinished
# A power cut must leave the old codes or the new ones: the file is synced before it has its name, the folder after.
synced_renames() {
	awk -v folder="$PWD/kept" '
		$1 == "sync" && NF >= 2 { synced[$2] = 1; if ($2 == folder) waiting = 0 }
		$1 == "rename" { renames++; if (!synced[$2] || waiting) bad = 1; waiting = 1 }
		END { exit bad || waiting || !renames }' syncs.log
}
mkdir kept
if cc -shared -fPIC -o syncs.so "$cases/syncs.c" -ldl 2>.err; then
	LD_PRELOAD=$PWD/syncs.so SYNCS=$PWD/syncs.log sing --save-codes "$PWD/kept/song.codes"
	outcome K8 "codes that are kept" 0
	holds K8 "… and on the disk before they have their name" synced_renames
else
	echo "skipped: what is on the disk before it has its name (a C compiler is needed)"
fi

# --- tokenizers
# tokenizer NAME PYTHON: a model whose tokenizer t is changed.
tokenizer() {
	model "$1"
	python3 -c "import json; p='$1/tokenizer.json'; t=json.load(open(p)); $2; json.dump(t, open(p, 'w'))"
}
if command -v python3 >/dev/null; then
	tokenizer truncation 't["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 9}'
	sing; outcome hostile "truncation with a stride beyond its length" 0
	heartstream inspect --model truncation; outcome hostile "which inspect says" 0 "truncation.*switched off"
	tokenizer padding 't["padding"] = {"strategy": {"Fixed": 100000000}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}'
	sing; outcome hostile "padding to a hundred million" 0
	tokenizer replace 't["normalizer"] = {"type": "Replace", "pattern": {"String": ""}, "content": "x"}'
	sing; outcome hostile "a Replace of nothing" 1 "normalizer.pattern.String"
	heartstream inspect --model replace; outcome hostile "which inspect says" 1 "normalizer.pattern.String"
	tokenizer regex 't["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}'
	sing; outcome hostile "a split that backtracks for ever" 1 "pre_tokenizer.pattern.Regex"
	tokenizer template 't["post_processor"] = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}, "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * 1000000}'
	sing; outcome hostile "a template of a million pieces" 1 "post_processor"
	tokenizer dropout 't["model"]["dropout"] = 0.5'
	sing; cp song.wav one.wav; sing --seed 1; cp song.wav one.wav; sing --seed 1
	holds hostile "with dropout one seed is one song" cmp -s song.wav one.wav
	tokenizer long 't["normalizer"] = "x" * 1000000'
	sing; outcome hostile "a value of a megabyte" 1 "normalizer"
	holds hostile "whose error is short" test "$(wc -c <.err)" -lt 4200

	tokenizer prepend 't["normalizer"] = {"type": "Prepend", "prepend": ""}'
	sing; outcome hostile "a Prepend of nothing" 1 "normalizer.prepend"
	tokenizer charsmap 't["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}'
	sing; outcome hostile "a charsmap that is broken" 1 "normalizer.type"
fi

# --- names, values, environment
model $'e\033[2Jscape'; rm e*scape/gen_config.json
current=$PWD/$(ls -d e*scape); sing
outcome hostile "a name with an escape" 1 '\\u\{1b\}'
holds hostile "which is not printed" bash -c "! grep -q $'\033' .err"
current=$tiny
RAYON_NUM_THREADS=100000 sing; outcome hostile "RAYON_NUM_THREADS=100000" 2 "RAYON_NUM_THREADS must be"
if [ -r /proc/kmsg ]; then
	"$program" render -q --model "$tiny" --tags /proc/kmsg --lyrics la -o song.wav --max-seconds 0.3 >.out 2>.err & job=$!
	(sleep 10; kill -9 $job 2>/dev/null) & watch=$!
	wait $job; echo $? >.code; kill $watch 2>/dev/null
	holds hostile "--tags /proc/kmsg comes to an end" test "$(cat .code)" -lt 3
fi

# --- limits
for files in 6 8 12; do
	limited "-n $files" render -q --model "$tiny" -o limited.wav --max-seconds 0.3
	outcome limits "$files open files" 1 "ulimit -n"
done
for stack in 1 99999999999999; do
	RUST_MIN_STACK=$stack sing; outcome limits "RUST_MIN_STACK=$stack" 2 "RUST_MIN_STACK must be"
done
TOKIO_WORKER_THREADS=0 "$program" serve --model "$tiny" --listen 0 --library library >.out 2>.err & server=$!
for _ in $(seq 600); do ! grep -q listens .out && kill -0 $server 2>/dev/null || break; sleep 0.1; done
kill $server 2>/dev/null; wait $server; echo $? >.code
outcome limits "TOKIO_WORKER_THREADS=0" 0 "listens on"
limited "-v 400000" render -q -o limited.wav --max-seconds 1
outcome limits "400 MB of address space" 1 "!panicked" "!memory allocation"
if [ "$(id -u)" != 0 ]; then
	limited "-u 3" render -q --model "$tiny" -o limited.wav --max-seconds 0.3
	outcome limits "three processes" 1 "ulimit -u"
fi
holds limits "nothing is left behind" test ! -e limited.wav

# --- songs that are not whole
"$program" render -q "${short[@]}" --max-seconds 200 -o hung.wav 2>.err & song=$!
# Until there is sound: a song that ends before leaves no file.
for _ in $(seq 600); do [ "$(cat hung.wav 2>/dev/null | wc -c)" -lt 100000 ] || break; sleep 0.1; done
kill -HUP $song; wait $song; echo $? >.code
outcome losses "a terminal that goes away" 130 "!panicked"
holds losses "… and what was written plays" test "$(head -c 4 hung.wav)" = RIFF
heartstream render -q "${short[@]}" --max-seconds 12 -o whole.wav
heartstream render -q "${short[@]}" --max-seconds 6 -o part.wav --save-codes part.codes
heartstream render -q --model "$tiny" --resume part.codes --max-seconds 12 -o part.wav
outcome others "--resume with more seconds than the song ran into" 0
heartstream render -q --model noise --resume part.codes -o part.wav
outcome others "--resume of another model's song" 1 'is a song of another model' 'model that wrote' '!is damaged'
holds others "… and it is the song of so many seconds" cmp -s part.wav whole.wav
