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

// Options that the model or the server chooses where nothing is said.
const OPTIONS = ["temperature", "top_k", "cfg_scale", "flow_steps", "flow_guidance", "first_window"];

// The order, as JSON.
function asked() {
  const body = {
    tags: $("tags").value, lyrics: $("lyrics").value, seconds: Number($("seconds").value),
    takes: Number($("takes").value), format: $("format").value,
  };
  for (const name of OPTIONS) if ($(name).value) body[name] = Number($(name).value);
  const seed = $("seed").value.trim();
  // Written as it is: a seed may be larger than the numbers of JavaScript are exact.
  return /^[0-9]+$/.test(seed) ? JSON.stringify(body).replace(/}$/, `,"seed":${BigInt(seed)}}`) : JSON.stringify(body);
}

function fillOrder(song) {
  for (const name of ["tags", "lyrics", "seed", "format"]) $(name).value = song[name];
  for (const name of OPTIONS) $(name).value = song.options?.[name] ?? "";
  $("seconds").value = song.max_seconds;
  $("takes").value = 1;
  $("tags").focus();
  changed();
}

function say(text, wrong) {
  $("check").textContent = text;
  $("check").classList.toggle("wrong", wrong);
}

function forecast(length, most) {
  if (!length) return `at most ${most.toFixed(0)} s of song`;
  const [low, likely, high] = [length.low, length.likely, length.high].map((seconds) => seconds.toFixed(0));
  const spread = low === high ? "" : ` (${low} to ${high} s)`;
  return `probably ${likely} s of song${spread}, at most ${most.toFixed(0)} s`;
}

let pause = 0;
function changed() {
  showTags();
  clearTimeout(pause);
  pause = setTimeout(async () => {
    try {
      const { tokens, max_seconds, length, notes } = await ask("POST", "/v1/check", asked());
      say([`${tokens} tokens; ${forecast(length, max_seconds)}.`, ...notes].join(" "), false);
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
    const fresh = songs.filter((song) => !cards.has(song.id)); // an event may have been faster
    fresh.toReversed().forEach((song) => cardOf(song, true));
    shown += fresh.length;
    showCount(total + fresh.length);
    cards.get(songs[0].id).play();
    songs.forEach((song) => cards.get(song.id).draw());
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
  $("seconds").max = data[0].max_seconds;
  $("takes").max = data[0].max_takes;
  for (const [name, value] of Object.entries(data[0].defaults)) $(name).placeholder = value;
  $("format").append(...data[0].formats.map((name) => new Option(FORMATS[name] ?? name, name)));
  $("model").textContent = `model ${data[0].id} (${data[0].fingerprint})`;
  await Promise.all([fillTags(), history(false)]);
  follow();
  changed();
})().catch((error) => say(error.message, true));
