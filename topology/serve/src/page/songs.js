// Songs: a card for each, which follows its song while it is written.

const cards = new Map();
const OVER = ["finished", "cancelled", "failed", "interrupted"];
const WORDS = {
  queued: "Queued", writing: "Writing", paused: "Paused", finished: "Finished",
  cancelled: "Cancelled", failed: "Failed", interrupted: "Interrupted",
};

// Seconds of the longest song that is drawn: its samples are held at once.
const LONGEST_PICTURE = 600;
// Songs that are drawn while they are written: each is a connection.
const MOST_DRAWINGS = 3;
let drawing = 0;

class Card {
  constructor(song) {
    this.song = song;
    this.root = $("song").content.firstElementChild.cloneNode(true);
    this.root.dataset.id = song.id;
    this.audio = this.part("audio");
    this.part(".pause").onclick = () => this.act("POST", "/pause");
    this.part(".resume").onclick = () => this.act("POST", "/resume");
    this.part(".cancel").onclick = () => this.act("DELETE", "");
    this.part(".repeat").onclick = () => fillOrder(this.song);
    this.part(".remove").onclick = async () => {
      if (await this.act("DELETE", "")) {
        this.gone();
        showCount(total - 1);
        $("songs").focus(); // the button that had it is gone
      }
    };
    this.show();
  }

  part(selector) {
    return this.root.querySelector(selector);
  }

  async act(method, path) {
    try {
      await ask(method, `/v1/songs/${this.song.id}${path}`, method === "POST" ? {} : undefined);
      return true;
    } catch (error) {
      this.part(".error").textContent = error.message;
      return false;
    }
  }

  // Plays from the first sound on, and draws what comes.
  play() {
    setSource(this.audio, this.song);
    this.audio.play().catch(() => {});
    this.draw();
  }

  draw() {
    if (OVER.includes(this.song.state)) return this.drawWhole();
    if (this.reading || drawing >= MOST_DRAWINGS || this.song.max_seconds > LONGEST_PICTURE) return;
    this.reading = new AbortController();
    const picture = (this.picture = new Picture(this.part("canvas"), this.song.max_seconds));
    drawing += 1;
    readSamples(this.song.id, this.reading.signal, (samples) => this.picture === picture && picture.take(samples))
      .catch(() => {})
      .finally(() => (drawing -= 1));
  }

  // A picture as wide as the song is long.
  async drawWhole() {
    if (this.whole || !(this.song.seconds > 0 && this.song.seconds <= LONGEST_PICTURE)) return;
    this.whole = true;
    const samples = await samplesOf(this.song.id).catch(() => null);
    if (!samples) return;
    this.reading?.abort(); // what is still to come of it is in this picture
    this.picture = new Picture(this.part("canvas"), samples.length / 48000);
    this.picture.take(samples);
    this.picture.label(this.song.title, this.song.seconds);
  }

  // What happened to the song.
  async happened(name, { buffered, ...status }) {
    Object.assign(this.song, status, buffered === undefined ? {} : { seconds: buffered });
    if (name === "first_sound") this.soundedAt ??= performance.now();
    this.show();
    if (!OVER.includes(this.song.state)) return;
    await this.ask();
    if (this.reading || !this.audio.paused) this.drawWhole();
  }

  // All that is known of it.
  async ask() {
    Object.assign(this.song, await ask("GET", `/v1/songs/${this.song.id}`));
    this.show();
  }

  show() {
    const { song } = this;
    const over = OVER.includes(song.state);
    this.root.dataset.state = song.state;
    this.part("h3").textContent = song.title || "Untitled";
    const waits = song.state === "queued" && song.place !== null;
    const place = waits ? (song.place === 0 ? ", next" : `, ${song.place} before it`) : "";
    // Read out when it changes, so it holds nothing that changes all the time.
    setText(this.part(".state"), WORDS[song.state] + place);
    const facts = [];
    if (song.seconds > 0) facts.push(`${song.seconds.toFixed(1)} s`);
    if (song.first_sound) facts.push(`first sound after ${song.first_sound.toFixed(1)} s`);
    if (song.loudness) facts.push(`${song.loudness.toFixed(1)} LUFS`);
    this.part(".facts").textContent = facts.join(", ");
    setText(this.part(".error"), song.error ?? "");
    this.part(".about").textContent = `${song.tags}, seed ${song.seed}, ${song.format}`;
    this.part(".pause").hidden = song.state !== "writing";
    this.part(".resume").hidden = !["paused", "interrupted"].includes(song.state);
    this.part(".cancel").hidden = over;
    this.part(".remove").hidden = !over;
    const sounds = song.seconds > 0;
    this.audio.hidden = !sounds;
    this.audio.setAttribute("aria-label", `Play ${song.title}`);
    if (sounds) setSource(this.audio, song);
    this.audio.onplaying = () => {
      // For who looks into it: milliseconds from the event of the first sound to the sound.
      if (this.soundedAt) this.root.dataset.sound ??= (performance.now() - this.soundedAt).toFixed(0);
    };
    this.audio.onplay = () => {
      for (const other of cards.values()) if (other !== this) other.audio.pause();
      this.draw();
    };
    const download = this.part(".download");
    download.hidden = !over || !sounds;
    download.href = `/v1/songs/${song.id}/audio?download=true`;
    this.picture?.label(song.title, song.seconds);
  }

  gone() {
    this.reading?.abort();
    cards.delete(this.song.id);
    const takes = this.root.parentElement;
    this.root.remove();
    if (takes && !takes.childElementCount) takes.remove();
    else if (takes) nameTakes(takes);
  }
}

// Sets a text only if it is another one: a live region is read out again otherwise.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A song's card, beside those of the other takes of its order.
function cardOf(song, first) {
  let card = cards.get(song.id);
  if (!card) {
    card = new Card(song);
    cards.set(song.id, card);
  }
  const order = song.take_of ?? song.id;
  let takes = [...$("list").children].find((other) => other.dataset.order === order);
  if (!takes) {
    takes = document.createElement("div");
    takes.className = "takes";
    takes.dataset.order = order;
    if (first) $("list").prepend(takes);
    else $("list").append(takes);
  }
  const seedOf = (root) => BigInt(cards.get(root.dataset.id).song.seed);
  const next = [...takes.children].find((other) => other !== card.root && seedOf(other) > BigInt(song.seed));
  takes.insertBefore(card.root, next ?? null);
  nameTakes(takes);
  return card;
}

// Several takes are a group, and say which of them each is.
function nameTakes(takes) {
  const count = takes.childElementCount;
  takes.classList.toggle("several", count > 1);
  if (count > 1) takes.setAttribute("role", "group");
  else takes.removeAttribute("role");
  [...takes.children].forEach((root, place) => {
    const { title } = cards.get(root.dataset.id).song;
    takes.setAttribute("aria-label", `Takes of ${title || "Untitled"}`);
    root.querySelector(".take").textContent = count > 1 ? `Take ${place + 1} of ${count}` : "";
  });
}

// Songs that the search finds.
let total = 0;
function showCount(count) {
  total = count;
  setText($("count"), count === 1 ? "1 song" : `${count} songs`);
}

let shown = 0;
async function history(more) {
  const query = new URLSearchParams({ q: $("search").value, limit: "24", offset: String(more ? shown : 0) });
  const { count, writing, waiting, songs } = await ask("GET", `/v1/songs?${query}`);
  if (!more) {
    $("list").replaceChildren();
    shown = 0;
  }
  songs.forEach((song) => cardOf(song, false));
  shown += songs.length;
  showCount(count);
  showQueue(writing, waiting);
  $("more").hidden = shown >= count;
}

function showQueue(writing, waiting) {
  setText($("queue"), `${writing} being written, ${waiting} waiting`);
}

// One stream for all songs: a browser opens six connections to a server at most, and a song that plays is one.
function follow() {
  const events = new EventSource("/v1/events");
  // What happened while there was no connection.
  events.onopen = () => cards.forEach((card) => OVER.includes(card.song.state) || card.ask().catch(() => {}));
  events.addEventListener("song", (event) => {
    const song = JSON.parse(event.data);
    if (cards.has(song.id)) cards.get(song.id).happened("song", song);
    else if (!$("search").value) {
      cardOf(song, true);
      shown += 1;
      showCount(total + 1);
    }
  });
  const names = ["queued", "writing", "paused", "first_sound", "progress", "done", "cancelled", "failed", "interrupted"];
  for (const name of names) {
    events.addEventListener(name, (event) => {
      const status = JSON.parse(event.data);
      cards.get(status.id)?.happened(name, status);
      if (name !== "progress") countQueue();
    });
  }
}

let counting = 0;
function countQueue() {
  clearTimeout(counting);
  counting = setTimeout(async () => {
    const { writing, waiting } = await ask("GET", "/v1/songs?limit=1").catch(() => ({}));
    if (writing !== undefined) showQueue(writing, waiting);
  }, 500);
}
