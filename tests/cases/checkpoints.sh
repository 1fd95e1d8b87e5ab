# shellcheck shell=bash
# Checkpoints of other kinds, numbers in them, and what lies beside them; sourced by tests/cases/run, after files.sh.

# spoilt KIND: a copy of the smallest model, spoilt by spoil.py, which becomes the current one.
spoilt() { model "$1" && python3 "$cases/spoil.py" "$1" "$1"; }
# same_sound: song.wav ends as plain.wav does; before that they name their models.
same_sound() { cmp -s <(tail -c 90000 song.wav) <(tail -c 90000 plain.wav) && [ "$(wc -c <plain.wav)" -gt 90000 ]; }

if command -v python3 >/dev/null; then
	current=$tiny; sing --seed 3 && mv song.wav plain.wav
	spoilt shards_noindex; sing --seed 3; outcome K4 "shards whose index was not copied" 0
	holds K4 "… and the song is that of the model" same_sound
	rm "$current/$lm/model-00002-of-00002.safetensors"
	sing; outcome K4 "one of them missing" 1 "of the 2 files"

	# --- K5: foreign weights
	for kind in 'bnb4 4 bits by bitsandbytes' 'bnb8 8 bits by bitsandbytes' 'fp8 fp8' 'f64 f64'; do
		spoilt "${kind%% *}"; sing; outcome K5 "${kind%% *}" 1 "${kind#* }" "heartstream pull"
		holds K5 "… in one line" test "$(wc -l <.err)" = 1
	done
	spoilt prefix; sing --seed 3; outcome K5 "names with a common prefix" 0
	holds K5 "… and the song is that of the model" same_sound

	# --- K6: numbers
	spoilt nan; sing; outcome K6 "a weight that is no number" 1 "backbone.norm.scale" "NaN"
	heartstream inspect --model nan; outcome K6 "… and inspect says so" 1 "backbone.norm.scale" "NaN"
	spoilt bigcodec; heartstream convert -q --model bigcodec --out narrowed
	outcome K6 "a weight beyond f16 in convert" 1 "cond_feature_emb.weight" "beyond the range of f16" "--codec f32"
	holds K6 "… and nothing is left" sh -c '! ls -d narrowed* 2>/dev/null'

	# --- what lies beside a model
	model drafted; heartstream distill -q --model drafted --songs 8 --seconds 2 --steps 2 --heads 3 --tags piano --lyrics la
	outcome hostile "a drafter is trained" 0
	for kind in 'drafter_narrow input.weight: expected' 'drafter_empty a size of 0'; do
		rm -rf "${kind%% *}"; cp -r drafted "${kind%% *}"; current=$PWD/${kind%% *}
		python3 "$cases/spoil.py" "${kind%% *}" "$current"
		sing --speculate heads:3; outcome hostile "${kind%% *}" 1 "drafter.safetensors" "${kind#* }"
		heartstream inspect --model "$current"; outcome hostile "… and inspect says so" 1 "${kind#* }"
	done
	for kind in 'input codec.estimator.input' 'times codec.estimator.timestep' 'codes codec.codes'; do
		cp -r "$root/tests/golden/half" "goldens_${kind%% *}"
		python3 "$cases/spoil.py" "goldens_${kind%% *}" "goldens_${kind%% *}"
		heartstream check "goldens_${kind%% *}"; outcome hostile "golden data: ${kind%% *} of another shape" 1 "${kind#* }"
	done

	# --- saved songs
	current=$tiny; sing --seed 3 --save-codes song.codes
	python3 "$cases/spoil.py" without_end song.codes
	heartstream render -q --model "$tiny" --resume song.codes -o song.wav
	outcome hostile "a saved song of 2^32 frames" 1 "4294967296 frames" "room for"

	# --- a model that ends songs before their first frame
	model ends; sed -i 's/"audio_eos_id": *[0-9]*/"audio_eos_id": 31/' ends/gen_config.json
	for seed in $(seq 64); do
		heartstream render --model ends -o song.wav --max-seconds 0.5 --top-k 100 --flow-steps 1 --seed "$seed" \
			--tags piano --lyrics la
		! grep -q "before its first frame" .err || break
	done
	outcome others "a song that would end before its first frame" 0 "before its first frame" "draw 2 of at most 9"
else
	echo "skipped: checkpoints are spoilt by a Python program"
fi
