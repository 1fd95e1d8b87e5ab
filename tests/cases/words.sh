# shellcheck shell=bash
# Words, names of outputs, numbers on the command line, and the surroundings. Sourced by `run`.

# seen ARGUMENTS...: what the model sees of words, with the notes on them.
seen() { heartstream inspect --json "$@"; }
# same_as_clean KIND NAME ARGUMENTS...: the model sees what it sees of the clean words.
same_as_clean() {
	local kind=$1 name=$2
	shift 2
	seen --lyrics "$inputs/lyrics_lf.txt" --tags piano,happy
	sed -n '/"lyrics_ids"/,/\]/p;/"tags_ids"/,/\]/p' .out >.clean
	seen "$@"
	sed -n '/"lyrics_ids"/,/\]/p;/"tags_ids"/,/\]/p' .out >.found
	holds "$kind" "$name" cmp -s .clean .found
}
sung() { heartstream render -q --max-seconds 0.4 --seed 1 -o sung.wav "$@"; }

# K1: text from files
for form in crlf cr bom utf16; do
	same_as_clean K1 "lyrics_$form.txt is lyrics_lf.txt" --lyrics "$inputs/lyrics_$form.txt" --tags piano,happy
done
same_as_clean K1 'tags_bom.txt is piano,happy' --lyrics "$inputs/lyrics_lf.txt" --tags "$inputs/tags_bom.txt"
sung --lyrics "$inputs/lyrics_lf.txt" && mv sung.wav lf.wav
sung --lyrics "$inputs/lyrics_crlf.txt"
holds K1 'the song of lyrics_crlf.txt is that of lyrics_lf.txt' cmp -s sung.wav lf.wav
sung --lyrics "$inputs/lyrics_gbk.txt"
outcome K1 'lyrics_gbk.txt' 2 'byte 8 is wrong' 'iconv'
printf '\377\376\0\0l\0\0\0a\0\0\0' >utf32.txt
sung --lyrics utf32.txt
outcome K1 'lyrics in UTF-32' 2 'but UTF-32' 'iconv -f UTF-32'
for nothing in bom zwsp; do
	sung --lyrics "$inputs/lyrics_only_$nothing.txt"
	outcome K1 "lyrics_only_$nothing.txt" 2 'the lyrics are empty'
done

# K2: words surely not meant
for path in 'my song.txt' '~/lyrics' lyrics.json my_lyrics '"lyrics.txt"' '<lyrics.txt' song.wav; do
	sung --lyrics "$path"
	outcome K2 "--lyrics '$path'" 2 'there is no file' "\[Verse\]"
done
seen --lyrics "$inputs/lyrics_timed.lrc"
outcome K2 'lyrics_timed.lrc' 0 '4 time stamps and headers were taken out' '"a kettle hums' '!"\[ar:'
seen --lyrics '[Verse]\nla'
outcome K2 "--lyrics '[Verse]\\nla'" 0 '"lyrics": "\[verse\]\\nla"' 'line break'
seen --lyrics "$inputs/lyrics_parens.txt"
outcome K2 'lyrics_parens.txt' 0 'section mark'
for tags in 'piano;happy' 'piano，happy' 'piano,,happy,' '["piano","happy"]' '[piano] [happy]' '{"tags": ["piano", "happy"]}' \
	"$inputs/tags_lines.txt"; do
	same_as_clean K2 "--tags '$(basename "$tags")' is piano,happy" --lyrics "$inputs/lyrics_lf.txt" --tags "$tags"
	outcome K2 '… and that is said' 0 'the tags were read as'
done
for tags in kazoo 'heavy metal,drums'; do
	seen --model demo --tags "$tags"
	outcome K2 "--tags '$tags' on the built-in model" 0 'never taught' 'heartstream tags'
done

# K3: names of outputs
rm -f song*.wav
echo mine >song.wav
heartstream render --max-seconds 0.4
outcome K3 'render without -o over an existing song.wav' 0 'song-2\.wav'
heartstream play --max-seconds 0.4
outcome K3 'play without a loudspeaker over an existing song.wav' 0 'written to song-3\.wav instead'
holds K3 'song.wav is as it was' grep -qx mine song.wav
heartstream render --max-seconds 0.4 --force
holds K3 '--force writes over it' sh -c '! grep -qx mine song.wav'
heartstream render --max-seconds 0.4 -o song.mp3
outcome K3 '-o song.mp3' 2 'LGPL' '--features mp3' 'opus, flac or wav'
holds K3 '… and no such file' test ! -e song.mp3
heartstream render --max-seconds 0.4 -o song.ogg
outcome K3 '-o song.ogg' 2 'ffmpeg'
holds K3 '… and no such file' test ! -e song.ogg
heartstream render --max-seconds 0.4 -o song.opus
holds K3 '-o song.opus is Opus in Ogg' sh -c 'head -c 4 song.opus | grep -q OggS'
heartstream render --max-seconds 0.4 -o song.flac
holds K3 '-o song.flac is FLAC' sh -c 'head -c 4 song.flac | grep -q fLaC'
heartstream render --max-seconds 0.4 -o .
outcome K3 '-o with a directory' 1 'name of a file in this directory'
if command -v script >/dev/null; then
	script -qec "$program render -q --max-seconds 0.4 -o -" /dev/null >.out 2>.err </dev/null
	echo $? >.code
	outcome K3 '-o - on a terminal' 2 'terminal' 'Give -o'
fi

# K9: numbers on the command line
heartstream render --seed -1
outcome K9 '--seed -1' 2 'from 0 to 18446744073709551615' '!unexpected'
for time in 240s 4m 1m30s; do
	seen --max-seconds "$time"
	outcome K9 "--max-seconds $time" 0
done
heartstream render --temperature 1,5
outcome K9 '--temperature 1,5' 2 'a number such as 1.5' '!float literal'
heartstream render -q --memory-limit 8G --max-seconds 0.4 -o sized.wav
outcome K9 '--memory-limit 8G' 0
heartstream render --max-seconds -4m
outcome K9 '--max-seconds -4m' 2 'a time above 0'

# options near right ones
heartstream render --duration 30
outcome options '--duration' 2 "'--max-seconds'"
heartstream render --speaker default
outcome options 'an option of another command' 2 'an option of .play.'
heartstream play song.wav
outcome options 'a file without an option' 2 'words are given with --lyrics'
heartstream serve --listen nowhere
outcome options '--listen nowhere' 2 'localhost:7878'
heartstream serve --host http://music.example.org:80/
outcome others '--host with a whole address' 2 'without a scheme, a port or a path' 'music.example.org'
heartstream inspect "$tiny"
outcome options 'a model without an option' 2 'given with --model'
heartstream render --lyrics '-la'
outcome options "--lyrics '-la'" 2 'behind a ='
heartstream render --lyrics=-la -q --max-seconds 0.4 -o hyphen.wav
outcome options "--lyrics='-la'" 0
heartstream serve --songs-per-client 0
outcome options '--songs-per-client 0' 2 'from 1 to 65536'
heartstream serve --max-songs -1
outcome options '--max-songs -1' 2 'a whole number from 1 up'

# two programs on one file
"$program" render -q --max-seconds 200 --top-k 5 -o shared.wav & first=$!
for _ in $(seq 100); do [ ! -s shared.wav ] || break; sleep 0.1; done
heartstream render --max-seconds 0.4 -o shared.wav
outcome outputs 'a file that another song is written to' 1 'another song is being written to it'
kill $first; wait $first

# others
HEARTSTREAM_MODEL='' heartstream tags
outcome others 'HEARTSTREAM_MODEL= (empty)' 0 'tags of the model demo'
heartstream render -q --max-seconds 0.4 -o x.wav --record -
outcome others '--record -' 0 '"outcome"'
holds others '… and no file of that name' test ! -e ./-
printf 'pcm.!default { type plug slave.pcm "nothing" }\n' >asound.conf
ALSA_CONFIG_PATH=$place/asound.conf heartstream devices
outcome others 'devices without a sound card' 0 '!ALSA|[Jj]ack|JACK'
ALSA_CONFIG_PATH=$place/asound.conf heartstream play --max-seconds 0.4 -o y.wav
outcome others 'play without a sound card' 0 '!ALSA|[Jj]ack|JACK'
if command -v script >/dev/null; then
	(sleep 2; printf q) | script -qec "$program play --seed 7 --max-seconds 100 -o z.wav" /dev/null >.out 2>.err
	echo $? >.code
	outcome others 'play --seed 7, then q' 0
fi
