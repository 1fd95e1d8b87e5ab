// Order: the form, a check of its words while they are written, and what it begins.

const SECTIONS = ["Intro", "Verse", "Prechorus", "Chorus", "Bridge", "Interlude", "Outro"];

const FORMATS = {
  wav: "WAV, 16 bit", "wav-s24": "WAV, 24 bit", "wav-f32": "WAV, float", flac: "FLAC, 16 bit", "flac-24": "FLAC, 24 bit",
  opus: "Opus, 128 kbit/s", mp3: "MP3, 192 kbit/s",
};

function button(text, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.onclick = () => press(made);
  return made;
}

const chosenTags = () => $("tags").value.split(",").map((tag) => tag.trim()).filter(Boolean);

function showTags() {
  const chosen = chosenTags();
  for (const chip of document.querySelectorAll("#tag-groups button")) {
    chip.setAttribute("aria-pressed", String(chosen.includes(chip.textContent)));
  }
}

async function fillTags() {
  for (const { name, tags } of await ask("GET", "/v1/tags")) {
    const title = document.createElement("h3");
    title.textContent = name;
    const row = document.createElement("div");
    row.className = "row";
    row.append(...tags.map((tag) => button(tag, () => {
      const chosen = chosenTags();
      $("tags").value = (chosen.includes(tag) ? chosen.filter((other) => other !== tag) : [...chosen, tag]).join(",");
      changed();
    })));
    $("tag-groups").append(title, row);
  }
  showTags();
}

function insertSection(name) {
  const lyrics = $("lyrics");
  const before = lyrics.value.slice(0, lyrics.selectionStart);
  const gap = before && !before.endsWith("\n") ? "\n\n" : "";
  lyrics.setRangeText(`${gap}[${name}]\n`, lyrics.selectionStart, lyrics.selectionEnd, "end");
  lyrics.focus();
  changed();
}

function asked() {
  const body = {
    tags: $("tags").value, lyrics: $("lyrics").value, seconds: Number($("seconds").value),
    takes: Number($("takes").value), format: $("format").value,
  };
  const seed = $("seed").value.trim();
  if (seed) body.seed = Number(seed);
  return body;
}

function fillOrder(song) {
  for (const name of ["tags", "lyrics", "seed", "format"]) $(name).value = song[name];
  $("seconds").value = Math.round(song.max_seconds);
  $("takes").value = 1;
  $("tags").focus();
  changed();
}

function say(text, wrong) {
  $("check").textContent = text;
  $("check").classList.toggle("wrong", wrong);
}

let pause = 0;
function changed() {
  showTags();
  clearTimeout(pause);
  pause = setTimeout(async () => {
    try {
      const { tokens, max_seconds, notes } = await ask("POST", "/v1/check", asked());
      say([`${tokens} tokens; at most ${max_seconds.toFixed(0)} s of song.`, ...notes].join(" "), false);
    } catch (error) {
      say(error.message, true);
    }
  }, 400);
}

$("order").onsubmit = async (event) => {
  event.preventDefault();
  $("sing").disabled = true;
  try {
    const { songs } = await ask("POST", "/v1/songs", asked());
    songs.toReversed().forEach((song) => cardOf(song, true));
    showCount(total + songs.length);
    cards.get(songs[0].id).play();
    say("", false);
  } catch (error) {
    say(error.message, true);
  } finally {
    $("sing").disabled = false;
  }
};

$("order").oninput = changed;
$("search").oninput = () => {
  clearTimeout(pause);
  pause = setTimeout(() => history(false), 250);
};
$("more").onclick = () => history(true);
$("sections").append(...SECTIONS.map((name) => button(name, () => insertSection(name))));
(async () => {
  const { data } = await ask("GET", "/v1/models");
  $("format").append(...data[0].formats.map((name) => new Option(FORMATS[name] ?? name, name)));
  $("model").textContent = `model ${data[0].id} (${data[0].fingerprint})`;
  await Promise.all([fillTags(), history(false)]);
  changed();
})().catch((error) => say(error.message, true));
